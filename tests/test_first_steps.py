"""docs/first-steps.ipynb, run as a reader runs it; `make notebook` keeps the outputs."""

from pathlib import Path

import nbformat
import pytest

from tests.conftest import ROOT, make_project

NOTEBOOK = ROOT / "docs/first-steps.ipynb"


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in ``folder``; the outputs have no times and one entry per stream."""
    from nbclient import NotebookClient

    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    notebook.metadata.pop("language_info", None)  # the version of this Python


def outputs(notebook: nbformat.NotebookNode) -> tuple[str, list[str]]:
    """What the cells print, and the plots."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    listed = [output for cell in cells for output in cell.outputs]
    plots = [output.data.pop("image/png") for output in listed if "image/png" in str(output)]
    return str(listed), plots


def test_it_has_19_cells_and_small_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert len(notebook.cells) == 19
    assert all(cell.outputs for cell in notebook.cells[2:] if cell.cell_type == "code")
    text, plots = outputs(notebook)
    assert len(text) < 10_000
    assert [len(plot) < 20_000 for plot in plots] == [True]


@pytest.mark.slow
@pytest.mark.usefixtures("forked_stages")
def test_every_cell_runs(tmp_path: Path) -> None:
    clone = make_project(tmp_path / "clone", model__wide_ngrams=1)
    (clone / "docs").mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    execute(notebook, clone / "docs")
    text, plots = outputs(notebook)
    assert len(plots) == 1
    for words in ("ohlol", "Running stage 'evaluate'", "test_accuracy", "states (1, 6, 8)"):
        assert words in text, words


if __name__ == "__main__":
    shipped = nbformat.read(NOTEBOOK, as_version=4)
    execute(shipped, NOTEBOOK.parent)
    nbformat.write(shipped, NOTEBOOK)

"""docs/first-steps.ipynb, run as a reader runs it; `make notebook` keeps the outputs."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs/first-steps.ipynb"


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in ``folder``; the outputs have no times and one entry per stream."""
    client = NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    notebook.metadata.pop("language_info", None)  # the version of this Python


def outputs(notebook: nbformat.NotebookNode) -> str:
    return str([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])


def test_it_has_15_cells_and_small_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert len(notebook.cells) == 15
    assert all(cell.outputs for cell in notebook.cells[2:] if cell.cell_type == "code")
    assert len(outputs(notebook)) < 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("forked_stages")
def test_every_cell_runs(make_clone: Callable[..., Path]) -> None:
    clone = make_clone(model__wide_ngrams=1)
    (clone / "docs").mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    execute(notebook, clone / "docs")
    found = outputs(notebook)
    for text in ("ohlol", "Running stage 'evaluate'", "test_accuracy", "states (1, 6, 8)"):
        assert text in found, text


if __name__ == "__main__":
    shipped = nbformat.read(NOTEBOOK, as_version=4)
    execute(shipped, NOTEBOOK.parent)
    nbformat.write(shipped, NOTEBOOK)

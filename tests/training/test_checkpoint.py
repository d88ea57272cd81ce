"""Checkpoints: whole or not there, the newest whole one is used."""

import sys
from pathlib import Path

import pytest
import torch

from stages.training.checkpoint import Checkpoints, fingerprint, loaded_code
from tests.conftest import contents


def saved(folder: Path, *numbers: int) -> Checkpoints:
    """Checkpoints of one training, saved in this order."""
    checkpoints = Checkpoints(folder, "a")
    for number in numbers:
        checkpoints.save(number, {"w": torch.full((3,), float(number)), "epoch": number})
    return checkpoints


def newest(checkpoints: Checkpoints) -> int | None:
    """The epoch of the checkpoint that would be used."""
    latest = checkpoints.latest()
    return latest and latest["epoch"]


def test_the_newest_is_used_and_only_it_and_the_previous_one_are_kept(tmp_path: Path) -> None:
    assert newest(saved(tmp_path)) is None
    for number in (1, 9, 10, 999 * 10**9, 1000 * 10**9):  # the last two: epochs 999 and 1000
        assert newest(saved(tmp_path, number)) == number
        Path(tmp_path, f"a/.{number}.pt.tmp").touch()  # left by a write that was killed
    saved(tmp_path, 1001 * 10**9)
    assert len(contents(tmp_path)) == 2
    assert newest(Checkpoints(tmp_path, "b")) is None, "another training's is not used"


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_one_is_told_and_removed_and_the_previous_one_used(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = saved(tmp_path, 1, 2)
    first, last = map(Path, contents(tmp_path))
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes({"flip": content, "truncate": content[:-9], "empty": b""}[damage])
    assert newest(checkpoints) == 1
    assert capsys.readouterr().out == f"train: {last} is damaged: removed\n"
    first.write_bytes(b"{}")
    assert newest(checkpoints) is None
    assert contents(tmp_path) == {}


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a")
    checkpoints.save(1, {"code": pytest.fail})
    with pytest.raises(Exception, match="Weights only load failed"):
        checkpoints.latest()


def test_a_fingerprint_changes_with_every_text_and_every_file(tmp_path: Path) -> None:
    code, data = tmp_path / "code.py", tmp_path / "data.npy"
    code.write_text("1")
    data.write_text("2")
    first = fingerprint(["params", "torch"], [code, data])
    assert first == fingerprint(["params", "torch"], [data, code])
    texts, files = (["param", "storch"], ["params"]), ([code, data], [code])
    others = {fingerprint(words, paths) for words in texts for paths in files}
    data.write_text("3")
    others.add(fingerprint(["params", "torch"], [code, data]))
    assert len(others) == 5 and first not in others


def test_the_code_that_is_loaded_is_this_project_s_and_the_program_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "program.py", raising=False)
    paths = loaded_code()
    assert Path(sys.modules["stages.training.checkpoint"].__file__ or "") in paths
    assert paths[-1] == Path("program.py")
    assert Path(torch.__file__) not in paths

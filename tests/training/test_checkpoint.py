"""Checkpoints: whole or not there, the newest whole one is used."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stages.training.checkpoint import Checkpoints, State, fingerprint, loaded_code


def state(number: int) -> State:
    return State({"w": torch.full((3,), float(number))}, {"epoch": number, "loss": 0.1 + number})


def newest(checkpoints: Checkpoints) -> tuple[int | None, list[Path]]:
    """The epoch of the checkpoint that would be used, and what was passed over."""
    damaged: list[Path] = []
    found = checkpoints.latest(damaged.append)
    return (None if found is None else found.facts["epoch"]), damaged


def raw_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_is_saved_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    saved = State(
        {
            "random": torch.get_rng_state(),
            "odd": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
            "half": torch.randn(3).bfloat16(),
            "scalar": torch.tensor(3),
        },
        {"history": [{"loss": 0.1 + 0.2}], "epoch": 3},
    )
    Checkpoints(tmp_path, "a").save(1, saved)
    found = Checkpoints(tmp_path, "a").latest(pytest.fail)
    assert found is not None and found.facts == saved.facts
    for name, tensor in saved.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(raw_bytes(found.tensors[name]), raw_bytes(tensor))


def test_the_newest_is_used_and_only_it_and_the_previous_one_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a")
    assert newest(checkpoints) == (None, [])
    for number in (1, 9, 10, 999 * 10**9, 1000 * 10**9):  # the last two: epochs 999 and 1000
        checkpoints.save(number, state(number))
        assert newest(checkpoints) == (number, [])
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_one_is_told_and_removed_and_the_previous_one_used(
    damage: str, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path, "a")
    checkpoints.save(1, state(1))
    checkpoints.save(2, state(2))
    last = files(tmp_path)[-1]
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes({"flip": content, "truncate": content[:-9], "empty": b""}[damage])
    assert newest(checkpoints) == (1, [last])
    assert newest(checkpoints) == (1, [])


def test_without_a_whole_one_there_is_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a")
    checkpoints.save(1, state(1))
    (path,) = files(tmp_path)
    path.write_bytes(b"{}")
    assert newest(checkpoints) == (None, [path])


def test_another_training_s_is_never_used(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "a").save(1, state(1))
    assert newest(Checkpoints(tmp_path, "b")) == (None, [])


def test_what_a_killed_write_left_is_not_used_and_cleaned_up(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "a")
    checkpoints.save(1, state(1))
    left = tmp_path / "a/.00000000000000000002-abc.safetensors.x1y2"
    left.write_bytes(b"half")
    assert newest(checkpoints) == (1, [])
    checkpoints.save(2, state(2))
    assert not left.exists()
    assert newest(checkpoints) == (2, [])


def test_a_full_disk_names_the_file_and_leaves_the_previous_one(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "a").save(1, state(1))
    before = files(tmp_path)
    script = """
import sys, torch
from pathlib import Path
from stages.training.checkpoint import Checkpoints, State
from stages.core.errors import exit_code
sys.exit(exit_code(lambda: Checkpoints(Path(sys.argv[1]), "a").save(
    2, State({"w": torch.zeros(100_000)}, {}))))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "File too large" in done.stderr
    assert str(tmp_path / "a/00000000000000000002-") in done.stderr
    assert files(tmp_path) == before
    assert newest(Checkpoints(tmp_path, "a")) == (1, [])


def test_after_success_nothing_is_left(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", "a")
    checkpoints.save(1, state(1))
    Checkpoints(tmp_path / "checkpoints", "b").save(1, state(1))
    checkpoints.remove()
    checkpoints.remove()  # twice does no harm
    assert not (tmp_path / "checkpoints").exists()


def test_a_fingerprint_changes_with_every_text_and_every_file(tmp_path: Path) -> None:
    code, data = tmp_path / "code.py", tmp_path / "data.npy"
    code.write_text("1")
    data.write_text("2")
    first = fingerprint(["params", "torch"], [code, data])
    assert len(first) == 32
    assert first == fingerprint(["params", "torch"], [data, code])
    others = {fingerprint(["param", "storch"], [code, data]), fingerprint(["params"], [code, data])}
    others.add(fingerprint(["params", "torch"], [code]))
    data.write_text("3")
    others.add(fingerprint(["params", "torch"], [code, data]))
    assert len(others) == 4 and first not in others


def test_the_code_that_is_loaded_is_this_project_s_and_the_program_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "program.py", raising=False)
    paths = loaded_code()
    assert Path(sys.modules["stages.training.checkpoint"].__file__ or "") in paths
    assert paths[-1] == Path("program.py")
    assert Path(torch.__file__) not in paths


def test_a_loss_that_is_no_number_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Checkpoints(tmp_path, "a").save(1, State({}, {"loss": float("nan")}))
    assert files(tmp_path) == []

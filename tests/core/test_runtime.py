import pytest
import torch

from stages.core.errors import UserError
from stages.core.runtime import select_device, select_precision


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Pretend to have some accelerators: the only boundary that is faked."""

    def pretend(cuda: int = 0, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize(
    ("cuda", "mps", "wanted", "rank", "device"),
    [
        (0, False, "auto", 2, "cpu"),
        (0, True, "auto", None, "mps"),
        (3, True, "auto", None, "cuda"),
        (3, True, "auto", 2, "cuda:2"),  # each process has a device of its own
        (2, True, "cpu", None, "cpu"),
        (2, True, "mps", None, "mps"),
        (2, True, "cuda", None, "cuda"),
        (2, True, "cuda:1", 0, "cuda:1"),
    ],
)
def test_auto_takes_the_fastest_device_and_a_named_one_is_taken_if_it_is_there(
    machine, cuda: int, mps: bool, wanted: str, rank: int | None, device: str
) -> None:
    machine(cuda, mps)
    assert select_device(wanted, rank) == torch.device(device)


@pytest.mark.parametrize(
    ("cuda", "wanted", "rank", "said"),
    [
        (0, "cuda", None, r"train\.device: cuda is not on this machine.* cpu in params.yaml"),
        (0, "mps", None, "mps is not on this machine"),
        (2, "cuda:2", None, "cuda:2 is not .* cpu, cuda:0, cuda:1"),
        (2, "auto", 2, "cuda:2 is not .* cpu, cuda:0, cuda:1"),
    ],
)
def test_an_absent_device_is_named_with_those_that_are_there(
    machine, cuda: int, wanted: str, rank: int | None, said: str
) -> None:
    machine(cuda)
    with pytest.raises(UserError, match=said):
        select_device(wanted, rank)


def test_auto_precision_takes_bfloat16_only_where_it_is_faster_and_on_a_cpu_only_natively(
    monkeypatch,
) -> None:
    cpu = torch.device("cpu")
    for amx, chosen in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        assert select_precision("auto", cpu, "native") == chosen
        for pinned in ("portable", "avx2"):
            assert select_precision("auto", cpu, pinned) == torch.float32
    assert select_precision("auto", torch.device("mps"), "portable") == torch.float32


def test_a_named_precision_is_taken_as_it_is() -> None:
    cpu = torch.device("cpu")
    assert select_precision("float32", cpu, "native") == torch.float32
    assert select_precision("bfloat16", cpu, "portable") == torch.bfloat16

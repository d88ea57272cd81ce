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
    ("cuda", "mps", "chosen", "third_of_several"),
    [
        (0, False, "cpu", "cpu"),
        (0, True, "mps", "mps"),
        (3, False, "cuda", "cuda:2"),
        (3, True, "cuda", "cuda:2"),
    ],
)
def test_auto_takes_the_fastest_device_that_is_there_and_a_cuda_device_for_each_process(
    machine, cuda, mps, chosen, third_of_several
) -> None:
    machine(cuda, mps)
    assert select_device("auto") == torch.device(chosen)
    assert select_device("auto", local_rank=2) == torch.device(third_of_several)


def test_a_named_device_that_is_there_is_taken(machine) -> None:
    machine(cuda=2, mps=True)
    for name in ("cpu", "mps", "cuda", "cuda:1"):
        assert select_device(name) == torch.device(name)
    assert select_device("cuda:1", local_rank=0) == torch.device("cuda:1")


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0", "mps"])
def test_an_absent_device_is_named_with_the_mend(machine, wanted) -> None:
    machine()
    with pytest.raises(UserError, match=rf"train\.device: {wanted} is not on this machine.* cpu"):
        select_device(wanted)


def test_a_number_beyond_the_last_device_is_refused_and_the_present_ones_listed(machine) -> None:
    machine(cuda=2)
    for wanted, local_rank in (("cuda:2", None), ("cuda", 2), ("auto", 2)):
        with pytest.raises(UserError, match=r"cuda:2 is not .* cpu, cuda:0, cuda:1"):
            select_device(wanted, local_rank)


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

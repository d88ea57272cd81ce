"""Ingest and index on a Dask cluster of real processes: the bytes of one machine, or one line."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages import index, ingest
from stages.core.errors import UserError
from stages.corpus import tables, tasks
from tests.benchmarks import big_corpus
from tests.clusters import kill_workers, two_workers
from tests.conftest import ROOT, set_params

ROWS = 40_000


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with a corpus of its own, to be read in blocks that are small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tables, "BLOCK_BYTES", 2**16)
    for path in ROOT.glob("*.yaml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    big_corpus.write(tmp_path / "corpus", ROWS)
    set_params(
        tmp_path,
        ingest__train=tmp_path / "corpus/train",
        ingest__test=tmp_path / "corpus/train",
        ingest__max_rejected=ROWS,
        ingest__processes=1,
    )
    return tmp_path


def results(project: Path) -> dict[str, bytes]:
    files = sorted(path for path in project.rglob("*") if path.is_file())
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in files
        if path.parent.name in ("clean", "index", "metrics", "train", "test", "calibration")
    }


@pytest.mark.slow
def test_a_cluster_changes_no_byte_also_if_its_workers_are_killed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.main()
    index.main()
    here = results(project)
    with two_workers() as cluster:
        killed = kill_workers(cluster, monkeypatch, ingest, index)
        set_params(project, ingest__cluster=cluster.scheduler_address)
        ingest.main()
        assert len(killed) == 4  # two while train is read, two for test
        set_params(project, ingest__cluster="null")
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        index.main()
        assert len(killed) == len({*killed}) == 6
    assert results(project) == here


# What a worker does before it starts: it has no onoma, or it sees no file of the project.
NO_PACKAGE = "import sys; sys.modules['stages'] = None"
NO_STORAGE = """
import os
stat = os.stat
def blind(path, **options):
    if "/.shared." in str(path):
        raise FileNotFoundError(2, "no such file", path)
    return stat(path, **options)
os.stat = blind
"""


@pytest.fixture
def start_worker() -> Iterator[Callable[[str, str], None]]:
    """Give a function that starts a worker of a cluster in a process of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start_worker(address: str, prepare: str) -> None:
        program = f"{prepare}\nfrom distributed.cli.dask_worker import main\nmain()"
        options = ["--no-nanny", "--no-dashboard", "--nthreads", "1"]
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", program, address, *options],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    yield start_worker
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_cluster_that_does_not_fit_is_named_and_nothing_is_written(
    project: Path, start_worker: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    def refused(address: str, words: str, seconds: int = 30) -> None:
        monkeypatch.setattr(tasks, "CONNECT_SECONDS", seconds)
        set_params(project, ingest__cluster=address)
        before = results(project)
        for stage, folder in ((ingest, "clean"), (index, "index")):
            with pytest.raises(UserError, match=words.format(project / "data" / folder)) as error:
                stage.main()
            assert "\n" not in str(error.value)
        assert results(project) == before

    ingest.main()
    refused("tcp://127.0.0.1:1", r"^tcp://127\.0\.0\.1:1: no Dask scheduler: ", seconds=1)
    with LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        address = empty.scheduler_address
        refused(address, "the Dask scheduler has no workers; start some", seconds=1)
        start_worker(address, NO_PACKAGE)
        refused(address, "cannot load onoma; install it there: ")
    with LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        start_worker(empty.scheduler_address, NO_STORAGE)
        refused(empty.scheduler_address, "cannot see {}; use storage that workers share")

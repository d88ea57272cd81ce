"""Ingest and index on a Dask cluster of real processes: the bytes of one machine, or one line."""

import sys
from pathlib import Path

import pytest

from stages import index, ingest
from stages.core.errors import UserError
from stages.corpus import tables, tasks
from tests.benchmarks import big_corpus
from tests.clusters import kill_workers, two_workers
from tests.conftest import ROOT, Start, contents, set_params

ROWS = 40_000


@pytest.fixture
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with a corpus of its own, to be read in blocks that are small."""
    monkeypatch.setattr(tables, "BLOCK_BYTES", 2**16)
    corpus = big_corpus.write(folder / "corpus", ROWS) / "train"
    files = {"ingest__train": corpus, "ingest__test": corpus}
    set_params(folder, **files, ingest__max_rejected=ROWS, ingest__processes=1)
    return folder


@pytest.mark.slow
def test_a_cluster_changes_no_byte_also_if_its_workers_are_killed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.main()
    index.main()
    here = contents("data", "metrics")
    with two_workers() as cluster:
        killed = kill_workers(cluster, monkeypatch)
        set_params(project, ingest__cluster=cluster.scheduler_address)
        ingest.main()
        assert len(killed) == 4  # while train and test are read, and for the keys of each
        set_params(project, ingest__cluster="null")
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
        index.main()
        assert len(killed) == len({*killed}) == 7  # and in each of three passes
    assert contents("data", "metrics") == here


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


def start_worker(start: Start, address: str, prepare: str) -> None:
    """Start a worker of a cluster in a process of its own."""
    program = f"{prepare}\nfrom distributed.cli.dask_worker import main\nmain()"
    command = ("env", f"PYTHONPATH={ROOT}", sys.executable, "-c", program, address)
    start(ROOT, *command, "--no-nanny", "--no-dashboard", "--nthreads", "1")


@pytest.mark.slow
def test_a_cluster_that_does_not_fit_is_named_and_nothing_is_written(
    project: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    def refused(address: str, words: str, seconds: int = 30) -> None:
        monkeypatch.setattr(tasks, "CONNECT_SECONDS", seconds)
        set_params(project, ingest__cluster=address)
        before = contents("data", "metrics")
        for stage, folder in ((ingest, "clean"), (index, "index")):
            with pytest.raises(UserError, match=words.format(project / "data" / folder)) as error:
                stage.main()
            assert "\n" not in str(error.value)
        assert contents("data", "metrics") == before

    ingest.main()
    refused("tcp://127.0.0.1:1", r"^tcp://127\.0\.0\.1:1: no Dask scheduler: ", seconds=1)
    with LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        address = empty.scheduler_address
        refused(address, "the Dask scheduler has no workers; start some", seconds=1)
        start_worker(start, address, NO_PACKAGE)
        refused(address, "cannot load onoma; install it there: ")
    with LocalCluster(n_workers=0, dashboard_address=":0") as empty:
        start_worker(start, empty.scheduler_address, NO_STORAGE)
        refused(empty.scheduler_address, "cannot see {}; use storage that workers share")

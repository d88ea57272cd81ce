"""What many tests need: a toy corpus that can be learned, and a clone in which to run DVC."""

import csv
import gzip
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from hypothesis import settings

from tests import forkserver

# Tests run several at a time, on small models: threads of one test would wait for those of another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Examples come in a fixed order, so that a red test is red again; time is no test of anything here.
settings.register_profile("onoma", deadline=None, derandomize=True)
settings.load_profile("onoma")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

# Syllables of made-up languages: easy to tell apart, yet not without overlap.
TOY_LANGUAGES = {
    "Vocalia": ["ana", "elo", "imu", "ora", "une", "ilo"],
    "Stockia": ["krat", "stov", "brak", "tsik", "grod", "elo"],
    "Кирилия": ["иван", "петр", "овск", "енко", "ана"],
}


def wait_until(true: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition; fail after ``seconds``."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)


def write_corpus(path: Path, rows: list[tuple[str, str]]) -> Path:
    """Write rows in the format of the shipped corpus."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return path


def toy_rows(count: int, seed: int) -> list[tuple[str, str]]:
    """Names of one to three syllables with their language."""
    choose = random.Random(seed)
    rows = []
    for _ in range(count):
        country, syllables = choose.choice(list(TOY_LANGUAGES.items()))
        name = "".join(choose.choice(syllables) for _ in range(choose.randint(1, 3)))
        rows.append((name.capitalize(), country))
    return rows


def set_params(folder: Path, **values: object) -> None:
    """Change keys of params.yaml: ``set_params(clone, train__epochs=2)``."""
    path = folder / "params.yaml"
    text = path.read_text(encoding="utf-8")
    for name, value in values.items():
        block, key = name.split("__")
        found = re.subn(rf"(?m)(^{block}:\n(?:  .*\n|\n)*?  {key}:)[^#\n]*", rf"\1 {value} ", text)
        assert found[1] == 1, name
        text = found[0]
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the test works in: it holds the shipped params.yaml."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(*folders: Path | str) -> dict[str, bytes]:
    """What is in the files below folders."""
    paths = [path for folder in folders for path in sorted(Path(folder).rglob("*"))]
    return {str(path): path.read_bytes() for path in paths if path.is_file()}


# Commands are this interpreter's programs, and leave no bytecode in a folder.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
ENVIRONMENT = dict(os.environ)


def run(folder: Path, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a person would in ``folder``."""
    arguments: dict = {"capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(list(command), cwd=folder, **(arguments | options))


def succeed(folder: Path, *command: str, **options: object) -> str:
    """Run a command that must not fail; return what it prints."""
    done = run(folder, *command, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_stages(folder: Path, *names: str) -> None:
    """Run stages as DVC does."""
    for name in names:
        succeed(folder, "python", "-m", f"stages.{name}")


def git(folder: Path, *arguments: str) -> str:
    """Run git with an identity of its own; return what it prints."""
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return succeed(folder, "git", *identity, *arguments).strip()


def next_line(process: subprocess.Popen[str], words: str) -> str:
    """Wait for a line with these words on the standard output of a process; return it."""
    assert process.stdout
    line = next((line for line in process.stdout if words in line), "")
    assert line, process.communicate()
    return line


def processes_in(folder: Path) -> list[psutil.Process]:
    """What works in a folder or below, by age."""
    processes = psutil.process_iter(["cwd", "create_time"])
    here = [p for p in processes if Path(p.info["cwd"] or "/").is_relative_to(folder.resolve())]
    return sorted(here, key=lambda process: (process.info["create_time"], process.pid))


# A model that trains in a second.
TINY: dict[str, object] = {
    "model__embedding": 8,
    "model__hidden": 8,
    "model__wide_frequent": 256,
    "model__wide_rare": 256,
    "train__threads": 1,
    "train__epochs": 2,
    "train__batch_size": 32,
}


def make_project(clone: Path, train: int = 300, test: int = 100, **params: object) -> Path:
    """Make a committed project with a toy corpus and a tiny model.

    It holds the checkout's files as they are now, committed or not.
    """
    clone.mkdir()
    tracked = run(ROOT, "git", "ls-files", "-z", "-co", "--exclude-standard").stdout
    for file in filter(None, tracked.split("\0")):
        # Neither results of the shipped corpus nor the corpus itself.
        if file == "dvc.lock" or file.startswith(("metrics/", "data/", "docs/", "tests/")):
            continue
        if (ROOT / file).is_file():
            (clone / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, clone / file)
    write_corpus(clone / "data/raw/names_train.csv.gz", toy_rows(train, 1))
    write_corpus(clone / "data/raw/names_test.csv.gz", toy_rows(test, 2))
    for name, seed in (("people", 3), ("persons", 4)):
        rows = [("surname", "country"), *toy_rows(30, seed)]
        write_corpus(clone / f"data/raw/people/names_{name}.csv.gz", rows)
    set_params(clone, **(TINY | params))
    git(clone, "init", "--quiet", "--initial-branch=main")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message=toy project")
    return clone


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have each worker of `--dist worksteal`, which gets an equal part, begin with slow tests.

    Those with ``slow(seconds=...)`` are the first, the fast ones the last: so no worker ends long
    after the others.
    """
    marks = {item: item.get_closest_marker("slow") for item in items}
    seconds = {item: mark.kwargs.get("seconds", 0) for item, mark in marks.items() if mark}
    slow = sorted(seconds, key=seconds.__getitem__, reverse=True)
    fast = iter([item for item in items if item not in seconds])
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    left = len(items)
    items.clear()
    for n in range(workers):
        part = slow[n::workers]
        part += islice(fast, max(0, left // (workers - n) - len(part)))
        left -= len(part)
        items += part


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give a function that makes a folder for the tests of all workers, and copies it for this one.

    ``made_once(name, make)`` calls ``make(folder)`` unless a worker has done so.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made_once(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                done.touch()
        return Path(shutil.copytree(folder, tmp_path_factory.mktemp(name) / "copy", symlinks=True))

    return made_once


@pytest.fixture(scope="session")
def built(made_once: Callable[..., Path]) -> Path:
    """A committed toy project after `make repro`, whose output is in .git/make.log.

    Its stages are processes; `forked_stages` must give the same bytes.
    """

    def make(folder: Path) -> None:
        make_project(folder)
        (folder / ".venv").mkdir()
        for mark in ("installed", "installed-dev"):  # by the one who runs the tests
            (folder / ".venv" / mark).touch()
        printed = succeed(folder, "make", "--no-print-directory", "repro", env=ENVIRONMENT)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message=results")
        (folder / ".git/make.log").write_text(printed, encoding="utf-8")

    return made_once("built", make)


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Path:
    """A copy of the built project, to be changed at will."""
    return Path(shutil.copytree(built, tmp_path / "project", symlinks=True))


@pytest.fixture(scope="session")
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model with random weights."""
    from tests.serving.made import save_model  # imports torch

    return save_model(tmp_path_factory.mktemp("model") / "onnx")


TRAIN_STAGE = ("python", "-m", "stages.train")
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Give a function that starts a command in a folder; the command does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, *command: str) -> subprocess.Popen[str]:
        pipes: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, cwd=folder, start_new_session=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="session")
def forking_programs() -> Iterator[Path]:
    with forkserver.programs() as folder:
        yield folder


@pytest.fixture(scope="module")
def forked_stages(forking_programs: Path) -> Iterator[None]:
    """Has `python -m stages.STAGE`, `onoma`, `dvc` and torchrun of a module's tests forked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{forking_programs}{os.pathsep}{os.environ['PATH']}")
        yield

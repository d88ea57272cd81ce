"""`onoma retrain` for real: git, DVC, an S3 server, killed processes."""

import io
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, TINY, git, run, set_params, toy_rows, write_corpus

pytestmark = pytest.mark.slow

Rows = list[tuple[str, str]]
TRAIN = "data/raw/names_train.csv.gz"
FIRST_EDITION = "5125242"
NOT_ITS_CODE = (":!data", ":!metrics", ":!dvc.lock", ":!tests", ":!docs")


@pytest.fixture
def project(make_clone: Callable[..., Path]) -> Path:
    """A toy project whose gate has no bar but the champion, and no stage that it can do without."""
    clone = make_clone(
        train=60,
        test=400,
        gate__baseline_margin=-1.0,
        gate__floor_f1=0.0,
        gate__floor_coverage=0.0,
        train__epochs=4,
    )
    path = clone / "dvc.yaml"
    pipeline = YAML().load(path.read_text(encoding="utf-8"))
    pipeline["stages"] = {
        name: stage
        for name, stage in pipeline["stages"].items()
        if name in ("ingest", "index", "train", "evaluate", "baseline")
    }
    YAML().dump(pipeline, path)
    git(clone, "config", "user.name", "test")
    git(clone, "config", "user.email", "test@example.org")
    git(clone, "commit", "--quiet", "--all", "--message=a shorter pipeline")
    return clone


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "stages.commands.cli", "retrain", *options]


def retrain(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run(project, *command(*options))


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What it says on standard error: one line."""
    (line,) = done.stderr.splitlines()
    return line


def champions(repository: Path) -> list[str]:
    tags = git(repository, "for-each-ref", "--format=%(refname:short)", "refs/tags")
    return [tag for tag in tags.splitlines() if "#production#" in tag]


def poisoned(rows: Rows, share: float) -> Rows:
    """The same rows with the labels of some shuffled among themselves."""
    choose = random.Random(3)
    places = choose.sample(range(len(rows)), int(share * len(rows)))
    labels = [rows[place][1] for place in places]
    choose.shuffle(labels)
    out = list(rows)
    for place, label in zip(places, labels, strict=True):
        out[place] = (rows[place][0], label)
    return out


def relabelled(rows: Rows, country: str) -> Rows:
    """The same rows; those of one country have labels drawn from all countries."""
    choose = random.Random(4)
    countries = sorted({label for _, label in rows})
    return [(name, choose.choice(countries) if label == country else label) for name, label in rows]


class Store:
    """An S3 server on loopback with one bucket; its files are a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bucket").mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        address = f"127.0.0.1:{self.port}"
        rclone = str(Path(sys.executable).with_name("rclone"))
        options = ["--addr", address, "--auth-key", "key,secret", "--config", os.devnull]
        self._process = subprocess.Popen(
            [rclone, "serve", "s3", *options, str(self.folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("rclone does not answer")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def configure(self, project: Path) -> None:
        """Credentials go to .dvc/config.local, which git ignores."""
        for remote in ("store", "source"):
            for key, value in {
                "endpointurl": f"http://127.0.0.1:{self.port}",
                "access_key_id": "key",
                "secret_access_key": "secret",
                "connect_timeout": "2",
            }.items():
                dvc(project, "remote", "modify", "--local", remote, key, value)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    server = Store(tmp_path / "s3")
    server.start()
    yield server
    server.stop()


def dvc(folder: Path, *arguments: str) -> None:
    done = run(folder, sys.executable, "-m", "dvc", *arguments)
    assert done.returncode == 0, done.stderr


def test_only_a_better_model_gets_from_new_rows_to_the_users(
    project: Path, store: Store, tmp_path: Path
) -> None:
    origin = tmp_path / "origin.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    source = store.folder / "bucket/incoming/names_train.csv.gz"
    write_corpus(source, poisoned(toy_rows(60, 1), 0.7))
    config = "[core]\n    analytics = false\n    autostage = true\n    remote = store\n"
    config += "['remote \"store\"']\n    url = s3://bucket/dvc\n"
    config += "['remote \"source\"']\n    url = s3://bucket/incoming\n"
    (project / ".dvc/config").write_text(config)
    store.configure(project)
    git(project, "rm", "--quiet", TRAIN)
    dvc(project, "import-url", "remote://source/names_train.csv.gz", TRAIN)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=names come from the bucket")
    git(project, "remote", "add", "origin", str(origin))
    git(project, "push", "--quiet", "origin", "main")
    head = git(project, "rev-parse", "HEAD")

    first = retrain(project, "--push")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "there is no champion yet" in first.stdout
    assert champions(origin) == ["onoma#production#1"]

    second = retrain(project, "--push")
    assert second.returncode == 0, second.stderr
    assert second.stdout.startswith("retrain: nothing to do")
    assert "stage" not in second.stdout + second.stderr  # DVC ran none

    # More and cleaner rows make a better model; but the git remote denies.
    write_corpus(source, toy_rows(600, 5))
    hook = origin / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho no >&2; exit 1\n")
    hook.chmod(0o755)
    denied = retrain(project, "--push")
    assert denied.returncode == 1
    assert complaint(denied).startswith("onoma: git push:")
    assert champions(origin) == ["onoma#production#1"]
    hook.unlink()

    third = retrain(project, "--push")
    assert third.returncode == 0, third.stdout + third.stderr
    assert "better than the champion" in third.stdout
    assert champions(origin) == ["onoma#production#1", "onoma#production#2"]
    message = git(origin, "log", "-1", "--format=%B", "main")
    assert re.search(r"metrics/evaluate.json +\| accuracy +\| 0\.\d+ +\| 0\.\d+", message)
    report = (project / ".onoma/report.md").read_text(encoding="utf-8")
    assert "# Retrain: promoted" in report
    assert "names_train.csv.gz (changed)" in report

    write_corpus(source, relabelled(toy_rows(600, 5), "Stockia"))
    one_country = retrain(project, "--push")
    assert one_country.returncode == 3, one_country.stdout + one_country.stderr
    assert complaint(one_country).startswith("retrain: rejected: accuracy 0.")
    assert "Stockia" in complaint(one_country)
    assert "against the champion's" in (project / ".onoma/report.md").read_text(encoding="utf-8")
    page = (project / ".onoma/report.html").read_text(encoding="utf-8")
    assert "<polyline" in page
    assert "://" not in page  # nothing is loaded from elsewhere

    write_corpus(source, toy_rows(600, 5)[:300])
    store.stop()
    down = retrain(project, "--push")
    assert down.returncode == 1
    assert "dvc" in complaint(down)
    store.start()
    half = retrain(project, "--push")
    assert half.returncode == 3, half.stdout + half.stderr
    assert complaint(half).startswith("retrain: rejected: accuracy 0.")

    assert champions(origin) == ["onoma#production#1", "onoma#production#2"]
    assert git(project, "rev-parse", "HEAD") == head
    assert git(project, "status", "--porcelain") == ""
    assert not (project / "data/model").exists()

    fresh = tmp_path / "fresh"
    git(tmp_path, "clone", "--quiet", str(origin), str(fresh))
    store.configure(fresh)
    dvc(fresh, "artifacts", "get", ".", "onoma", "--stage=production", "--out=champion")
    code = (
        "from stages.serving.bundle import load; "
        "print(load('champion').predict(['Krat'])[0].country)"
    )
    answer = run(fresh, sys.executable, "-c", code)
    assert "Stockia" in answer.stdout, answer.stderr


def test_killed_anywhere_it_leaves_the_champion_and_ends_well_at_last(project: Path) -> None:
    head = git(project, "rev-parse", "HEAD")
    assert retrain(project).returncode == 0
    write_corpus(project / TRAIN, toy_rows(600, 5))
    git(project, "commit", "--quiet", "--all", "--message=more names")
    choose = random.Random(4)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    for _ in range(10):
        process = subprocess.Popen(
            command(), cwd=project, env=environment, stdout=-3, stderr=-3, start_new_session=True
        )
        time.sleep(choose.uniform(0.1, 9))
        process.kill()
        if process.wait() == 0:  # it was through: give the next one something to do
            set_params(project, train__seed=choose.randrange(1000))
            git(project, "commit", "--quiet", "--all", "--message=another seed")
        assert git(project, "status", "--porcelain") == ""
        commit = git(project, "rev-list", "-1", f"refs/tags/{champions(project)[-1]}")
        locked = YAML(typ="safe").load(git(project, "show", f"{commit}:dvc.lock"))
        digest = locked["stages"]["train"]["outs"][0]["md5"]
        assert (project / ".dvc/cache/files/md5" / digest[:2] / digest[2:]).exists()
    last = retrain(project)
    assert last.returncode in (0, 3), last.stdout + last.stderr
    assert git(project, "merge-base", "HEAD", head) == head
    out = project.parent / "champion"
    dvc(project, "artifacts", "get", ".", "onoma", "--stage=production", f"--out={out}")
    assert (out / "model.safetensors").exists()
    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cwd", "cmdline"])
        if (process.info["cwd"] or "").startswith(str(project / ".onoma"))
    ]
    assert left == []


def test_a_champion_of_the_first_edition_is_the_one_to_beat(project: Path) -> None:
    """Its own code computes its answers: other params, another format of bundle and checkpoints."""
    today = git(project, "rev-parse", "HEAD")
    git(project, "rm", "-r", "--quiet", ".", ":!data")
    command = ["git", "archive", "--format=zip", FIRST_EDITION, "--", ".", *NOT_ITS_CODE]
    archive = subprocess.check_output(command, cwd=ROOT)
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        files.extractall(project)
    set_params(project, **TINY, model__buckets=256, train__refit="false")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=first edition")
    dvc(project, "repro", "--quiet", "train")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=its model")
    for tag in ("onoma@v0.0.1", "onoma#production#1"):
        git(project, "tag", "--annotate", "--message=champion", tag)
    champion = git(project, "rev-parse", "HEAD")

    git(project, "rm", "-r", "--quiet", ".", ":!data")
    git(project, "checkout", "--quiet", today, "--", ".")
    write_corpus(project / TRAIN, toy_rows(600, 5))
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=second edition")
    done = retrain(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "better than the champion" in done.stdout
    assert champions(project) == ["onoma#production#1", "onoma#production#2"]
    report = (project / ".onoma/report.md").read_text(encoding="utf-8")
    assert f"the champion's commit is {champion[:10]}" in report
    assert re.search(r"\| accuracy \| 0\.\d+ \| 0\.\d+ \| \+0\.\d+ \|", report)


def test_a_second_retrain_is_told_at_once_that_one_is_running(project: Path) -> None:
    from filelock import FileLock

    (project / ".onoma").mkdir()
    with FileLock(project / ".onoma/lock"):
        done = retrain(project)
    assert done.returncode == 75
    assert complaint(done) == "onoma: another retrain is running here; try again later"


def test_without_thresholds_nothing_is_blessed(project: Path) -> None:
    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("  accuracy_margin:", "  # accuracy_margin:"), encoding="utf-8")
    git(project, "commit", "--quiet", "--all", "--message=no margin")
    done = retrain(project)
    assert done.returncode == 1
    assert complaint(done).endswith("params.yaml: gate.accuracy_margin: the key is missing")
    assert champions(project) == []


def test_other_last_digits_are_not_mistaken_for_another_model(project: Path) -> None:
    assert retrain(project).returncode == 0
    (first,) = champions(project)
    set_params(project, train__arithmetic="native")
    git(project, "commit", "--quiet", "--all", "--message=the processor's own kernels")
    done = retrain(project)
    assert done.returncode == 0, done.stderr
    assert "retrain: nothing to do: the answers are those of" in done.stdout
    assert champions(project) == [first]


def test_stopped_by_sigterm_it_stops_what_it_started(project: Path) -> None:
    process = subprocess.Popen(
        command(), cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "ingest" in process.stdout.readline()
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == "onoma: stopped by SIGTERM; run again to go on from here"
    assert not [child for child in children if child.is_running()]
    assert champions(project) == []

"""`onoma retrain` for real: git, DVC, data from an S3 server to an SSH remote, killed processes."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from tests.conftest import (
    ROOT,
    TINY,
    Start,
    git,
    make_project,
    next_line,
    processes_in,
    run,
    set_params,
    succeed,
    toy_rows,
    wait_until,
    write_corpus,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_stages")]

Rows = list[tuple[str, str]]
TRAIN = "data/raw/names_train.csv.gz"
FIRST_EDITION = "5125242"
NOT_ITS_CODE = "':!data' ':!metrics' ':!dvc.lock' ':!tests' ':!docs'"
RETRAIN = ("onoma", "retrain")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A toy project whose gate has no bar but the champion, and no stage that it can do without."""
    clone = make_project(
        tmp_path / "clone",
        train=60,
        test=400,
        gate__baseline_margin=-1.0,
        gate__floor_f1=0.0,
        gate__floor_coverage=0.0,
        train__epochs=4,
    )
    path = clone / "dvc.yaml"
    pipeline = YAML().load(path.read_text(encoding="utf-8"))
    for unneeded in ("export", "hello"):
        del pipeline["stages"][unneeded]
    YAML().dump(pipeline, path)
    git(clone, "commit", "--quiet", "--all", "--message=a shorter pipeline")
    return clone


def retrain(project: Path, *options: str) -> str:
    """What a retrain prints that succeeds."""
    return succeed(project, *RETRAIN, *options)


def refused(project: Path, *options: str, status: int = 1, trains: bool = False) -> str:
    """The line of a retrain that ends with another status; only if it ``trains`` it may train."""
    done = run(project, *RETRAIN, *options)
    assert done.returncode == status, done.stdout + done.stderr
    assert trains or "Running stage" not in done.stdout
    (line,) = done.stderr.splitlines()
    return line


def champions(repository: Path) -> list[str]:
    tags = git(repository, "for-each-ref", "--format=%(refname:short)", "refs/tags")
    return [tag for tag in tags.splitlines() if "#production#" in tag]


def crown(project: Path) -> str:
    """Make the newest commit that of the champion; return it."""
    for tag in ("onoma@v0.0.1", "onoma#production#1"):
        git(project, "tag", "--annotate", "--message=champion", tag)
    return git(project, "rev-parse", "HEAD")


def dvc(folder: Path, *arguments: str) -> None:
    succeed(folder, "dvc", *arguments)


def shuffled(rows: Rows) -> Rows:
    """The same names, each with the country of another."""
    countries = [country for _, country in rows]
    random.Random(4).shuffle(countries)
    return [(name, country) for (name, _), country in zip(rows, countries, strict=True)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def served(protocol: str, folder: Path, port: int, *options: str) -> Iterator[None]:
    """Serve a folder by S3 or SFTP on loopback; it answers when the context begins."""
    command = ["rclone", "serve", protocol, str(folder), f"--addr=127.0.0.1:{port}", *options]
    environment = {**os.environ, "RCLONE_CONFIG": os.devnull, "RCLONE_CACHE_DIR": f"{folder}.keys"}
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(answers)
        yield
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of a DVC remote on an SSH server, in the folder store."""
    (tmp_path / "store").mkdir()
    port = free_port()
    with served("sftp", tmp_path / "store", port, "--user=user", "--pass=secret"):
        yield {"url": f"ssh://127.0.0.1:{port}/", "user": "user", "password": "secret"}


def configure(project: Path, file: str, **remotes: dict[str, str]) -> None:
    """Add settings of DVC remotes to a file of the project's configuration."""
    with (project / ".dvc" / file).open("a", encoding="utf-8") as config:
        for remote, settings in remotes.items():
            config.write(f"['remote \"{remote}\"']\n")
            config.writelines(f"    {key} = {value}\n" for key, value in settings.items())


@pytest.mark.slow(seconds=60)
def test_only_a_better_model_gets_from_new_rows_to_the_users(
    project: Path,
    store: dict[str, str],
    tmp_path: Path,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # else it is long before a server is down
    origin, bucket, port = tmp_path / "origin.git", tmp_path / "s3/bucket", free_port()
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    write_corpus(bucket / "names_train.csv.gz", shuffled(toy_rows(60, 1)))
    dvc(project, "remote", "add", "--default", "store", store.pop("url"))
    configure(project, "config", source={"url": "s3://bucket"})
    # What is of this machine or secret goes to a file that git ignores.
    secrets = {"access_key_id": "key", "secret_access_key": "secret"}
    source = {"endpointurl": f"http://127.0.0.1:{port}", **secrets}
    configure(project, "config.local", store=store, source=source)
    s3 = ("s3", bucket.parent, port, "--auth-key=key,secret")

    with served(*s3):
        git(project, "rm", "--quiet", TRAIN)
        dvc(project, "import-url", "remote://source/names_train.csv.gz", TRAIN)
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "--message=names come from the bucket")
        git(project, "remote", "add", "origin", str(origin))
        git(project, "push", "--quiet", "origin", "main")
        head = git(project, "rev-parse", "HEAD")

        begun = time.monotonic()
        first = retrain(project, "--push")
        seconds = time.monotonic() - begun
        assert "there is no champion yet" in first
        assert champions(origin) == ["onoma#production#1"]

        second = retrain(project, "--push")
        assert second.startswith("retrain: nothing to do")
        assert "tage" not in second  # DVC ran none

    assert refused(project, "--push").startswith("onoma: dvc update: ")

    with served(*s3):
        # More and cleaner rows make a better model; but it is killed, and git denies it.
        write_corpus(bucket / "names_train.csv.gz", toy_rows(600, 5))
        hook = origin / "hooks/pre-receive"
        hook.write_text("#!/bin/sh\necho no >&2; exit 1\n")
        hook.chmod(0o755)
        process = start(project, *RETRAIN, "--push")
        time.sleep(0.6 * seconds)
        process.kill()
        process.wait()
        assert champions(origin) == ["onoma#production#1"]
        assert git(project, "status", "--porcelain") == ""
        denied = refused(project, "--push", trains=True)
        assert denied.startswith("onoma: git push: ")
        assert champions(origin) == ["onoma#production#1"]
        hook.unlink()

        assert "better than the champion" in retrain(project, "--push")

    assert champions(origin) == ["onoma#production#1", "onoma#production#2"]
    message = git(origin, "log", "-1", "--format=%B", "main")
    assert re.search(r"metrics/evaluate.json +\| accuracy +\| 0\.\d+ +\| 0\.\d+", message)
    report = (project / ".onoma/report.md").read_text(encoding="utf-8")
    assert "# Retrain: promoted" in report
    assert "names_train.csv.gz.dvc" in report
    assert re.search(r"Drift.*: countries 0\.\d+, characters 0\.\d+", report)
    assert git(project, "rev-parse", "HEAD") == head
    assert git(project, "status", "--porcelain") == ""
    assert not (project / "data/model").exists()
    wait_until(lambda: not processes_in(project / ".onoma"))

    fresh = tmp_path / "fresh"
    git(tmp_path, "clone", "--quiet", str(origin), str(fresh))
    configure(fresh, "config.local", store=store)
    dvc(fresh, "artifacts", "get", ".", "onoma", "--stage=production", "--out=champion")
    code = "from stages.serving.bundle import load; print(load('champion').predict(['Krat'])[0])"
    answer = run(fresh, sys.executable, "-c", code)
    assert "Stockia" in answer.stdout, answer.stderr


@pytest.fixture
def champion(built: Path, tmp_path: Path) -> Path:
    """A copy of the built project, whose model is the champion."""
    project = Path(shutil.copytree(built, tmp_path / "project", symlinks=True))
    crown(project)
    return project


@pytest.mark.slow(seconds=40)
def test_a_worse_model_is_rejected_and_not_trained_again_and_sigterm_ends_all_that_was_started(
    champion: Path, start: Start
) -> None:
    write_corpus(champion / TRAIN, shuffled(toy_rows(300, 1)))
    git(champion, "commit", "--quiet", "--all", "--message=worse names")
    process = start(champion, *RETRAIN)
    next_line(process, "Running stage 'train'")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.splitlines() == ["onoma: terminated"]
    assert not processes_in(champion)
    report = champion / ".onoma/report.md"
    assert "# Retrain: failed" in report.read_text(encoding="utf-8")

    rejected = refused(champion, status=3, trains=True)
    assert rejected.startswith("retrain: rejected: accuracy 0.")
    assert "# Retrain: rejected" in report.read_text(encoding="utf-8")
    assert "against the champion's" in report.read_text(encoding="utf-8")
    assert refused(champion, status=3) == rejected
    assert champions(champion) == ["onoma#production#1"]


@pytest.mark.slow(seconds=40)
def test_a_champion_of_the_first_edition_is_the_one_to_beat(project: Path) -> None:
    """Its own code computes its answers: other params, another format of bundle and checkpoints."""
    today = git(project, "rev-parse", "HEAD")
    git(project, "rm", "-r", "--quiet", ".", ":!data")
    archive = f"git archive {FIRST_EDITION} -- . {NOT_ITS_CODE} | tar -x -C {project}"
    subprocess.run(archive, shell=True, cwd=ROOT, check=True)
    tiny = {key: value for key, value in TINY.items() if "wide" not in key}
    buckets = {"model__buckets": 256, "model__wide_buckets": 256}
    set_params(project, **tiny, **buckets, train__refit="false")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=first edition")
    dvc(project, "repro", "--quiet", "train")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=its model")
    champion = crown(project)

    git(project, "rm", "-r", "--quiet", ".", ":!data")
    git(project, "checkout", "--quiet", today, "--", ".")
    write_corpus(project / TRAIN, toy_rows(600, 5))
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=this edition")
    head = git(project, "rev-parse", "HEAD")
    assert "better than the champion" in retrain(project)
    assert champions(project) == ["onoma#production#1", "onoma#production#2"]
    assert git(project, "rev-parse", "main") == head == git(project, "rev-parse", "retrained~1")
    report = (project / ".onoma/report.md").read_text(encoding="utf-8")
    assert f"the champion's commit is {champion[:10]}" in report
    assert re.search(r"\| accuracy \| \+0\.\d+ \| \+0\.\d+ \| \+0\.\d+ \|", report)

    # Code that changes no answer makes no new version.
    with (project / "stages/train.py").open("a", encoding="utf-8") as file:
        file.write("# The end.\n")
    git(project, "commit", "--quiet", "--all", "--message=a comment")
    same = "retrain: nothing to do: the answers are those of v0.0.2"
    assert same in retrain(project)
    assert champions(project) == ["onoma#production#1", "onoma#production#2"]


def test_what_stands_in_the_way_is_one_line_before_the_training_with_the_remedy(
    champion: Path, tmp_path: Path
) -> None:
    project, origin = champion, tmp_path / "origin.git"

    (project / ".onoma").mkdir(exist_ok=True)
    with FileLock(project / ".onoma/lock"):
        busy = "onoma: another retrain is running here; try again later"
        assert refused(project, status=75) == busy
    assert refused(project, "--push").endswith("dvc remote add --default NAME URL")
    dvc(project, "remote", "add", "--default", "store", str(tmp_path / "store"))
    assert refused(project, "--push").endswith("git remote add origin URL")
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git(project, "remote", "add", "origin", "https://example.invalid/onoma.git")
    # The project's own configuration of git holds, as that of credentials on GitHub.
    git(project, "config", f"url.{origin}.insteadOf", "https://example.invalid/onoma.git")
    assert refused(project, "--push").endswith("git push --set-upstream origin main")
    git(project, "checkout", "--quiet", "--detach")
    assert refused(project) == "onoma: HEAD is detached: git switch to the branch to build on"

    # The cache of the champion's model is lost.
    git(project, "switch", "--quiet", "main")
    shutil.rmtree(project / ".dvc/cache")
    set_params(project, train__seed=2)
    git(project, "commit", "--quiet", "--all", "--message=another seed")
    lost = refused(project)
    assert lost.startswith("onoma: the champion v0.0.1 is neither in the DVC cache nor at a remote")
    assert lost.endswith("delete the tags onoma#production#* to begin without a champion")

    path = project / "params.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("  accuracy_margin:", "  # accuracy_margin:"), encoding="utf-8")
    git(project, "commit", "--quiet", "--all", "--message=no margin")
    assert refused(project).endswith("params.yaml: gate.accuracy_margin: the key is missing")
    assert champions(project) == ["onoma#production#1"]

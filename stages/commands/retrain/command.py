"""`onoma retrain`: the champion is replaced only by a better model. One command for a scheduler.

Works in a checkout of its own (see `checkout`): takes in what came to the sources, runs the
pipeline, holds the result against the champion (`stages.commands.retrain.gate`), and
promotes it or not.
The champion is what GTO's tags say: the model assigned to the stage ``production``.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ruamel.yaml import YAML

from stages.commands.retrain.checkout import BRANCH, HOME, Checkout, top_of
from stages.core.errors import Interrupted, UserError
from stages.core.files import write_json

ARTIFACT, STAGE = "onoma", "production"
MODEL, TEST, TRAIN = "data/model", "data/clean/test.parquet", "data/clean/train.parquet"
GATE = "metrics/gate.json"
REJECTED, BUSY = 3, 75  # exit statuses; 75 is EX_TEMPFAIL of sysexits.h
NOBODY = {"NAME": "onoma retrain", "EMAIL": "retrain@localhost"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "--push",
        action="store_true",
        help="build on origin's branch, and push data, commit and tags of a promoted model "
        f"there; without it the commit goes to the local branch {BRANCH}",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; the status is 0 (promoted, or nothing to do), 3 (rejected), 75 (busy)."""
    if find_spec("gto") is None or find_spec("jinja2") is None:
        raise UserError("onoma retrain needs more packages; pip install 'onoma[retrain]'")
    root = top_of(Path.cwd())
    home = root / HOME
    home.mkdir(exist_ok=True)
    try:
        # The kernel lets go of it when the process ends, however it ends.
        with FileLock(home / "lock", timeout=0):
            return retrain(Checkout(root, args.push), args.push)
    except Timeout:
        print("onoma: another retrain is running here; try again later", file=sys.stderr)
        return BUSY


@dataclass(frozen=True)
class Champion:
    """The model in use."""

    commit: str
    version: str


def retrain(checkout: Checkout, push: bool) -> int:
    """Retrain once."""
    checkout.prepare()
    champion = find_champion(checkout)
    refresh_imports(checkout)
    if champion and model_of(lock(checkout)) == model_of(lock(checkout, champion.commit)):
        stale = stages_to_run(checkout)
        if not stale:
            print(f"retrain: nothing to do: data, code and params are those of {champion.version}")
            return 0
        print(f"retrain: to run: {', '.join(stale)}")

    # What is slow to import follows only when there is work.
    from stages.commands.retrain import report

    try:
        checkout.run(sys.executable, "-m", "dvc", "repro", *pull_option(checkout))
        if champion and model_of(lock(checkout)) == model_of(lock(checkout, champion.commit)):
            print(f"retrain: nothing to do: the model is that of {champion.version}")
            return 0
        with past(checkout, champion) as old:
            verdict = gate(checkout, old)
            facts = report.gather(checkout, champion.commit if champion else None, old, verdict)
            report.write(checkout.home, facts)
        if verdict["verdict"] != "promote":
            print(f"retrain: rejected: {verdict['reason']}", file=sys.stderr)
            return REJECTED
        version = promote(checkout, report.commit_message(facts), push)
    except (UserError, Interrupted) as error:
        report.write(
            checkout.home,
            report.failure(checkout, champion.commit if champion else None, str(error)),
        )
        raise
    print(f"retrain: promoted {version}: {verdict['reason']}")
    return 0


def find_champion(checkout: Checkout) -> Champion | None:
    """The version that is assigned to the stage, if there is one."""
    import gto.api
    import gto.exceptions

    try:
        found = gto.api.show(str(checkout.folder), name=f"{ARTIFACT}#{STAGE}")
    except gto.exceptions.ArtifactNotFound:
        return None
    return Champion(found[0]["commit_hexsha"], found[0]["version"]) if found else None


def lock(checkout: Checkout, commit: str | None = None) -> dict[str, Any]:
    """The stages of dvc.lock, of the work tree or of a commit; empty if there is none."""
    path = checkout.folder / "dvc.lock"
    if commit:
        text = checkout.show(commit, "dvc.lock")
    else:
        text = path.read_text(encoding="utf-8") if path.exists() else None
    stages: dict[str, Any] = (YAML(typ="safe", pure=True).load(text or "") or {}).get("stages", {})
    return stages


def model_of(stages: dict[str, Any]) -> str | None:
    """Hash of the model."""
    outs = stages.get("train", {}).get("outs", [])
    return next((str(out["md5"]) for out in outs if out["path"] == MODEL), None)


def refresh_imports(checkout: Checkout) -> None:
    """Update what was brought in by `dvc import` or `dvc import-url`."""
    files = [
        name
        for name in checkout.git("ls-files", "*.dvc").splitlines()
        if "deps:" in (checkout.folder / name).read_text(encoding="utf-8")
    ]
    if files:
        checkout.dvc("update", *files)


def stages_to_run(checkout: Checkout) -> list[str]:
    """Stages whose code, params or data changed; outputs that are merely not fetched are not it."""
    found: dict[str, list[Any]] = json.loads(checkout.dvc("status", "--json") or "{}")
    return sorted(stage for stage, changes in found.items() if any(map(_is_change, changes)))


def _is_change(change: str | dict[str, dict[str, str]]) -> bool:
    if isinstance(change, str):  # of the command itself
        return True
    return any(state != "deleted" for paths in change.values() for state in paths.values())


def pull_option(checkout: Checkout) -> list[str]:
    """Fetch unchanged data instead of making it again, where there is a place to fetch from."""
    return ["--pull"] if checkout.dvc("remote", "list").strip() else []


@contextmanager
def past(checkout: Checkout, champion: Champion | None) -> Iterator[Path | None]:
    """The champion's code, model and training data in a folder of its own.

    Raises:
        UserError: its data is neither in the cache nor at the remote.
    """
    if champion is None:
        yield None
        return
    folder = checkout.home / "champion"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        code = subprocess.run(
            ["git", "archive", champion.commit],
            cwd=checkout.folder,
            capture_output=True,
            check=True,
        )
        with tarfile.open(fileobj=io.BytesIO(code.stdout)) as archive:
            archive.extractall(folder, filter="data")
        for path in (MODEL, TRAIN):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            out = ("--rev", champion.commit, "--out", str(folder / path))
            checkout.dvc("get", "--force", *out, str(checkout.folder), path)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def gate(checkout: Checkout, old: Path | None) -> dict[str, Any]:
    """Judge the new model on the test rows of now; write and return the verdict."""
    import numpy as np
    import pandas as pd

    from stages.commands.retrain.gate import Answers, judge
    from stages.core.params import Params

    def ask(folder: Path) -> Answers:
        out = checkout.home / f"answers-{folder.name}.npz"
        try:
            command = (
                "-m",
                "stages.commands.answers",
                MODEL,
                str(checkout.folder / TEST),
                str(out),
            )
            checkout.run(sys.executable, *command, folder=folder)
            with np.load(out) as found:
                return Answers(found["countries"].tolist(), found["probabilities"])
        finally:
            out.unlink(missing_ok=True)

    params = Params.load(checkout.folder / "params.yaml").gate
    labels = pd.read_parquet(checkout.folder / TEST, columns=["country"])["country"].tolist()
    baseline = json.loads((checkout.folder / "metrics/baseline.json").read_bytes())
    challenger = ask(checkout.folder)
    verdict = judge(labels, challenger, ask(old) if old else None, baseline, params)
    write_json(checkout.folder / GATE, verdict)
    return verdict


def promote(checkout: Checkout, message: str, push: bool) -> str:
    """Commit, tag, and let all of it through in one atomic push; return the new version.

    Raises:
        UserError: a remote is down or denies; nothing is promoted then.
    """
    import gto.api

    if not checkout.git("config", "--default", "", "user.email"):
        for key, value in NOBODY.items():
            for role in ("AUTHOR", "COMMITTER"):
                os.environ[f"GIT_{role}_{key}"] = value
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", message)
    name, email = checkout.git("log", "-1", "--format=%an%n%ae").splitlines()
    repo = str(checkout.folder)
    before = set(checkout.git("tag").splitlines())
    gto.api.register(repo, ARTIFACT, "HEAD", author=name, author_email=email)
    gto.api.assign(
        repo, ARTIFACT, STAGE, ref="HEAD", skip_registration=True, author=name, author_email=email
    )
    tags = sorted(set(checkout.git("tag").splitlines()) - before)
    if push:
        # The data first: a commit whose model cannot be had is worse than none.
        checkout.run(sys.executable, "-m", "dvc", "push", "--quiet")
    target = checkout.branch if push else BRANCH
    # Without --push the branch is retrain's own, and may have to follow a rewritten one.
    commit = f"{'' if push else '+'}HEAD:refs/heads/{target}"
    refs = [f"refs/tags/{tag}" for tag in tags]
    checkout.git("push", "--quiet", "--atomic", "origin", commit, *refs)
    return next(tag for tag in tags if "@" in tag)

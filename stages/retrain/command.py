"""`onoma retrain`: replace the champion if a newly trained model is better; for a scheduler.

Works in its own checkout (`stages.retrain.checkout`): updates imported data, runs the
pipeline, compares the result with the champion (`stages.retrain.gate`), and promotes it
or not. The champion is the model that GTO's tags assign to the stage ``production``.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ruamel.yaml import YAML

from stages.core.errors import Interrupted, UserError
from stages.core.files import write_json
from stages.core.params import GateParams, Params
from stages.core.text import visible
from stages.retrain.checkout import BRANCH, HOME, Checkout, git

ARTIFACT, STAGE = "onoma", "production"
MODEL, TEST, TRAIN = "data/model", "data/clean/test.parquet", "data/clean/train.parquet"
GATE = "metrics/gate.json"
SAME_ANSWERS = 1e-4  # largest difference of a probability that rounding explains
REJECTED, BUSY = 3, 75  # exit statuses; 75 is EX_TEMPFAIL of sysexits.h
AUTHOR = {"NAME": "onoma retrain", "EMAIL": "retrain@localhost"}  # if git is not configured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--push",
        action="store_true",
        help="build on origin's branch, and push data, commit and tags of a promoted model "
        f"there; without it the commit goes to the local branch {BRANCH}",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; the status is 0 (promoted, or nothing to do), 3 (rejected), 75 (busy)."""
    root = Path(git(Path.cwd(), "rev-parse", "--show-toplevel"))
    if not (root / "dvc.yaml").exists():
        raise UserError(f"{root}: has no dvc.yaml; run onoma retrain in the project")
    home = root / HOME
    home.mkdir(exist_ok=True)
    try:
        with FileLock(home / "lock", timeout=0):  # the kernel frees it when the process ends
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
    # Checked before DVC removes outputs of the stages.
    params = Params.load(checkout.folder / "params.yaml")
    champion = find_champion(checkout)
    refresh_imports(checkout)

    def unchanged() -> bool:
        return champion is not None and model_of(lock(checkout)) == model_of(
            lock(checkout, champion.commit)
        )

    if champion and unchanged():
        stale = stages_to_run(checkout)
        if not stale:
            print(f"retrain: nothing to do: data, code and params are those of {champion.version}")
            return 0
        print(f"retrain: to run: {', '.join(stale)}")

    from stages.retrain import report  # slow to import

    since = champion.commit if champion else None
    facts = report.circumstances(checkout, since)
    try:
        # Where there is a remote, fetch unchanged data rather than make it again.
        pull = ["--pull"] if checkout.dvc("remote", "list").strip() else []
        checkout.run("-m", "dvc", "repro", *pull)
        if champion and unchanged():
            print(f"retrain: nothing to do: the model is that of {champion.version}")
            return 0
        with champion_files(checkout, champion) as old:
            verdict = gate(checkout, old, params.gate)
            apart = verdict.get("champion", {}).get("probability_difference", 1.0)
            if champion and apart < SAME_ANSWERS:
                print(
                    f"retrain: nothing to do: the answers are those of {champion.version} but for "
                    f"the last digits (probabilities within {apart:.1e}): another processor or "
                    "library, not another model"
                )
                return 0
            facts = report.circumstances(checkout, since) | report.results(
                checkout, since, old, verdict
            )
        report.write(checkout.home, facts)
        if verdict["verdict"] != "promote":
            print(f"retrain: rejected: {visible(verdict['reason'])}", file=sys.stderr)
            return REJECTED
        version = promote(checkout, report.commit_message(facts), push)
    except (UserError, Interrupted) as error:
        report.write(checkout.home, facts | {"verdict": "failed", "reason": str(error)})
        raise
    print(f"retrain: promoted {version}: {visible(verdict['reason'])}")
    return 0


def find_champion(checkout: Checkout) -> Champion | None:
    """The version that is assigned to the stage, if there is one."""
    import gto.api
    import gto.exceptions

    with contextlib.suppress(gto.exceptions.ArtifactNotFound):
        for found in gto.api.show(str(checkout.folder), name=f"{ARTIFACT}#{STAGE}"):
            return Champion(found["commit_hexsha"], found["version"])
    return None


def lock(checkout: Checkout, commit: str | None = None) -> dict[str, Any]:
    """The stages of dvc.lock, of the work tree or of a commit; empty if there is none."""
    text = checkout.read("dvc.lock", commit)
    stages: dict[str, Any] = (YAML(typ="safe", pure=True).load(text) or {}).get("stages", {})
    return stages


def model_of(stages: dict[str, Any]) -> str | None:
    """Hash of the model."""
    outs = stages.get("train", {}).get("outs", [])
    return next((str(out["md5"]) for out in outs if out["path"] == MODEL), None)


def refresh_imports(checkout: Checkout) -> None:
    """Update what `dvc import` or `dvc import-url` brought in."""
    files = checkout.git("ls-files", "*.dvc").splitlines()
    imports = [name for name in files if "deps:" in checkout.read(name)]
    if imports:
        checkout.dvc("update", *imports)


def stages_to_run(checkout: Checkout) -> list[str]:
    """Stages whose code, params or data changed; outputs that are only not fetched do not count."""

    def is_change(change: str | dict[str, dict[str, str]]) -> bool:
        if isinstance(change, str):  # the command itself changed
            return True
        return any(state != "deleted" for paths in change.values() for state in paths.values())

    found: dict[str, list[Any]] = json.loads(checkout.dvc("status", "--json") or "{}")
    return sorted(stage for stage, changes in found.items() if any(map(is_change, changes)))


@contextlib.contextmanager
def champion_files(checkout: Checkout, champion: Champion | None) -> Iterator[Path | None]:
    """The champion's code, model and training data in a temporary folder.

    Raises:
        UserError: its data is neither in the cache nor at the remote.
    """
    folder = checkout.home / "champion"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        if champion:
            command = ["git", "archive", "--format=zip", champion.commit]
            code = subprocess.run(command, cwd=checkout.folder, stdout=subprocess.PIPE, check=True)
            with zipfile.ZipFile(io.BytesIO(code.stdout)) as archive:
                archive.extractall(folder)
            for path in (MODEL, TRAIN):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                out = ("--rev", champion.commit, "--out", str(folder / path))
                checkout.dvc("get", str(checkout.folder), path, "--force", *out)
        yield folder if champion else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def gate(checkout: Checkout, old: Path | None, params: GateParams) -> dict[str, Any]:
    """Compare the new model with the champion on today's test rows; write the verdict."""
    import numpy as np
    import pandas as pd

    from stages.retrain.gate import Answers, judge

    test = checkout.folder / TEST

    def answers(folder: Path) -> Answers:
        out = checkout.home / f"answers-{folder.name}.npz"
        try:
            command = ("-m", "stages.commands.answers", MODEL, str(test), str(out))
            checkout.run(*command, folder=folder)
            with np.load(out) as found:
                return Answers(found["countries"].tolist(), found["probabilities"])
        finally:
            out.unlink(missing_ok=True)

    labels = pd.read_parquet(test, columns=["country"])["country"].tolist()
    baseline = json.loads(checkout.read("metrics/baseline.json"))
    challenger = answers(checkout.folder)
    countries = json.loads(checkout.read("metrics/countries.json"))
    coverage = {
        name: values["coverage"] for name, values in countries.items() if "coverage" in values
    }
    champion = answers(old) if old else None
    verdict = judge(labels, challenger, champion, baseline, params, coverage)
    write_json(checkout.folder / GATE, verdict)
    return verdict


def promote(checkout: Checkout, message: str, push: bool) -> str:
    """Commit, tag, and push all of it atomically; return the new version.

    Raises:
        UserError: a remote is down or refuses; nothing is promoted then.
    """
    import gto.api

    if not checkout.git("config", "--default", "", "user.email"):
        for key, value in AUTHOR.items():
            os.environ[f"GIT_AUTHOR_{key}"] = os.environ[f"GIT_COMMITTER_{key}"] = value
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", message)
    name, email = checkout.git("log", "-1", "--format=%an%n%ae").splitlines()
    by: dict[str, Any] = {"author": name, "author_email": email}
    repo = str(checkout.folder)
    before = set(checkout.git("tag").splitlines())
    gto.api.register(repo, ARTIFACT, "HEAD", **by)
    gto.api.assign(repo, ARTIFACT, STAGE, ref="HEAD", skip_registration=True, **by)
    tags = sorted(set(checkout.git("tag").splitlines()) - before)
    if push:  # the data first: a commit without its model is useless
        checkout.run("-m", "dvc", "push", "--quiet")
    # Without --push the branch belongs to retrain and may follow a rewritten one: "+".
    commit = f"HEAD:refs/heads/{checkout.branch}" if push else f"+HEAD:refs/heads/{BRANCH}"
    refs = [f"refs/tags/{tag}" for tag in tags]
    checkout.git("push", "--quiet", "--atomic", "origin", commit, *refs)
    return next(tag for tag in tags if "@" in tag)

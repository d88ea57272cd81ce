"""Retrain once: train on new data, judge the new model, promote it if it is better.

The champion is the model that GTO's tags assign to the stage ``production``; the newly trained
model is the challenger. All work is done in a clone of the project (`stages.retrain.checkout`).
"""

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gto.api
import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from gto.exceptions import ArtifactNotFound

from stages.core.errors import UserError
from stages.core.files import write_json
from stages.core.params import GateParams, Params
from stages.core.text import visible
from stages.retrain import report
from stages.retrain.checkout import BRANCH, HOME, Checkout, call, git
from stages.retrain.gate import Answers, judge

ARTIFACT, STAGE = "onoma", "production"
MODEL, TEST, TRAIN = "data/model", "data/clean/test.parquet", "data/clean/train.parquet"
SAME_ANSWERS = 1e-4  # largest difference of a probability that rounding explains
REJECTED, BUSY = 3, 75  # exit statuses; 75 is EX_TEMPFAIL of sysexits.h
AUTHOR = ("-c", "user.name=onoma retrain", "-c", "user.email=retrain@localhost")


@dataclass(frozen=True)
class Champion:
    """The model in use: its version, and its commit, which ``folder`` is a work tree of."""

    version: str
    commit: str
    folder: Path


def retrain(folder: Path, push: bool) -> int:
    """Retrain; return 0 (promoted, or nothing to do), 3 (rejected) or 75 (busy).

    Args:
        folder: a folder of the project.
        push: build on origin's branch, and push there what is promoted.
    """
    root = Path(git(folder, "rev-parse", "--show-toplevel"))
    if not (root / "dvc.yaml").exists():
        raise UserError(f"{root}: has no dvc.yaml; run onoma retrain in the project")
    (root / HOME).mkdir(exist_ok=True)
    try:
        with FileLock(root / HOME / "lock", timeout=0):  # the kernel frees it with the process
            return _challenge(Checkout(root, push), push)
    except Timeout:
        print("onoma: another retrain is running here; try again later", file=sys.stderr)
        return BUSY


def _challenge(checkout: Checkout, push: bool) -> int:
    paragraphs: list[str] = []
    try:
        params = Params.load(checkout.folder / "params.yaml")  # before DVC removes stages' outputs
        champion = _find_champion(checkout)
        _update_imports(checkout)
        stale = _stale(checkout)
        if champion and not stale and not checkout.git("diff", champion.commit, "--", "dvc.lock"):
            return _nothing_to_do(f"data, code and params are those of {champion.version}")
        print(f"retrain: to run: {', '.join(stale)}", flush=True)
        paragraphs.append(report.history(checkout, champion.commit if champion else None))
        if champion:  # before the training, which is in vain without the champion's data
            _fetch(checkout, champion)
        checkout.repro()
        verdict = _judge(checkout, champion, params.gate)
        reason = verdict["reason"]
        apart = verdict.get("champion", {}).get("probability_difference", 1.0)
        if champion and apart < SAME_ANSWERS:
            return _nothing_to_do(
                f"the answers are those of {champion.version} but for the last digits "
                f"(probabilities within {apart:.1e})"
            )
        paragraphs.append(report.comparison(verdict))
        message = [f"Retrain: accuracy {verdict['challenger']['accuracy']:.4f}", reason]
        if champion:
            message.append(report.differences(checkout, champion.commit))
            drift = report.drift(champion.folder / TRAIN, checkout.folder / TRAIN)
            paragraphs += [message[-1], drift]
        if verdict["verdict"] != "promote":
            report.write(checkout, "rejected", reason, *paragraphs)
            print(f"retrain: rejected: {visible(reason)}", file=sys.stderr)
            return REJECTED
        version = _promote(checkout, report.joined(*message), push)
    except (UserError, KeyboardInterrupt) as error:
        report.write(checkout, "failed", str(error) or "interrupted", *paragraphs)
        raise
    report.write(checkout, "promoted", reason, *paragraphs)
    print(f"retrain: promoted {version}: {visible(reason)}")
    return 0


def _nothing_to_do(reason: str) -> int:
    print(f"retrain: nothing to do: {reason}")
    return 0


def _find_champion(checkout: Checkout) -> Champion | None:
    with contextlib.suppress(ArtifactNotFound):
        for row in gto.api.show(str(checkout.folder), name=f"{ARTIFACT}#{STAGE}"):
            folder = checkout.folder / HOME / "champion"
            checkout.git("worktree", "add", "--quiet", str(folder), row["commit_hexsha"])
            return Champion(row["version"], row["commit_hexsha"], folder)
    return None


def _fetch(checkout: Checkout, champion: Champion) -> None:
    """Bring its model and its training names into the champion's folder."""
    for path in (MODEL, TRAIN):
        target = champion.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        options = ("--rev", champion.commit, "--out", str(target))
        checkout.dvc("get", str(checkout.folder), path, *options)


def _update_imports(checkout: Checkout) -> None:
    """Update what `dvc import` or `dvc import-url` brought in."""
    files = checkout.git("ls-files", "*.dvc").splitlines()
    imports = [file for file in files if "deps:" in (checkout.folder / file).read_text()]
    if imports:
        checkout.dvc("update", *imports)


def _stale(checkout: Checkout) -> list[str]:
    """Stages whose code, params or data changed; outputs that are only not fetched do not count."""

    def is_change(change: str | dict[str, dict[str, str]]) -> bool:
        if isinstance(change, str):  # the command itself changed
            return True
        return any(state != "deleted" for paths in change.values() for state in paths.values())

    status: dict[str, list[Any]] = json.loads(checkout.dvc("status", "--json"))
    return sorted(stage for stage, changes in status.items() if any(map(is_change, changes)))


def _judge(checkout: Checkout, champion: Champion | None, params: GateParams) -> dict[str, Any]:
    """Compare the challenger with the champion on today's test rows; write the verdict."""
    test, out = checkout.folder / TEST, checkout.home / "answers.npz"

    def answers(folder: Path) -> Answers:
        """What the folder's model says, by the folder's own code."""
        module = ("-m", "stages.commands.answers", MODEL, str(test), str(out))
        call(folder, sys.executable, *module)
        with np.load(out) as arrays:
            return Answers(arrays["countries"].tolist(), arrays["probabilities"])

    metrics = checkout.folder / "metrics"
    countries = json.loads((metrics / "countries.json").read_text(encoding="utf-8"))
    verdict = judge(
        pd.read_parquet(test, columns=["country"])["country"].tolist(),
        answers(checkout.folder),
        answers(champion.folder) if champion else None,
        json.loads((metrics / "baseline.json").read_text(encoding="utf-8")),
        {name: row["coverage"] for name, row in countries.items() if "coverage" in row},
        params,
    )
    write_json(metrics / "gate.json", verdict)
    return verdict


def _promote(checkout: Checkout, message: str, push: bool) -> str:
    """Commit, tag, and push all of it atomically; return the new version.

    Raises:
        UserError: a remote is down or refuses; nothing is promoted then.
    """
    author = () if checkout.git("config", "--default", "", "user.email") else AUTHOR
    checkout.git("add", "--all")
    checkout.git(*author, "commit", "--quiet", "--message", message)
    name, email = checkout.git("log", "-1", "--format=%an%n%ae").splitlines()
    by: dict[str, Any] = {"author": name, "author_email": email}
    before = set(checkout.git("tag").splitlines())
    gto.api.register(str(checkout.folder), ARTIFACT, "HEAD", **by)
    gto.api.assign(str(checkout.folder), ARTIFACT, STAGE, ref="HEAD", skip_registration=True, **by)
    tags = sorted(set(checkout.git("tag").splitlines()) - before)
    if push:  # the data first: a commit without its model is useless
        checkout.dvc("push", "--quiet")
    # Without --push the branch belongs to retrain and may follow a rewritten one: "+".
    target = f"HEAD:refs/heads/{checkout.branch}" if push else f"+HEAD:refs/heads/{BRANCH}"
    refs = [f"refs/tags/{tag}" for tag in tags]
    checkout.git("push", "--quiet", "--atomic", "origin", target, *refs)
    return next(tag for tag in tags if "@" in tag)

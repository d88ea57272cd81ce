"""Retrain once: train on new data, judge the new model, promote it if it is better.

The champion is the model that GTO's tags assign to the stage ``production``; the newly trained
model is the challenger. All work is done in a clone of the project (`stages.retrain.checkout`).
"""

import contextlib
import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import gto.api
import numpy as np
import pandas as pd
from dvc.repo import Repo
from filelock import FileLock, Timeout
from gto.exceptions import ArtifactNotFound

from stages.core.errors import UserError
from stages.core.files import write_json
from stages.core.params import GateParams, Params
from stages.core.text import visible
from stages.retrain import report
from stages.retrain.checkout import BRANCH, HOME, Checkout, call
from stages.retrain.gate import judge

ARTIFACT, STAGE = "onoma", "production"
MODEL, TEST, TRAIN = "data/model", "data/clean/test.parquet", "data/clean/train.parquet"
NAMES = "train.parquet"  # the champion's training names in its folder
SAME_ANSWERS = 1e-4  # largest difference of a probability that rounding explains
NOTHING = "retrain: nothing to do"
REJECTED, BUSY = 3, 75  # exit statuses; 75 is EX_TEMPFAIL of sysexits.h


class Champion(NamedTuple):
    """The model in use: its version, and its commit, which ``folder`` is a work tree of."""

    version: str
    commit: str
    folder: Path


def retrain(folder: Path, push: bool) -> int:
    """Retrain; return 0 (promoted, or nothing to do), 3 (rejected) or 75 (busy).

    Args:
        folder: the project, or a folder in it.
        push: whether to build on origin's branch, and to push there what is promoted.
    """
    root = Path(call(folder, "git", "rev-parse", "--show-toplevel"))
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
    """Train a challenger if anything changed, and let the gate decide; return the exit status."""
    paragraphs: list[str] = []
    try:
        params = Params.load(checkout.folder / "params.yaml")  # before DVC removes stages' outputs
        champion = _find_champion(checkout)
        _update_imports(checkout)
        stale = _stale(checkout)
        if champion:
            if not stale and not checkout.call("git", "diff", champion.commit, "--", "dvc.lock"):
                print(f"{NOTHING}: data, code and params are those of {champion.version}")
                return 0
            paragraphs.append(report.history(checkout, champion.commit))
            _fetch(checkout, champion)  # the training would be in vain without it
        print(f"retrain: to run: {', '.join(stale)}", flush=True)
        # Where there is a remote, fetch unchanged data rather than make it again.
        pull = ["--pull"] if checkout.has_remote else []
        checkout.call("dvc", "repro", *pull, show=True)
        keep_runs(checkout.folder)  # a model that is rejected is not trained again the next night
        verdict = _judge(checkout, champion, params.gate)
        reason = verdict["reason"]
        message = [f"Retrain: accuracy {verdict['challenger']['accuracy']:.4f}", reason]
        if champion:
            change = verdict["champion"].get("probability_difference", 1.0)
            if change < SAME_ANSWERS:
                print(f"{NOTHING}: the answers are those of {champion.version} within {change:.1e}")
                return 0
            message.append(report.differences(checkout, champion.commit))
            drift = report.drift(champion.folder / NAMES, checkout.folder / TRAIN)
            paragraphs += [report.comparison(verdict), message[-1], drift]
        if verdict["verdict"] != "promote":
            report.write(checkout, "rejected", reason, *paragraphs)
            print(f"retrain: rejected: {visible(reason)}", file=sys.stderr)
            return REJECTED
        version = _promote(checkout, "\n\n".join(message), push)
    except (UserError, KeyboardInterrupt) as error:
        report.write(checkout, "failed", str(error) or "interrupted", *paragraphs)
        raise
    report.write(checkout, "promoted", reason, *paragraphs)
    print(f"retrain: promoted {version}: {visible(reason)}")
    return 0


def _find_champion(checkout: Checkout) -> Champion | None:
    with contextlib.suppress(ArtifactNotFound):
        for row in gto.api.show(str(checkout.folder), name=f"{ARTIFACT}#{STAGE}"):
            folder = checkout.folder / HOME / "champion"
            checkout.call("git", "worktree", "add", "--quiet", str(folder), row["commit_hexsha"])
            return Champion(row["version"], row["commit_hexsha"], folder)
    return None


def _fetch(checkout: Checkout, champion: Champion) -> None:
    """Fetch the champion's model and training names into its folder."""
    for path, name in ((MODEL, MODEL), (TRAIN, NAMES)):
        options = ("--rev", champion.commit, "--out", str(champion.folder / name))
        try:
            checkout.call("dvc", "get", ".", path, *options)
        except UserError as error:
            raise UserError(
                f"the champion {champion.version} is neither in the DVC cache nor at a remote "
                f"({error}): dvc push it where it was promoted, or delete the tags "
                f"{ARTIFACT}#{STAGE}#* to begin without a champion"
            ) from None


def _update_imports(checkout: Checkout) -> None:
    """Update what `dvc import` or `dvc import-url` brought in."""
    files = checkout.call("git", "ls-files", "*.dvc").splitlines()
    imports = [file for file in files if "deps:" in (checkout.folder / file).read_text()]
    if imports:
        checkout.call("dvc", "update", *imports)


def _stale(checkout: Checkout) -> list[str]:
    """Stages whose code, params or data changed; data that is only not fetched is "deleted"."""
    status = json.loads(checkout.call("dvc", "status", "--json"))
    changed = "'modified'|'new'|changed (command|params)"
    return sorted(stage for stage, changes in status.items() if re.search(changed, str(changes)))


def keep_runs(project: Path) -> None:
    """Enter what was run in DVC's run cache: it leaves out stages with uncached plain outputs."""
    with contextlib.chdir(project), Repo() as repo, repo.lock:
        for stage in repo.index.stages:
            repo.stage_cache.save(stage)


def _judge(checkout: Checkout, champion: Champion | None, params: GateParams) -> dict[str, Any]:
    """Compare the challenger with the champion on today's test rows; write the verdict."""
    test, out = checkout.folder / TEST, checkout.folder / HOME / "answers.npz"

    def answers(folder: Path) -> pd.DataFrame:
        """Probabilities by the folder's model, computed by the folder's own code."""
        call(folder, "python", "-m", "stages.commands.answers", MODEL, str(test), str(out))
        with np.load(out) as arrays:
            return pd.DataFrame(arrays["probabilities"], columns=arrays["countries"].tolist())

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
    """Commit, tag, and push all of it atomically; return the new version's tag."""
    if not checkout.call("git", "config", "--default", "", "user.email"):
        checkout.call("git", "config", "user.name", "onoma retrain")
        checkout.call("git", "config", "user.email", "retrain@localhost")
    checkout.call("git", "add", "--all")
    checkout.call("git", "commit", "--quiet", "--message", message)
    gto.api.register(str(checkout.folder), ARTIFACT, "HEAD")
    gto.api.assign(str(checkout.folder), ARTIFACT, STAGE, ref="HEAD", skip_registration=True)
    tags = checkout.call("git", "tag", "--points-at", "HEAD").splitlines()
    if push:  # the data first: a commit without its model is useless
        checkout.call("dvc", "push", "--quiet")
    # Without --push the branch belongs to retrain and may follow a rewritten one: "+".
    target = f"HEAD:refs/heads/{checkout.branch}" if push else f"+HEAD:refs/heads/{BRANCH}"
    checkout.call("git", "push", "--quiet", "--atomic", "origin", target, *tags)
    return next(tag for tag in tags if "@" in tag)

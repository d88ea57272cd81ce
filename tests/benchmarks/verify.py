"""`onoma verify`: run the pipeline in a clean clone; compare with the committed results."""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.core.errors import UserError

RESULTS = ("dvc.lock", "metrics")
NUMBER = re.compile(r"-?\b\d+(?:\.\d+)?(?:e[-+]?\d+)?\b")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="clone into this folder and keep it"
    )


def run(args: argparse.Namespace) -> int:
    """Reproduce and compare; the exit status is 1 if anything differs."""
    root = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="onoma-verify.") as scratch:
        clone = args.keep or Path(scratch) / "clone"
        call("git", "clone", "--quiet", str(root), str(clone))
        call(sys.executable, "-m", "dvc", "repro", "--force", folder=clone)
        changed = call("git", "status", "--porcelain", "--", *RESULTS, folder=clone, quiet=True)
        names = [line[3:] for line in changed.splitlines()]
        for name in names:
            committed = call("git", "show", f"HEAD:{name}", folder=clone, quiet=True)
            now = (clone / name).read_text(encoding="utf-8")
            print(f"verify: {name}: {difference(name, committed, now)}")
    if not names:
        print("verify: dvc.lock and metrics are byte-identical to those committed")
        return 0
    print(f"verify: {len(names)} files differ, on {processor()}", file=sys.stderr)
    return 1


def call(*command: str, folder: Path | None = None, quiet: bool = False) -> str:
    """Run a command with this interpreter's programs first; return what it prints if ``quiet``.

    Raises:
        UserError: it failed.
    """
    path = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", "")
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE if quiet else None,
        encoding="utf-8",
    )
    if done.returncode:
        raise UserError(f"{' '.join(command[:4])}: exit status {done.returncode}")
    return done.stdout or ""


def difference(name: str, committed: str, now: str) -> str:
    """What differs between two versions of a result, in words."""
    if name == "dvc.lock":
        old, new = (outs(text) for text in (committed, now))
        paths = sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
        return f"other hashes of {', '.join(paths)}" if paths else "other dependencies or params"
    if NUMBER.sub("#", committed) != NUMBER.sub("#", now):
        return "other content"
    pairs = zip(NUMBER.findall(committed), NUMBER.findall(now), strict=True)
    apart = [abs(float(old) - float(new)) for old, new in pairs if old != new]
    return f"{len(apart)} numbers differ, by at most {max(apart):.2g}"


def outs(text: str) -> dict[str, Any]:
    """Path -> hash of every output in a dvc.lock."""
    stages = YAML(typ="safe", pure=True).load(text)["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


def processor() -> str:
    """The processor's name, as far as the system knows it."""
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()

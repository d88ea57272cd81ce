"""The checkout that `onoma retrain` works in: a fresh clone below the project.

It shares the project's DVC cache, so that finished stages are fetched and not run again, and takes
over the checkpoints of a training that was cut off. What a killed retrain left running works in a
folder that is deleted, and ends when it next writes. Results reach others by one atomic `git push`:
before it nothing is promoted, after it everything is.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dvc.config import Config, merge

from stages.core.errors import UserError

HOME = ".onoma"
BRANCH = "retrained"  # where promoted commits go without --push
CLONES = "checkout"  # what their folders' names begin with
CHECKPOINTS = ".checkpoints"
ERROR = re.compile(r"(?m)^(?:onoma: |ERROR: |(?=fatal:|error:| ! ))(.+)")  # ours, DVC's, git's
PATIENCE = 30  # seconds between SIGTERM and SIGKILL


def call(folder: Path, *command: str) -> str:
    """Run a command; return what it prints.

    Raises:
        UserError: it failed; the message is its first error.
    """
    done = subprocess.run(command, cwd=folder, stderr=subprocess.PIPE, **_options())
    if done.returncode:
        title = [word for word in command if word not in (sys.executable, "-m")][:2]
        raise UserError(f"{' '.join(title)}: {_first_error(done.stderr)}")
    return str(done.stdout).strip()


def git(folder: Path, *arguments: str) -> str:
    """Run git; see `call`."""
    return call(folder, "git", *arguments)


class Checkout:
    """A clone of the project at ``root``, at the newest commit, and where its results go."""

    def __init__(self, root: Path, push: bool) -> None:
        self.home = root / HOME
        self.branch = git(root, "symbolic-ref", "--short", "HEAD")
        source = git(root, "remote", "get-url", "origin") if push else str(root)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{CLONES}-", dir=self.home))
        git(root, "clone", "--quiet", "--no-checkout", source, str(self.folder))
        self.git("checkout", "--quiet", "--detach", self._base(push))
        for earlier in set(self.home.glob(f"{CLONES}*")) - {self.folder}:
            with contextlib.suppress(OSError):  # it has none, or another one had some
                (earlier / CHECKPOINTS).rename(self.folder / CHECKPOINTS)
            shutil.rmtree(earlier, ignore_errors=True)
        self._configure_dvc(root)

    def git(self, *arguments: str) -> str:
        """Run git in the clone; see `call`."""
        return git(self.folder, *arguments)

    def dvc(self, *arguments: str) -> str:
        """Run DVC in the clone; see `call`."""
        return call(self.folder, sys.executable, "-m", "dvc", *arguments)

    def repro(self) -> None:
        """Run the pipeline; show what it prints.

        If this process is interrupted, the pipeline is too: a training saves a checkpoint then.

        Raises:
            UserError: a stage failed; the message is its first error.
        """
        # Where there is a remote, fetch unchanged data rather than make it again.
        pull = ["--pull"] if self.dvc("remote", "list") else []
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro", *pull],
            cwd=self.folder,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **_options(),
        )
        output = ""
        try:
            for line in process.stdout or ():
                output += line
                print(line, end="", flush=True)
            status = process.wait()
        except BaseException:
            _end(process)  # Ctrl-C and SIGTERM are exceptions here
            raise
        if status:
            raise UserError(f"dvc repro: {_first_error(output)}")

    def _base(self, push: bool) -> str:
        """The branch's newest commit; without --push the promoted one if that is ahead of it."""
        base, promoted = (f"refs/remotes/origin/{name}" for name in (self.branch, BRANCH))
        if push or not self.git("for-each-ref", promoted):
            return base
        return promoted if self.git("rev-list", "--count", f"{promoted}..{base}") == "0" else base

    def _configure_dvc(self, root: Path) -> None:
        """Share the project's cache, remotes and credentials; relative paths become absolute."""
        project = Config(str(root / ".dvc"))
        with Config(str(self.folder / ".dvc"), validate=False).edit("local") as config:
            for level in ("repo", "local"):
                merge(config, project.load_one(level))
            config["cache"]["dir"] = project["cache"].get("dir") or str(root / ".dvc/cache")
        (self.folder / ".dvc/config.local").chmod(0o600)


def _options() -> dict[str, Any]:
    """Options of a process: the stages run `python`, which is this one; git asks no password."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        "env": {**os.environ, "PATH": path, "GIT_TERMINAL_PROMPT": "0"},
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "encoding": "utf-8",
        "errors": "replace",
    }


def _first_error(output: str) -> str:
    """The first line that is an error; all of it if none is."""
    error = ERROR.search(output)
    return " ".join((error[1] if error else output).split()) or "no message"


def _end(process: subprocess.Popen[str]) -> None:
    """Ask the processes of a group to stop, and kill those that do not."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.communicate(timeout=PATIENCE)  # until all have closed the pipe
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)

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

from dvc.config import Config, merge

from stages.core.errors import UserError

HOME = ".onoma"
BRANCH = "retrained"  # where promoted commits go without --push
ERROR = re.compile(r"(?m)^(?:onoma: |ERROR: |(?=fatal:|error:| ! ))(.+)")  # ours, DVC's, git's
PATIENCE = 30  # seconds between SIGTERM and SIGKILL


class Checkout:
    """A clone of the project at ``root``, at the newest commit."""

    def __init__(self, root: Path, push: bool) -> None:
        self.home = root / HOME
        self.branch = call(root, "git", "symbolic-ref", "--short", "HEAD")
        source = call(root, "git", "remote", "get-url", "origin") if push else str(root)
        self.folder = Path(tempfile.mkdtemp(prefix="checkout-", dir=self.home))
        call(root, "git", "clone", "--quiet", "--no-checkout", source, str(self.folder))
        base = f"origin/{self.branch}"
        if not push:  # the promoted commit if it is ahead of the branch
            ahead = ("--remotes", "--list", f"origin/{BRANCH}", "--contains", base)
            base = self.call("git", "branch", *ahead) or base
        self.call("git", "checkout", "--quiet", "--detach", base)
        for earlier in set(self.home.glob("checkout*")) - {self.folder}:
            with contextlib.suppress(OSError):  # it has none, or another one had some
                (earlier / ".checkpoints").rename(self.folder / ".checkpoints")
            shutil.rmtree(earlier, ignore_errors=True)
        self._configure_dvc(root)

    def call(self, *command: str, show: bool = False) -> str:
        """Run a command in the clone; see `call`."""
        return call(self.folder, *command, show=show)

    def _configure_dvc(self, root: Path) -> None:
        """Share the project's cache, remotes and credentials; relative paths become absolute."""
        project = Config(str(root / ".dvc"))
        with Config(str(self.folder / ".dvc"), validate=False).edit("local") as config:
            for level in ("repo", "local"):
                merge(config, project.load_one(level))
            config["cache"]["dir"] = project["cache"].get("dir") or str(root / ".dvc/cache")
        (self.folder / ".dvc/config.local").chmod(0o600)


def call(folder: Path, *command: str, show: bool = False) -> str:
    """Run a command; return what it prints. If this process is interrupted, it is stopped.

    Args:
        folder: the folder to run in.
        command: the command; `dvc` and `python` are those of this interpreter.
        show: print what it prints, errors included, as it comes.

    Raises:
        UserError: it failed; the message is its first error.
    """
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PATH": programs, "GIT_TERMINAL_PROMPT": "0"},  # asks no password
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if show else subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        output = ""
        try:
            for line in (process.stdout or ()) if show else ():
                output += line
                print(line, end="", flush=True)
            rest, errors = process.communicate()
        except BaseException:  # Ctrl-C and SIGTERM are exceptions
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.communicate(timeout=PATIENCE)  # until all have closed the pipe
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        title = " ".join([word for word in command if word[0] != "-"][:2])
        text = errors or output
        error = ERROR.search(text)
        raise UserError(f"{title}: {' '.join((error[1] if error else text).split())}")
    return (output + rest).strip()

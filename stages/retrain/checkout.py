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
from collections.abc import Iterator, Mapping
from pathlib import Path

from dvc.config import Config, merge

from stages.core.errors import UserError

HOME = ".onoma"
BRANCH = "retrained"  # where promoted commits go without --push
# Beginnings of the keys of git's configuration that also hold in the clone.
SHARED = ("core.sshcommand", "credential.", "http.", "url.", "user.")
ERROR = re.compile(r"(?m)^(?:onoma: |ERROR: |(?=fatal:|error:| ! ))(.+)")  # ours, DVC's, git's
PATIENCE = 30  # seconds between SIGTERM and SIGKILL


class Checkout:
    """A clone of the project at ``root``, at the newest commit."""

    def __init__(self, root: Path, push: bool) -> None:
        """Clone.

        Raises:
            UserError: there is no branch to build on, or no place to push to.
        """
        self.home = root / HOME
        project = Config(str(root / ".dvc"))
        if push and not project["core"].get("remote"):
            raise UserError(
                "--push needs a DVC remote for data and models: dvc remote add --default NAME URL"
            )
        with _remedy("HEAD is detached: git switch to the branch to build on"):
            self.branch = call(root, "git", "symbolic-ref", "--short", "HEAD")
        source = str(root)
        if push:
            with _remedy("--push needs a git remote: git remote add origin URL"):
                source = call(root, "git", "remote", "get-url", "origin")
        self._git_settings = _git_settings(root)
        self.folder = Path(tempfile.mkdtemp(prefix="checkout-", dir=self.home))
        clone = ("git", "clone", "--quiet", "--no-checkout", source, str(self.folder))
        call(root, *clone, variables=self._git_settings)
        base = f"origin/{self.branch}"
        missing = f"{base} does not exist: git push --set-upstream origin {self.branch}"
        with _remedy(missing if push else f"branch {self.branch} has no commit: git commit"):
            self.call("git", "rev-parse", "--verify", "--quiet", base)
        if not push:  # the promoted commit if it is ahead of the branch
            ahead = ("--remotes", "--list", f"origin/{BRANCH}", "--contains", base)
            base = self.call("git", "branch", *ahead) or base
        self.call("git", "checkout", "--quiet", "--detach", base)
        for earlier in set(self.home.glob("checkout*")) - {self.folder}:
            with contextlib.suppress(OSError):  # it has none, or another one had some
                (earlier / ".checkpoints").rename(self.folder / ".checkpoints")
            shutil.rmtree(earlier, ignore_errors=True)
        # Share the project's cache, remotes and credentials; relative paths become absolute.
        with Config(str(self.folder / ".dvc"), validate=False).edit("local") as config:
            for level in ("repo", "local"):
                merge(config, project.load_one(level))
            config["cache"]["dir"] = project["cache"].get("dir") or str(root / ".dvc/cache")
        (self.folder / ".dvc/config.local").chmod(0o600)
        self.has_remote = bool(Config(str(self.folder / ".dvc"))["remote"])

    def call(self, *command: str, show: bool = False) -> str:
        """Run a command in the clone; see `call`."""
        return call(self.folder, *command, show=show, variables=self._git_settings)


@contextlib.contextmanager
def _remedy(text: str) -> Iterator[None]:
    """Raise `UserError` with this text in place of git's."""
    try:
        yield
    except UserError:
        raise UserError(text) from None


def _git_settings(root: Path) -> dict[str, str]:
    """The project's own credentials, proxies and author, as variables that git reads."""
    listed = call(root, "git", "config", "--null", "--list", "--local", "--includes").split("\0")
    settings = [line.partition("\n")[::2] for line in listed if line.startswith(SHARED)]
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for n, (key, value) in enumerate(settings):
        variables |= {f"GIT_CONFIG_KEY_{n}": key, f"GIT_CONFIG_VALUE_{n}": value}
    return variables


def call(
    folder: Path, *command: str, show: bool = False, variables: Mapping[str, str] | None = None
) -> str:
    """Run a command; return what it prints. If this process is interrupted, it is stopped.

    Args:
        folder: the folder to run in.
        command: the command; `dvc` and `python` are those of this interpreter.
        show: print what it prints, errors included, as it comes.
        variables: variables of its environment.

    Raises:
        UserError: it failed; the message is its first error.
    """
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        command,
        cwd=folder,
        # git asks for no password.
        env={**os.environ, "PATH": programs, "GIT_TERMINAL_PROMPT": "0", **(variables or {})},
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

"""The checkout that `onoma retrain` works in: a clone below the project, which stays untouched.

The clone shares the project's DVC cache and is kept between runs, so that an interrupted training
resumes; each run resets it to a known commit. Its results reach others by one atomic `git push`:
before it nothing is promoted, after it everything is.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import psutil

from stages.core.errors import Interrupted, UserError

HOME = ".onoma"
BRANCH = "retrained"  # where promoted commits go without --push
MARK = "ONOMA_RETRAIN"  # environment variable of every process started here: its checkout
PATIENCE = 30  # seconds between SIGTERM and SIGKILL


def git(folder: Path, *arguments: str) -> str:
    """Run git; return what it prints.

    Raises:
        UserError: it failed; the message is its first error.
    """
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},  # never ask for a password
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        errors = [line for line in lines if line.startswith(("fatal:", "error:", " ! "))] or lines
        raise UserError(f"git {arguments[0]}: {' '.join(errors[0].split())}")
    return done.stdout.strip()


class Checkout:
    """The clone of the project at ``root``, and where its results go."""

    def __init__(self, root: Path, push: bool) -> None:
        self.root, self._push = root, push
        self.home = root / HOME
        self.folder = self.home / "checkout"
        self.branch = git(root, "symbolic-ref", "--short", "HEAD")
        self._source = git(root, "remote", "get-url", "origin") if push else str(root)
        if (root / self._source).exists():
            self._source = str((root / self._source).resolve())

    def prepare(self) -> None:
        """Bring the clone to the newest commit; create it if there is none.

        Raises:
            UserError: the remote cannot be reached.
        """
        self._end_leftovers()
        if not (self.folder / ".git").exists():
            fresh = self.home / "checkout.new"
            for part in (fresh, self.folder):
                shutil.rmtree(part, ignore_errors=True)
            git(self.root, "clone", "--quiet", "--no-checkout", str(self.root), str(fresh))
            fresh.rename(self.folder)
        for lock in (self.folder / ".git").rglob("*.lock"):
            lock.unlink()  # a killed git left it: no other process works here
        self.git("remote", "set-url", "origin", self._source)
        # --prune also removes the tags of a promotion that was not pushed.
        specs = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        self.git("fetch", "--quiet", "--prune", "origin", *specs)
        self.git("checkout", "--quiet", "--force", "--detach", self._base())
        self.git("clean", "--quiet", "--force", "-d")
        self._configure_dvc()

    def git(self, *arguments: str) -> str:
        """Run git in the clone; see `git`."""
        return git(self.folder, *arguments)

    def read(self, path: str, commit: str | None = None) -> str:
        """Content of a file in the work tree or of a commit; empty if there is no such file."""
        if commit:
            with contextlib.suppress(UserError):
                return self.git("show", f"{commit}:{path}")
        elif (self.folder / path).exists():
            return (self.folder / path).read_text(encoding="utf-8")
        return ""

    def dvc(self, *arguments: str) -> str:
        """Run a DVC command in the clone; return what it prints, see `run`."""
        return self.run("-m", "dvc", *arguments, show=False)

    def run(self, *arguments: str, folder: Path | None = None, show: bool = True) -> str:
        """Run this Python interpreter with ``arguments``; return what it prints.

        On SIGTERM or SIGINT the process and its descendants are stopped.

        Args:
            arguments: of the interpreter.
            folder: to run in; the clone by default.
            show: print the output, errors included, as it comes.

        Raises:
            UserError: it failed; the message is its first error.
            Interrupted: it was stopped.
        """
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder or self.folder,
                # The stages run `python`, which has to be this interpreter.
                env={
                    **os.environ,
                    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                    MARK: str(self.folder),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if show else errors,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            assert process.stdout is not None
            lines = []
            with _stopped_on_signals(process):
                for line in process.stdout:
                    lines.append(line)
                    if show:
                        print(line, end="", flush=True)
                status = process.wait()
            if status:
                errors.seek(0)
                name = " ".join(arguments).removeprefix("-m ")
                why = f"{name}: status {status}"
                for line in [*lines, *errors]:
                    if line.startswith(("onoma: ", "ERROR: ")):
                        why = " ".join(line.split()[1:])
                        break
                raise UserError(why if show else f"{name.partition(' --')[0]}: {why}")
        return "".join(lines)

    def _base(self) -> str:
        """The branch's newest commit; without --push the promoted one if that is ahead of it."""
        base = f"refs/remotes/origin/{self.branch}"
        promoted = f"refs/remotes/origin/{BRANCH}"
        if self._push or not self.git("for-each-ref", promoted):
            return base
        return promoted if self.git("rev-list", "--count", f"{promoted}..{base}") == "0" else base

    def _configure_dvc(self) -> None:
        """Share the project's cache, remotes and credentials; relative paths become absolute."""
        from dvc.config import Config, merge

        project = Config(str(self.root / ".dvc"))
        with Config(str(self.folder / ".dvc"), validate=False).edit("local") as config:
            config.clear()
            for level in ("repo", "local"):
                merge(config, project.load_one(level))
            config["cache"]["dir"] = project["cache"].get("dir") or str(self.root / ".dvc/cache")
        (self.folder / ".dvc/config.local").chmod(0o600)

    def _end_leftovers(self) -> None:
        """Stop what a killed retrain left running."""
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder) and process.pid != os.getpid():
                    left.append(process)
        _end(left)


def _end(processes: list[psutil.Process]) -> None:
    """Ask processes to stop, and kill those that do not."""
    alive = processes
    for signal_of in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            with contextlib.suppress(psutil.Error):
                signal_of(process)
        _, alive = psutil.wait_procs(alive, PATIENCE)


@contextlib.contextmanager
def _stopped_on_signals(process: subprocess.Popen[str]) -> Iterator[None]:
    """On SIGTERM, SIGINT or an exception, stop the process and its descendants."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"stopped by {signal.Signals(number).name}; run again to go on from here")

    old = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except BaseException:
        parent = psutil.Process(process.pid)
        _end([*parent.children(recursive=True), parent])
        raise
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)

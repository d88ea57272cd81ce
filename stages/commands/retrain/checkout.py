"""The checkout that `onoma retrain` works in: a clone of its own, so that nobody's tree is touched.

It shares the DVC cache of the repository that it stands in, is kept between runs (nothing is
copied twice, an interrupted training goes on), and is brought back to a known commit by each run.
What it holds reaches others only by one atomic `git push`: before it nothing is promoted, after
it everything is.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import psutil

from stages.core.errors import Interrupted, UserError

HOME = ".onoma"
BRANCH = "retrained"  # where promoted commits go without --push: nobody works on it
MARK = "ONOMA_RETRAIN"  # environment of every process of a retrain: whose checkout it works in
PATIENCE = 30  # seconds that a process has to stop in good order


def git(folder: Path, *arguments: str) -> str:
    """Run git; return what it prints.

    Raises:
        UserError: it failed; the message is its last line.
    """
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        # A scheduler has nobody to ask for a password.
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        told = [line for line in lines if line.startswith(("fatal:", "error:", " ! "))] or lines
        raise UserError(f"git {arguments[0]}: {' '.join(told[0].split())}")
    return done.stdout.strip()


def top_of(folder: Path) -> Path:
    """Root of the repository that ``folder`` is in.

    Raises:
        UserError: it is in none, or in one without a pipeline.
    """
    root = Path(git(folder, "rev-parse", "--show-toplevel"))
    if not (root / "dvc.yaml").exists():
        raise UserError(f"{root}: holds no dvc.yaml; run onoma retrain in the project")
    return root


class Checkout:
    """The isolated clone below ``root``, and where its results go."""

    def __init__(self, root: Path, push: bool) -> None:
        self.root, self._push = root, push
        self.home = root / HOME
        self.folder = self.home / "checkout"
        self.branch = git(root, "symbolic-ref", "--short", "HEAD")
        self.source = str(root)
        if push:
            self.source = git(root, "remote", "get-url", "origin")
            if (root / self.source).exists():
                self.source = str((root / self.source).resolve())
        self._environment = {
            **os.environ,
            # The stages run `python`: it has to be this one.
            "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", ""),
            MARK: str(self.folder),
        }

    def prepare(self) -> None:
        """Bring the checkout to the newest commit to build on; make it if there is none.

        Raises:
            UserError: the source is out of reach.
        """
        self._end_leftovers()
        if not (self.folder / ".git").exists():
            fresh = self.home / "checkout.new"
            for part in (fresh, self.folder):
                shutil.rmtree(part, ignore_errors=True)
            git(self.root, "clone", "--quiet", "--no-checkout", str(self.root), str(fresh))
            fresh.rename(self.folder)
        for lock in (self.folder / ".git").rglob("*.lock"):
            lock.unlink()  # of a git that was killed: nobody else works here
        self.git("remote", "set-url", "origin", self.source)
        # Tags of a promotion that did not get through are pruned with the rest.
        specs = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        self.git("fetch", "--quiet", "--prune", "origin", *specs)
        self.git("checkout", "--quiet", "--force", "--detach", self._base())
        self.git("clean", "--quiet", "--force", "-d")
        self._configure_dvc()

    def git(self, *arguments: str) -> str:
        """Run git in the checkout; see `git`."""
        return git(self.folder, *arguments)

    def show(self, commit: str, path: str) -> str | None:
        """Content of a file at a commit; None if it is not there."""
        try:
            return self.git("show", f"{commit}:{path}")
        except UserError:
            return None

    def _base(self) -> str:
        """The branch's newest commit, or what was promoted on top of it without --push."""
        base = f"refs/remotes/origin/{self.branch}"
        promoted = f"refs/remotes/origin/{BRANCH}"
        if not self._push and self.git("for-each-ref", promoted):
            ahead = self.git("rev-list", "--count", f"{promoted}..{base}")
            return promoted if ahead == "0" else base
        return base

    def _configure_dvc(self) -> None:
        """Share the cache, and take over remotes and credentials from .dvc/config.local."""
        from dvc.config import Config, merge

        def of(level: str) -> dict[str, object]:
            found: dict[str, object] = Config(str(self.root / ".dvc")).load_one(level)
            return found

        cache = Config(str(self.root / ".dvc"))["cache"].get("dir")
        with Config(str(self.folder / ".dvc"), validate=False).edit("local") as config:
            config.clear()
            for level in ("repo", "local"):
                merge(config, of(level))
            config["cache"]["dir"] = str(cache or self.root / ".dvc" / "cache")
        (self.folder / ".dvc" / "config.local").chmod(0o600)

    def dvc(self, *arguments: str) -> str:
        """Run a short DVC command in this process (its start would cost a second each time).

        Returns:
            What it prints on standard output.

        Raises:
            UserError: it failed; the message is the first error that it logged.
        """
        from dvc.cli import main

        log = logging.getLogger("dvc")
        record = _Record()
        before, handlers = Path.cwd(), log.handlers
        log.handlers = [record]
        try:
            with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
                with _redirected(said.fileno()):
                    status = main(["--cd", str(self.folder), *arguments])
                said.seek(0)
                printed = said.read()
        finally:
            log.handlers = handlers
            os.chdir(before)
        if status:
            why = record.errors[0] if record.errors else f"status {status}"
            raise UserError(f"dvc {arguments[0]}: {why}")
        return printed

    def run(self, *command: str, folder: Path | None = None) -> None:
        """Run ``command`` in the checkout with this interpreter's programs; show what it prints.

        Stopped by SIGTERM or SIGINT, it stops the command, with all that this has started.

        Raises:
            UserError: it failed; the message is the last line that tells why.
            Interrupted: it was stopped.
        """
        process = subprocess.Popen(
            command,
            cwd=folder or self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        assert process.stdout is not None
        why = ""
        with _stoppable(), _ended_with_all(process):
            for line in process.stdout:
                print(line, end="", flush=True)
                if line.startswith(("onoma: ", "ERROR: ")) and not why:
                    why = line.strip().removeprefix("onoma: ").removeprefix("ERROR: ")
        if process.wait():
            name = " ".join(part for part in command[1:] if part != "-m")
            raise UserError(why or f"{name}: status {process.returncode}")

    def _end_leftovers(self) -> None:
        """Stop what a killed retrain left running: two must not work in one checkout."""
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.folder) and process.pid != os.getpid():
                    process.terminate()
                    left.append(process)
        _, alive = psutil.wait_procs(left, PATIENCE)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, PATIENCE)


@contextlib.contextmanager
def _redirected(target: int) -> Iterator[None]:
    """Send what is printed to a file, and warnings nowhere.

    By descriptor, since DVC puts back sys.stdout in between, and libraries warn from threads.
    """
    sys.stdout.flush()
    real = [os.dup(descriptor) for descriptor in (1, 2)]
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(target, 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        for descriptor, kept in zip((1, 2), real, strict=True):
            os.dup2(kept, descriptor)
            os.close(kept)


class _Record(logging.Handler):
    """Keeps what DVC would print on standard error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1]:
            text = ": ".join(part for part in (text, str(record.exc_info[1])) if part)
        self.errors.append(" ".join(text.split()))


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"stopped by {signal.Signals(number).name}; run again to go on from here")

    old: dict[signal.Signals, Callable[..., object] | int | None] = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        old[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _ended_with_all(process: subprocess.Popen[str]) -> Iterator[None]:
    """On an exception, stop the process and its group, in good order if they can."""
    try:
        yield
    except BaseException:
        group = psutil.Process(process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        _, alive = psutil.wait_procs([*group, psutil.Process(process.pid)], PATIENCE)
        if alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise

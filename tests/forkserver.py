"""Runs stages as processes of their own, without the seconds that each would import for.

A server process imports what comes from elsewhere (torch, pandas, DVCLive ...) once and forks a
child for each stage; the child imports the project's own modules from the folder that it works in,
as `python -m stages.train` does there.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from stages.core.arithmetic import AVX2

LIBRARIES = (  # not onnxruntime: it starts threads, and a forked child aborts at its end
    "torch._dynamo",
    "torch.nn.utils.rnn",
    "dvclive",
    "pandas",
    "pyarrow.parquet",
    "safetensors.torch",
    "scipy.optimize",
    "sklearn.metrics",
    "onnx",
    "sklearn.feature_extraction.text",
    "sklearn.svm",
    "joblib",
    "pydantic",
    "ruamel.yaml",
    "anyascii",
    "fsspec",
    "tqdm",
)


def serve() -> None:
    """Fork a child for each request on standard input; answer with its id, or a child's status."""
    for library in LIBRARIES:
        __import__(library)
    for line in sys.stdin:
        request = json.loads(line)
        if "pid" in request:
            ended, status = os.waitpid(request["pid"], os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if ended else "running", flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            return work(**request)


def work(
    folder: str, module: str, arguments: list[str], file_limit: int | None, output: str
) -> None:
    """Be ``python -m module`` in ``folder``, with standard output and error in files."""
    import resource
    import runpy

    os.setsid()
    os.chdir(folder)
    for number, name in ((0, os.devnull), (1, f"{output}.out"), (2, f"{output}.err")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    sys.path.insert(0, folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class Stage:
    """A stage at work, or at its end."""

    def __init__(self, server: "ForkServer", pid: int, output: str) -> None:
        self.pid, self._server, self._output = pid, server, output
        self.returncode: int | None = None

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return Path(f"{self._output}.out").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """What it has printed to standard error so far."""
        return Path(f"{self._output}.err").read_text(encoding="utf-8")

    def poll(self) -> int | None:
        """Its exit status, as `subprocess.Popen` gives it; None while it works."""
        if self.returncode is None:
            answer = self._server.ask(pid=self.pid)
            self.returncode = None if answer == "running" else int(answer)
        return self.returncode

    def wait(self, timeout: float = 120) -> "Stage":
        """Wait for its end."""
        limit = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < limit, f"the stage still works: {self.stdout}{self.stderr}"
            time.sleep(0.002)
        return self

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


class ForkServer:
    """Starts stages; its arithmetic is that of the shipped ``train.arithmetic``, avx2."""

    def __init__(self) -> None:
        environment = {
            **os.environ,
            **AVX2,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._outputs = TemporaryDirectory(prefix="onoma-stages-")
        self._started: list[Stage] = []
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: object) -> str:
        """Send a request; return the answer."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def start(
        self, folder: Path, stage: str, *arguments: str, file_limit: int | None = None
    ) -> Stage:
        """Start ``python -m stages.STAGE ARGUMENTS`` in ``folder``, in a session of its own.

        Args:
            folder: holds params.yaml, data and perhaps the project's modules.
            stage: train, or commands.cli for the program `onoma`.
            arguments: of the command.
            file_limit: bytes that no file may grow beyond, as on a full disk.
        """
        output = str(Path(self._outputs.name) / str(len(self._started)))
        pid = self.ask(
            folder=str(folder),
            module=f"stages.{stage}",
            arguments=arguments,
            file_limit=file_limit,
            output=output,
        )
        for end in ("out", "err"):
            Path(f"{output}.{end}").touch()
        self._started.append(Stage(self, int(pid), output))
        return self._started[-1]

    def run(
        self, folder: Path, stage: str, *arguments: str, file_limit: int | None = None
    ) -> Stage:
        """Start a stage and wait for its end: ``run(project, "train").returncode``."""
        return self.start(folder, stage, *arguments, file_limit=file_limit).wait()

    def close(self) -> None:
        """End what is still at work, and the server."""
        for stage in self._started:
            stage.send_signal(signal.SIGKILL)
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)
        self._outputs.cleanup()


if __name__ == "__main__":
    serve()

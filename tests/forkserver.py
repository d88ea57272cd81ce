"""Runs stages as processes of their own, without the seconds that each would import for.

A server process imports what comes from elsewhere (torch, pandas, DVC ...) once and forks a child
for each stage; the child imports the project's own modules from the folder that it works in, as
`python -m stages.train` does there. The server's folder `programs` holds `python`, `onoma` and
`dvc`, which have it fork; for other work they are the usual programs. With that folder first in
PATH, `dvc repro` and its stages are forked.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

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
    "pydantic.main",
    "pydantic.types",
    "pyarrow.pandas_compat",
    "dvc.cli.parser",
    "dvc.repo",
    "dvc.repo.reproduce",
    "dvc_data.index",
    "gto.api",
    "ruamel.yaml",
    "anyascii",
    "fsspec",
    "tqdm",
)

# A program: sends its environment, folder, arguments and streams, then every signal, and ends as
# the child does. The server's arithmetic is one; a project of another needs processes.
PROGRAM = """#!{real} -IS
import json, os, signal, socket, sys
arguments = sys.argv[1:]
name = os.path.basename(sys.argv[0])
if name != "python":
    arguments = ["-m", {{"onoma": "stages.commands.cli", "dvc": "dvc"}}[name], *arguments]
ours = arguments[:1] == ["-m"] and (arguments[1] == "dvc" or arguments[1].startswith("stages."))
try:
    other_arithmetic = "arithmetic: native" in open("params.yaml", encoding="utf-8").read()
except OSError:
    other_arithmetic = False
if other_arithmetic or not ours:
    os.execv("{real}", ["{real}", *arguments])
server = socket.socket(socket.AF_UNIX)
server.connect("{address}")
environment = {{**os.environ, **{pins}}}  # torch and MKL read it late
request = json.dumps([None, environment, os.getcwd(), *arguments[1:]]).encode()
socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: server.send(bytes([number])))
server.sendall(request)
status = int(server.makefile().read().split()[1])
if status < 0:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


def serve(address: str) -> None:
    """Fork a child, and one that watches it, for each connection, until standard input ends."""
    for library in LIBRARIES:
        __import__(library)
    gc.freeze()  # children copy no page to collect what is here
    requests = socket.socket(socket.AF_UNIX)
    requests.bind(address)
    requests.listen(64)
    print("ready", flush=True)
    watchers: set[int] = set()
    while sys.stdin not in select.select([sys.stdin, requests], [], [])[0]:
        watchers -= {pid for pid in watchers if os.waitpid(pid, os.WNOHANG)[0]}
        connection, _ = requests.accept()
        length, streams, *_ = socket.recv_fds(connection, 4, 3)
        text = connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
        if not (watcher := os.fork()):
            return watch(connection, streams, *json.loads(text))
        watchers.add(watcher)
        connection.close()
        for descriptor in streams:
            os.close(descriptor)
    os._exit(0)


def watch(
    connection: socket.socket, streams: list[int], file_limit: int | None, *work: object
) -> None:
    """Fork a child: say its id and how it ends, send it signals, kill it if nobody listens."""
    import resource

    if not (pid := os.fork()):
        connection.close()
        os.setsid()
        if file_limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        return be(streams, *work)
    for descriptor in (0, 1, *streams):
        os.close(descriptor)
    ended = os.pidfd_open(pid)
    with suppress(OSError):
        connection.sendall(b"%d\n" % pid)
        while ended not in select.select([connection, ended], [], [])[0]:
            numbers = connection.recv(8)
            if not numbers:
                break
            for number in numbers:
                os.kill(pid, number)
    signal.pidfd_send_signal(ended, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(OSError):
        connection.sendall(b"%d\n" % status)
    os._exit(0)


def be(
    streams: list[int], environment: dict[str, str], folder: str, module: str, *arguments: str
) -> None:
    """Be ``python -m module`` in ``folder``."""
    import runpy

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    # Programs that it starts are those of the server.
    sys.executable = str(Path(sys.argv[1]).parent / "programs/python")
    sys.path[0] = folder
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class Stage:
    """A stage at work, or at its end."""

    def __init__(self, connection: socket.socket, output: str) -> None:
        self._connection, self._output = connection, output
        self._answers = connection.makefile()
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return Path(f"{self._output}.out").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """What it has printed to standard error so far."""
        return Path(f"{self._output}.err").read_text(encoding="utf-8")

    def poll(self, seconds: float = 0) -> int | None:
        """Its exit status, as `subprocess.Popen` gives it; None while it works."""
        if self.returncode is None and select.select([self._connection], [], [], seconds)[0]:
            self.returncode = int(self._answers.readline())
        return self.returncode

    def wait(self, timeout: float = 120) -> "Stage":
        """Wait for its end."""
        ended = self.poll(timeout) is not None
        assert ended, f"the stage still works: {self.stdout}{self.stderr}"
        return self

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ends just now
                os.kill(self.pid, number)


class ForkServer:
    """Starts stages; its arithmetic is that of the shipped ``train.arithmetic``, avx2."""

    def __init__(self) -> None:
        from stages.core.arithmetic import AVX2

        settings = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        self._environment = {**os.environ, **AVX2, **settings}
        self._outputs = TemporaryDirectory(prefix="onoma-stages-")
        self._started: list[Stage] = []
        self._address = str(Path(self._outputs.name) / "socket")
        self.programs = Path(self._outputs.name) / "programs"
        self.programs.mkdir()
        for name in ("python", "onoma", "dvc"):
            program = self.programs / name
            text = PROGRAM.format(real=sys.executable, address=self._address, pins=AVX2)
            program.write_text(text, encoding="utf-8")
            program.chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._address],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout and self._process.stdout.readline() == b"ready\n"

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
        names = (os.devnull, f"{output}.out", f"{output}.err")
        streams = [os.open(name, os.O_RDWR | os.O_CREAT, 0o600) for name in names]
        work: Sequence[object] = (file_limit, self._environment, str(folder), f"stages.{stage}")
        request = json.dumps([*work, *arguments]).encode()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._address)
        socket.send_fds(connection, [len(request).to_bytes(4, "big")], streams)
        connection.sendall(request)
        for descriptor in streams:
            os.close(descriptor)
        self._started.append(Stage(connection, output))
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
    serve(sys.argv[1])

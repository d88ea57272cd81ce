"""Runs stages as processes of their own, without the seconds that each would import for.

A server process imports what comes from elsewhere (torch, pandas, DVCLive ...) once and forks a
child for each stage; the child imports the project's own modules from the folder that it works in,
as `python -m stages.train` does there. The server's folder `programs` holds `python`, `onoma` and
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
import time
from collections.abc import Sequence
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


# The program `python`: sends its arguments, folder, environment and streams, then every signal;
# it ends as the stage does.
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
request = json.dumps([dict(os.environ), os.getcwd(), *arguments[1:]]).encode()
socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: server.send(bytes([number])))
server.sendall(request)
status = int(server.recv(8) or 70)
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


def serve(address: str) -> None:
    """Fork a child for each request, on standard input or by the programs.

    A line of standard input asks for a stage or for the status of one, which is the answer.
    """
    for library in LIBRARIES:
        __import__(library)
    programs = socket.socket(socket.AF_UNIX)
    programs.bind(address)
    programs.listen(64)
    gc.freeze()  # children copy no page to collect what is here
    print("ready", flush=True)
    watchers: set[int] = set()
    while True:
        readable = select.select([sys.stdin, programs], [], [])[0]
        watchers -= {pid for pid in watchers if os.waitpid(pid, os.WNOHANG)[0]}
        if programs in readable:
            connection, _ = programs.accept()
            length, streams, *_ = socket.recv_fds(connection, 4, 3)
            text = connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
            if not (watcher := os.fork()):
                return watch(connection, streams, *json.loads(text))
            watchers.add(watcher)
            for descriptor in (connection.fileno(), *streams):
                os.close(descriptor)
            connection.detach()
        if sys.stdin in readable:
            line = sys.stdin.readline()
            if not line:
                os._exit(0)
            request = json.loads(line)
            if "pid" in request:
                ended, status = os.waitpid(request["pid"], os.WNOHANG)
                print(os.waitstatus_to_exitcode(status) if ended else "running", flush=True)
            elif pid := os.fork():
                print(pid, flush=True)
            else:
                return work(**request)


def watch(
    connection: socket.socket,
    streams: list[int],
    environment: dict[str, str],
    folder: str,
    module: str,
    *arguments: str,
) -> None:
    """Fork a stage for a program: pass signals on, say how it ends, kill it if the program dies."""
    if not (pid := os.fork()):
        connection.close()
        os.environ.clear()
        os.environ.update(environment)
        return be(module, folder, arguments, streams)
    for descriptor in (0, 1, *streams):
        os.close(descriptor)
    ended = os.pidfd_open(pid)
    while ended not in (readable := select.select([connection, ended], [], [])[0]):
        numbers = connection.recv(8) if connection in readable else b""
        for number in numbers or [signal.SIGKILL]:
            os.kill(pid, number)
        if not numbers:
            break
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        connection.send(str(status).encode())
    finally:
        os._exit(0)


def work(
    folder: str, module: str, arguments: list[str], file_limit: int | None, output: str
) -> None:
    """Be ``python -m module`` in ``folder``, with standard output and error in files."""
    import resource

    os.setsid()
    names = (os.devnull, f"{output}.out", f"{output}.err")
    streams = [os.open(name, os.O_RDWR | os.O_CREAT, 0o600) for name in names]
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    be(module, folder, arguments, streams)


def be(module: str, folder: str, arguments: Sequence[str], streams: list[int]) -> None:
    """Be ``python -m module`` in ``folder``."""
    import runpy

    os.chdir(folder)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    # Programs that it starts are those beside this one.
    sys.executable = str(Path(sys.argv[1]).parent / "programs/python")
    sys.path[0] = folder
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
        from stages.core.arithmetic import AVX2

        environment = {
            **os.environ,
            **AVX2,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._outputs = TemporaryDirectory(prefix="onoma-stages-")
        self._started: list[Stage] = []
        address = str(Path(self._outputs.name) / "socket")
        self.programs = Path(self._outputs.name) / "programs"
        self.programs.mkdir()
        for name in ("python", "onoma", "dvc"):
            program = self.programs / name
            program.write_text(PROGRAM.format(real=sys.executable, address=address), "utf-8")
            program.chmod(0o755)
        self._process = subprocess.Popen(
            [sys.executable, __file__, address],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"

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
    serve(sys.argv[1])

"""Programs that start without the seconds that each would import for.

A server process imports what comes from elsewhere (torch, pandas, DVC ...) once and forks a child
for each run of `python -m stages.STAGE`, `onoma`, `dvc` or torchrun; the child imports the
project's own modules from the folder that it works in, as a process does. `programs` gives a
folder with `python`, `onoma` and `dvc` that ask the server; for other work they are the usual ones.
"""

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

# Not onnxruntime: it starts threads, and a forked child aborts at its end.
LIBRARIES = (
    *("torch._dynamo", "torch.nn.utils.rnn", "torch.distributed.run", "safetensors.torch"),
    *("sklearn.metrics", "sklearn.svm", "sklearn.feature_extraction.text", "scipy.optimize"),
    *("pandas", "pyarrow.parquet", "pyarrow.pandas_compat", "pydantic.main", "pydantic.types"),
    *("dvc.cli.parser", "dvc.repo", "dvc.repo.reproduce", "dvc_data.index", "dvclive", "gto.api"),
    *("onnx", "joblib", "ruamel.yaml", "anyascii", "fsspec", "tqdm"),
)

# A program: sends its environment, folder, arguments and streams, then every signal, and ends as
# the child does. All have the server's arithmetic, whatever their params.yaml says.
PROGRAM = """#!{real} -IS
import json, os, resource, signal, socket, sys
name = os.path.basename(sys.argv[0])
module = {{"onoma": ["-m", "stages.commands.cli"], "dvc": ["-m", "dvc"]}}.get(name, [])
arguments = [*module, *sys.argv[1:]]
words = arguments[arguments[:1] == ["-u"]:]
ours = words[:1] == ["-m"] and words[1].startswith(("stages.", "dvc", "torch.distributed.run"))
if not ours:
    os.execv("{real}", ["{real}", *arguments])
server = socket.socket(socket.AF_UNIX)
server.connect("{address}")
environment = {{**os.environ, **{pins}}}  # torch and MKL read it late
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
request = json.dumps([limit, environment, os.getcwd(), *words[1:]]).encode()
socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: server.send(bytes([number])))
server.sendall(request)
status = int(server.makefile().read())
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


def watch(connection: socket.socket, streams: list[int], *work: object) -> None:
    """Fork a child: say how it ends, send it signals, kill it if nobody listens."""
    if not (pid := os.fork()):
        connection.close()
        os.setsid()
        return be(streams, *work)
    for descriptor in (0, 1, *streams):
        os.close(descriptor)
    ended = os.pidfd_open(pid)
    with suppress(OSError):
        while ended not in select.select([connection, ended], [], [])[0]:
            numbers = connection.recv(8)
            if not numbers:
                break
            for number in numbers:
                os.kill(pid, number)
    signal.pidfd_send_signal(ended, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(OSError):
        connection.sendall(b"%d" % status)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(8):  # a signal left unread would reset the connection at the end
            pass
    os._exit(0)


def be(
    streams: list[int],
    limit: list[int],
    environment: dict[str, str],
    folder: str,
    module: str,
    *arguments: str,
) -> None:
    """Be ``python -m module`` in ``folder``; ``limit``: bytes that no file may grow beyond."""
    import resource
    import runpy

    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
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
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # with so much imported, the end takes longer


@contextmanager
def programs() -> Iterator[Path]:
    """Give the folder of programs; their arithmetic is the shipped ``train.arithmetic``, avx2."""
    from stages.core.arithmetic import AVX2

    with TemporaryDirectory(prefix="onoma-stages-") as folder:
        address, programs = f"{folder}/socket", Path(folder, "programs")
        programs.mkdir()
        text = PROGRAM.format(real=sys.executable, address=address, pins=AVX2)
        for name in ("python", "onoma", "dvc"):
            (programs / name).write_text(text, encoding="utf-8")
            (programs / name).chmod(0o755)
        with subprocess.Popen(
            [sys.executable, __file__, address],
            env={**os.environ, **AVX2, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as server:
            assert server.stdout and server.stdout.readline() == b"ready\n"
            yield programs


if __name__ == "__main__":
    serve(sys.argv[1])

"""An SSH remote for real: OpenSSH's server on loopback, or AsyncSSH's where that is not there."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from tests.conftest import git, run

pytestmark = pytest.mark.slow

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
# dvc-ssh brings AsyncSSH along.
ASYNCSSH = """
import asyncio, sys, asyncssh
async def main(port, key, authorized):
    await asyncssh.listen("127.0.0.1", int(port), server_host_keys=[key],
                          authorized_client_keys=authorized, sftp_factory=True)
    await asyncio.Event().wait()
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """Port of an sshd that lets this user in by a key."""
    for name in ("host", "user"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(tmp_path / name)
        key.write_public_key(tmp_path / f"{name}.pub")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "authorized").write_bytes((tmp_path / "user.pub").read_bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "authorized",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (tmp_path / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in settings.items()))
    if SSHD:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # it insists on it, to give up root
        command = [SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config")]
    else:
        keys = (str(tmp_path / name) for name in ("host", "authorized"))
        command = [sys.executable, "-c", ASYNCSSH, str(port), *keys]
    process = subprocess.Popen(command, stderr=(tmp_path / "log").open("wb"))
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.1)
    yield port
    process.terminate()
    process.wait()


def test_data_goes_to_an_ssh_remote_and_comes_back(server: int, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()

    def dvc(*arguments: str) -> None:
        done = run(project, sys.executable, "-m", "dvc", *arguments)
        assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()

    git(project, "init", "--quiet")
    dvc("init", "--quiet")
    store = tmp_path / "store"
    store.mkdir()
    dvc("remote", "add", "--default", "far", f"ssh://127.0.0.1:{server}{store}")
    # What is of this machine and user stays out of git.
    dvc("remote", "modify", "--local", "far", "user", getpass.getuser())
    dvc("remote", "modify", "--local", "far", "keyfile", str(tmp_path / "user"))
    (project / "names.csv").write_text("Abe,Japan\n")
    dvc("add", "--quiet", "names.csv")
    dvc("push", "--quiet")
    assert list(store.rglob("*")), "nothing arrived"

    shutil.rmtree(project / ".dvc/cache")
    (project / "names.csv").unlink()
    dvc("pull", "--quiet")
    assert (project / "names.csv").read_text() == "Abe,Japan\n"

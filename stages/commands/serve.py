"""`onoma serve`: the page and the HTTP API of `stages.serving.web`, on loopback by default."""

import argparse
import re
import socket
from pathlib import Path

from stages.commands.predict import MODEL, number
from stages.core.errors import UserError
from stages.serving.bundle import load


def host_name(text: str) -> str:
    """The host of ``HOST`` or ``HOST:PORT``, in lower case; an IPv6 address keeps its brackets."""
    found = re.fullmatch(r"([^][:/?#@\s]+|\[[0-9a-f:.]+\])(:\d*)?", text.lower())
    if not found:
        raise ValueError(f"{text!r} is not a host")
    return found[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port", type=number(int, 0, 2**16 - 1), default=8000, help="0: any free one (8000)"
    )
    parser.add_argument(
        "--allow-host",
        type=host_name,
        action="append",
        default=[],
        metavar="NAME",
        help="a hostname that requests may name besides localhost and --host; *: any (repeatable)",
    )
    parser.add_argument(
        "--model", type=Path, default=MODEL, metavar="FOLDER", help=f"the model ({MODEL})"
    )


def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    host = f"[{args.host}]" if ":" in args.host else args.host
    try:
        from stages.serving.connections import BACKLOG, Server
        from stages.serving.guard import LOOPBACK
        from stages.serving.web import create_app

        hosts = [*LOOPBACK, host.lower(), *args.allow_host]
        server = Server(create_app(load(args.model), hosts))
    except ImportError as error:
        extras = "pipeline,serve" if error.name == "torch" else "serve"
        raise UserError(f"{error}; install the packages: pip install 'onoma[{extras}]'") from None
    try:
        listener = socket.create_server((args.host, args.port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{host}:{args.port}: {reason}; choose another --host or --port") from None
    with listener:
        print(f"serve: http://{host}:{listener.getsockname()[1]} (Ctrl-C stops)", flush=True)
        server.run(sockets=[listener])

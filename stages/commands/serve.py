"""`onoma serve`: the page and the HTTP API of `stages.serving.web`, on loopback by default."""

import argparse
import asyncio
import signal
import socket

from stages.commands.predict import add_model, number
from stages.core.errors import Terminated, UserError
from stages.serving.bundle import load
from stages.serving.server import BACKLOG, host_name, serve


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
    add_model(parser)


def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    import granian  # noqa: F401 - an extra; --help needs none

    from stages.serving.guard import LOOPBACK
    from stages.serving.web import create_app

    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    host = f"[{args.host}]" if ":" in args.host else args.host
    app = create_app(load(args.model), [*LOOPBACK, host.lower(), *args.allow_host])
    try:
        listener = socket.create_server((args.host, args.port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{host}:{args.port}: {reason}; choose another --host or --port") from None
    with listener:
        print(f"serve: http://{host}:{listener.getsockname()[1]} (Ctrl-C stops)", flush=True)
        stopped_by = asyncio.run(serve(app, listener))
    raise Terminated("terminated") if stopped_by == signal.SIGTERM else KeyboardInterrupt

"""`onoma serve`: the page and the HTTP API of `stages.commands.web`, on loopback by default."""

import argparse
import socket
from pathlib import Path

from stages.commands.predict import MODEL, load
from stages.core.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (127.0.0.1: reachable from this machine alone)",
    )
    parser.add_argument("--port", type=_port, default=8000, help="0: any that is free (8000)")
    parser.add_argument(
        "--model", type=Path, default=MODEL, metavar="FOLDER", help=f"the model ({MODEL})"
    )


def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    try:
        import uvicorn

        from stages.commands.web import create_app
    except ImportError as error:
        raise UserError(f"{error}; install what serve needs: pip install 'onoma[serve]'") from None
    app = create_app(load(args.model))
    with listen(args.host, args.port) as place:
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
        host = f"[{args.host}]" if ":" in args.host else args.host
        print(f"serve: http://{host}:{place.getsockname()[1]} (Ctrl-C stops)", flush=True)
        uvicorn.Server(config).run(sockets=[place])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UserError: the address is not ours, or somebody listens there already.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{host}:{port}: {reason}; choose another --host or --port") from None


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**16:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 65535")
    return value


_port.__name__ = "port"  # what argparse calls it in its errors

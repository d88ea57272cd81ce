"""`onoma serve`: the page and the HTTP API of `stages.commands.web`, on loopback by default."""

import argparse
import socket
from pathlib import Path

from stages.commands.predict import MODEL, number
from stages.core.errors import UserError
from stages.serving.bundle import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument(
        "--port", type=number(int, 0, 2**16 - 1), default=8000, help="0: any free one (8000)"
    )
    parser.add_argument(
        "--model", type=Path, default=MODEL, metavar="FOLDER", help=f"the model ({MODEL})"
    )


def run(args: argparse.Namespace) -> None:
    """Serve until interrupted."""
    try:
        import uvicorn

        from stages.commands.web import create_app
    except ImportError as error:
        raise UserError(f"{error}; install the packages: pip install 'onoma[serve]'") from None
    app = create_app(load(args.model))
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    host = f"[{args.host}]" if ":" in args.host else args.host
    try:
        listener = socket.create_server((args.host, args.port), family=family, backlog=2048)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{host}:{args.port}: {reason}; choose another --host or --port") from None
    with listener:
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
        print(f"serve: http://{host}:{listener.getsockname()[1]} (Ctrl-C stops)", flush=True)
        uvicorn.Server(config).run(sockets=[listener])

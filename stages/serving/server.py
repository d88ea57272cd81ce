"""granian, embedded: it serves an ASGI application until a signal stops it."""

import asyncio
import re
import resource
import signal
import socket
from typing import Any

MAX_CONNECTIONS = 1024  # that are served at once; others wait in the kernel's queue
RESERVED = 64  # file descriptors for everything else
BACKLOG = 2048  # length of the kernel's queue
HEADER_SECONDS = 3  # that a client has for a header, or until its next request
STOP_SECONDS = 1  # that answers are still computed and sent after a signal to stop


def host_name(text: str) -> str:
    """The host of ``HOST`` or ``HOST:PORT``, in lower case; an IPv6 address keeps its brackets."""
    match = re.fullmatch(r"([^][:/?#@\s]+|\[[0-9a-f:.]+\])(:\d*)?", text.lower())
    if not match:
        raise ValueError(f"{text!r} is not a host")
    return match[1]


async def serve(app: Any, listener: socket.socket) -> signal.Signals:
    """Serve on a listening socket; return the signal, SIGINT or SIGTERM, that ended it."""
    from granian.constants import HTTPModes, Interfaces  # here: options are parsed without it
    from granian.http import HTTP1Settings
    from granian.net import SocketHolder
    from granian.server.embed import Server

    def use_listener() -> None:
        server._shd = SocketHolder(listener.detach(), False, BACKLOG)

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    server = Server(
        app,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backpressure=min(MAX_CONNECTIONS, max(files - RESERVED, RESERVED)),
        http1_settings=HTTP1Settings(header_read_timeout=1000 * HEADER_SECONDS),
        log_enabled=False,
    )
    # A socket of granian's own would share a port that is in use, and hide which one port 0 is.
    server._init_shared_socket = use_listener
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[signal.Signals] = loop.create_future()

    def handle(number: signal.Signals) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)  # a second one ends the process at once
        stop.set_result(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle, number)
    serving = asyncio.create_task(server.serve())
    await asyncio.wait([serving, stop], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        raise RuntimeError("granian ended by itself") from serving.exception()
    server.stop()  # by itself it would wait for clients without a limit
    await asyncio.wait([serving], timeout=STOP_SECONDS)
    loop.set_exception_handler(lambda *_: None)  # granian completes futures that are cancelled
    return stop.result()

"""A uvicorn server that slow clients can neither fill up nor keep from stopping.

uvicorn waits for a request without a limit and accepts connections until file descriptors run
out; asyncio then logs a traceback for each attempt to accept one.
"""

import asyncio
import os
import resource
import signal
import socket
import sys
from itertools import islice
from types import FrameType

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from stages.serving.guard import SECURITY_HEADERS
from stages.core.errors import UserError

MAX_CONNECTIONS = 1024
RESERVED = 128  # file descriptors for files and for connections that are not yet counted
ACCEPTED_AT_ONCE = 16  # in one turn of the event loop; they count a few turns later
DROPPED_AT_ONCE = 10  # late clients disconnected in a row, ten times a second, while others wait
BACKLOG = 2048  # connections that the kernel queues
DEADLINE = 10  # seconds that a client has to send a request, and to read the answer
STOP = 4  # seconds that requests are still answered after a signal to stop
LINE_SECONDS = 60  # between two lines about refused clients
MALFORMED = (
    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    + "".join(f"{name}: {value}\r\n" for name, value in SECURITY_HEADERS.items())
    + "\r\nInvalid HTTP request\n"
).encode()


class State(ServerState):
    """What the connections of a server share."""

    def __init__(self) -> None:
        super().__init__()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if files < 2 * RESERVED:
            raise UserError(f"{files} open files are too few; allow more: ulimit -n 1024")
        self.capacity = min(MAX_CONNECTIONS, files - RESERVED)
        # When the server began to wait for each connection's client, in the order of these times.
        self.since: dict[Connection, float] = {}
        self.refused = 0
        self.next_line = 0.0

    def refuse(self, now: float) -> None:
        """Count a refused client; print the count, but at most once in `LINE_SECONDS`."""
        self.refused += 1
        if now >= self.next_line:
            about = f"serve: disconnected {self.refused} clients: slow, too many or not HTTP"
            print(about, file=sys.stderr, flush=True)
            self.refused, self.next_line = 0, now + LINE_SECONDS


class Connection(H11Protocol):
    """A connection that is closed if its client is late.

    A new connection above the capacity replaces the one that has waited for its client longest.
    """

    server_state: State

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for the connection if there is none."""
        super().connection_made(transport)
        self.wait()
        if len(self.server_state.since) > self.server_state.capacity:
            next(one for one in self.server_state.since if one.waits).drop()

    def wait(self) -> None:
        """Wait for the client from now on."""
        self.server_state.since.pop(self, None)
        self.server_state.since[self] = self.loop.time()

    @property
    def waits(self) -> bool:
        """Whether the client has to act: to send its request or to read the answer."""
        cycle = self.cycle
        computing = cycle is not None and not cycle.more_body and not cycle.response_complete
        return not computing or self.flow.write_paused

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.wait()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self.server_state.since.pop(self, None)

    def drop(self) -> None:
        """Disconnect a client and count it."""
        self.server_state.refuse(self.loop.time())
        self.abort()

    def abort(self) -> None:
        """Disconnect at once; `close` would wait until the client has read all answers."""
        self.server_state.since.pop(self, None)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP and disconnect, without a line for each."""
        self.server_state.refuse(self.loop.time())
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(MALFORMED)
        self.transport.close()

    def shutdown(self) -> None:
        """Disconnect unless an answer is being computed."""
        if self.waits:
            self.abort()
        else:
            super().shutdown()


class Server(uvicorn.Server):
    """Stops within `STOP` seconds of SIGINT or SIGTERM, at once after a second signal."""

    def __init__(self, app: ASGIApp, deadline: float = DEADLINE):
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_level="error",  # a warning is a client's fault
                access_log=False,
                backlog=ACCEPTED_AT_ONCE,
            )
        )
        self.server_state = self.state = State()
        self.deadline = deadline

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept few connections at once and queue many."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(BACKLOG)  # uvicorn's `backlog` is both this and ACCEPTED_AT_ONCE

    async def on_tick(self, counter: int) -> bool:
        """Disconnect clients that are late. Bytes that arrive do not extend the deadline."""
        now = asyncio.get_running_loop().time()
        for connection, since in list(islice(self.state.since.items(), DROPPED_AT_ONCE)):
            if now < since + self.deadline:
                break
            if connection.waits:
                connection.drop()
            else:
                connection.wait()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more and wait for answers that are being computed."""
        self.state.capacity = 0  # connections that are being accepted are closed
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, or exit if the server is stopping already."""
        # uvicorn's timeout_graceful_shutdown does not end threads and logs a traceback a request.
        if self.should_exit:  # the alarm or a second signal; there is nothing to save
            os._exit(128 + sig)
        signal.signal(signal.SIGALRM, self.handle_exit)
        signal.alarm(STOP)
        super().handle_exit(sig, frame)

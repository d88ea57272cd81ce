"""What protects the HTTP API from slow clients, large bodies and the pages of other sites."""

import asyncio
from collections.abc import Iterable
from ipaddress import ip_address
from math import inf

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stages.core.errors import brief
from stages.serving.server import host_name

BODY_SECONDS = 10  # that a client has for a body
BYTES_PER_SECOND = 2**17  # these give it one second more
BODIES_BYTES = 2**26  # of all bodies that are read or answered
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SECURITY_HEADERS = {
    # The page may run its own script and ask this server; nothing is loaded from elsewhere.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
}


def guarded(app: ASGIApp, hosts: Iterable[str], max_bytes: int) -> ASGIApp:
    """An application that bounds bodies and refuses what a page of another site sends.

    By DNS rebinding, such a page can reach this server under its own hostname, so Host has to be
    one of ``hosts``; else it is the Origin.

    Args:
        app: the application to protect.
        hosts: hostnames and addresses without ports, IPv6 in brackets. ``*`` allows all;
            ``0.0.0.0`` and ``[::]`` allow all addresses, which cannot be rebound.
        max_bytes: size of the largest body.
    """
    hosts, all_bytes = set(hosts), 0
    any_address = not hosts.isdisjoint({"0.0.0.0", "[::]"})

    def allows(host: str) -> bool:
        try:
            name = host_name(host)
            return name in hosts or (any_address and bool(ip_address(name.strip("[]"))))
        except ValueError:
            return False

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        nonlocal all_bytes
        start = asyncio.get_running_loop().time()
        size, is_whole = 0, False

        async def receive_bounded() -> Message:
            nonlocal all_bytes, size, is_whole
            deadline = inf if is_whole else start + BODY_SECONDS + size / BYTES_PER_SECOND
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body arrives too slowly") from None
            part = len(message.get("body", b""))
            size += part
            all_bytes += part
            is_whole = not message.get("more_body")
            if size > max_bytes:
                raise HTTPException(413, f"the body is larger than {max_bytes} bytes")
            if all_bytes > BODIES_BYTES:
                raise HTTPException(503, "busy; try again later")
            return message

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        headers, answer = Headers(scope=scope), app
        host, origin = ", ".join(headers.getlist("host")), headers.get("origin")
        if "*" not in hosts and not allows(host):
            detail = f"this server does not answer for {brief(host)!r}; allow it by --allow-host"
            answer = JSONResponse({"detail": detail}, 421)
        elif origin is not None and origin.partition("://")[2].lower() != host.lower():
            answer = JSONResponse({"detail": f"{brief(origin)!r} is another site"}, 403)
        try:
            await answer(scope, receive_bounded, send_with_headers)
        finally:
            all_bytes -= size

    return guard

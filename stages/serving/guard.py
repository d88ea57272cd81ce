"""What protects the HTTP API from requests that other sites send by a user's browser."""

from collections.abc import Iterable
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stages.commands.serve import host_name
from stages.core.errors import brief

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SECURITY_HEADERS = {
    # The page may run its own script and ask this server; nothing is loaded from elsewhere.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Adds security headers to every response; refuses ambiguous requests and those of other sites.

    By DNS rebinding, a page of another site can reach this server under its own hostname, so Host
    has to be one of ``hosts``. A request of another site's page has that site as its Origin.

    Args:
        app: the application.
        hosts: hostnames and addresses without ports, IPv6 in brackets. ``*`` allows all;
            ``0.0.0.0`` and ``[::]`` allow all addresses, which cannot be rebound.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]):
        self.app = app
        self.hosts = set(hosts)
        self.addresses = not self.hosts.isdisjoint({"0.0.0.0", "[::]"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request or pass it on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        app = self._refusal(Headers(scope=scope)) or self.app
        await app(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers) -> Response | None:
        """The response to a request that is refused, else None."""
        if "content-length" in headers and "transfer-encoding" in headers:  # request smuggling
            why = "both Content-Length and Transfer-Encoding"
            return JSONResponse({"detail": why}, 400, {"Connection": "close"})
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._allows(host):
            why = f"this server does not answer for {brief(host)!r}; allow it by --allow-host"
            return JSONResponse({"detail": why}, 421)
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return JSONResponse({"detail": f"{brief(origin)!r} is another site"}, 403)
        return None

    def _allows(self, host: str) -> bool:
        if "*" in self.hosts:
            return True
        try:
            name = host_name(host)
            return name in self.hosts or (self.addresses and bool(ip_address(name.strip("[]"))))
        except ValueError:
            return False

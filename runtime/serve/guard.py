"""Access control before a request is read: host, rate, origin, token and size."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import urlsplit

from fastapi import HTTPException, WebSocket
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..net_security import is_loopback, tokens_match
from .limits import BURST_S, BUSY, Buckets, Slots
from .metrics import Metrics
from .settings import Settings

PUBLIC = ("/", "/healthz", "/readyz")  # no token needed
PROBES = ("/healthz", "/readyz")  # no rate limit
MAX_REQUESTS = 32  # at a time, besides probes and WebSockets
SAFE = ("GET", "HEAD", "OPTIONS")
PROTOCOL = "motionrt"  # WebSocket subprotocol that the server selects
_HOST = re.compile(r"(\[[^][]*\]|[^][:@/]*)(:\d*)?")
BEARER = "bearer."  # prefix of the subprotocol that carries the token, in base64url without padding


class Guard:
    """ASGI middleware that rejects requests with an HTTP status and one line of JSON.

    A server without a token is for its own machine only: the header `Host` must name a loopback address, so that a web
    site cannot point its own domain at it (DNS rebinding). Except for reading, the `Origin` of a web page must be the
    server's own or one of the settings'. The token is in the header `Authorization: Bearer TOKEN` or, since a page
    cannot set that header, in one of the subprotocols that a WebSocket offers.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._requests = Buckets(settings.requests_per_s, BURST_S * settings.requests_per_s)
        self._slots = Slots(MAX_REQUESTS)
        self._too_long = f"the body is longer than {settings.body_bytes} bytes"
        self._origins = tuple(origin.rstrip("/").lower() for origin in settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] == "lifespan" else self._refusal(scope)
        if refusal is None and (scope["type"] != "http" or scope["path"] in PROBES):
            await self._app(scope, receive, send)
            return
        if refusal is None and self._slots.acquire():
            try:
                await self._app(scope, self._limited(receive), send)
            finally:
                self._slots.release()
            return
        if refusal is None:
            refusal = "requests", 503, BUSY, {"Retry-After": "1"}
        reason, status, detail, headers = refusal
        self._metrics.refused.labels(reason).inc()
        response = JSONResponse({"detail": detail}, status, headers)
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(response)
        else:
            await response(scope, receive, send)

    def _limited(self, receive: Receive) -> Receive:
        """Enforce the size limit on a body without Content-Length."""
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._settings.body_bytes:
                raise HTTPException(413, self._too_long)
            return message

        return limited

    def _refusal(self, scope: Scope) -> tuple[str, int, str, dict[str, str]] | None:
        """Metric label, HTTP status, message and headers of a refusal; None if the request is accepted."""
        headers, path = Headers(scope=scope), scope["path"]
        if "content-length" in headers and "transfer-encoding" in headers:  # a proxy may have read another body
            return "size", 400, "expected Content-Length or Transfer-Encoding, not both", {"Connection": "close"}
        is_socket = scope["type"] == "websocket"
        host = headers.get("host", "")
        if self._settings.token is None and not self._is_own_host(host):
            return "host", 403, "a server without a token accepts only requests for a loopback address", {}
        pages = [] if not is_socket and scope["method"] in SAFE else headers.getlist("origin")
        if not all(self._is_allowed_origin(page.lower(), host.lower()) for page in pages):
            return (
                "origin",
                403,
                "pages of this origin are not allowed; see the server's option --origin",
                {},
            )
        # after the origin, so that a web page of another site cannot use up the rate of its user
        if path not in PROBES and not self._requests.take((scope["client"] or ("",))[0]):
            rate = f"{self._settings.requests_per_s:g}"
            return "rate", 429, f"more than {rate} requests per second from one address", {"Retry-After": "1"}
        if path not in PUBLIC and not self._has_token(headers, scope):
            return "token", 401, "expected the header Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
        if int(headers.get("content-length", "0")) > self._settings.body_bytes:
            return "size", 413, self._too_long, {}
        return None

    def _is_own_host(self, host: str) -> bool:
        name = _hostname(f"//{host}") if _HOST.fullmatch(host) else None
        return is_loopback(name) or any(name == _hostname(origin) for origin in self._origins)

    def _is_allowed_origin(self, page: str, host: str) -> bool:
        return page in (f"http://{host}", f"https://{host}", *self._origins)

    def _has_token(self, headers: Headers, scope: Scope) -> bool:
        if self._settings.token is None:
            return True
        tokens = [value[7:] for value in headers.getlist("authorization") if value[:7].lower() == "bearer "]
        tokens += [_decode(protocol) for protocol in scope.get("subprotocols", ()) if protocol.startswith(BEARER)]
        return len(tokens) == 1 and tokens_match(tokens[0], self._settings.token)


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _decode(protocol: str) -> str:
    text = protocol.removeprefix(BEARER)
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        return ""

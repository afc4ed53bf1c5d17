"""Who is let in: hosts, rates, web pages and the token, before anything is read."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlsplit

from fastapi import HTTPException, WebSocket
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..net_security import is_loopback, tokens_match
from .limits import BURST_S, Buckets
from .metrics import Metrics
from .settings import Settings

PUBLIC = ("/", "/healthz", "/readyz")  # without the token
PROBES = ("/healthz", "/readyz")  # as often as one likes
SAFE = ("GET", "HEAD", "OPTIONS")
PROTOCOL = "motionrt"  # what a WebSocket that offers protocols is answered with
BEARER = "bearer."  # a protocol with the token behind it, in base64url without padding


class Guard:
    """Turns away, with the status and one line of JSON, who may not come in.

    Without a token a server is for its own machine: the `Host` that is asked for must be a loopback address, lest a
    page elsewhere gives its own name our address (DNS rebinding). Pages, which tell their `Origin`, must be the
    server's own or among the settings' for all but reading. The token stands in the header `Authorization: Bearer
    TOKEN`, or, since a page cannot set that, in one of the protocols that a WebSocket offers.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._requests = Buckets(settings.requests_per_s, BURST_S * settings.requests_per_s)
        self._too_long = f"the body is longer than {settings.body_bytes} bytes"
        self._origins = tuple(origin.rstrip("/").lower() for origin in settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None if scope["type"] == "lifespan" else self._refusal(scope)
        if refusal is None:
            await self._app(scope, self._limited(receive) if scope["type"] == "http" else receive, send)
            return
        why, status, detail, headers = refusal
        self._metrics.refused.labels(why).inc()
        response = JSONResponse({"detail": detail}, status, headers)
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(response)
        else:
            await response(scope, receive, send)

    def _limited(self, receive: Receive) -> Receive:
        """For a body whose length is not told."""
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._settings.body_bytes:
                raise HTTPException(413, self._too_long)
            return message

        return limited

    def _refusal(self, scope: Scope) -> tuple[str, int, str, dict[str, str]] | None:
        """Why, the status, what is told, and headers."""
        headers, path = Headers(scope=scope), scope["path"]
        is_socket = scope["type"] == "websocket"
        if path not in PROBES and not self._requests.take((scope["client"] or ("",))[0]):
            rate = f"{self._settings.requests_per_s:g}"
            return "rate", 429, f"more than {rate} requests a second from one address", {"Retry-After": "1"}
        host = headers.get("host", "")
        if self._settings.token is None and not self._is_own(host):
            return "host", 403, "a server without a token is asked for by a loopback address alone", {}
        pages = [] if not is_socket and scope["method"] in SAFE else headers.getlist("origin")
        if not all(self._is_allowed(page.lower(), host.lower()) for page in pages):
            return "origin", 403, "pages of this origin may not connect; the server's --origin names those that may", {}
        if path not in PUBLIC and not self._has_token(headers, scope):
            return "token", 401, "expected the header Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
        if int(headers.get("content-length", "0")) > self._settings.body_bytes:
            return "size", 413, self._too_long, {}
        return None

    def _is_own(self, host: str) -> bool:
        name = _hostname(f"//{host}")
        return is_loopback(name) or any(name == _hostname(origin) for origin in self._origins)

    def _is_allowed(self, page: str, host: str) -> bool:
        return page in (f"http://{host}", f"https://{host}", *self._origins)

    def _has_token(self, headers: Headers, scope: Scope) -> bool:
        if self._settings.token is None:
            return True
        given = [value[7:] for value in headers.getlist("authorization") if value[:7].lower() == "bearer "]
        given += [_decoded(one) for one in scope.get("subprotocols", ()) if one.startswith(BEARER)]
        return len(given) == 1 and tokens_match(given[0], self._settings.token)


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _decoded(protocol: str) -> str:
    text = protocol.removeprefix(BEARER)
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        return ""

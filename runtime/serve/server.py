"""`serve`: runs the server until it is told to end, and lets nobody wait for a reply in vain."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from ..io.net import bind
from .app import create_app
from .settings import Settings

DRAIN_S, GRACE_S = 2.0, 2  # for clients' replies; then for HTTP requests that are being answered
MORE_CONNECTIONS = 32  # than WebSockets: HTTP
OPTIONS = (  # of the listening socket, which those of clients inherit
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15),  # bytes unread: what waits longer is old, and others wait for it
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),  # else a reply waits for the ACK of the one before
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),  # a client that is silent is asked after so many seconds, …
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),  # … and again so often, …
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),  # … and gone if that remains unanswered
)
SWITCH_S = 0.0005  # for which a thread may keep others waiting that want to compute, too


def serve(settings: Settings, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C; then clients have their replies and are told to go, within 5 s.

    Args:
        host, port: where to listen; port 0 takes a free one.
        tell: is handed the address once clients may come.
    Raises:
        InputError: the address cannot be bound, or is not a loopback one while `settings` have no token.
        BundleError: see `create_app`.
    """
    server = Server(settings, host, port, tell)
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()  # what is there stays: to look through it again would keep everybody waiting for 40 ms
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn sends it once more at the end
    try:
        with suppress(KeyboardInterrupt):
            server.run()
    finally:
        signal.signal(signal.SIGTERM, before)


class Server(uvicorn.Server):
    """A server that listens already; `run` serves. Arguments and errors are those of `serve`.

    Attributes:
        url: with the port that was bound.
    """

    def __init__(self, settings: Settings, host: str, port: int, tell: Callable[[str], None]) -> None:
        name = f"[{host}]" if ":" in host else host
        has_token = settings.token is not None
        self._listening = bind(f"http://{name}:{port}", "http", host, port, has_token=has_token, option="--token-file")
        for level, option, value in OPTIONS:
            self._listening.setsockopt(level, option, value)
        self.url = f"http://{name}:{self._listening.getsockname()[1]}"
        self._tell = tell
        app = create_app(settings)
        self._service = app.state.service
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                ws=_Protocol,
                ws_max_size=settings.message_bytes,
                ws_per_message_deflate=False,
                ws_ping_interval=None,  # a pong would wait behind a client's frames: TCP finds out who is gone
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=settings.clients + MORE_CONNECTIONS,
                timeout_graceful_shutdown=GRACE_S,
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run([self._listening])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell(self.url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await self._service.drain(DRAIN_S)
        await super().shutdown(sockets)


class _Protocol(WebSocketsSansIOProtocol):
    """Gives up a connection whose client does not read what is left to be sent when the conversation is over."""

    async def send(self, message: Any) -> None:
        await super().send(message)
        self.handshake_complete |= self.close_sent  # a refusal is complete, too, and nothing to complain of

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.loop.call_later(GRACE_S, self.transport.abort)

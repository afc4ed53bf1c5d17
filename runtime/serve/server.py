"""`serve`: runs the server until it is told to end, and lets nobody wait for a reply in vain."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import Any, TypeVar

import uvicorn
from h11 import LocalProtocolError
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

from ..net_security import bind
from .app import create_app
from .settings import Settings

DRAIN_S, GRACE_S = 2.0, 2  # for clients' replies; then for HTTP requests that are being answered
MORE_CONNECTIONS = 32  # than WebSockets: HTTP
REQUEST_S = 10.0  # in which a request has to come in
MAX_FRAGMENTS = 1000  # of a WebSocket's message
MAX_UNSENT_BYTES = 1 << 20  # bytes of pongs
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
OPTIONS = (  # of the listening socket, which those of clients inherit
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15),  # bytes unread: what waits longer is old, and others wait for it
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),  # else a reply waits for the ACK of the one before
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),  # a client that is silent is asked after so many seconds, …
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),  # … and again so often, …
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),  # … and gone if that remains unanswered
)
M_ARENA_MAX = -8  # of glibc's mallopt
SWITCH_S = 0.0005  # for which a thread may keep others waiting that want to compute, too

T = TypeVar("T")


def serve(settings: Settings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C; then clients have their replies and are told to go, within 5 s.

    Args:
        host, port: where to listen; port 0 takes a free one.
        on_ready: is handed the address once clients may come.
    Raises:
        InputError: the address cannot be bound, or is not a loopback one while `settings` have no token.
        BundleError: see `create_app`.
    """
    server = tune_process(lambda: Server(settings, host, port, on_ready))
    logging.getLogger("uvicorn.error").addFilter(should_log)
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn sends it once more at the end
    try:
        with suppress(KeyboardInterrupt):
            server.run()
    finally:
        signal.signal(signal.SIGTERM, before)


def listen(settings: Settings, host: str, port: int) -> tuple[socket.socket, str]:
    """A socket that listens, and its address, with the port that was bound. Errors are those of `serve`."""
    name = f"[{host}]" if ":" in host else host
    has_token = settings.token is not None
    bound = bind(f"http://{name}:{port}", "http", host, port, has_token=has_token, option="--token-file")
    return bound, f"http://{name}:{bound.getsockname()[1]}"


def tune_process(load: Callable[[], T]) -> T:
    """What `load` returns, in a process made ready to serve with it for long and without pauses."""
    with suppress(OSError, AttributeError):  # another C library; glibc gives each thread a heap, which does not shrink
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    loaded = load()
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()  # what is there stays: to look through it again would keep everybody waiting for 40 ms
    return loaded


def should_log(record: logging.LogRecord) -> bool:
    """Whether uvicorn may tell of it: not of what is no HTTP or no UTF-8, which a client may send without end."""
    error = record.exc_info[1] if record.exc_info else None
    is_clients = isinstance(error, LocalProtocolError) or record.getMessage().startswith("Invalid UTF-8")
    return record.levelno > logging.WARNING and not is_clients


class Server(uvicorn.Server):
    """A server that listens already; `run` serves. Arguments and errors are those of `serve`.

    Attributes:
        url: with the port that was bound.
    """

    def __init__(self, settings: Settings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
        self._listening, self.url = listen(settings, host, port)
        for level, option, value in OPTIONS:
            self._listening.setsockopt(level, option, value)
        self._on_ready = on_ready
        app = create_app(settings)
        self._service = app.state.service
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=_Http,
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
        self._on_ready(self.url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await self._service.drain(DRAIN_S)
        await super().shutdown(sockets)


class _Http(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """Gives up a connection on which no request comes in: it takes the place of others."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._look_again(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._looking.cancel()  # else it would be kept until then
        super().connection_lost(error)

    def handle_websocket_upgrade(self, *event: Any) -> None:
        self._looking.cancel()
        super().handle_websocket_upgrade(*event)

    def _look_again(self, before: Any) -> None:
        self._looking = self.loop.call_later(REQUEST_S, self._look, before)

    def _look(self, before: Any) -> None:
        """`before`: the request of so long ago."""
        cycle = self.cycle
        if cycle is before and (cycle is None or cycle.response_complete or cycle.more_body):
            self.transport.abort()
        else:
            self._look_again(cycle)


class _Protocol(WebSocketsSansIOProtocol):
    """Gives up a connection whose client does not read pongs, sends a message in too many parts, or does not read what
    is left to be sent when the conversation is over."""

    def handle_connect(self, event: Request) -> None:
        """Headers that are not ASCII neither websockets nor uvicorn can answer."""
        if all(text.isascii() for text in (event.path, *chain(*event.headers.raw_items()))):
            super().handle_connect(event)
        else:
            self.transport.write(BAD_REQUEST)
            self.transport.close()

    def handle_ping(self) -> None:
        super().handle_ping()
        if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        super().handle_cont(event)
        if len(self.frames) > MAX_FRAGMENTS:
            self.transport.abort()

    def send_receive_event_to_app(self) -> None:
        with suppress(InvalidState):  # text that is no UTF-8, of which a client is not told that is leaving
            super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        await super().send(message)
        self.handshake_complete |= self.close_sent  # a refusal is complete, too, and nothing to complain of

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.loop.call_later(GRACE_S, self.transport.abort)

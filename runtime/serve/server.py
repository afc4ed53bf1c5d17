"""`serve`: runs the server until it receives a signal, and shuts it down without losing replies."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import uvicorn
from h11 import LocalProtocolError

from ..net_security import bind
from .app import create_app
from .protocols import HttpProtocol, WebSocketProtocol
from .settings import Settings

DRAIN_S, GRACE_S = 2.0, 2  # time limits of a shutdown: for WebSockets, then for HTTP requests
RESERVED_FILES = 16  # file descriptors that are not for connections
ACCEPT_AGAIN_S = 0.1  # while no more files can be opened
WAITING_CONNECTIONS = 1024  # in the kernel
SOCKET_OPTIONS = (  # of the listening socket; accepted sockets inherit them
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15),  # bytes: frames that wait longer would be outdated
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),  # do not delay a reply until the one before is acknowledged
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),  # probe silent clients …
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),  # … after so many seconds …
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),  # … and again so often, …
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),  # … at most this many times
)
M_ARENA_MAX = -8  # parameter of glibc's mallopt
SWITCH_INTERVAL_S = 0.0005  # how long a thread may hold the interpreter lock while others wait for it

T = TypeVar("T")


def serve(settings: Settings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM, SIGHUP or Ctrl-C, then send pending replies and close all connections within 5 s.

    Args:
        host, port: address to listen on; port 0: any free port.
        on_ready: called with the URL once the server accepts clients.
    Raises:
        InputError: the address cannot be bound, or is not a loopback address although `settings` have no token.
        BundleError: see `create_app`.
    """
    server = tune_process(lambda: Server(settings, host, port, on_ready))
    logging.getLogger("uvicorn.error").addFilter(should_log)
    handlers: dict[int, Any] = {signal.SIGTERM: lambda *_: None}  # uvicorn handles it, and raises it again at the end
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under `nohup`
        handlers[signal.SIGHUP] = server.handle_exit
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with suppress(KeyboardInterrupt):
            server.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(settings: Settings, host: str, port: int) -> tuple[socket.socket, str]:
    """A listening socket and its URL with the port that was bound. Raises the errors of `serve`."""
    name = f"[{host}]" if ":" in host else host
    has_token = settings.token is not None
    bound = bind(f"http://{name}:{port}", "http", host, port, has_token=has_token)
    return bound, f"http://{name}:{bound.getsockname()[1]}"


def tune_process(load: Callable[[], T]) -> T:
    """Call `load`, then tune this process to serve its result for a long time without pauses; returns the result."""
    with suppress(OSError, AttributeError):  # not glibc, which gives each thread an arena that never shrinks
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    loaded = load()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()  # scanning the loaded objects again would block all clients for 40 ms
    return loaded


def free_files() -> int:
    """Number of files that this process may still open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - len(os.listdir("/proc/self/fd"))


def should_log(record: logging.LogRecord) -> bool:
    """Log filter for uvicorn: errors only, and none of those that any client can cause (invalid HTTP or UTF-8)."""
    error = record.exc_info[1] if record.exc_info else None
    is_caused_by_client = isinstance(error, LocalProtocolError) or record.getMessage().startswith("Invalid UTF-8")
    return record.levelno > logging.WARNING and not is_caused_by_client


class Server(uvicorn.Server):
    """A server that already listens; `run` serves. Arguments and errors are those of `serve`.

    Attributes:
        url: address, with the port that was bound.
    """

    def __init__(self, settings: Settings, host: str, port: int, on_ready: Callable[[str], None]) -> None:
        self._listener, self.url = listen(settings, host, port)
        for level, option, value in SOCKET_OPTIONS:
            self._listener.setsockopt(level, option, value)
        self._on_ready = on_ready
        app = create_app(settings)
        self._service = app.state.service
        super().__init__(
            uvicorn.Config(
                app,
                loop="asyncio",
                http=HttpProtocol,
                ws=WebSocketProtocol,
                ws_max_size=settings.message_bytes,
                ws_per_message_deflate=False,
                ws_ping_interval=None,  # pongs would queue behind frames; TCP keepalive detects dead peers
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.proxies),
                forwarded_allow_ips=list(settings.proxies),
                timeout_graceful_shutdown=GRACE_S,
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        super().run([self._listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        self._listener.listen(WAITING_CONNECTIONS)
        self._listener.setblocking(False)
        self._max_connections = free_files() - RESERVED_FILES
        self._accepting = asyncio.create_task(self._accept())
        self._on_ready(self.url)

    async def _accept(self) -> None:
        """Accept connections one by one, so that clients have their turn and few are not counted yet."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
                await loop.connect_accepted_socket(self._protocol, connection)
            except ConnectionError:  # the client has left
                pass
            except OSError:
                await asyncio.sleep(ACCEPT_AGAIN_S)

    def _protocol(self) -> HttpProtocol:
        protocol = HttpProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        protocol.max_connections = self._max_connections
        return protocol

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._listener.close()
        await self._service.drain(DRAIN_S, GRACE_S)
        await super().shutdown()
        if self._service.access_log is not None:
            self._service.access_log.close()

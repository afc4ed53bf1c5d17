"""uvicorn's protocols, with limits that uvicorn does not have.

Both classes rely on undocumented methods and attributes of uvicorn, so pyproject.toml bounds its version;
tests/runtime/serve/test_protocols.py lists them.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import suppress
from itertools import chain
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.http11 import Request

MAX_IDLE = 64  # connections without a request
REQUEST_S = 10.0  # time limit for the arrival of a request
FLUSH_S = 2.0  # time limit for sending what is buffered when a WebSocket session is over
MAX_FRAGMENTS = 1000  # per WebSocket message
MAX_UNSENT_BYTES = 1 << 20  # buffered pongs
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class HttpProtocol(H11Protocol):
    """Drops connections on which no request arrives: after `REQUEST_S`, or earlier if there are too many.

    A new connection is accepted as long as there is one without a request; the address that has most of those loses its
    oldest one. The parser is h11, which limits and checks headers, even if the faster httptools is installed.

    Attributes:
        max_connections: limit of connections, WebSockets included.
    """

    max_connections = sys.maxsize

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        has_room = self._make_room()
        super().connection_made(transport)
        self._made_s = self.loop.time()
        self._schedule_check(None)
        if not has_room:
            transport.abort()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _make_room(self) -> bool:
        """Drop a connection without a request if there are too many; False if all have one."""
        idle = [one for one in self.connections if isinstance(one, HttpProtocol) and one._is_idle]
        is_full = len(self.connections) >= self.max_connections
        if not idle or (len(idle) < MAX_IDLE and not is_full):
            return not is_full
        addresses = [one.client[0] if one.client else "" for one in idle]
        [(worst, _)] = Counter(addresses).most_common(1)
        ages = [(one._made_s, i) for i, one in enumerate(idle) if addresses[i] == worst]
        oldest = idle[min(ages)[1]]
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._check_timer.cancel()  # it would keep the closed connection in memory
        super().connection_lost(error)

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._check_timer.cancel()
        super().handle_websocket_upgrade(event)

    def _schedule_check(self, last_cycle: Any) -> None:
        self._check_timer = self.loop.call_later(REQUEST_S, self._check, last_cycle)

    def _check(self, last_cycle: Any) -> None:
        """`last_cycle`: the request at the last check."""
        cycle = self.cycle
        if cycle is last_cycle and (self._is_idle or cycle.more_body):
            self.transport.abort()
        else:
            self._schedule_check(cycle)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Drops clients that do not read pongs, split a message into too many frames, or do not read after the end."""

    def handle_connect(self, event: Request) -> None:
        """Refuse non-ASCII headers, which neither websockets nor uvicorn can answer."""
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
        with suppress(InvalidState):  # invalid UTF-8 from a client that is closing: no error can be sent
            super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        await super().send(message)
        self.handshake_complete |= self.close_sent  # a refusal completes the handshake, too: nothing to warn about

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.loop.call_later(FLUSH_S, self.transport.abort)

"""Skeletons from the network: listeners at `udp://HOST:PORT` and `ws://HOST:PORT`.

A datagram or WebSocket message is one JSON message (see `jsonl`), or a list of them for several people at one time.
`{"end": true}` ends the stream. A loopback address accepts messages from any local program; other addresses require a
token, which senders present as `"token"` in every udp message, or in the ws header `Authorization: Bearer TOKEN`.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from ..body.motion_data import MAX_PEOPLE
from ..errors import InputError
from ..extras import require
from ..net_security import bind, is_local_origin, tokens_match
from .frame import HEARTBEAT_S, Frame, SourceUpdate
from .jsonl import ArrivalClock, parse_frames, parse_json
from .latest_queue import LatestQueue
from .malformed import Malformed
from .video import redact_credentials

SCHEMES = ("udp", "ws")
ADDRESS = re.compile(
    r"(?P<scheme>udp|ws|zmq)://(\[(?P<ipv6>[^][/@]+)\]|(?P<host>[^][:/@]+)):(?P<port>\d{1,5})/?",
    re.ASCII | re.IGNORECASE,
)
MAX_MESSAGE = 1 << 20  # bytes
MAX_DATAGRAM = 65_535  # bytes
MAX_CLIENTS = 8
FORGET_S = 0.5  # people silent for longer can be replaced by others
SLACK_S = 1e-4  # rounding tolerance when comparing times
POLL_S = 0.1
OPEN_TIMEOUT_S, CLOSE_TIMEOUT_S = 2.0, 0.5  # of a WebSocket

logger = logging.getLogger(__name__)


class Inbox:
    """Received messages that were not consumed yet, the newest of each person, as an iterator of source updates.

    All people with a pending message form one snapshot. Its time is that of the newest message; heartbeats extrapolate
    it by the clock. All messages of a stream have the same clock, which does not run backwards.

    Attributes:
        dropped: messages replaced by a newer one of the same person.
        malformed: messages that are too long or invalid, or exceed the number of people; one line per sender and
            minute is logged.
        rejected: messages without the token, and connections that were refused.
    """

    def __init__(self, name: str, *, layout: str | None = None, token: str | None = None) -> None:
        self.rejected = 0
        self._layout, self._token = layout, token
        self._problems = Malformed(name)
        self._clock = ArrivalClock(partial(logger.warning, "%s: %s", name))
        self._queue: LatestQueue[Frame] = LatestQueue()
        self._seen: dict[int, float] = {}  # person -> time of the newest message, s
        self._lock = threading.Lock()

    @property
    def dropped(self) -> int:
        return self._queue.dropped

    @property
    def malformed(self) -> int:
        return self._problems.count

    @property
    def closed(self) -> bool:
        return self._queue.closed

    def __iter__(self) -> Iterator[SourceUpdate]:
        last: tuple[float, float] | None = None  # time of the last snapshot, clock when it was taken
        while (frames := self._queue.take(HEARTBEAT_S)) is not None:
            if frames:
                frames.sort(key=lambda frame: frame.t)
                last = frames[-1].t, time.monotonic()
                yield frames[-1].t, frames
            elif last is not None:
                yield last[0] + time.monotonic() - last[1], None

    def receive(self, data: str | bytes, sender: str = "", *, trusted: bool = False) -> None:
        """Process a message.

        Args:
            sender: its host, for the log.
            trusted: whether the sender has already presented the token.
        """
        try:
            if len(data) > MAX_MESSAGE:
                raise InputError(f"is longer than {MAX_MESSAGE} bytes")
            value = parse_json(data)
            messages = value if isinstance(value, list) else [value]
            if not trusted and not all(self._is_authorized(message) for message in messages):
                self.reject()
                return
            ends = any(isinstance(message, dict) and message.get("end") is True for message in messages)
            if not ends:
                self._put(parse_frames(value, self._layout, self._clock.arrival(value)))
        except InputError as error:
            self.count_malformed(str(error), sender)
        else:
            if ends:
                self.close()

    def accepts_token(self, token: str) -> bool:
        """Check a token in constant time; True if none is required."""
        return self._token is None or tokens_match(token, self._token)

    def reject(self) -> None:
        with self._lock:
            self.rejected += 1

    def count_malformed(self, reason: str, sender: str = "") -> None:
        """Count a malformed message."""
        self._problems.add(reason, sender or None)

    def close(self, error: Exception | None = None) -> None:
        """End the stream; pending messages can still be taken."""
        self._queue.close(error)

    def _is_authorized(self, message: Any) -> bool:
        token = message.get("token", "") if isinstance(message, dict) else ""
        return self.accepts_token(token if isinstance(token, str) else "")

    def _put(self, frames: list[Frame]) -> None:
        with self._lock:  # messages are ordered by arrival
            for frame in frames:
                self._make_room(frame)
                self._seen[frame.person] = frame.t
            self._queue.put({frame.person: frame for frame in frames})

    def _make_room(self, frame: Frame) -> None:
        if frame.person in self._seen or len(self._seen) < MAX_PEOPLE:
            return
        oldest = max(self._seen, key=lambda person: abs(frame.t - self._seen[person]))  # also if the clock was set back
        if abs(frame.t - self._seen[oldest]) <= FORGET_S + SLACK_S:
            raise InputError(f"is of person {frame.person}, but at most {MAX_PEOPLE} people are tracked")
        del self._seen[oldest]


class Listener(Protocol):
    name: str  # the address with the actual port
    address: tuple[str, int]  # host, port

    def close(self) -> None: ...


def listen(url: str, *, layout: str | None = None, token: str | None = None) -> tuple[Inbox, Listener]:
    """Listen at `udp://HOST:PORT` or `ws://HOST:PORT`; port 0 selects a free one.

    Args:
        url: an IPv6 address must be in brackets.
        layout: for messages that do not name theirs.
        token: required from senders; optional if HOST is a loopback address.

    Raises:
        InputError: the address is malformed, cannot be bound, or requires a token.
        MissingExtra: websockets is not installed, for ws://.
    """
    scheme, host, port = parse_address(url)
    websockets = require("websockets.sync.server", "net", "ws://") if scheme == "ws" else None
    bound = bind(url, scheme, host, port, has_token=bool(token))
    address = (host, int(bound.getsockname()[1]))
    name = f"{scheme}://{f'[{host}]' if ':' in host else host}:{address[1]}"
    inbox = Inbox(name, layout=layout, token=token or None)
    if websockets is None:
        return inbox, UdpListener(name, address, bound, inbox)
    return inbox, WebSocketListener(name, address, bound, inbox, websockets)


class UdpListener:
    """Receives datagrams in a thread."""

    def __init__(self, name: str, address: tuple[str, int], bound: socket.socket, inbox: Inbox) -> None:
        self.name, self.address = name, address
        self._socket, self._inbox = bound, inbox
        self._socket.settimeout(POLL_S)
        self._thread = threading.Thread(target=self._follow, name="udp", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._inbox.close()
        self._thread.join(timeout=10 * POLL_S)

    def _follow(self) -> None:
        try:
            while not self._inbox.closed:
                try:
                    data, sender = self._socket.recvfrom(MAX_DATAGRAM)
                    self._inbox.receive(data, _address(sender))
                except TimeoutError:
                    continue
        except OSError as error:
            self._inbox.close(InputError(f"cannot receive: {error.strerror}"))
        except Exception as error:  # otherwise the consumer would wait forever
            self._inbox.close(error)
        finally:
            self._socket.close()


class WebSocketListener:
    """Receives WebSocket messages in a thread per connection.

    Web pages from other origins than loopback addresses are refused, as browsers let any page connect to localhost.
    """

    def __init__(
        self, name: str, address: tuple[str, int], bound: socket.socket, inbox: Inbox, websockets: Any
    ) -> None:
        self.name, self.address = name, address
        self._inbox = inbox
        self._slots = threading.BoundedSemaphore(MAX_CLIENTS)
        self._server = websockets.serve(
            self._follow,
            sock=bound,
            process_request=self._admit,
            compression=None,
            max_size=MAX_MESSAGE,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            server_header=None,
            logger=_quiet_logger(),
        )
        self._thread = threading.Thread(target=self._serve, name="ws", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._inbox.close()  # closes every connection
        ending = threading.Thread(target=self._server.shutdown, daemon=True)
        ending.start()
        ending.join(timeout=OPEN_TIMEOUT_S)
        self._thread.join(timeout=OPEN_TIMEOUT_S)

    def _serve(self) -> None:
        """Accept clients until the end; without free file descriptors, which ends `serve_forever`, try again."""
        while True:
            with suppress(OSError):
                self._server.serve_forever()
            if self._inbox.closed:
                return
            time.sleep(POLL_S)

    def _admit(self, connection: Any, request: Any) -> Any:
        """The response that refuses a client, or None."""
        values = request.headers.get_all("Authorization")
        is_bearer = len(values) == 1 and values[0].startswith("Bearer ")
        if not self._inbox.accepts_token(values[0].removeprefix("Bearer ") if is_bearer else ""):
            self._inbox.reject()
            response = connection.respond(401, "expected the header Authorization: Bearer TOKEN\n")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        if not all(is_local_origin(origin) for origin in request.headers.get_all("Origin")):
            self._inbox.reject()
            return connection.respond(403, "web pages from other origins cannot connect\n")
        return None

    def _follow(self, connection: Any) -> None:
        if not self._slots.acquire(blocking=False):
            self._inbox.reject()
            connection.close(1013, f"{MAX_CLIENTS} clients are already connected")
            return
        try:
            self._take_messages(connection)
        finally:
            self._slots.release()

    def _take_messages(self, connection: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        sender = ""
        with suppress(OSError):  # the connection may be closed already
            sender = _address(connection.remote_address)
        try:
            while not self._inbox.closed:
                try:
                    self._inbox.receive(connection.recv(timeout=POLL_S, decode=False), sender, trusted=True)
                except TimeoutError:
                    continue
        except ConnectionClosed as error:
            if error.sent is not None and error.sent.code == 1009:
                self._inbox.count_malformed(f"is longer than {MAX_MESSAGE} bytes", sender)


def parse_address(url: str) -> tuple[str, str, int]:
    """Split udp://HOST:PORT, ws:// or zmq:// into scheme, host and port. Raises InputError: it is none of them."""
    parts = ADDRESS.fullmatch(url)
    if parts is None or int(parts["port"]) > 65_535:
        scheme = url.partition("://")[0].lower()
        raise InputError(f"{redact_credentials(url)}: expected {scheme}://HOST:PORT, such as {scheme}://127.0.0.1:9000")
    return parts["scheme"].lower(), parts["host"] or parts["ipv6"], int(parts["port"])


def _address(sender: tuple[Any, ...] | None) -> str:
    """Host of a sender, for the log; the port may change with every message."""
    return "" if not sender else str(sender[0])


def _quiet_logger() -> logging.Logger:
    """Logger that keeps failed handshakes off stderr."""
    quiet = logging.getLogger(f"{__name__}.server")
    if not quiet.handlers:
        quiet.addHandler(logging.NullHandler())
    return quiet

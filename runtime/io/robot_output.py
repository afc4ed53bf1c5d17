"""Outputs of a robot's reference in real time: standard output, udp://, ws:// and zmq:// addresses."""

from __future__ import annotations

import socket
import threading
from typing import Any, Protocol

from ..errors import InputError
from ..extras import require
from .latest_queue import LatestQueue
from .net import parse_address

RETRY_S = 1.0
OPEN_TIMEOUT_S, CLOSE_TIMEOUT_S = 2.0, 0.5
QUEUED = 10  # messages for a subscriber of ZeroMQ
ROS = "ros+"  # before an address: messages of ROS 2


class RobotOutput(Protocol):
    """Takes messages, JSON or bytes, without waiting for who receives them."""

    @property
    def dropped(self) -> int:
        """Messages that were not sent."""

    def send(self, message: str | bytes) -> None: ...
    def close(self) -> None: ...


def open_robot_output(name: str) -> RobotOutput:
    """Open `-` (JSON lines on standard output), udp://HOST:PORT (a datagram a message), ws://HOST:PORT (a client) or
    zmq://HOST:PORT (a publisher, bound to an address of this machine, * for all); each may have `ROS` before it.

    Raises:
        InputError: another name, an unknown host, or an address that cannot be bound.
        MissingExtra: ws:// without the package websockets, or zmq:// without pyzmq.
    """
    if name == "-":
        return _Lines()
    address = name.removeprefix(ROS)
    scheme = address.partition("://")[0].lower()
    if scheme == "udp":
        return _Datagrams(address)
    if scheme in ("ws", "wss"):
        return _WebSocket(address)
    if scheme == "zmq":
        return _Publisher(address)
    raise InputError(f"{name}: expected - for standard output, udp://HOST:PORT, ws://HOST:PORT or zmq://HOST:PORT")


class _Lines:
    dropped = 0

    def send(self, message: str | bytes) -> None:
        print(message, flush=True)

    def close(self) -> None:
        pass


class _Datagrams:
    def __init__(self, url: str) -> None:
        self.dropped = 0
        _, host, port = parse_address(url)
        if port == 0:
            raise InputError(f"{url}: expected udp://HOST:PORT, such as udp://127.0.0.1:9000")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            raise InputError(f"{url}: the host is not known ({error})") from None
        family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)  # IPv4 first
        self._address: Any = address
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, message: str | bytes) -> None:
        try:
            self._socket.sendto(_as_bytes(message), self._address)
        except OSError:  # nobody listens, or the buffer is full
            self.dropped += 1

    def close(self) -> None:
        self._socket.close()


class _Publisher:
    """A PUB socket of ZeroMQ. It never waits; a subscriber that is slow misses messages."""

    dropped = 0

    def __init__(self, url: str) -> None:
        zmq: Any = require("zmq", "zmq", "zmq:// outputs")
        _, host, port = parse_address(url.replace("*", "0.0.0.0", 1))
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.LINGER, int(1000 * CLOSE_TIMEOUT_S))
        self._socket.setsockopt(zmq.SNDHWM, QUEUED)
        self._socket.setsockopt(zmq.IPV6, int(":" in host))
        try:
            self._socket.bind(f"tcp://{f'[{host}]' if ':' in host else host}:{port}")
        except zmq.ZMQError as error:
            self.close()
            raise InputError(f"{url}: cannot be bound ({error})") from None

    def send(self, message: str | bytes) -> None:
        self._socket.send(_as_bytes(message))

    def close(self) -> None:
        self._socket.close()
        self._context.term()


class _WebSocket:
    """A client that connects again when the connection is lost; the newest message waits, older ones are dropped."""

    def __init__(self, url: str) -> None:
        self._client: Any = require("websockets.sync.client", "net", "ws:// outputs")
        self._url, self._lost = url, 0
        self._queue: LatestQueue[str | bytes] = LatestQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="motionrt robot output", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        return self._queue.dropped + self._lost

    def send(self, message: str | bytes) -> None:
        self._queue.put({0: message})

    def close(self) -> None:
        self._queue.close()  # what waits is sent first
        self._thread.join(CLOSE_TIMEOUT_S)
        self._stop.set()

    def _work(self) -> None:
        from websockets.exceptions import InvalidURI, WebSocketException

        while not self._stop.is_set():
            try:
                with self._client.connect(
                    self._url, open_timeout=OPEN_TIMEOUT_S, close_timeout=CLOSE_TIMEOUT_S, proxy=None
                ) as connection:
                    while (taken := self._queue.take(RETRY_S)) is not None:
                        for text in taken:
                            connection.send(text)
                return
            except InvalidURI:
                return
            except (OSError, WebSocketException):
                self._lost += 1
                if self._queue.closed:
                    return
                self._stop.wait(RETRY_S)


def _as_bytes(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message

"""`Client`: recognition and generation on a server, from Python. Needs only the package `websockets`."""

from __future__ import annotations

import json
import random
import re
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import ArrayLike

from ..body.motion import Motion
from ..body.motion_data import as_array, check_person
from ..body.time_check import as_seconds
from ..errors import InputError, MotionError
from ..extras import require
from ..net_security import is_loopback

MAX_ATTEMPTS = 3  # at sending one message, if the connection is lost each time
RETRY_DELAYS_S = (0.05, 1.0)  # first and longest delay between two attempts to connect
RETRYABLE_STATUSES = (429, 500, 502, 503, 504)  # HTTP statuses of a server that may accept the client later
PERMANENT_CLOSE_CODES = (1002, 1003, 1007, 1008, 1009)  # WebSocket close codes that blame what the client sent


class Client:
    """Connection to a server that `motionrt serve` runs: a remote `Recognizer` and `Generator`.

        with motionrt.Client("http://127.0.0.1:8765") as client:
            for timestamp, joints in zip(motion.times, motion.joints):
                print(client.step(joints, timestamp, layout=motion.layout)["label"])
            for chunk in client.generate("a person waves", seconds=4):
                print(chunk.joints.shape)

    It connects on first use, and again when the connection is lost because the server (or one of its replicas) ended.
    The new server does not know the people of the old one: the first decision on each of them has the event "reset" and
    is that on a person who has just appeared. Labels that were chosen with `set_labels` are restored.

    A client is a context manager and not thread-safe.

    Args:
        url: address of the server: http://, https://, ws:// or wss://.
        token: the server's token, if it requires one.
        timeout_s: time limit for a reply, and for reconnecting.
    Attributes:
        departed: final decisions on people who left, oldest first, at most 100; clear it once they are read.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 10.0) -> None:
        self.departed: deque[dict[str, Any]] = deque(maxlen=100)
        self._url = re.sub("^http", "ws", url.rstrip("/"))
        self._token, self._timeout_s = token, timeout_s
        self._socket: _Socket | None = None
        self._count = 0
        self._labels: list[str] = []
        self._known: set[int] = set()  # people that the server is tracking
        self._lost: set[int] = set()  # people whose state was lost with a server, not yet reported to the caller

    def step(
        self,
        joints: ArrayLike,
        timestamp: float,
        person: int = 0,
        confidence: ArrayLike | None = None,
        layout: str | None = None,
    ) -> dict[str, Any]:
        """Send one frame of one person and wait for the decision.

        Args:
            joints: [V, 3] meters, y up; NaN for a missing joint.
            timestamp: seconds, increasing.
            person: an integer that identifies the person.
            confidence: [V]; a joint with 0 is missing.
            layout: name of the skeleton layout of `joints`; None: the model's own.
        Returns:
            The decision: "label", "score", "top" (labels and scores), "event", "latency_ms" and more. A frame that
            arrived too late has "dropped": True instead. Both have a "warning" if frames look wrong, such as times in
            milliseconds.
        Raises:
            InputError: the client or the server rejected the frame.
            MotionError: the server cannot be reached, did not reply in time, or closed the connection.
        """
        pose, person = as_array("joints", joints, np.float32).astype(float), check_person(person)
        message: dict[str, Any] = {
            "t": as_seconds(timestamp),
            "person": person,
            "joints": np.where(np.isfinite(pose), pose.round(5), None).tolist(),  # type: ignore[call-overload]
        }
        if confidence is not None:
            message["confidence"] = as_array("confidence", confidence, np.float32).tolist()
        if layout is not None:
            message["layout"] = layout
        reply = self._request(message)
        if "label" in reply:
            self._known.add(person)
            if person in self._lost:
                self._lost.remove(person)
                reply["event"] = "reset"
        return reply

    def set_labels(self, labels: Sequence[str]) -> list[str]:
        """Choose the labels for this client: some of the model's, or any texts if the server's model accepts them.

        Returns:
            All labels of the model, "none" included.
        Raises:
            InputError, MotionError: as for `step`.
        """
        found: list[str] = self._request({"labels": list(labels)})["labels"]
        self._labels = list(labels)
        return found

    def reset(self, person: int | None = None) -> None:
        """Forget one person, or all of them if `person` is None. Raises the errors of `step`."""
        person = None if person is None else check_person(person)
        self._request({"reset": person})
        for people in (self._known, self._lost):
            people.difference_update(people.copy() if person is None else {person})

    def generate(self, text: str, seconds: float | None = None, seed: int = 0, guidance: float = 0.0) -> MotionStream:
        """Stream motion from text in chunks of one second, each of which is sent a second before it is due.

        Args:
            text, seed, guidance: as for `Generator.generate`.
            seconds: length of the motion; None: until the stream is closed.
        Returns:
            An iterator over the chunks, each a `Motion`; setting its `prompt` changes what comes next.
        Raises:
            InputError, MotionError: as for `step`; the iterator raises them, too.
        """
        message = {"prompt": text, "seconds": seconds, "seed": seed, "guidance": guidance}
        return MotionStream(_Socket(f"{self._url}/generate", self._token), message, self._timeout_s)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _request(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._socket is None:
            self._connect()
        for _ in range(MAX_ATTEMPTS - 1):
            try:
                return self._exchange(message)
            except _ConnectionLost:
                self._reconnect()
        return self._exchange(message)

    def _connect(self) -> None:
        self.close()
        self._lost |= self._known
        self._known.clear()
        self._socket, self._count = _Socket(f"{self._url}/recognize", self._token), 0
        if self._labels:
            try:
                self._exchange({"labels": self._labels})
            except MotionError:  # better no decisions than decisions among other labels
                self.close()
                raise

    def _reconnect(self) -> None:
        """Raises the error of the last attempt when time is up."""
        end_s, (delay_s, longest_s) = time.monotonic() + self._timeout_s, RETRY_DELAYS_S
        while True:
            try:
                return self._connect()
            except _ConnectionLost:
                if time.monotonic() > end_s:
                    raise
            time.sleep(delay_s * random.uniform(0.5, 1.5))  # so that clients do not all reconnect at the same time
            delay_s = min(2 * delay_s, longest_s)

    def _exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._socket is not None
        self._socket.send(message)
        number, self._count = self._count, self._count + 1
        while True:
            reply = self._socket.receive(self._timeout_s)
            if "frame" not in reply:
                self._known.discard(reply["person"])
                self.departed.append(reply)
            elif reply["frame"] == number:
                return reply


class MotionStream:
    """Iterator over chunks of motion, each a `Motion`; a context manager that closes the stream."""

    def __init__(self, socket: _Socket, message: dict[str, Any], timeout_s: float) -> None:
        self._socket, self._timeout_s = socket, timeout_s
        self._prompt = message["prompt"]
        self._socket.send(message)

    @property
    def prompt(self) -> str:
        """Description of the motion. A new one takes effect with the next chunk that the server generates."""
        return self._prompt

    @prompt.setter
    def prompt(self, text: str) -> None:
        self._socket.send({"prompt": text})
        self._prompt = text

    def close(self) -> None:
        """Stop the stream on the server."""
        self._socket.close()

    def __iter__(self) -> MotionStream:
        return self

    def __next__(self) -> Motion:
        reply = self._socket.receive(self._timeout_s)
        if "end" in reply:
            self.close()
            raise StopIteration
        meta = {"text": reply["prompt"], "start": reply["t"]}
        return Motion(np.array(reply["joints"], np.float32), reply["fps"], reply["layout"], meta=meta)

    def __enter__(self) -> MotionStream:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _ConnectionLost(MotionError):
    """A connection that was lost or refused; another attempt may succeed."""


class _Socket:
    """JSON messages over a WebSocket, with the server's errors as this package's exceptions."""

    def __init__(self, url: str, token: str | None) -> None:
        client = require("websockets.sync.client", "serve", "the client")
        self._errors = require("websockets.exceptions", "serve", "the client")
        self._open = ExitStack()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connecting = client.connect(
                url, additional_headers=headers, compression=None, max_size=None, **_proxy_options(url)
            )
            self._socket = self._open.enter_context(connecting)
        except self._errors.InvalidStatus as error:
            kind = _ConnectionLost if error.response.status_code in RETRYABLE_STATUSES else InputError
            raise kind(f"{url}: {_detail(error.response.body)}") from None
        except self._errors.InvalidURI as error:
            raise InputError(f"{url}: {error}") from None
        except (OSError, self._errors.InvalidHandshake) as error:
            raise _ConnectionLost(f"{url}: cannot be reached ({error})") from None
        self._url = url

    def send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.send(json.dumps(message, default=_plain_number))
        except self._errors.ConnectionClosed as error:
            raise self._closed(error) from None

    def receive(self, timeout_s: float) -> dict[str, Any]:
        try:
            reply: dict[str, Any] = json.loads(self._socket.recv(timeout_s))
        except TimeoutError:
            raise MotionError(f"{self._url}: no reply within {timeout_s:g} s") from None
        except self._errors.ConnectionClosed as error:
            raise self._closed(error) from None
        if "error" in reply:
            raise InputError(f"{self._url}: {reply['error']}")
        return reply

    def close(self) -> None:
        self._open.close()

    def _closed(self, error: Any) -> MotionError:
        reason = error.rcvd.reason if error.rcvd is not None else "the connection was lost"
        is_permanent = error.rcvd is not None and error.rcvd.code in PERMANENT_CLOSE_CODES
        return (MotionError if is_permanent else _ConnectionLost)(f"{self._url}: closed ({reason or error})")


def _proxy_options(url: str) -> dict[str, Any]:
    """Options that connect to this machine without the proxy that the environment names."""
    try:
        return {"proxy": None} if is_loopback(urlsplit(url).hostname) else {}
    except ValueError:  # the connection will report it
        return {}


def _plain_number(value: object) -> object:
    """A scalar of numpy as a number of JSON."""
    if isinstance(value, np.generic):
        return value.item()
    raise InputError(f"{str(value)[:40]!r} ({type(value).__name__}) cannot be sent, expected text or a number")


def _detail(body: bytes | None) -> str:
    try:
        return str(json.loads(body or b"")["detail"])
    except (ValueError, KeyError, TypeError):
        return "refused"

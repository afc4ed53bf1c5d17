"""`Client`: a server's recognition and generation from Python, one call a message. Needs `websockets` alone."""

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

import numpy as np
from numpy.typing import ArrayLike

from ..body.motion import Motion
from ..body.motion_data import as_array
from ..errors import InputError, MotionError
from ..extras import require

MAX_ATTEMPTS = 3  # times that one message is sent, where the connection is lost over it
RETRY_DELAYS_S = (0.05, 1.0)  # first and longest between two attempts to connect again
RETRYABLE_STATUSES = (429, 500, 502, 503, 504)  # statuses of a server that may let one in later
PERMANENT_CLOSE_CODES = (1002, 1003, 1007, 1008, 1009)  # codes of a close that is about what was sent


class Client:
    """A conversation with a server; a context manager. Not for several threads at once.

    A connection that is lost, because the server or a replica of it ended, is made again. What was known of people is
    lost with it: the next decision on each of them has the "event" "reset", and is one on a person who has just come
    in. Labels that were chosen are chosen again.

        with Client("ws://127.0.0.1:8765") as client:
            for t, joints in zip(motion.times, motion.joints):
                print(client.step(joints, t, layout=motion.layout)["label"])

    Args:
        url: that which the server says it serves at, http:// or https://, or ws:// or wss://.
        token: what the server demands, if it does.
        timeout_s: for which a reply is waited for, and a server that has gone.
    Attributes:
        left: last decisions on people who have gone, oldest first; whoever has read them clears it.
    """

    def __init__(self, url: str, token: str | None = None, timeout_s: float = 10.0) -> None:
        self.departed: deque[dict[str, Any]] = deque(maxlen=100)
        self._url = re.sub("^http", "ws", url.rstrip("/"))
        self._token, self._timeout_s = token, timeout_s
        self._socket: _Socket | None = None
        self._count = 0
        self._labels: list[str] = []
        self._known: set[int] = set()  # people of whom the server knows
        self._forgotten: set[int] = set()  # of whom it has lost what it knew, and that has not been told

    def step(
        self,
        joints: ArrayLike,
        t: float,
        person: int = 0,
        confidence: ArrayLike | None = None,
        layout: str | None = None,
    ) -> dict[str, Any]:
        """Send one frame of one person, and wait for what the server says of it.

        Args:
            joints: [V, 3] metres, y up; NaN where a joint was not seen.
            t: seconds, rising.
            person: any whole number that stays with the person.
            confidence: [V]; a joint with 0 was not seen.
            layout: name of the skeleton of `joints`; None: the model's own.
        Returns:
            The decision, "label", "score", "top", "event" and more, or "dropped": True.
        Raises:
            InputError: the server refuses the frame, or the client. MotionError: it cannot be reached, or has gone.
        """
        pose = as_array("joints", joints, np.float32).astype(float)
        message: dict[str, Any] = {
            "t": float(t),
            "person": person,
            "joints": np.where(np.isfinite(pose), pose.round(5), None).tolist(),  # type: ignore[call-overload]
        }
        if confidence is not None:
            message["confidence"] = as_array("confidence", confidence, np.float32).tolist()
        if layout is not None:
            message["layout"] = layout
        reply = self._ask(message)
        if "label" in reply:
            self._known.add(person)
            if person in self._forgotten:
                self._forgotten.remove(person)
                reply["event"] = "reset"
        return reply

    def set_labels(self, labels: Sequence[str]) -> list[str]:
        """Choose what is recognised of this client's people, of a model of any labels; returns all labels.

        Raises: as `step`.
        """
        found: list[str] = self._ask({"labels": list(labels)})["labels"]
        self._labels = list(labels)
        return found

    def reset(self, person: int | None = None) -> None:
        """Forget one person, or everybody. Raises: as `step`."""
        self._ask({"reset": person})
        for people in (self._known, self._forgotten):
            people.difference_update(people.copy() if person is None else {person})

    def generate(self, text: str, seconds: float | None = None, seed: int = 0, guidance: float = 0.0) -> MotionStream:
        """Motion that fits a description, in chunks that come a second before they are due; see `Generator.stream`.

        Raises: as `step`.
        """
        asked = {"prompt": text, "seconds": seconds, "seed": seed, "guidance": guidance}
        return MotionStream(_Socket(f"{self._url}/generate", self._token), asked, self._timeout_s)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._socket is None:
            self._connect()
        for _ in range(MAX_ATTEMPTS - 1):
            try:
                return self._exchange(message)
            except _ConnectionLost:
                self._connect_again()
        return self._exchange(message)

    def _connect(self) -> None:
        self.close()
        self._forgotten |= self._known
        self._known.clear()
        self._socket, self._count = _Socket(f"{self._url}/recognize", self._token), 0
        if self._labels:
            try:
                self._exchange({"labels": self._labels})
            except MotionError:  # nobody is to be recognised by other ones
                self.close()
                raise

    def _connect_again(self) -> None:
        """Raises what the last attempt did when time is up."""
        end_s, (pause_s, longest_s) = time.monotonic() + self._timeout_s, RETRY_DELAYS_S
        while True:
            try:
                return self._connect()
            except _ConnectionLost:
                if time.monotonic() > end_s:
                    raise
            time.sleep(pause_s * random.uniform(0.5, 1.5))  # not all clients at once
            pause_s = min(2 * pause_s, longest_s)

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


class _ConnectionLost(MotionError):
    """A connection that is lost, or was not to be had; another one may be."""


class MotionStream:
    """Chunks of motion, one after the other: an iterator, and a context manager that closes it."""

    def __init__(self, socket: _Socket, asked: dict[str, Any], timeout_s: float) -> None:
        self._socket, self._timeout_s = socket, timeout_s
        self._prompt = asked["prompt"]
        self._socket.send(asked)

    @property
    def prompt(self) -> str:
        """What somebody is to do. Another one holds from the next chunk on that the server makes."""
        return self._prompt

    @prompt.setter
    def prompt(self, text: str) -> None:
        self._socket.send({"prompt": text})
        self._prompt = text

    def close(self) -> None:
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


class _Socket:
    """JSON messages over a WebSocket, and the server's errors as ours."""

    def __init__(self, url: str, token: str | None) -> None:
        client, self._errors = (
            require("websockets.sync.client", "serve", "the client"),
            require("websockets.exceptions"),
        )
        self._open = ExitStack()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            connecting = client.connect(url, additional_headers=headers, compression=None, max_size=None)
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
            self._socket.send(json.dumps(message))
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
        reason = error.rcvd.reason if error.rcvd is not None else "the connection is lost"
        is_final = error.rcvd is not None and error.rcvd.code in PERMANENT_CLOSE_CODES
        return (MotionError if is_final else _ConnectionLost)(f"{self._url}: closed ({reason or error})")


def _detail(body: bytes | None) -> str:
    try:
        return str(json.loads(body or b"")["detail"])
    except (ValueError, KeyError, TypeError):
        return "refused"

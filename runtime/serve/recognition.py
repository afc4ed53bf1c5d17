"""Frames in, decisions out: the WebSocket `/recognize`."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from typing import Any, NamedTuple

from ..errors import InputError
from ..io.frame import Frame
from ..io.jsonl import MAX_PERSON, decision_message, parse_frame
from ..recognition.recognizer import Recognizer
from .connection import GOING_AWAY, CloseConnection, Connection, Message

MAX_LABELS = 100  # that a client may ask for


class Waiting(NamedTuple):
    """A frame that has come in: number of its message, and when."""

    number: int
    came_s: float
    frame: Frame


class RecognitionSession:
    """A conversation with somebody who sends frames; messages are answered by their number.

    Of every person the newest frame waits to be decided on; what it overtakes is told to be dropped. Frames are
    decided on by the event loop's own thread: the engine holds the interpreter for the tenth of a millisecond that a
    step takes, so that another thread would gain nothing.
    """

    def __init__(self, connection: Connection, recognizer: Recognizer, labelling: Executor) -> None:
        self._connection, self._recognizer, self._labelling = connection, recognizer, labelling
        self._waiting: dict[int, Waiting] = {}  # person -> newest
        self._news = asyncio.Event()
        self._labels: asyncio.Queue[tuple[int, list[str]]] = asyncio.Queue(maxsize=1)

    async def run(self) -> None:
        await self._connection.converse(self._read(), self._decide(), self._relabel(), self._end())

    async def _read(self) -> None:
        while True:
            message = await self._connection.receive()
            try:
                await self._take(message)
            except InputError as error:
                await self._connection.refuse(message.number, error)

    async def _take(self, message: Message) -> None:
        number, came_s, content = message
        if "labels" in content:
            self._ask_for(number, content["labels"])
        elif "reset" in content:
            person = _person(content["reset"])
            await self._decide_all()
            self._recognizer.reset(person)
            await self._connection.send({"frame": number, "reset": person})
        else:
            frame = parse_frame(content, self._recognizer.layout)
            overtaken = self._waiting.get(frame.person)
            self._waiting[frame.person] = Waiting(number, came_s, frame)
            self._news.set()
            if overtaken is not None:
                await self._drop(overtaken.number, "overtaken")

    async def _decide(self) -> None:
        """Whenever there is news; when the server ends, that is the last."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._decide_all()
            if self._connection.closing.is_set():
                raise CloseConnection(GOING_AWAY, "the server is ending")

    async def _decide_all(self) -> None:
        while self._waiting:
            await self._step(self._waiting.pop(next(iter(self._waiting))))

    async def _step(self, waiting: Waiting) -> None:
        frame, metrics = waiting.frame, self._connection.metrics
        try:
            decision = self._recognizer.step(frame.joints, frame.t, frame.person, frame.confidence, frame.layout)
            gone = self._recognizer.evict(frame.t)
        except InputError as error:
            await self._connection.refuse(waiting.number, error)
            return
        if decision.status == "dropped":
            await self._drop(waiting.number, "late")
            return
        message = {"frame": waiting.number, **decision_message(frame.t, decision)}
        took_s = time.perf_counter() - waiting.came_s
        message["latency_ms"] = round(took_s * 1e3, 4)
        metrics.frames.inc()
        metrics.latency.observe(took_s)
        await self._connection.send(message)
        for left in gone:
            await self._connection.send(decision_message(frame.t, left))

    async def _drop(self, number: int, why: str) -> None:
        self._connection.metrics.dropped.labels(why).inc()
        await self._connection.send({"frame": number, "dropped": True, "why": why})

    def _ask_for(self, number: int, labels: Any) -> None:
        if not isinstance(labels, list) or len(labels) > MAX_LABELS:
            raise InputError(f"'labels' are no list of at most {MAX_LABELS} texts")
        try:
            self._labels.put_nowait((number, labels))
        except asyncio.QueueFull:
            raise InputError("labels are being changed already, wait for the reply") from None

    async def _relabel(self) -> None:
        """Beside the frames: to make labels ready takes a while."""
        loop = asyncio.get_running_loop()
        while True:
            number, labels = await self._labels.get()
            try:
                await loop.run_in_executor(self._labelling, self._recognizer.set_labels, labels)
            except InputError as error:
                await self._connection.refuse(number, error)
            else:
                await self._connection.send({"frame": number, "labels": list(self._recognizer.labels)})

    async def _end(self) -> None:
        await self._connection.closing.wait()
        self._news.set()


def _person(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or abs(value) > MAX_PERSON):
        raise InputError(f"'reset' is {str(value)[:40]!r}, expected a person's number, or null for everybody")
    return value

"""The WebSocket `/recognize`: decisions on incoming frames."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple

from ..body.motion_data import check_person
from ..errors import InputError
from ..io.frame import Frame
from ..io.jsonl import ArrivalClock, decision_message, parse_frame
from ..recognition.recognizer import Recognizer
from .connection import GOING_AWAY, CloseConnection, Connection, Message

MAX_LABELS = 100  # per client


class PendingFrame(NamedTuple):
    """A frame that waits for its decision, with the number and the arrival of its message."""

    number: int
    arrived_s: float
    frame: Frame


class RecognitionSession:
    """One client that sends frames; replies carry the number of the message they answer.

    Only the newest frame of a person waits for its decision; older ones are reported as dropped. The reply to a frame
    that shows a problem with the input of this client has it as "warning", once for each problem. Decisions are made in
    the event loop's thread: a step takes 0.1 ms and holds the interpreter lock, so another thread would not help.
    """

    def __init__(self, connection: Connection, recognizer: Recognizer, label_encoding: Executor) -> None:
        self._connection, self._recognizer, self._label_encoding = connection, recognizer, label_encoding
        self._pending: dict[int, PendingFrame] = {}  # newest frame by person
        self._warnings: list[str] = []  # not sent yet
        self._clock = ArrivalClock(self._warnings.append)
        self._reported = 0  # of the recognizer's warnings
        self._wake = asyncio.Event()
        self._labels: asyncio.Queue[tuple[int, list[str]]] = asyncio.Queue(maxsize=1)

    async def run(self) -> None:
        await self._connection.run(self._read(), self._decide(), self._relabel(), self._wait_for_shutdown())

    async def _read(self) -> None:
        while True:
            message = await self._connection.receive()
            try:
                await self._handle(message)
            except InputError as error:
                await self._connection.refuse(message.number, error)

    async def _handle(self, message: Message) -> None:
        number, arrived_s, content = message
        if "labels" in content:
            self._request_labels(number, content["labels"])
        elif "reset" in content:
            person = None if content["reset"] is None else check_person(content["reset"], "'reset'")
            await self._decide_all()
            self._recognizer.reset(person)
            await self._connection.send({"frame": number, "reset": person})
        else:
            frame = parse_frame(content, self._recognizer.layout, self._clock.arrival(content))
            overtaken = self._pending.get(frame.person)
            self._pending[frame.person] = PendingFrame(number, arrived_s, frame)
            self._wake.set()
            if overtaken is not None:
                await self._drop(overtaken.number, "overtaken")

    async def _decide(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._decide_all()
            if self._connection.closing.is_set():
                raise CloseConnection(GOING_AWAY, "the server is shutting down")

    async def _decide_all(self) -> None:
        while self._pending:
            await self._step(self._pending.pop(next(iter(self._pending))))

    async def _step(self, pending: PendingFrame) -> None:
        frame, metrics = pending.frame, self._connection.metrics
        try:
            decision = self._recognizer.step(frame.joints, frame.t, frame.person, frame.confidence, frame.layout)
            departed = self._recognizer.evict(frame.t)
        except InputError as error:
            await self._connection.refuse(pending.number, error)
            return
        if decision.status == "dropped":
            await self._drop(pending.number, "late")
            return
        message = {"frame": pending.number, **decision_message(frame.t, decision)}
        latency_s = time.perf_counter() - pending.arrived_s
        message["latency_ms"] = round(latency_s * 1e3, 4)
        self._add_warning(message)
        metrics.frames.inc()
        metrics.latency.observe(latency_s)
        await self._connection.send(message)
        for final in departed:
            await self._connection.send(decision_message(frame.t, final))

    def _add_warning(self, message: dict[str, Any]) -> None:
        """Add the oldest warning that was not sent yet, if any."""
        if len(warnings := self._recognizer.warnings) > self._reported:
            self._warnings += warnings[self._reported :]
            self._reported = len(warnings)
        if self._warnings:
            message["warning"] = self._warnings.pop(0)

    async def _drop(self, number: int, reason: str) -> None:
        self._connection.metrics.dropped.labels(reason).inc()
        message = {"frame": number, "dropped": True, "why": reason}
        self._add_warning(message)
        await self._connection.send(message)

    def _request_labels(self, number: int, labels: Any) -> None:
        if not isinstance(labels, list) or len(labels) > MAX_LABELS:
            raise InputError(f"'labels' is not a list of at most {MAX_LABELS} texts")
        try:
            self._labels.put_nowait((number, labels))
        except asyncio.QueueFull:
            raise InputError("labels are already being changed; wait for the reply") from None

    async def _relabel(self) -> None:
        """Encode labels on another thread while frames are decided on, one at a time in turn with other clients."""
        encode = partial(asyncio.get_running_loop().run_in_executor, self._label_encoding)
        while True:
            number, labels = await self._labels.get()
            try:
                steps = self._recognizer.label_strategy.prepare(labels)
                while await encode(next, steps, None) is not None:
                    pass
                await encode(self._recognizer.set_labels, labels)
            except InputError as error:
                await self._connection.refuse(number, error)
            else:
                await self._connection.send({"frame": number, "labels": list(self._recognizer.labels)})

    async def _wait_for_shutdown(self) -> None:
        await self._connection.closing.wait()
        self._wake.set()

"""The WebSocket `/generate`: motion from prompts."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from ..body.motion import Motion
from ..errors import InputError
from ..generation.generator import Generator
from ..generation.stream import Stream
from .connection import GOING_AWAY, CloseConnection, Connection, Message
from .limits import Slots
from .schemas import Prompt, parse_body
from .settings import Settings

LEAD_S = 1.0  # a chunk is sent this long before it is due
BUSY = "another client is generating motion; try again later"


class GenerationSession:
    """One client that streams motion: one stream at a time, which further prompts steer, also while it waits.

    A stream that has been running for `settings.stream_s` ends when another client waits or was refused.
    """

    def __init__(
        self, connection: Connection, generator: Generator, slots: Slots, threads: Executor, settings: Settings
    ) -> None:
        self._connection, self._generator, self._slots, self._threads = connection, generator, slots, threads
        self._settings = settings
        self._request: Prompt | None = None
        self._number = 0  # of the message with the request
        self._stream: Stream | None = None
        self._has_turn = False
        self._started, self._stopped = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        try:
            await self._connection.run(self._read(), self._play(), self._wait_for_shutdown())
        finally:
            await self._finish()

    async def _read(self) -> None:
        while True:
            message = await self._connection.receive()
            try:
                self._handle(message)
            except InputError as error:
                await self._connection.refuse(message.number, error)

    def _handle(self, message: Message) -> None:
        if message.content.get("stop") is True:
            self._stopped.set()
            return
        request = parse_body(Prompt, message.content)
        if self._stream is not None:
            self._stream.prompt = request.prompt
        elif self._request is not None:
            self._request = self._request.model_copy(update={"prompt": request.prompt})
        else:
            self._request, self._number = request, message.number
            self._stopped.clear()
            self._started.set()

    async def _play(self) -> None:
        while True:
            await self._started.wait()
            self._started.clear()
            try:
                await self._stream_request()
            except InputError as error:
                await self._finish()
                await self._connection.refuse(self._number, error)
            else:
                await self._finish()
                await self._connection.send({"end": True})

    async def _stream_request(self) -> None:
        """Stream what was requested when it is its turn. Raises InputError: a bad request, or no turn in time."""
        self._has_turn = await self._slots.wait(self._settings.queue_s, self._stopped.wait)
        if self._has_turn and (request := self._request) is not None:
            self._stream = self._generator.stream(
                request.prompt, request.seconds, request.seed, guidance=request.guidance
            )
            await self._send_chunks()
        elif not self._stopped.is_set():
            raise InputError(BUSY)

    async def _send_chunks(self) -> None:
        """Compute each chunk only when it is time to send it, so that a new prompt takes effect with the next one."""
        loop = asyncio.get_running_loop()
        send_s = start_s = loop.time()
        while not await self._stops_before(send_s):
            if self._slots.is_wanted and loop.time() - start_s >= self._settings.stream_s:
                return
            chunk = await loop.run_in_executor(self._threads, self._next)
            if chunk is None:
                return
            await self._connection.send(chunk_message(chunk))
            self._connection.metrics.chunks.inc()
            send_s = start_s + chunk.meta["start"] + chunk.seconds - LEAD_S

    def _next(self) -> Motion | None:
        return None if self._stream is None else next(self._stream, None)

    async def _stops_before(self, deadline_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline_s):
                await self._stopped.wait()
        return self._stopped.is_set()

    async def _finish(self) -> None:
        if self._stream is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._stream.close)
        if self._has_turn:
            self._slots.release()
        self._request, self._stream, self._has_turn = None, None, False

    async def _wait_for_shutdown(self) -> None:
        await self._connection.closing.wait()
        raise CloseConnection(GOING_AWAY, "the server is shutting down")


def chunk_message(chunk: Motion) -> dict[str, Any]:
    return {
        "t": round(chunk.meta["start"], 6),
        "fps": chunk.fps,
        "layout": chunk.layout,
        "prompt": chunk.meta["text"],
        "joints": joint_lists(chunk),
    }


def joint_lists(motion: Motion) -> Any:
    """Joints as lists, rounded to 0.01 mm."""
    return motion.joints.astype(float).round(5).tolist()

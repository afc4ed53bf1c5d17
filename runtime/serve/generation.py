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
from .connection import GOING_AWAY, CloseConnection, Connection
from .limits import Slots
from .schemas import Prompt, parse_body

LEAD_S = 1.0  # a chunk is sent this long before it is due
BUSY = "another client is generating motion; try again later"


class GenerationSession:
    """One client that streams motion: one stream at a time, which further prompts steer.

    A stream that has been running for `stream_s` ends when another client was refused.
    """

    def __init__(
        self, connection: Connection, generator: Generator, slots: Slots, threads: Executor, stream_s: float
    ) -> None:
        self._connection, self._generator, self._slots, self._threads = connection, generator, slots, threads
        self._stream_s = stream_s
        self._stream: Stream | None = None
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
                self._handle(message.content)
            except InputError as error:
                await self._connection.refuse(message.number, error)

    def _handle(self, content: dict[str, Any]) -> None:
        if content.get("stop") is True:
            self._stopped.set()
            return
        request = parse_body(Prompt, content)
        if self._stream is not None:
            self._stream.prompt = request.prompt
            return
        if not self._slots.acquire():
            raise InputError(BUSY)
        try:
            self._stream = self._generator.stream(
                request.prompt, request.seconds, request.seed, guidance=request.guidance
            )
        except InputError:
            self._slots.release()
            raise
        self._stopped.clear()
        self._started.set()

    async def _play(self) -> None:
        while True:
            await self._started.wait()
            self._started.clear()
            await self._send_chunks()
            await self._finish()
            await self._connection.send({"end": True})

    async def _send_chunks(self) -> None:
        """Compute each chunk only when it is time to send it, so that a new prompt takes effect with the next one."""
        loop = asyncio.get_running_loop()
        send_s = start_s = loop.time()
        while not await self._stops_before(send_s):
            if self._slots.is_wanted and loop.time() - start_s >= self._stream_s:
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
            self._stream = None
            self._slots.release()

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

"""State that the routes of a server share: models, slots, threads and metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import HTTPException, WebSocket
from fastapi.responses import JSONResponse

from ..body.motion import Motion
from ..generation.generator import Generator
from ..io.jsonl import TOP_K
from ..recognition.recognizer import Recognizer
from .access_log import LineFile
from .batches import Batches
from .connection import Connection
from .generation import joint_lists
from .guard import PROTOCOL
from .limits import BUSY, End, Slots
from .metrics import Metrics
from .motion_file import read_motion
from .schemas import ClipPrompt, parse_clip
from .settings import Settings

CLIPS, GENERATIONS = 2, 1  # concurrent requests
QUEUE = 8  # requests and streams that wait for a generation
WAITING = 24  # requests for motion in batches; fewer than `guard.MAX_REQUESTS`, so that others get through
ENDING = "the server is shutting down"

T = TypeVar("T")


class Service:
    """State of one server.

    Args:
        replica: name of this server among several replicas.
    Attributes:
        recognizer: recognizes clips; each client gets a clone of it.
        clients, clips, generations: slots that limit concurrency. waiting: slots of requests for motion in batches.
        closing: set when the server shuts down. cutting_off: set when requests are no longer waited for.
        access_log: lines of requests, if there is one.
        threads: pool for clips and motion. label_encoding: pool of one thread that encodes clients' labels.
    """

    def __init__(self, settings: Settings, replica: str = "") -> None:
        self.settings = settings
        self.access_log = None if settings.access_log is None else LineFile(settings.access_log)
        self.recognizer = Recognizer.load(
            settings.model, labels=settings.labels or None, alarms_per_minute=settings.alarms_per_minute
        )
        self.generator = Generator.load(settings.generator, backend=settings.backend)
        self.clients, self.clips, self.waiting = Slots(settings.clients), Slots(CLIPS), Slots(WAITING)
        self.generations = Slots(GENERATIONS, QUEUE)
        self.metrics = Metrics(lambda: self.clients.in_use, self._generating, replica)
        self.closing, self.cutting_off = asyncio.Event(), asyncio.Event()
        self._connections: set[Connection] = set()
        self.threads = ThreadPoolExecutor(CLIPS + 2 * GENERATIONS, "motionrt serve")
        self.label_encoding = ThreadPoolExecutor(1, "motionrt labels")
        self._batches = Batches(self.generator, self.threads)

    async def drain(self, timeout_s: float, grace_s: float) -> None:
        """Send all pending replies and close all WebSockets within a time limit, then let requests end within another.

        Requests that take longer are told so.
        """
        self.closing.set()
        await _wait_while(lambda: self.clients.in_use, timeout_s)
        await _wait_while(lambda: self.clips.in_use + self._generating(), grace_s)
        self.cutting_off.set()

    @asynccontextmanager
    async def admitted(self, socket: WebSocket) -> AsyncIterator[Connection | None]:
        """Accept a client and yield its connection, or refuse it and yield None if there is no slot."""
        if self.closing.is_set() or not await self._acquire_place():
            self.metrics.refused.labels("clients").inc()
            content = {"detail": f"{self.settings.clients} clients are connected; try again later"}
            await socket.send_denial_response(JSONResponse(content, 503, {"Retry-After": "5"}))
            yield None
            return
        connection = Connection(socket, self.settings, self.metrics, self.closing)
        try:
            await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
            self._connections.add(connection)
            yield connection
        finally:
            self._connections.discard(connection)
            self.clients.release()
            connection.ended.set()

    async def _acquire_place(self) -> bool:
        """Take a slot for a client, if need be that of the client that has been idle the longest, and long enough."""
        if self.clients.acquire():
            return True
        idlest = max(self._connections, key=lambda one: one.idle_s, default=None)
        if idlest is None or idlest.idle_s < self.settings.idle_s:
            return False
        self._connections.discard(idlest)
        await idlest.dismiss()
        return self.clients.acquire()

    async def compute(self, slots: Slots, work: Callable[[], T], *ends: End) -> T:
        """Compute on another thread; `ends`: see `Slots.wait`.

        Raises HTTPException if there is no slot in time, or the shutdown cannot wait.
        """
        return await self._finish(slots, lambda: asyncio.get_running_loop().run_in_executor(self.threads, work), *ends)

    async def _finish(self, slots: Slots, start: Callable[[], Awaitable[T]], *ends: End) -> T:
        if not await slots.wait(self.settings.queue_s, self.closing.wait, *ends):
            raise HTTPException(503, ENDING if self.closing.is_set() else BUSY, {"Retry-After": "1"})
        result = asyncio.ensure_future(start())
        result.add_done_callback(lambda _: slots.release())
        is_cut_off = asyncio.create_task(self.cutting_off.wait())
        try:
            await asyncio.wait((result, is_cut_off), return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_cut_off.cancel()
        if not result.done():
            raise HTTPException(503, ENDING)
        return await result

    def recognize(self, content: bytes) -> dict[str, Any]:
        clip, recognizer = parse_clip(content), self.recognizer.clone()  # with warnings of its own
        decision = recognizer.recognize(clip)
        self.metrics.clips.inc()
        top = [(label, round(score, 4)) for label, score in decision.top(TOP_K)]
        latency_ms = round(decision.latency_ms, 4)
        return {
            "label": decision.label,
            "score": round(decision.score, 4),
            "top": top,
            "latency_ms": latency_ms,
            "warnings": list(recognizer.warnings),
        }

    def read_motion(self, name: str, content: bytes, **options: Any) -> bytes:
        return json.dumps(read_motion(name, content, **options), allow_nan=False).encode()

    async def generate(self, prompt: ClipPrompt, left: End) -> bytes:
        """Generate a motion, with a generator for batches together with other requests.

        Args:
            left: returns once the client has left, who then waits no longer.
        Raises:
            HTTPException: as `compute` does. InputError: an unsuitable prompt.
        """
        if self.generator.batch > 1:
            return await self._finish(self.waiting, lambda: self._generate_in_batch(prompt))
        return await self.compute(self.generations, lambda: self._encode(self._generate(prompt)), left)

    async def _generate_in_batch(self, prompt: ClipPrompt) -> bytes:
        motion = await self._batches.generate(prompt)
        return await asyncio.get_running_loop().run_in_executor(self.threads, self._encode, motion)

    def _generate(self, prompt: ClipPrompt) -> Motion:
        return self.generator.generate(prompt.prompt, prompt.seconds, prompt.seed, guidance=prompt.guidance)

    def _generating(self) -> int:
        return self.generations.in_use + self.waiting.in_use

    def _encode(self, motion: Motion) -> bytes:
        self.metrics.generated.inc()
        content = {"layout": motion.layout, "fps": motion.fps, "joints": joint_lists(motion)}
        return json.dumps(content, allow_nan=False).encode()


async def _wait_while(is_busy: Callable[[], int], timeout_s: float) -> None:
    loop = asyncio.get_running_loop()
    end_s = loop.time() + timeout_s
    while is_busy() and loop.time() < end_s:
        await asyncio.sleep(0.01)

"""What the routes of a server share: models, slots, threads and counters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import HTTPException, WebSocket
from fastapi.responses import JSONResponse

from ..body.motion import Motion
from ..generation.generator import Generator
from ..io.jsonl import TOP_K, parse_array
from ..recognition.recognizer import Recognizer
from .connection import Connection
from .generation import rounded
from .guard import PROTOCOL
from .limits import Slots
from .metrics import Metrics
from .schemas import Clip, ClipPrompt
from .settings import Settings

CLIPS, GENERATIONS = 2, 1  # at once
BUSY = "too much is being done already, come back later"

T = TypeVar("T")


class Service:
    """What the routes share; `replica` is the name of this one of several servers.

    Attributes:
        recognizer: that of clips, and the one that those of clients are made after.
        clients, clips, generations: slots for so many at once.
        closing: set when the server is about to end.
        threads: that clips and motion are computed on. labelling: where labels are made ready, one after the other.
    """

    def __init__(self, settings: Settings, replica: str = "") -> None:
        self.settings = settings
        self.recognizer = Recognizer.load(settings.model)
        if settings.labels:
            self.recognizer.set_labels(settings.labels)
        self.generator = Generator.load(settings.generator)
        self.clients, self.clips, self.generations = Slots(settings.clients), Slots(CLIPS), Slots(GENERATIONS)
        self.metrics = Metrics(lambda: self.clients.in_use, lambda: self.generations.in_use, replica)
        self.closing = asyncio.Event()
        self.threads = ThreadPoolExecutor(CLIPS + 2 * GENERATIONS, "motionrt serve")
        self.labelling = ThreadPoolExecutor(1, "motionrt labels")

    async def drain(self, timeout_s: float) -> None:
        """Lets every client have the replies that it waits for, and closes its WebSocket."""
        self.closing.set()
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while self.clients.in_use and loop.time() < end_s:
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def admitted(self, socket: WebSocket) -> AsyncIterator[Connection | None]:
        """A connection that was accepted; None where there was no place, which the client has been told."""
        if self.closing.is_set() or not self.clients.acquire():
            self.metrics.refused.labels("clients").inc()
            told = {"detail": f"{self.settings.clients} clients are connected, come back later"}
            await socket.send_denial_response(JSONResponse(told, 503, {"Retry-After": "5"}))
            yield None
            return
        try:
            await socket.accept(PROTOCOL if PROTOCOL in socket.scope["subprotocols"] else None)
            yield Connection(socket, self.settings, self.metrics, self.closing)
        finally:
            self.clients.release()

    async def compute(self, slots: Slots, work: Callable[[], T]) -> T:
        """On another thread. Raises HTTPException where there is no place."""
        if not slots.acquire():
            raise HTTPException(503, BUSY, {"Retry-After": "1"})
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, work)
        finally:
            slots.release()

    def recognize(self, clip: Clip) -> dict[str, Any]:
        joints = parse_array("joints", clip.joints)
        decision = self.recognizer.recognize(Motion(joints, clip.fps, clip.layout))
        self.metrics.clips.inc()
        top = [(label, round(score, 4)) for label, score in decision.top(TOP_K)]
        told = {"label": decision.label, "score": round(decision.score, 4), "top": top}
        return told | {"latency_ms": round(decision.latency_ms, 4)}

    def generate(self, asked: ClipPrompt) -> bytes:
        motion = self.generator.generate(asked.prompt, asked.seconds, asked.seed, guidance=asked.guidance)
        self.metrics.generated.inc()
        made = {"layout": motion.layout, "fps": motion.fps, "joints": rounded(motion)}
        return json.dumps(made, allow_nan=False).encode()

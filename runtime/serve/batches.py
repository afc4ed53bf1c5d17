"""Motions of requests that wait, generated together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

from ..body.motion import Motion
from ..generation.generator import Generator
from .schemas import ClipPrompt


class Batches:
    """Generates the motions of requests, all that wait together in batches of `Generator.batch`; for one event loop.

    Requests wait in the order of their arrival. The next batch is the first one and those after it with the same
    guidance, so nobody waits for more batches than there were requests before.
    """

    def __init__(self, generator: Generator, threads: Executor) -> None:
        self._generator, self._threads = generator, threads
        self._waiting: list[tuple[ClipPrompt, asyncio.Future[Motion]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def generate(self, prompt: ClipPrompt) -> Motion:
        """Generate a motion in the next batch that has room for it. Raises InputError: an unsuitable prompt."""
        self._generator.check(prompt.prompt)  # here, so that it does not fail the others of its batch
        motion: asyncio.Future[Motion] = asyncio.get_running_loop().create_future()
        self._waiting.append((prompt, motion))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await motion

    async def _work(self) -> None:
        while batch := self._take():
            prompts = [prompt for prompt, _ in batch]
            work = asyncio.get_running_loop().run_in_executor(self._threads, self._generate, prompts)
            (found,) = await asyncio.gather(work, return_exceptions=True)
            for i, (_, motion) in enumerate(batch):
                if motion.done():  # canceled
                    continue
                if isinstance(found, BaseException):
                    motion.set_exception(found)
                else:
                    motion.set_result(found[i])

    def _take(self) -> list[tuple[ClipPrompt, asyncio.Future[Motion]]]:
        """Remove the next batch from those that wait."""
        waiting = [one for one in self._waiting if not one[1].done()]
        alike = [one for one in waiting if one[0].guidance == waiting[0][0].guidance][: self._generator.batch]
        self._waiting = [one for one in waiting if one not in alike]
        return alike

    def _generate(self, prompts: Sequence[ClipPrompt]) -> list[Motion]:
        return self._generator.generate(
            [prompt.prompt for prompt in prompts],
            [prompt.seconds for prompt in prompts],
            guidance=prompts[0].guidance,
            seeds=[prompt.seed for prompt in prompts],
        )

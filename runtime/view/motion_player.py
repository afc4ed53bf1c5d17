"""`MotionPlayer`: motion from text, made and played on a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..body.motion import Motion
from ..errors import InputError
from ..generation.generator import Generator
from ..generation.schedule import MAX_TOKENS, STRIDE
from ..generation.stream import Stream

MAX_FRAMES = STRIDE * MAX_TOKENS  # frames that are kept, as many as can be edited

logger = logging.getLogger(__name__)
Show = Callable[[np.ndarray, bool], None]  # joints [V, 3], and whether they were made anew by an edit


class MotionPlayer:
    """Streams motion, and plays what there is of it again and again once the stream has been stopped.

    Args:
        generator: nobody else streams with it.
        show: is given every frame when it is due.
        failed: is told what went wrong with a stream, which ends then.
    Attributes:
        motion: the last `MAX_FRAMES` frames that were made; None at the beginning.
    """

    def __init__(self, generator: Generator, show: Show, failed: Callable[[str], None]) -> None:
        self.generator = generator
        self.motion: Motion | None = None
        self._show, self._failed = show, failed
        self._anew = slice(0, 0)  # frames of the motion that were edited
        self._stream: Stream | None = None
        self._closed = False
        self._asking = threading.Lock()  # one wish after the other
        self._change = threading.Event()  # what plays is no longer wanted
        self._thread = threading.Thread(target=self._work, name="motionrt maker", daemon=True)
        self._thread.start()

    def prompt(self, text: str) -> None:
        """Begins a stream, or changes the course of the one that plays. Raises InputError: no such prompt."""
        with self._asking:
            if self._stream is not None:
                self._stream.prompt = text
                return
            stream = self.generator.stream(text)
            self.motion, self._anew = None, slice(0, 0)
            self._stream = stream
            self._change.set()

    def stop(self) -> None:
        """Ends the stream; its last frames are there to be edited."""
        with self._asking:
            self._stop()

    def edit(self, text: str, begin_s: float, end_s: float) -> None:
        """Makes a part of the motion anew; a stream is stopped.

        Raises:
            InputError: there is no motion, no such part of it, or no such text.
        """
        with self._asking:
            self._stop()
            motion = self.motion
            if motion is None:
                raise InputError("there is no motion to edit, expected one from a prompt")
            anew = slice(round(begin_s * motion.fps), min(round(end_s * motion.fps), motion.frames))
            self.motion = self.generator.edit(motion, text, anew)
            self._anew = anew
            self._change.set()

    def close(self) -> None:
        self.stop()
        self._closed = True
        self._change.set()
        self._thread.join()

    def _stop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._change.set()
            stream.close()

    def _work(self) -> None:
        while not self._closed:
            self._change.clear()
            stream, motion = self._stream, self.motion
            if stream is not None:
                self._play_stream(stream)
            elif motion is not None:
                self._play(motion, self._anew)
            else:
                self._change.wait()

    def _play_stream(self, stream: Stream) -> None:
        try:
            for chunk in stream:
                with self._asking:
                    if self._stream is not stream:
                        return
                    before = [] if self.motion is None else [self.motion.joints]
                    self.motion = replace(chunk, joints=np.concatenate([*before, chunk.joints])[-MAX_FRAMES:])
                self._play(chunk)
        except Exception as error:  # the next prompt begins another
            logger.exception("the stream has stopped")
            self._failed(str(error))
            self.stop()

    def _play(self, motion: Motion, anew: slice = slice(0, 0)) -> None:
        started = time.monotonic()
        for i, joints in enumerate(motion.joints):
            self._show(joints, anew.start <= i < anew.stop)
            if self._change.wait(max(0.0, started + (i + 1) / motion.fps - time.monotonic())):
                return

"""`MotionPlayer`: generates and plays motion in a background thread."""

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

MAX_FRAMES = STRIDE * MAX_TOKENS  # kept for editing

logger = logging.getLogger(__name__)
Show = Callable[[np.ndarray, bool], None]  # joints [V, 3], and whether an edit regenerated them


class MotionPlayer:
    """Streams motion; once the stream is stopped, plays its last frames in a loop.

    Args:
        generator: not used elsewhere for streaming.
        show: called with each frame when it is due.
        on_error: called with a message if a stream fails, which stops it.
    Attributes:
        motion: the last `MAX_FRAMES` generated frames; None before the first ones.
    """

    def __init__(self, generator: Generator, show: Show, on_error: Callable[[str], None]) -> None:
        self.generator = generator
        self.motion: Motion | None = None
        self._show, self._on_error = show, on_error
        self._edited = slice(0, 0)  # frames of the motion that an edit regenerated
        self._stream: Stream | None = None
        self._closed = False
        self._lock = threading.Lock()  # serializes requests
        self._change = threading.Event()  # interrupts playback
        self._thread = threading.Thread(target=self._work, name="motionrt motion player", daemon=True)
        self._thread.start()

    def prompt(self, text: str) -> None:
        """Start a stream, or change the prompt of the running one. Raises InputError for an invalid prompt."""
        with self._lock:
            if self._stream is not None:
                self._stream.prompt = text
                return
            stream = self.generator.stream(text)
            self.motion, self._edited = None, slice(0, 0)
            self._stream = stream
            self._change.set()

    def stop(self) -> None:
        """Stop the stream; its last frames can be edited."""
        with self._lock:
            self._stop()

    def edit(self, text: str, start_s: float, end_s: float) -> None:
        """Stop the stream and regenerate a part of the motion.

        Raises:
            InputError: there is no motion, or an invalid part or text.
        """
        with self._lock:
            self._stop()
            motion = self.motion
            if motion is None:
                raise InputError("there is no motion to edit; generate one from a prompt first")
            edited = slice(round(start_s * motion.fps), min(round(end_s * motion.fps), motion.frames))
            self.motion = self.generator.edit(motion, text, edited)
            self._edited = edited
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
                self._play(motion, self._edited)
            else:
                self._change.wait()

    def _play_stream(self, stream: Stream) -> None:
        try:
            for chunk in stream:
                with self._lock:
                    if self._stream is not stream:
                        return
                    before = [] if self.motion is None else [self.motion.joints]
                    self.motion = replace(chunk, joints=np.concatenate([*before, chunk.joints])[-MAX_FRAMES:])
                self._play(chunk)
        except Exception as error:  # the next prompt starts a new one
            logger.exception("the stream failed")
            self._on_error(str(error))
            self.stop()

    def _play(self, motion: Motion, edited: slice = slice(0, 0)) -> None:
        started = time.monotonic()
        for i, joints in enumerate(motion.joints):
            self._show(joints, edited.start <= i < edited.stop)
            if self._change.wait(max(0.0, started + (i + 1) / motion.fps - time.monotonic())):
                return

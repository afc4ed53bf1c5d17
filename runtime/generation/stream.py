"""Endless motion: the next window is computed on a background thread while the current chunk plays."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..body.motion import Motion
from ..fork import survive_fork

MIN_READY = 1  # chunks; the next window is computed when no more than these are left
PAST_FRAMES = 40  # of those returned that are kept, so that the motion can change within them
LEAST_FRAMES = 4  # before a change


class StaleError(Exception):
    """A window is not needed anymore: the prompt has changed, or the stream is closed."""


@dataclass(frozen=True, slots=True)
class Window:
    """Frames to generate.

    Attributes:
        prompt: description of the motion.
        past: frames before it, at least the chunk before, [T, V, 3]; None at the start.
        number: of its first chunk, counting all that were returned.
        start: number of frames before it.
        is_urgent: the motion changes in the middle of a chunk that is playing.
        check: raises StaleError when the window is not needed anymore.
    """

    prompt: str
    past: np.ndarray | None
    number: int
    start: int
    is_urgent: bool
    check: Callable[[], None]


Make = Callable[[Window], list[np.ndarray]]  # returns a window's chunks, [T, V, 3] each; none ends the stream


class Stream:
    """Iterator over chunks of motion; a context manager that closes it.

    Pauses between chunks do not matter: the same seed, with the same prompts at the same chunks, gives the same motion.

    Args:
        make: computes a window.
        finish: turns a chunk, its prompt and the number of frames before it into a `Motion`.
        prompt: the first one.
        check: raises InputError for an invalid prompt.
    """

    def __init__(
        self, make: Make, finish: Callable[[np.ndarray, str, int], Motion], prompt: str, check: Callable[[str], None]
    ) -> None:
        check(prompt)
        self._check, self._finish, self._make = check, finish, make
        self._state = _State(prompt=prompt)
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = self._start()
        survive_fork(self)

    @property
    def prompt(self) -> str:
        """Current prompt; a new one applies from the next chunk on."""
        return self._state.prompt

    @prompt.setter
    def prompt(self, text: str) -> None:
        self._check(text)
        state = self._state
        with state.changed:
            if text != state.prompt:
                state.change(text)

    def change(self, prompt: str, keep: int) -> None:
        """Set a new prompt that applies at once, within the chunks that were returned.

        The next chunk continues the first frames of the stream and is computed first; those returned after them are to
        be forgotten.

        Args:
            prompt: description of the motion.
            keep: number of frames that stay, of those returned; all but the last 36 do, and the first 4.
        Raises:
            InputError: an invalid prompt.
        """
        self._check(prompt)
        state = self._state
        with state.changed:
            state.change(prompt)
            kept = 0 if state.past is None else len(state.past)
            dropped = min(state.frames - keep, kept - LEAST_FRAMES)
            if state.past is not None and dropped > 0:
                state.past = state.past[:-dropped]
                state.frames -= dropped
                state.is_urgent = True

    def _after_fork(self) -> None:
        self._state.changed = threading.Condition()
        self._thread = None  # the next chunk starts another one

    def close(self) -> None:
        """End the stream. Returns when the thread has ended, which gives up its current window."""
        self._stop()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Motion:
        state = self._state
        if self._thread is None and not state.closed:
            self._stop = self._start()
        with state.changed:
            state.changed.wait_for(lambda: state.ready or state.ended or state.closed or state.error)
            if not state.ready:
                if state.error:
                    raise state.error
                raise StopIteration
            chunk = state.ready.popleft()
            start, prompt = state.frames, state.prompt
            state.past = chunk if state.past is None else np.concatenate([state.past, chunk])[-PAST_FRAMES:]
            state.frames += len(chunk)
            state.sent += 1
            state.changed.notify_all()
        return self._finish(chunk, prompt, start)

    def _start(self) -> Callable[[], object]:
        """Start the thread; returns the function that stops it."""
        thread = threading.Thread(target=_work, args=(self._state, self._make), name="motionrt stream", daemon=True)
        thread.start()
        self._thread = thread
        return weakref.finalize(self, _stop, self._state, thread)  # also at interpreter exit

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(slots=True, eq=False)
class _State:
    """State shared by the consumer and the thread, guarded by the lock of `changed`."""

    prompt: str
    changed: threading.Condition = field(default_factory=threading.Condition)
    ready: deque[np.ndarray] = field(default_factory=deque)  # chunks to return
    past: np.ndarray | None = None  # frames returned last
    frames: int = 0  # returned, and not dropped by a change
    sent: int = 0  # chunks returned
    is_urgent: bool = False
    version: int = 0  # of the prompt
    ended: bool = False
    closed: bool = False
    error: BaseException | None = None

    def needs_window(self) -> bool:
        return not self.ended and len(self.ready) <= MIN_READY

    def change(self, prompt: str) -> None:
        self.prompt = prompt
        self.version += 1  # discards a window that is being computed
        self.ready.clear()
        self.ended = self.is_urgent = False
        self.changed.notify_all()

    def window(self) -> Window:
        past = self.ready[-1] if self.ready else self.past
        start = self.frames + sum(map(len, self.ready))
        is_urgent, version = self.is_urgent and not self.ready, self.version

        def check() -> None:
            if self.closed or self.version != version:
                raise StaleError

        return Window(self.prompt, past, self.sent + len(self.ready), start, is_urgent, check)


def _work(state: _State, make: Make) -> None:
    while True:
        with state.changed:
            state.changed.wait_for(lambda: state.closed or state.needs_window())
            if state.closed:
                return
            version, window = state.version, state.window()
        try:
            chunks = make(window)
        except StaleError:
            continue
        except BaseException as error:  # raised in the consumer's thread
            with state.changed:
                state.error = error
                state.changed.notify_all()
            return
        with state.changed:
            if version == state.version and not state.closed:
                state.ready.extend(chunks)
                state.ended, state.is_urgent = not chunks, False
                state.changed.notify_all()


def _stop(state: _State, thread: threading.Thread) -> None:
    with state.changed:
        state.closed = True
        state.ready.clear()
        state.changed.notify_all()
    if thread is not threading.current_thread():
        thread.join()

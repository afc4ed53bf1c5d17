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


@dataclass(frozen=True, slots=True)
class Window:
    """Frames to generate.

    Attributes:
        prompt: description of the motion.
        past: the chunk before, [T, V, 3]; None at the start.
        number: of its first chunk.
    """

    prompt: str
    past: np.ndarray | None
    number: int


Make = Callable[[Window], list[np.ndarray]]  # returns a window's chunks, [T, V, 3] each; none ends the stream


class Stream:
    """Iterator over chunks of motion; a context manager that closes it.

    Pauses between chunks do not matter: the same seed, with the same prompts at the same chunks, gives the same motion.

    Args:
        make: computes a window.
        finish: turns a chunk, its prompt and its number into a `Motion`.
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
                state.prompt = text
                state.version += 1  # discards a window that is being computed
                state.ready.clear()
                state.ended = False
                state.changed.notify_all()

    def _after_fork(self) -> None:
        self._state.changed = threading.Condition()
        self._thread = None  # the next chunk starts another one

    def close(self) -> None:
        """End the stream. Returns when the thread has ended, which finishes its current window first."""
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
            state.last = state.ready.popleft()
            state.sent += 1
            number, prompt = state.sent - 1, state.prompt
            state.changed.notify_all()
        return self._finish(state.last, prompt, number)

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
    last: np.ndarray | None = None  # chunk returned last
    sent: int = 0  # chunks returned
    version: int = 0  # of the prompt
    ended: bool = False
    closed: bool = False
    error: BaseException | None = None

    def needs_window(self) -> bool:
        return not self.ended and len(self.ready) <= MIN_READY

    def window(self) -> Window:
        past = self.ready[-1] if self.ready else self.last
        return Window(self.prompt, past, self.sent + len(self.ready))


def _work(state: _State, make: Make) -> None:
    while True:
        with state.changed:
            state.changed.wait_for(lambda: state.closed or state.needs_window())
            if state.closed:
                return
            version, window = state.version, state.window()
        try:
            chunks = make(window)
        except BaseException as error:  # raised in the consumer's thread
            with state.changed:
                state.error = error
                state.changed.notify_all()
            return
        with state.changed:
            if version == state.version and not state.closed:
                state.ready.extend(chunks)
                state.ended = not chunks
                state.changed.notify_all()


def _stop(state: _State, thread: threading.Thread) -> None:
    with state.changed:
        state.closed = True
        state.ready.clear()
        state.changed.notify_all()
    if thread is not threading.current_thread():
        thread.join()

"""Motion without end: what is to come is computed on a thread of its own while what is there plays."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..body.motion import Motion

AHEAD = 1  # chunks that are left when the next window is begun


@dataclass(frozen=True, slots=True)
class Window:
    """What is to be made.

    Attributes:
        prompt: what somebody is to do.
        past: the chunk that it follows, [T, V, 3]; None at the beginning.
        number: of its first chunk.
    """

    prompt: str
    past: np.ndarray | None
    number: int


Make = Callable[[Window], list[np.ndarray]]  # a window's chunks, [T, V, 3] each; none: the stream ends


class Stream:
    """Chunks of motion, one after the other: an iterator, and a context manager that closes it.

    A pause between chunks changes nothing. The same seed, and prompts changed at the same chunks, give the same motion.

    Args:
        make: computes a window.
        finish: a chunk, what was asked for in it and its number as a `Motion`.
        prompt: what somebody is to do at first.
        check: raises for a prompt that is none.
    """

    def __init__(
        self, make: Make, finish: Callable[[np.ndarray, str, int], Motion], prompt: str, check: Callable[[str], None]
    ) -> None:
        check(prompt)
        self._check, self._finish = check, finish
        self._state = _State(prompt=prompt)
        self._thread = threading.Thread(target=_work, args=(self._state, make), name="motionrt stream", daemon=True)
        self._thread.start()
        self._stop = weakref.finalize(self, _stop, self._state, self._thread)  # also when Python ends

    @property
    def prompt(self) -> str:
        """What somebody is to do. Another one holds from the next chunk on."""
        return self._state.prompt

    @prompt.setter
    def prompt(self, text: str) -> None:
        self._check(text)
        state = self._state
        with state.changed:
            if text != state.prompt:
                state.prompt = text
                state.plan += 1  # a window that is being computed is no longer wanted
                state.ready.clear()
                state.ended = False
                state.changed.notify_all()

    def close(self) -> None:
        """Stop; there are no more chunks. Returns when the thread has ended, after the window that it is at."""
        self._stop()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Motion:
        state = self._state
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

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(slots=True, eq=False)
class _State:
    """What the consumer and the thread share, under the lock of `changed`."""

    prompt: str
    changed: threading.Condition = field(default_factory=threading.Condition)
    ready: deque[np.ndarray] = field(default_factory=deque)  # chunks to hand out
    last: np.ndarray | None = None  # that was handed out
    sent: int = 0  # chunks handed out
    plan: int = 0  # counts changes of the prompt
    ended: bool = False
    closed: bool = False
    error: BaseException | None = None

    def wanted(self) -> bool:
        return not self.ended and len(self.ready) <= AHEAD

    def window(self) -> Window:
        past = self.ready[-1] if self.ready else self.last
        return Window(self.prompt, past, self.sent + len(self.ready))


def _work(state: _State, make: Make) -> None:
    while True:
        with state.changed:
            state.changed.wait_for(lambda: state.closed or state.wanted())
            if state.closed:
                return
            plan, window = state.plan, state.window()
        try:
            chunks = make(window)
        except BaseException as error:  # it belongs to whoever waits for a chunk
            with state.changed:
                state.error = error
                state.changed.notify_all()
            return
        with state.changed:
            if plan == state.plan and not state.closed:
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

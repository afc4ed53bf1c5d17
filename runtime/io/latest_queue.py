"""`LatestQueue`: a queue of depth one, newest wins."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestQueue(Generic[T]):
    """The newest value of every key, kept until the consumer takes it; whoever puts a value in never waits.

    Attributes:
        dropped: values that were overwritten before they were taken.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: dict[Hashable, T] = {}
        self._closed = False
        self._error: Exception | None = None
        self._change = threading.Condition()

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, values: Mapping[Hashable, T]) -> None:
        """Values that belong together are also taken together. Once closed, they go nowhere."""
        with self._change:
            if not self._closed:
                self.dropped += len(self._waiting.keys() & values.keys())
                self._waiting |= values
                self._change.notify_all()

    def take(self, timeout_s: float) -> list[T] | None:
        """Everything that waits, as soon as there is anything; [] after the time-out, None when closed and empty.

        Raises the error that it was closed with.
        """
        with self._change:
            self._change.wait_for(lambda: self._waiting or self._closed, timeout_s)
            if self._closed and not self._waiting:
                if self._error is not None:
                    raise self._error
                return None
            taken, self._waiting = list(self._waiting.values()), {}
            return taken

    def close(self, error: Exception | None = None) -> None:
        """Wakes the consumer; what waits can still be taken, then `error` is raised. Only the first call counts."""
        with self._change:
            if not self._closed:
                self._closed, self._error = True, error
                self._change.notify_all()

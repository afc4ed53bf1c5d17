"""`LatestQueue`: a queue of depth one; a newer value replaces the older one."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestQueue(Generic[T]):
    """Holds the newest value of each key until the consumer takes it; producers never wait.

    Attributes:
        dropped: values that were overwritten before they were taken.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._pending: dict[Hashable, T] = {}
        self._closed = False
        self._error: Exception | None = None
        self._change = threading.Condition()

    @property
    def closed(self) -> bool:
        return self._closed

    def put(self, values: Mapping[Hashable, T]) -> None:
        """Add values, which are taken together; ignored once the queue is closed."""
        with self._change:
            if not self._closed:
                self.dropped += len(self._pending.keys() & values.keys())
                self._pending |= values
                self._change.notify_all()

    def take(self, timeout_s: float) -> list[T] | None:
        """Take all pending values, waiting for the first; [] after the timeout, None when closed and empty.

        Raises the error passed to `close`.
        """
        with self._change:
            self._change.wait_for(lambda: self._pending or self._closed, timeout_s)
            if self._closed and not self._pending:
                if self._error is not None:
                    raise self._error
                return None
            taken, self._pending = list(self._pending.values()), {}
            return taken

    def close(self, error: Exception | None = None) -> None:
        """Wake the consumer; pending values can still be taken, then `error` is raised. Only the first call counts."""
        with self._change:
            if not self._closed:
                self._closed, self._error = True, error
                self._change.notify_all()

"""Limits on concurrency and on rates."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

BURST_S = 2.0  # a burst may be as large as the allowance of this many seconds
BUSY = "the server is busy; try again later"
MAX_ADDRESSES = 4096  # tracked at a time; the least recently seen one is forgotten first


class Slots:
    """A counting semaphore that never waits, for one event loop; `in_use` of `count` are taken.

    Attributes:
        is_wanted: whether somebody was refused since the last release.
    """

    def __init__(self, count: int) -> None:
        self.count, self.in_use, self.is_wanted = count, 0, False

    def acquire(self) -> bool:
        """Take a slot; False if there is none left."""
        if self.in_use == self.count:
            self.is_wanted = True
            return False
        self.in_use += 1
        return True

    def release(self) -> None:
        self.in_use -= 1
        self.is_wanted = False


class Bucket:
    """A token bucket: `rate` tokens per second, at most `burst` at a time."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._updated = burst, clock()

    def take(self) -> bool:
        """Take a token; False if there is none."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Buckets:
    """One `Bucket` per address."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = rate, burst, clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, address: str) -> bool:
        """Take a token of an address; False if it has none."""
        bucket = self._buckets.pop(address, None) or Bucket(*self._settings)
        self._buckets[address] = bucket
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return bucket.take()

"""How much of something may be had: so many at once, so many a second."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

BURST_S = 2.0  # so much time's worth may come at once, after a silence
MAX_ADDRESSES = 4096  # that are remembered; who has been away for longest is forgotten first


class Slots:
    """A counting semaphore that never waits, for one event loop; `in_use` of `count` are taken."""

    def __init__(self, count: int) -> None:
        self.count, self.in_use = count, 0

    def acquire(self) -> bool:
        """Take a slot; False if there is none left."""
        if self.in_use == self.count:
            return False
        self.in_use += 1
        return True

    def release(self) -> None:
        self.in_use -= 1


class Bucket:
    """A token bucket: `rate` a second, `burst` at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._then = burst, clock()

    def take(self) -> bool:
        """Whether one more may be had now."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Buckets:
    """A `Bucket` an address."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = rate, burst, clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, address: str) -> bool:
        """Whether this address may have one more now."""
        bucket = self._buckets.pop(address, None) or Bucket(*self._settings)
        self._buckets[address] = bucket
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return bucket.take()

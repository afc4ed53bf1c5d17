"""Limits on concurrency and on rates."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from typing import Any

BURST_S = 2.0  # a burst may be as large as the allowance of this many seconds
BUSY = "the server is busy; try again later"
MAX_ADDRESSES = 4096  # tracked at a time; the least recently seen one is forgotten first

End = Callable[[], Coroutine[Any, Any, Any]]  # its return ends a wait


class Slots:
    """A counting semaphore for one event loop, with a queue of `places`; `in_use` of `count` are taken.

    Attributes:
        is_wanted: whether somebody waits, or was refused since the last release.
    """

    def __init__(self, count: int, places: int = 0) -> None:
        self.count, self.in_use, self.is_wanted = count, 0, False
        self._places, self._turns = places, deque[asyncio.Future[None]]()

    def acquire(self) -> bool:
        """Take a slot; False if there is none left."""
        if self.in_use == self.count:
            self.is_wanted = True
            return False
        self.in_use += 1
        return True

    async def wait(self, timeout_s: float, *ends: End) -> bool:
        """Take a slot in the order of calls; False if too many wait, after a time, or when one of `ends` returns."""
        if self.acquire():
            return True
        if len(self._turns) == self._places:
            return False
        turn = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        others = [asyncio.ensure_future(end()) for end in ends]
        try:
            await asyncio.wait((turn, *others), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return turn.done()
        except asyncio.CancelledError:
            if turn.done():
                self.release()
            raise
        finally:
            for other in others:
                other.cancel()
            if not turn.done():
                self._turns.remove(turn)

    def release(self) -> None:
        if self._turns:
            self._turns.popleft().set_result(None)
        else:
            self.in_use -= 1
        self.is_wanted = bool(self._turns)


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

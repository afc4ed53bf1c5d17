"""Waiting for a condition in tests, for a limited time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float, message: str) -> T:
    """Check a condition every 10 ms and return its first true value; fail with the message after so many seconds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {message}"
        time.sleep(0.01)
    return value

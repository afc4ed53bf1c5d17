"""Waiting for a condition in tests, for a limited time."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float, message: str | Callable[[], str]) -> T:
    """Check a condition every 10 ms and return its first true value; fail with the message after so many seconds."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() >= end:
            pytest.fail(f"not within {seconds:g} s: {message() if callable(message) else message}")
        time.sleep(0.01)
    return value

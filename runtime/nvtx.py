"""Named ranges for Nsight Systems: decode, map, step, decide. Without the `nvtx` package they cost nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import import_module
from typing import Any


def push_pop() -> tuple[Callable[[str], Any], Callable[[], Any]] | tuple[None, None]:
    """Functions that open and close a range, for the engine; None without the `nvtx` package."""
    nvtx = _nvtx()
    return (nvtx.push_range, nvtx.pop_range) if nvtx else (None, None)


def annotate(name: str) -> AbstractContextManager[Any]:
    """A range around a block."""
    nvtx = _nvtx()
    return nvtx.annotate(name) if nvtx else nullcontext()


@cache
def _nvtx() -> Any:
    try:
        return import_module("nvtx")
    except ImportError:
        return None

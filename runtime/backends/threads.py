"""The CPU threads that a model may use."""

import os

from ..errors import InputError


def check_threads(threads: int) -> int:
    """Validate a number of threads; returns it.

    Raises InputError: not 1 to the number of CPUs that this process may use. More threads than CPUs wait for one
    another, which can be ten times slower than a single thread.
    """
    if type(threads) is not int or threads < 1:
        raise InputError(f"threads is {threads!r}, expected a whole number of 1 or more")
    available = cpus()
    if threads > available:
        raise InputError(f"threads is {threads}, expected at most {available}, the CPUs that this process may use")
    return threads


def cpus() -> int:
    """Number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

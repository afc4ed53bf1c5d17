"""Timing of calls: percentiles, several contenders in turns, calls at a camera's pace. Latencies are in ms."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

Call = Callable[[int], object]  # is given the number of the call, from 0
PERCENTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "p999_ms": 99.9, "max_ms": 100.0}


def percentiles(latencies_ms: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """n, mean, p50, p90, p99, p99.9 and the longest; between two latencies, interpolated.

    Raises:
        ValueError: there are none.
    """
    if len(latencies_ms) == 0:
        raise ValueError("no latencies, expected at least one")
    latencies = np.asarray(latencies_ms, np.float64)
    values = np.percentile(latencies, list(PERCENTILES.values())).tolist()
    return {"n": len(latencies), "mean_ms": float(latencies.mean()), **dict(zip(PERCENTILES, values, strict=True))}


def median_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One figure for several runs' percentiles: the median of each, but the longest of all and the calls together."""
    figures = {name: median(run[name] for run in runs) for name in ("mean_ms", *PERCENTILES)}
    return {"n": sum(run["n"] for run in runs), **figures, "max_ms": max(run["max_ms"] for run in runs)}


def timed(call: Call, calls: int, first: int = 0) -> np.ndarray:
    """Latencies [calls] of calls one right after the other, numbered from `first`."""
    clock, latencies = time.perf_counter_ns, np.empty(calls, np.int64)
    for i in range(calls):
        started = clock()
        call(first + i)
        latencies[i] = clock() - started
    return latencies / 1e6


def in_turns(
    contenders: Mapping[str, Call], rounds: int, round_s: float, each: Callable[[], object] = lambda: None
) -> dict[str, np.ndarray]:
    """Latencies by contender, measured A B C A B C …, so that drift of the machine hits all alike.

    Args:
        contenders: name -> what is timed.
        rounds: how often each has its turn.
        round_s: about how long a turn is, seconds; at least three calls.
        each: called after every turn.
    """
    calls, found = {}, {name: [np.empty(0)] for name in contenders}
    for name, call in contenders.items():
        warm_ms = float(np.min(timed(call, 3)))
        calls[name] = max(3, int(round_s * 1e3 / max(warm_ms, 1e-3)))
    for k in range(rounds):
        for name, call in contenders.items():
            found[name].append(timed(call, calls[name], first=3 + k * calls[name]))
            each()
    return {name: np.concatenate(parts) for name, parts in found.items()}


def paced(
    call: Call,
    calls: int,
    rate_hz: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> np.ndarray:
    """Latencies [calls], each from the moment that a call begins, at a camera's pace, asleep in between."""
    latencies, began = np.empty(calls), clock()
    for i in range(calls):
        if (wait := began + i / rate_hz - clock()) > 0:
            sleep(wait)
        started = clock()
        call(i)
        latencies[i] = (clock() - started) * 1e3
    return latencies

"""Timing of calls: percentiles, several calls in turns, calls at a camera's rate. Latencies are in ms."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

Call = Callable[[int], object]  # takes the number of the call, from 0
PERCENTILES = {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "p999_ms": 99.9, "max_ms": 100.0}


def percentiles(latencies_ms: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """n, mean, p50, p90, p99, p99.9 and the longest; interpolated between latencies.

    Raises:
        ValueError: there are no latencies.
    """
    if len(latencies_ms) == 0:
        raise ValueError("no latencies, expected at least one")
    latencies = np.asarray(latencies_ms, np.float64)
    values = np.percentile(latencies, list(PERCENTILES.values())).tolist()
    return {"n": len(latencies), "mean_ms": float(latencies.mean()), **dict(zip(PERCENTILES, values, strict=True))}


def median_of(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Combine the percentiles of several runs: the median of each, the longest of all, the total number of calls."""
    figures = {name: median(run[name] for run in runs) for name in ("mean_ms", *PERCENTILES)}
    return {"n": sum(run["n"] for run in runs), **figures, "max_ms": max(run["max_ms"] for run in runs)}


def timed(call: Call, calls: int, first: int = 0) -> np.ndarray:
    """Latencies [calls] of consecutive calls, numbered from `first`."""
    clock, latencies = time.perf_counter_ns, np.empty(calls, np.int64)
    for i in range(calls):
        started = clock()
        call(first + i)
        latencies[i] = clock() - started
    return latencies / 1e6


def in_turns(
    calls: Mapping[str, Call], rounds: int, round_s: float, after_turn: Callable[[], object] = lambda: None
) -> dict[str, np.ndarray]:
    """Latencies by name, measured A B C A B C …, so that drift of the machine affects all alike.

    Args:
        calls: name -> the call to time.
        rounds: number of turns of each.
        round_s: approximate duration of a turn, seconds; at least three calls.
        after_turn: called after every turn.
    """
    counts, latencies = {}, {name: [np.empty(0)] for name in calls}
    for name, call in calls.items():
        warm_ms = float(np.min(timed(call, 3)))
        counts[name] = max(3, int(round_s * 1e3 / max(warm_ms, 1e-3)))
    for k in range(rounds):
        for name, call in calls.items():
            latencies[name].append(timed(call, counts[name], first=3 + k * counts[name]))
            after_turn()
    return {name: np.concatenate(parts) for name, parts in latencies.items()}


def paced(
    call: Call,
    calls: int,
    rate_hz: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> np.ndarray:
    """Latencies [calls] at a fixed rate, each from the start of its call; sleeps in between."""
    latencies, start_s = np.empty(calls), clock()
    for i in range(calls):
        if (wait := start_s + i / rate_hz - clock()) > 0:
            sleep(wait)
        started = clock()
        call(i)
        latencies[i] = (clock() - started) * 1e3
    return latencies

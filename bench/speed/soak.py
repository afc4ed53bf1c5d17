"""`motionrt bench soak`: memory and latency over hours of frames through one recognizer."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from ...runtime.errors import InputError
from ...runtime.progress import ProgressBar
from ...runtime.recognition.decision import Decision
from ...runtime.recognition.recognizer import Recognizer
from .environment import environment, one_core, resident_bytes
from .timing import percentiles
from .workloads import samples, simulate_sensor

FRAMES = 108_000  # an hour at 30 Hz
MIN_FRAMES = 100
WARM_UP = 2_000  # frames, at most a tenth
EVICT_EVERY = 20  # moments; people are evicted late, or come back before they are evicted


def soak(model: str, frames: int = FRAMES) -> dict[str, Any]:
    """Step through a workload as fast as possible.

    Args:
        model: name or path of a bundle.
        frames: total of all people, after the warm-up.
    Returns:
        A JSON object: memory in MB after the warm-up and at the end, latencies in ms of the first and the last tenth,
        and counts of events.
    Raises:
        InputError: too few frames for a first and a last tenth.
    """
    if frames < MIN_FRAMES:
        raise InputError(f"{frames} frames, expected at least {MIN_FRAMES}")
    recognizer, tenth = Recognizer.load(model), frames // 10
    latencies, events = np.ones(frames), Counter[str]()  # filled, so that it does not count as growth
    steps = step_through(recognizer, events)
    with ProgressBar() as bar, one_core() as core:
        bar.stage("soak", 10)
        for _ in islice(steps, min(WARM_UP, tenth)):
            pass
        counters_before, events_before = dict(recognizer.counters), Counter(events)
        gc.collect()
        start_bytes, start_s = resident_bytes(), time.perf_counter()
        for i, latency_ms in enumerate(islice(steps, frames)):
            latencies[i] = latency_ms
            if (i + 1) % tenth == 0:
                bar.advance()
        seconds = time.perf_counter() - start_s
        gc.collect()
        end_bytes = resident_bytes()
    return {
        "benchmark": "soak",
        "model": recognizer.name,
        "backend": recognizer.backend,
        "frames": frames,
        "seconds": seconds,
        "rss_start_mb": start_bytes / 1e6,
        "rss_end_mb": end_bytes / 1e6,
        "growth_mb": (end_bytes - start_bytes) / 1e6,
        "first_tenth": percentiles(latencies[:tenth]),
        "last_tenth": percentiles(latencies[-tenth:]),
        "counters": {name: total - counters_before[name] for name, total in recognizer.counters.items()},
        "events": dict(sorted((events - events_before).items())),
        "environment": {**environment(recognizer.bundle), "threads": 1, "pinned_to_core": core},
    }


def step_through(recognizer: Recognizer, events: Counter[str]) -> Iterator[float]:
    """Endless latencies of steps, ms; counts statuses, decision events, people and resets in `events`."""
    newest = -1
    for k, moment in enumerate(simulate_sensor(samples(), recognizer.fps)):
        if moment.reset is not None:
            recognizer.reset(moment.reset)
            events["forgotten"] += 1
        if k % EVICT_EVERY == 0:
            for decision in recognizer.evict(moment.t):
                count(decision, events)
        for pose in moment.poses:
            if pose.person > newest:
                newest = pose.person
                events["people"] += 1
            started = time.perf_counter_ns()
            decision = recognizer.step(pose.joints, moment.t, person=pose.person, layout=pose.layout)
            latency_ms = (time.perf_counter_ns() - started) / 1e6
            count(decision, events)
            yield latency_ms


def count(decision: Decision, events: Counter[str]) -> None:
    events[decision.status] += 1
    if decision.event is not None:
        events[decision.event] += 1

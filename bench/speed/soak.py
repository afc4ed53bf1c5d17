"""`motionrt bench soak`: hours of frames through one recogniser; do memory and latency stay as they were?"""

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
from .workloads import samples, traffic

FRAMES = 108_000  # an hour at 30 Hz
LEAST_FRAMES = 100
WARM_UP = 2_000  # frames, at most a tenth
EVICT_EVERY = 20  # moments: some are told to have left, others are found to have been away


def soak(model: str, frames: int = FRAMES) -> dict[str, Any]:
    """Step through traffic as fast as possible.

    Args:
        model: name or path of a bundle.
        frames: of all people together, after the warm-up.
    Returns:
        A JSON object: memory in MB after the warm-up and at the end, latencies in ms of the first and the last tenth,
        and counts of what happened.
    Raises:
        InputError: too few frames for a first and a last tenth.
    """
    if frames < LEAST_FRAMES:
        raise InputError(f"{frames} frames, expected at least {LEAST_FRAMES}")
    recognizer, tenth = Recognizer.load(model), frames // 10
    latencies, said = np.ones(frames), Counter[str]()  # filled, so that it does not count as growth
    steps = every_step(recognizer, said)
    with ProgressBar() as bar, one_core() as core:
        bar.stage("soak", 10)
        for _ in islice(steps, min(WARM_UP, tenth)):
            pass
        before, said_before = dict(recognizer.counters), Counter(said)
        gc.collect()
        start_bytes, began = resident_bytes(), time.perf_counter()
        for i, latency_ms in enumerate(islice(steps, frames)):
            latencies[i] = latency_ms
            if (i + 1) % tenth == 0:
                bar.advance()
        seconds = time.perf_counter() - began
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
        "counters": {name: total - before[name] for name, total in recognizer.counters.items()},
        "said": dict(sorted((said - said_before).items())),
        "environment": {**environment(recognizer.bundle), "threads": 1, "pinned_to_core": core},
    }


def every_step(recognizer: Recognizer, said: Counter[str]) -> Iterator[float]:
    """Latencies, ms, of steps without end; counts in `said` the statuses and events of decisions, people and resets."""
    newest = -1
    for k, moment in enumerate(traffic(samples(), recognizer.fps)):
        if moment.reset is not None:
            recognizer.reset(moment.reset)
            said["forgotten"] += 1
        if k % EVICT_EVERY == 0:
            for decision in recognizer.evict(moment.t):
                count(decision, said)
        for pose in moment.poses:
            if pose.person > newest:
                newest = pose.person
                said["people"] += 1
            began = time.perf_counter_ns()
            decision = recognizer.step(pose.joints, moment.t, person=pose.person, layout=pose.layout)
            latency_ms = (time.perf_counter_ns() - began) / 1e6
            count(decision, said)
            yield latency_ms


def count(decision: Decision, said: Counter[str]) -> None:
    said[decision.status] += 1
    if decision.event is not None:
        said[decision.event] += 1

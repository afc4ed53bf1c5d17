"""`motionrt bench zero-shot`: latency of frames during background matching and label changes, and of these themselves.

Parity is checked first: matching in a background thread must give the same logits as matching in the stream. Threads
are not pinned to a core, so that matching can use another core than the stream.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import InputError, MotionError
from ...runtime.progress import ProgressBar
from ...runtime.recognition.matcher import Vocabulary
from ...runtime.recognition.open_labels import OpenLabels, encoder_bundle
from ...runtime.recognition.recognizer import Recognizer
from .baselines import one_by_one, sensor_poses
from .environment import environment
from .timing import Call, paced, percentiles, timed
from .workloads import samples

Changes = list[tuple[float, float]]  # start and end of each, s

CAMERA_HZ = 30.0
CHANGE_S = 1.0  # between label changes
LABELS = 40
COUNTS = (1, 10, LABELS, 200)
SUFFIXES = ("", " slowly", " twice", " with the left hand", " while walking", " and stop")
PARITY = 1e-5
SCHEDULED = Path("/proc/thread-self/schedstat")
WARM_UP = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """Amount of measurement.

    Attributes:
        paced_s: duration of every stream, seconds. calls: matches per number of labels, and changes to known
            labels. cold: changes to new labels.
    """

    paced_s: float
    calls: int
    cold: int


def full() -> Effort:
    return Effort(paced_s=30.0, calls=100, cold=10)


def quick() -> Effort:
    return Effort(paced_s=4.0, calls=15, cold=3)


def bench_zero_shot(model: str, effort: Effort) -> dict[str, Any]:
    """Measure a zero-shot recognizer.

    Args:
        model: name or path of a bundle.
    Returns:
        A JSON object; latencies in ms.
    Raises:
        InputError: a model with fixed labels.
        MotionError: matching in the background differs from matching in the stream, or frames were lost.
    """
    recognizer = Recognizer.load(model)
    if not isinstance(recognizer.label_strategy, OpenLabels):
        raise InputError(f"the labels of model {recognizer.name!r} are fixed, expected a zero-shot model")
    with ProgressBar() as bar:
        bar.stage("parity")
        off = parity(recognizer)
        bar.stage("streams", 3)
        streams = measure_streams(recognizer, effort, bar)
        bar.stage("labels", len(COUNTS) + 2)
        labels = measure_labels(recognizer, effort, bar)
    return {
        "benchmark": "zero-shot",
        "model": recognizer.name,
        "backend": recognizer.backend,
        "rate_hz": CAMERA_HZ,
        "parity_max_abs": off,
        **streams,
        **labels,
        "environment": {**environment(recognizer.bundle), "threads": 1},
    }


def parity(recognizer: Recognizer) -> float:
    """The largest difference of logits at the end of the sample recordings, between background and in-stream matching.

    Raises:
        MotionError: it exceeds `PARITY`.
    """
    ends = []
    for background in (False, True):
        fresh = recognizer.clone()
        matching = _open_labels(fresh)
        fresh.background = background
        for person, motion in enumerate(samples()):
            for joints in motion.person(0).joints:
                fresh.step(joints, person=person, layout=motion.layout)
        if matching.thread is not None:
            matching.streams.requests.close()
            matching.thread.join()
        ends.append(matching.streams.logits_PK)
    off = float(np.abs(ends[0] - ends[1]).max())
    if not off <= PARITY:
        raise MotionError(f"parity: background logits differ by {off:.2g}, expected at most {PARITY:g}")
    return off


def measure_streams(recognizer: Recognizer, effort: Effort, bar: ProgressBar) -> dict[str, Any]:
    """Time steps at a camera's rate: encoder only, with background matching, and with label changes as well.

    The wait for other threads of this process is the duration of a step minus its CPU time and its time in the run
    queue.

    Raises:
        MotionError: frames were lost.
    """
    poses, frames = sensor_poses(samples()), round(effort.paced_s * CAMERA_HZ)
    plain = Recognizer(encoder_bundle(recognizer.bundle), recognizer._backend)
    found: dict[str, Any] = {}
    for name, stepped in (("encoder", plain), ("matching", recognizer), ("changing", recognizer)):
        stepped.reset()
        step = one_by_one(stepped, poses)
        timed(step, WARM_UP)
        started, waited, before = np.empty(frames), np.empty(frames), stepped.counters

        def timed_step(i: int, step: Call = step, started: np.ndarray = started, waited: np.ndarray = waited) -> None:
            started[i] = time.perf_counter()
            ran, queued = time.thread_time(), queued_s()
            step(i)
            waited[i] = time.perf_counter() - started[i] - (time.thread_time() - ran) - (queued_s() - queued)

        background: AbstractContextManager[Changes] = (
            change_labels(recognizer) if name == "changing" else nullcontext([])
        )
        with background as changes:
            latencies = paced(timed_step, frames, CAMERA_HZ)
        counted = {key: total - before[key] for key, total in stepped.counters.items()}
        if counted != {"frames": frames, "dropped": 0, "resets": 0, "lost": 0}:
            raise MotionError(f"frames were lost: {frames} stepped, counters {counted}")
        found[name] = percentiles(latencies) | {"frames_lost": 0}
        bar.advance()
    ended = started + latencies / 1e3
    during = np.any([(begin <= ended) & (started <= end) for begin, end in changes], axis=0)
    found["changing"] |= {
        "changes": len(changes),
        "during_changes": percentiles(latencies[during]),
        "waited_for_changes_ms": max(0.0, 1e3 * float(waited[during].max())),
    }
    return {"streams": found}


def measure_labels(recognizer: Recognizer, effort: Effort, bar: ProgressBar) -> dict[str, Any]:
    """Time matching of one person by number of labels, and changes of labels."""
    matching, open_labels = {}, _open_labels(recognizer)
    feature_BF = open_labels.clip_feature(samples()[0])[None]
    for size in COUNTS:
        recognizer.set_labels(names(recognizer, size))
        vocabulary = open_labels.streams.vocabulary

        def match(i: int, vocabulary: Vocabulary = vocabulary) -> object:
            return open_labels.matcher.logits(feature_BF, vocabulary)

        timed(match, 3)
        matching[size] = percentiles(timed(match, effort.calls))
        bar.advance()
    cold = [names(recognizer, LABELS, f" at {k} o'clock") for k in range(effort.cold)]
    changes = {}
    for name, calls in (("cold", effort.cold), ("cached", effort.calls)):
        changes[name] = percentiles(timed(lambda i: recognizer.set_labels(cold[i % len(cold)]), calls))
        bar.advance()
    rows = [{"labels": size, **latencies} for size, latencies in matching.items()]
    return {"match": rows, "set_labels": {"labels": LABELS, **changes}}


def _open_labels(recognizer: Recognizer) -> OpenLabels:
    assert isinstance(recognizer.label_strategy, OpenLabels)
    return recognizer.label_strategy


def queued_s() -> float:
    """Time that this thread has waited for a core; 0 if the system does not report it."""
    try:
        return int(SCHEDULED.read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


@contextmanager
def change_labels(recognizer: Recognizer) -> Iterator[Changes]:
    """Change labels every `CHANGE_S`, alternating between new and known ones."""
    changes: Changes = []
    done = threading.Event()

    def change() -> None:
        while not done.wait(CHANGE_S):
            labels = names(recognizer, LABELS, f" before {len(changes) // 2} others")
            start_s = time.perf_counter()
            recognizer.set_labels(labels)
            changes.append((start_s, time.perf_counter()))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield changes
    finally:
        done.set()
        thread.join()


def names(recognizer: Recognizer, size: int, more: str = "") -> list[str]:
    """`size` labels, starting with those that the bundle was trained on."""
    known = recognizer.bundle.manifest.matching.labels
    return [f"{label}{suffix}{more}" for suffix, label in islice(product(SUFFIXES, known), size)]

"""`motionrt bench zero-shot`: what a frame costs while texts are matched beside it and change, and what these cost.

Parity comes first: what the thread beside a stream has found at its end must be what a frame finds that waits for it.
Nothing is kept on one core: matching is to have another than the stream.
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

Changes = list[tuple[float, float]]  # when each began and ended, s

CAMERA_HZ = 30.0
CHANGE_S = 1.0  # from one change of labels to the next
LABELS = 40
COUNTS = (1, 10, LABELS, 200)
MANNERS = ("", " slowly", " twice", " with the left hand", " while walking", " and stop")
PARITY = 1e-5
SCHEDULED = Path("/proc/thread-self/schedstat")
WARM_UP = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How much is measured.

    Attributes:
        paced_s: of every stream, seconds. calls: matches of every number of labels, and changes to labels that are
            known. cold: changes to labels that are new.
    """

    paced_s: float
    calls: int
    cold: int


def full() -> Effort:
    return Effort(paced_s=30.0, calls=100, cold=10)


def quick() -> Effort:
    return Effort(paced_s=4.0, calls=15, cold=3)


def bench_zero_shot(model: str, effort: Effort) -> dict[str, Any]:
    """Measure a zero-shot recogniser.

    Args:
        model: name or path of a bundle.
    Returns:
        A JSON object; latencies in ms.
    Raises:
        InputError: a model of fixed labels.
        MotionError: matching beside a stream does not find what matching in it does, or frames were lost.
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
    """How far logits at the end of the sample recordings differ when they are matched beside them.

    Raises:
        MotionError: by more than `PARITY`.
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
        raise MotionError(f"parity: logits beside the stream are off by {off:.2g}, at most {PARITY:g} is allowed")
    return off


def measure_streams(recognizer: Recognizer, effort: Effort, bar: ProgressBar) -> dict[str, Any]:
    """Steps at a camera's pace: of the encoder alone, with matching beside it, and with labels that change, too.

    What a step waits for others of this process is its time less what it ran and what it waited for a core.

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
        began, waited, before = np.empty(frames), np.empty(frames), stepped.counters

        def clocked(i: int, step: Call = step, began: np.ndarray = began, waited: np.ndarray = waited) -> None:
            began[i] = time.perf_counter()
            ran, queued = time.thread_time(), queued_s()
            step(i)
            waited[i] = time.perf_counter() - began[i] - (time.thread_time() - ran) - (queued_s() - queued)

        beside: AbstractContextManager[Changes] = changing(recognizer) if name == "changing" else nullcontext([])
        with beside as changes:
            latencies = paced(clocked, frames, CAMERA_HZ)
        counted = {key: total - before[key] for key, total in stepped.counters.items()}
        if counted != {"frames": frames, "dropped": 0, "resets": 0, "lost": 0}:
            raise MotionError(f"frames were lost: of {frames} {counted}")
        found[name] = percentiles(latencies) | {"frames_lost": 0}
        bar.advance()
    ended = began + latencies / 1e3
    during = np.any([(begin <= ended) & (began <= end) for begin, end in changes], axis=0)
    found["changing"] |= {
        "changes": len(changes),
        "during_changes": percentiles(latencies[during]),
        "waited_for_changes_ms": max(0.0, 1e3 * float(waited[during].max())),
    }
    return {"streams": found}


def measure_labels(recognizer: Recognizer, effort: Effort, bar: ProgressBar) -> dict[str, Any]:
    """What matching one person takes by the number of labels, and what changing them takes."""
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
    matched = [{"labels": size, **of} for size, of in matching.items()]
    return {"match": matched, "set_labels": {"labels": LABELS, **changes}}


def _open_labels(recognizer: Recognizer) -> OpenLabels:
    assert isinstance(recognizer.label_strategy, OpenLabels)
    return recognizer.label_strategy


def queued_s() -> float:
    """How long this thread has waited for a core; 0 where the system does not tell."""
    try:
        return int(SCHEDULED.read_text().split()[1]) / 1e9
    except OSError:
        return 0.0


@contextmanager
def changing(recognizer: Recognizer) -> Iterator[Changes]:
    """Labels change every `CHANGE_S`, to new ones and to known ones in turn."""
    changes: Changes = []
    over = threading.Event()

    def change() -> None:
        while not over.wait(CHANGE_S):
            labels = names(recognizer, LABELS, f" before {len(changes) // 2} others")
            began = time.perf_counter()
            recognizer.set_labels(labels)
            changes.append((began, time.perf_counter()))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield changes
    finally:
        over.set()
        thread.join()


def names(recognizer: Recognizer, size: int, more: str = "") -> list[str]:
    """So many labels, those that the bundle was trained with first."""
    known = recognizer.bundle.manifest.matching.labels
    return [f"{label}{manner}{more}" for manner, label in islice(product(MANNERS, known), size)]

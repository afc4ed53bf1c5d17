"""Parity of a backend with the bundle's ONNX graphs, on realistic input to a recognizer. Not timed.

Shapes: M people, V joints, C labels, T frames.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...runtime.backends.protocols import Backend, Streams
from ...runtime.body.motion import Motion
from ...runtime.bundles.bundle import Bundle
from ...runtime.errors import MotionError
from ...runtime.recognition.recognizer import Recognizer
from .workloads import Moment, simulate_sensor

TOLERANCE = 1e-4  # of logits
EVENT_RATE = 4.0  # of the workload, so that a minute of it covers many edge cases


class Recorder:
    """A backend that records the inputs and outputs of another backend."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.name = backend.name
        self.begins: list[tuple[int, int]] = []  # (number of steps before it, slot)
        self.steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # slots [M], frames [M, V, 3], logits [M, C]
        self.frames = 0
        self.people = 0  # largest number of streams requested

    def streams(self, people: int) -> Streams:
        self.people = max(self.people, people)
        return RecordedStreams(self, self.backend.streams(people))

    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.backend.clip(frames)


class RecordedStreams:
    """The streams of a `Recorder`."""

    def __init__(self, recorder: Recorder, streams: Streams) -> None:
        self.recorder = recorder
        self.streams = streams
        self.capacity = streams.capacity

    def begin(self, slot: int) -> None:
        self.recorder.begins.append((len(self.recorder.steps), slot))
        self.streams.begin(slot)

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, features = self.streams.step(slots, frames)
        self.recorder.steps.append((np.array(slots), frames.copy(), logits.copy()))
        self.recorder.frames += len(frames)
        return logits, features


def parity(
    bundle: Bundle, backend: Backend, reference: Backend, motions: Sequence[Motion], frames: int
) -> dict[str, Any]:
    """Compare logits over at least `frames` frames of several people, stepped one by one and together.

    Args:
        reference: the backend whose step and clip graphs are the ground truth; the clip graph runs on the frames
            between two resets of a stream.
    Returns:
        The amount of compared data, and `max_abs`, the largest difference of a logit.
    Raises:
        MotionError: a difference above `TOLERANCE`.
    """
    recorder = record(bundle, backend, motions, frames)
    worst = {"step graph": compare_steps(recorder, reference)}
    if "clip" in bundle.manifest.graphs:
        worst["clip graph"] = compare_clips(recorder, reference)
    for graph, difference in worst.items():
        if not difference <= TOLERANCE:
            raise MotionError(
                f"parity: logits of {backend.name} differ from those of the ONNX {graph} by {difference:.2e} "
                f"over {recorder.frames} frames, expected at most {TOLERANCE:g}; nothing was measured"
            )
    return {
        "max_abs": max(worst.values()),
        "tolerance": TOLERANCE,
        "against": worst,
        "frames": recorder.frames,
        "begins": len(recorder.begins),
        "together": sum(len(slots) > 1 for slots, _, _ in recorder.steps),
        "recordings": len(motions),
    }


def record(bundle: Bundle, backend: Backend, motions: Sequence[Motion], frames: int) -> Recorder:
    """Record a recognizer's calls to the backend, until its network has processed `frames` frames."""
    recorder = Recorder(backend)
    recognizer = Recognizer(bundle, recorder)
    for k, moment in enumerate(simulate_sensor(motions, recognizer.fps, event_rate=EVENT_RATE)):
        step_moment(recognizer, moment, together=k % 2 == 0)
        if recorder.frames >= frames:
            break
    return recorder


def step_moment(recognizer: Recognizer, moment: Moment, together: bool) -> None:
    """Step all people of a layout in one call, evicting those who left; or step them one by one."""
    if moment.reset is not None:
        recognizer.reset(moment.reset)
    if together:
        recognizer.evict(moment.t)
    by_layout = defaultdict(list)
    for pose in moment.poses:
        by_layout[pose.layout].append(pose)
    for layout, poses in by_layout.items():
        if together:
            joints, people = np.stack([pose.joints for pose in poses]), [pose.person for pose in poses]
            recognizer.step_people(joints, moment.t, people=people, layout=layout)
        else:
            for pose in poses:
                recognizer.step(pose.joints, moment.t, person=pose.person, layout=layout)


def compare_steps(recorder: Recorder, reference: Backend) -> float:
    """The largest difference from the reference on the same calls."""
    streams, begins, done, worst = reference.streams(recorder.people), recorder.begins, 0, 0.0
    for k, (slots, frames, logits) in enumerate(recorder.steps):
        while done < len(begins) and begins[done][0] <= k:
            streams.begin(begins[done][1])
            done += 1
        worst = max(worst, _difference(logits, streams.step(slots.tolist(), frames)[0]))
    return worst


def compare_clips(recorder: Recorder, reference: Backend) -> float:
    """The largest difference from whole clips, one per stretch of a stream between two resets."""
    clips: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    turn, begins, done = defaultdict[int, int](int), recorder.begins, 0
    for k, (slots, frames, logits) in enumerate(recorder.steps):
        while done < len(begins) and begins[done][0] <= k:
            turn[begins[done][1]] += 1
            done += 1
        for i, slot in enumerate(slots.tolist()):
            clips[slot, turn[slot]].append((frames[i], logits[i]))
    worst = 0.0
    for clip in clips.values():
        if len(clip) > 1:
            frames, logits = (np.stack(parts) for parts in zip(*clip, strict=True))
            worst = max(worst, _difference(logits, reference.clip(frames)[0]))
    return worst


def _difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest absolute difference; infinite if either contains a NaN."""
    difference = np.abs(actual - expected).max()
    return float(difference) if np.isfinite(difference) else float("inf")

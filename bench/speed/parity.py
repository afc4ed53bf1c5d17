"""Whether a backend computes what the bundle's ONNX graphs compute, on what a recogniser hands it. No timing here.

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
from .workloads import Moment, traffic

TOLERANCE = 1e-4  # of logits
HASTE = 4.0  # of the traffic, so that a minute of it holds much that could go wrong


class Recorder:
    """A backend that writes down what another one was asked and what it said."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.name = backend.name
        self.begins: list[tuple[int, int]] = []  # (number of steps before, slot)
        self.steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # slots [M], frames [M, V, 3], logits [M, C]
        self.frames = 0
        self.people = 0  # streams that were asked for

    def streams(self, people: int) -> Streams:
        self.people = max(self.people, people)
        return RecordedStreams(self, self.backend.streams(people))

    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.backend.clip(frames)


class RecordedStreams:
    """Streams of a `Recorder`."""

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
    """Compare logits over at least `frames` frames of several people, handed in one by one and together.

    Args:
        reference: whose step and clip graphs are taken for right; the clip graph is given every stretch of frames
            between two begins of a stream.
    Returns:
        How much was compared, and `max_abs`, the largest difference of a logit.
    Raises:
        MotionError: a difference above `TOLERANCE`.
    """
    recorder = record(bundle, backend, motions, frames)
    worst = {"step graph": against_steps(recorder, reference)}
    if "clip" in bundle.manifest.graphs:
        worst["clip graph"] = against_clips(recorder, reference)
    for graph, difference in worst.items():
        if not difference <= TOLERANCE:
            raise MotionError(
                f"parity: logits of {backend.name} differ from those of the ONNX {graph} by {difference:.2e} "
                f"over {recorder.frames} frames, at most {TOLERANCE:g} is allowed; nothing was measured"
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
    """What a recogniser asks of the backend in traffic, until its network has seen `frames` frames."""
    recorder = Recorder(backend)
    recognizer = Recognizer(bundle, recorder)
    for k, moment in enumerate(traffic(motions, recognizer.fps, haste=HASTE)):
        hand_in(recognizer, moment, together=k % 2 == 0)
        if recorder.frames >= frames:
            break
    return recorder


def hand_in(recognizer: Recognizer, moment: Moment, together: bool) -> None:
    """A moment, people of one layout at once, and who has left is forgotten; or people one by one."""
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


def against_steps(recorder: Recorder, reference: Backend) -> float:
    """The largest difference when the reference is asked the same."""
    streams, begins, done, worst = reference.streams(recorder.people), recorder.begins, 0, 0.0
    for k, (slots, frames, logits) in enumerate(recorder.steps):
        while done < len(begins) and begins[done][0] <= k:
            streams.begin(begins[done][1])
            done += 1
        worst = max(worst, _difference(logits, streams.step(slots.tolist(), frames)[0]))
    return worst


def against_clips(recorder: Recorder, reference: Backend) -> float:
    """The largest difference from whole clips, one for every stretch of a stream between two begins."""
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


def _difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest absolute difference; infinite where one of the two is not a number."""
    difference = np.abs(found - wanted).max()
    return float(difference) if np.isfinite(difference) else float("inf")

"""Recognition in streams: onsets, labels, and frames without an action. Needs no torch.

Every validation clip appears once, in streams of a few minutes: actions joined with rest, walking and unknown actions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from ....runtime.body.layout import Layout
from ....runtime.errors import InputError
from ....runtime.progress import progress
from ....runtime.recognition.recognizer import Recognizer
from ....training.data import streams, vocabulary
from ....training.data.clips import LabeledClip, load_clips, phases, resample
from ....training.data.streams import UNLABELED, Segment, Stream

CAMERA_HZ = 30.0
TOLERANCE_S = 0.5
CLIPS_PER_STREAM = 24
UNKNOWN_EVERY = 8  # clips
SEED = 2026


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """An interval of a stream, seconds."""

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Onset:
    """An onset event: the time of the frame that reported it, and the time it gives for the action's start."""

    label: str
    reported_s: float
    start_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """Output of a recognizer on one stream: a label per frame, the onsets, and the actions from onset to offset."""

    actions: list[Action]
    times_s: np.ndarray
    targets: list[str | None]  # per frame; None where the frame is not scored
    labels: list[str]
    onsets: list[Onset]
    found: list[Action] = field(default_factory=list)


def continuous(recognizer: Recognizer, data: Path) -> dict[str, Any]:
    """Event F1 and per-frame scores with the bundle's own thresholds."""
    labels = recognizer.labels
    composed = validation_streams(data, recognizer.layout, labels)
    traces = [run_stream(recognizer, stream, labels) for stream in progress(composed, "streams")]
    protocol = (
        f"validation clips once each in streams at {CAMERA_HZ:g} Hz, joined with rest, walking and unknown actions "
        f"of held-out clips; an onset is correct if its label is, and its start is within {TOLERANCE_S} s of "
        "the action's"
    )
    return {"protocol": protocol, "thresholds": asdict(recognizer.bundle.manifest.decision)} | summarize(traces)


def validation_streams(
    data: Path, layout_name: str, labels: Sequence[str], without: Collection[str] = ()
) -> list[Stream]:
    """Compose the streams of clips with these labels, which include `none`, except for those of the data sets
    `without`; deterministic for a folder."""
    layout = Layout.load(layout_name)

    def held_out(is_wanted: Callable[[dict[str, Any]], bool]) -> list[LabeledClip]:
        clips = load_clips(data, layout, lambda r: is_wanted(r) and vocabulary.source(r) not in without)
        return [clip for clip in clips if not clip.flat]

    clips = held_out(vocabulary.is_validation)
    unknown = held_out(lambda r: vocabulary.is_held_out(r) and vocabulary.is_unknown(r))
    rests = streams.rest_windows(clips, layout)
    known = [clip for clip in clips if clip.label in labels]
    if not known or not rests:
        raise InputError(f"{data}: expected labeled validation clips, some of them with a person standing still")
    return join_clips(known, unknown, rests, layout, labels)


def join_clips(
    known: Sequence[LabeledClip],
    unknown: Sequence[LabeledClip],
    rests: list[tuple[np.ndarray, float]],
    layout: Layout,
    labels: Sequence[str],
) -> list[Stream]:
    """Streams in which every known clip appears once, with rest and unknown actions between them."""
    rng, composed = np.random.default_rng(SEED), []
    for chosen in arrange_clips(known, unknown, rng):
        parts = []
        for clip in chosen:
            if rests and rng.random() < 0.6:
                window, fps = rests[rng.integers(len(rests))]
                joints = streams.play_rest(window, fps, rng.uniform(1, 4), CAMERA_HZ)
                parts.append(Segment(joints=joints, target=labels.index(vocabulary.NONE), actions=()))
            label = clip.label or vocabulary.NONE
            names = phases(clip.joints, clip.fps, label, layout)
            joints = resample(clip.joints, max(2, round(clip.seconds * CAMERA_HZ)))
            parts.append(streams.segment(joints, len(clip.joints), label, names, labels))
        composed.append(streams.compose(parts, layout, labels.index(vocabulary.NONE), CAMERA_HZ, rng))
    return composed


def arrange_clips(
    known: Sequence[LabeledClip], unknown: Sequence[LabeledClip], rng: Generator
) -> list[list[LabeledClip]]:
    """Clips in random order, split into streams: no label repeats, and sitting down is followed by standing up."""
    left = [known[i] for i in rng.permutation(len(known))]
    others = [unknown[i] for i in rng.permutation(len(unknown))]
    order: list[LabeledClip] = []
    while left:
        last = order[-1].label if order else None
        fits = [i for i, clip in enumerate(left) if clip.label != last]
        if last == "sit down":
            fits = [i for i in fits if left[i].label == "stand up"] or fits
        order.append(left.pop(fits[0] if fits else 0))
        if others and len(order) % UNKNOWN_EVERY == 0:
            order.append(others.pop())
    return [order[i : i + CLIPS_PER_STREAM] for i in range(0, len(order), CLIPS_PER_STREAM)]


def run_stream(recognizer: Recognizer, stream: Stream, labels: Sequence[str]) -> Trace:
    """Step through a stream at the camera's rate."""
    recognizer.reset()
    times = np.arange(len(stream.joints)) / CAMERA_HZ
    predicted, onsets, found = [], [], []
    ongoing: Onset | None = None
    for t, joints in zip(times, stream.joints, strict=True):
        decision = recognizer.step(joints, timestamp=float(t), layout=stream.layout)
        predicted.append(decision.label)
        if ongoing and (decision.event or t == times[-1]):
            found.append(Action(label=ongoing.label, start_s=ongoing.start_s, end_s=float(t)))
            ongoing = None
        if decision.event == "onset" and decision.event_label is not None:
            start = t if decision.since is None else decision.since
            ongoing = Onset(label=decision.event_label, reported_s=float(t), start_s=float(start))
            onsets.append(ongoing)
    actions = [
        Action(label=labels[target], start_s=begin / CAMERA_HZ, end_s=end / CAMERA_HZ)
        for target, begin, end in stream.actions
    ]
    targets = [None if target == UNLABELED else labels[target] for target in stream.targets]
    return Trace(actions=actions, times_s=times, targets=targets, labels=predicted, onsets=onsets, found=found)


def summarize(traces: Sequence[Trace]) -> dict[str, Any]:
    """Scores over all streams; rates in percent, times in seconds."""
    minutes = sum(len(trace.labels) for trace in traces) / CAMERA_HZ / 60
    actions = sum(len(trace.actions) for trace in traces)
    onsets = sum(len(trace.onsets) for trace in traces)
    by_start = sum(hits(trace, when_reported=False) for trace in traces)
    by_report = sum(hits(trace, when_reported=True) for trace in traces)
    false = sum(not is_ongoing(onset, trace.actions) for trace in traces for onset in trace.onsets)
    pairs = [
        (target, label)
        for trace in traces
        for target, label in zip(trace.targets, trace.labels, strict=True)
        if target is not None
    ]
    none_targets = [label == vocabulary.NONE for target, label in pairs if target == vocabulary.NONE]
    none_predicted = [target == vocabulary.NONE for target, label in pairs if label == vocabulary.NONE]
    waits = [wait for trace in traces for action in trace.actions if (wait := first_correct(trace, action)) is not None]
    delays = [onset_delay(trace, action) for trace in traces for action in trace.actions]
    detected = [delay for delay in delays if delay is not None]
    return {
        "minutes": minutes,
        "actions": actions,
        "onsets": onsets,
        "f1": 200 * by_start / max(actions + onsets, 1),
        "precision": 100 * by_start / max(onsets, 1),
        "recall": 100 * by_start / max(actions, 1),
        "f1_when_reported": 200 * by_report / max(actions + onsets, 1),
        "detected": 100 * len(detected) / max(actions, 1),
        "median_s_to_onset": float(np.median(detected)) if detected else None,
        "false_onsets_per_minute": false / minutes,
        "unmatched_onsets_per_minute": (onsets - by_start) / minutes,
        "none_recall": 100 * float(np.mean(none_targets or [False])),
        "none_precision": 100 * float(np.mean(none_predicted or [False])),
        "recognized": 100 * len(waits) / max(actions, 1),
        "median_s_to_first_right": float(np.median([wait for wait, _ in waits])) if waits else None,
        "median_share_to_first_right": float(np.median([share for _, share in waits])) if waits else None,
        "jaccard": jaccard(traces),
        **{f"segmental_f1_{overlap}": segmental_f1(traces, overlap / 100) for overlap in (10, 25, 50)},
    }


def hits(trace: Trace, when_reported: bool) -> int:
    """Number of actions with a matching onset within the tolerance, one onset each; by its start or by its report."""
    unmatched, count = list(trace.onsets), 0
    for action in trace.actions:
        for onset in unmatched:
            time_s = onset.reported_s if when_reported else onset.start_s
            if onset.label == action.label and abs(time_s - action.start_s) <= TOLERANCE_S:
                unmatched.remove(onset)
                count += 1
                break
    return count


def is_ongoing(onset: Onset, actions: Sequence[Action]) -> bool:
    """True if the action of an onset is in progress when it is reported, or ended just before."""
    return any(
        onset.label == action.label and action.start_s - TOLERANCE_S <= onset.reported_s <= action.end_s + TOLERANCE_S
        for action in actions
    )


def onset_delay(trace: Trace, action: Action) -> float | None:
    """Delay from an action's start to its first onset while it is in progress, seconds; None if there is none."""
    waits = [o.reported_s - action.start_s for o in trace.onsets if is_ongoing(o, [action])]
    return min(waits, default=None)


def common_s(a: Action, b: Action) -> float:
    """Time that two intervals of one label have in common, seconds."""
    return max(0.0, min(a.end_s, b.end_s) - max(a.start_s, b.start_s)) if a.label == b.label else 0.0


def jaccard(traces: Sequence[Trace]) -> float:
    """Time that is rightly labeled over all time that is or should be labeled, mean over labels, percent (SHREC)."""
    common: dict[str, float] = defaultdict(float)
    total: dict[str, float] = defaultdict(float)
    for trace in traces:
        for action in (*trace.actions, *trace.found):
            total[action.label] += action.end_s - action.start_s
        for action in trace.actions:
            common[action.label] += sum(common_s(action, found) for found in trace.found)
    labels = {action.label for trace in traces for action in trace.actions}
    return 100 * float(np.mean([common[name] / max(total[name] - common[name], 1e-6) for name in labels] or [0]))


def segmental_f1(traces: Sequence[Trace], overlap: float) -> float:
    """F1 of the found actions, percent; one is right if its overlap with an action, over their union, is as high as
    `overlap` (Lea et al., CVPR 2017)."""
    right = total = 0
    for trace in traces:
        total += len(trace.actions) + len(trace.found)
        left = list(trace.actions)
        for found in trace.found:
            shares = [share_in_common(found, action) for action in left]
            if shares and max(shares) >= overlap:
                left.pop(int(np.argmax(shares)))
                right += 1
    return 200 * right / max(total, 1)


def share_in_common(a: Action, b: Action) -> float:
    common = common_s(a, b)
    return common / max(a.end_s - a.start_s + b.end_s - b.start_s - common, 1e-6)


def first_correct(trace: Trace, action: Action) -> tuple[float, float] | None:
    """Delay from an action's start to its first correct label: seconds, and fraction of the action; None if never."""
    begin, end = np.searchsorted(trace.times_s, [action.start_s, action.end_s])
    for i in range(begin, min(end, len(trace.labels))):
        if trace.labels[i] == action.label:
            wait = float(trace.times_s[i] - action.start_s)
            return wait, wait / max(action.end_s - action.start_s, 1e-6)
    return None

"""Onsets in single clips of people kept out: of the right label, of a wrong one, or none. Needs no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ....runtime.body.motion import Motion
from ....runtime.errors import InputError
from ....runtime.io.dataset import ClipSet
from ....runtime.progress import progress
from ....runtime.recognition.recognizer import Recognizer
from ....training.data import vocabulary
from ....training.data.clips import clip_sets, labeled


def onsets(recognizer: Recognizer, data: Path) -> dict[str, Any]:
    """Onsets in the validation clips of every data set, and in clips of the same people without a label."""
    known, unknown = clips_kept_out([one for one in clip_sets(data) if one.layout.dims == 3], recognizer.labels)
    if not any(known.values()):
        raise InputError(f"{data}: no labeled clip of people who are kept out")
    sets = {
        source: count_onsets(recognizer, known[source], unknown[source])
        for source in progress(sorted(known | unknown), "sets")
    }
    return {
        "protocol": "clips of people kept out, each stepped from its first frame; right: its label is reported, wrong: "
        "only others are; unknown actions with an onset: of clips without a label",
        "alarms_per_minute": recognizer.alarms_per_minute,
        "sets": sets,
    }


def clips_kept_out(
    sets: Iterable[ClipSet], labels: tuple[str, ...]
) -> tuple[dict[str, list[tuple[str, Motion]]], dict[str, list[Motion]]]:
    """By data set, the validation clips (label, motion) with one of the labels, and the clips of people kept out that
    show no action of the vocabulary."""
    known: dict[str, list[tuple[str, Motion]]] = defaultdict(list)
    unknown: dict[str, list[Motion]] = defaultdict(list)
    for clip_set in sets:
        for i, record in enumerate(clip_set.clips):
            source = vocabulary.source(record)
            if vocabulary.is_validation(record):
                known[source] += [(name, motion) for name, motion in labeled(clip_set, i) if name in labels]
            if vocabulary.is_held_out(record) and vocabulary.is_unknown(record):
                unknown[source].append(clip_set[i])
    return known, unknown


def count_onsets(
    recognizer: Recognizer, known: Iterable[tuple[str, Motion]], unknown: Iterable[Motion]
) -> dict[str, Any]:
    """Shares of the known clips with a right onset, or only wrong ones, and of the unknown ones with an onset, in
    percent; None without clips."""
    detected = [(name, reported_labels(recognizer, motion)) for name, motion in known]
    right = [name in labels for name, labels in detected]
    wrong = [bool(labels) and name not in labels for name, labels in detected]
    with_onset = [bool(reported_labels(recognizer, motion)) for motion in unknown]
    return {
        "clips": len(detected),
        "right": percent(right),
        "wrong": percent(wrong),
        "unknown_clips": len(with_onset),
        "unknown_with_onset": percent(with_onset),
    }


def percent(hits: list[bool]) -> float | None:
    return 100 * float(np.mean(hits)) if hits else None


def reported_labels(recognizer: Recognizer, motion: Motion) -> set[str]:
    """The labels that are reported while a clip is stepped."""
    recognizer.reset()
    decisions = (
        recognizer.step(joints, float(time), layout=motion.layout)
        for joints, time in zip(motion.joints, motion.times, strict=True)
    )
    return {decision.event_label or "" for decision in decisions if decision.event == "onset"}

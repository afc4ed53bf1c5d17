"""Choose the decision thresholds of a recognizer.

`python -m motionrt.bench.studies.thresholds BUNDLE DATA -o thresholds.json`

Thresholds of each label are chosen for several numbers of false alarms per minute, to tell as many actions as possible
while they last. The validation streams are split into two halves. The best thresholds of one half are tested on the
other half and vice versa, so no stream is scored with thresholds that it helped to choose. The thresholds that ship are
the best on both halves. The network runs once; every setting then replays its logits. A model for 2-D joints gets the
streams as random cameras see them.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.backends.factory import create
from ...runtime.backends.protocols import Backend
from ...runtime.bundles.bundle import Bundle
from ...runtime.bundles.schema import Alarms, Thresholds
from ...runtime.progress import progress
from ...runtime.recognition.recognizer import Recognizer
from ...training.data.streams import Stream
from ..accuracy.protocols.continuous import (
    CAMERA_HZ,
    Trace,
    is_ongoing,
    onset_delay,
    run_stream,
    summarize,
    validation_streams,
)
from ..accuracy.protocols.pictures import photograph_stream

ALARMS_PER_MINUTE = (0.25, 0.5, 1.0, 2.0, 4.0)
DEFAULT_PER_MINUTE = 1.0
LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)  # thresholds that a label can get
SMOOTHING = tuple(itertools.product((0.1, 0.2), (0.1, 0.25)))  # time constant of the scores, time above the threshold


class Recorder:
    """A backend that records the logits of another backend."""

    name = "recorder"

    def __init__(self, backend: Backend):
        self.backend = backend
        self.logits: list[np.ndarray] = []

    def streams(self, people: int) -> Recorder:
        self.recorded = self.backend.streams(people)
        self.capacity, self.begin = people, self.recorded.begin
        return self

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, features = self.recorded.step(slots, frames)
        self.logits.append(logits)
        return logits, features


class Replay:
    """A backend that returns the logits of a `Recorder`, in order."""

    name = "replay"

    def __init__(self, logits: Sequence[np.ndarray]):
        self.logits = iter(logits)

    def streams(self, people: int) -> Replay:
        self.capacity = people
        return self

    def begin(self, slot: int) -> None:
        pass

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, None]:
        return next(self.logits), None


def record(bundle: Bundle, streams: Sequence[Stream]) -> list[list[np.ndarray]]:
    """The logits of every model frame of every stream."""
    recorded, backend = [], create("auto", bundle)
    for stream in progress(streams, "network"):
        recorder = Recorder(backend)
        run_stream(Recognizer(bundle, recorder), stream, bundle.manifest.labels)  # type: ignore[arg-type]
        recorded.append(recorder.logits)
    return recorded


def replay(bundle: Bundle, thresholds: Thresholds, streams: Sequence[Stream], logits: Sequence[Any]) -> list[Trace]:
    """The recognizer's output with these thresholds."""
    changed = replace(bundle, manifest=replace(bundle.manifest, decision=thresholds, alarms=None))
    return [
        run_stream(Recognizer(changed, Replay(recorded)), stream, bundle.manifest.labels)  # type: ignore[arg-type]
        for stream, recorded in zip(streams, logits, strict=True)
    ]


def replay_levels(bundle: Bundle, on: Sequence[float], streams: Sequence[Stream], logits: Sequence[Any]) -> list[Trace]:
    """The recognizer's output with a threshold for each label."""
    alarms = Alarms(per_minute=(1.0,), on=(tuple(on),), off=(tuple(level / 2 for level in on),))
    changed = replace(bundle, manifest=replace(bundle.manifest, alarms=alarms))
    return [
        run_stream(
            Recognizer(changed, Replay(recorded), alarms_per_minute=1.0),  # type: ignore[arg-type]
            stream,
            bundle.manifest.labels,
        )
        for stream, recorded in zip(streams, logits, strict=True)
    ]


def count_by_label(trace: Trace, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Actions that were detected while they lasted, and false onsets, of every label [C]."""
    detected, false = np.zeros(len(labels)), np.zeros(len(labels))
    for action in trace.actions:
        detected[labels.index(action.label)] += onset_delay(trace, action) is not None
    for onset in trace.onsets:
        false[labels.index(onset.label)] += not is_ongoing(onset, trace.actions)
    return detected, false


def best_levels(detected_LC: np.ndarray, false_LC: np.ndarray, allowed: float) -> np.ndarray:
    """The level of each label [C] that tells the most actions with `allowed` false onsets in all."""
    best = np.full(detected_LC.shape[1], len(LEVELS) - 1)
    for price in np.geomspace(100, 0.01, 200):  # of a false onset, in actions
        value = (detected_LC - price * false_LC)[::-1]  # among equals, the highest level
        chosen = len(LEVELS) - 1 - value.argmax(0)
        if np.take_along_axis(false_LC, chosen[None], 0).sum() > allowed:
            return best
        best = np.minimum(best, chosen)
    return best


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Actions detected in time and false onsets of every level [L, S, C], with one smoothing, in every stream."""

    smoothing: tuple[float, float]
    detected: np.ndarray
    false: np.ndarray

    def levels(self, chosen: Sequence[int], allowed: float) -> np.ndarray:
        """The level of each label [C] for `allowed` false onsets in the chosen streams."""
        return best_levels(self.detected[:, chosen].sum(1), self.false[:, chosen].sum(1), allowed)

    def actions_detected(self, chosen: Sequence[int], allowed: float) -> float:
        levels = self.levels(chosen, allowed)
        return float(np.take_along_axis(self.detected[:, chosen].sum(1), levels[None], 0).sum())


def count(bundle: Bundle, streams: Sequence[Stream], logits: Sequence[Any]) -> list[Counts]:
    """Counts of every smoothing."""
    counts = []
    for smooth_s, hold_s in progress(SMOOTHING, "levels"):
        of_level = [
            [
                count_by_label(trace, bundle.manifest.labels)
                for trace in replay(bundle, thresholds_of((smooth_s, hold_s), level), streams, logits)
            ]
            for level in LEVELS
        ]
        detected, false = (np.array([[pair[k] for pair in traces] for traces in of_level]) for k in (0, 1))
        counts.append(Counts(smoothing=(smooth_s, hold_s), detected=detected, false=false))
    return counts


def thresholds_of(smoothing: tuple[float, float], on: float) -> Thresholds:
    return Thresholds(temperature=1.0, smooth_s=smoothing[0], on=on, off=on / 2, hold_s=smoothing[1])


def fit(counts: Sequence[Counts], streams: Sequence[Stream], chosen: Sequence[int]) -> tuple[Counts, list[list[float]]]:
    """The smoothing that tells the most actions of the chosen streams at the default number of false alarms, and the
    thresholds of each label [B, C] for every number of false alarms."""
    minutes = sum(len(streams[i].joints) for i in chosen) / CAMERA_HZ / 60
    best = max(counts, key=lambda one: one.actions_detected(chosen, DEFAULT_PER_MINUTE * minutes))
    return best, [[LEVELS[i] for i in best.levels(chosen, rate * minutes)] for rate in ALARMS_PER_MINUTE]


def one_level(counts: Counts, streams: Sequence[Stream]) -> float:
    """The lowest level for all labels that keeps to the default number of false alarms."""
    allowed = DEFAULT_PER_MINUTE * sum(len(stream.joints) for stream in streams) / CAMERA_HZ / 60
    return next(
        (level for level, false in zip(LEVELS, counts.false, strict=True) if false.sum() <= allowed), LEVELS[-1]
    )


def choose(bundle: Bundle, streams: Sequence[Stream]) -> dict[str, Any]:
    """The thresholds to ship, and the scores of each half of the streams with the thresholds of the other half."""
    logits = record(bundle, streams)
    counts, every = count(bundle, streams, logits), range(len(streams))
    tested: list[list[Trace]] = [[] for _ in ALARMS_PER_MINUTE]
    for half in (0, 1):
        own = [i for i in every if i % 2 == half]
        best, on_BC = fit(counts, streams, [i for i in every if i % 2 != half])
        changed = replace(bundle, manifest=replace(bundle.manifest, decision=thresholds_of(best.smoothing, 0.5)))
        for traces, on in zip(tested, on_BC, strict=True):
            traces += replay_levels(changed, on, [streams[i] for i in own], [logits[i] for i in own])
    best, on_BC = fit(counts, streams, every)
    alarms = {
        "per_minute": ALARMS_PER_MINUTE,
        "default": DEFAULT_PER_MINUTE,
        "on": on_BC,
        "off": (np.array(on_BC) / 2).tolist(),
    }
    return {
        "protocol": "thresholds chosen on every other stream, tested on the rest, and vice versa",
        "weights_sha256": bundle.manifest.files["weights.safetensors"].sha256,
        "cross_fitted": [
            {"per_minute": rate, **summarize(traces)} for rate, traces in zip(ALARMS_PER_MINUTE, tested, strict=True)
        ],
        "shipped": asdict(thresholds_of(best.smoothing, one_level(best, streams))) | {"alarms": alarms},
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Plot the actions that were detected over false onsets per minute."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="false onsets per minute", ylabel="actions detected while they last, %")
    x, y = ([row[key] for row in result["cross_fitted"]] for key in ("false_onsets_per_minute", "detected"))
    axes.plot(x, y, "o-")
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle")
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON file of all measurements")
    parser.add_argument("--run", type=Path, help="training run; its decision.json receives the thresholds to ship")
    parser.add_argument("--plot", type=Path, help="plot of the trade-off (needs matplotlib)")
    args = parser.parse_args()
    bundle: Bundle = Bundle.load(args.bundle)
    streams = validation_streams(args.data, bundle.manifest.layout, bundle.manifest.labels)
    if bundle.manifest.frontend.flat:
        rng = np.random.default_rng(0)
        streams = [photograph_stream(stream, bundle.manifest.layout, rng) for stream in streams]
    result = choose(bundle, streams)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    if args.run:
        (args.run / "decision.json").write_text(json.dumps(result["shipped"], indent=1) + "\n")
    if args.plot:
        draw(result, args.plot)
    print(json.dumps(result["cross_fitted"]))


if __name__ == "__main__":
    main()

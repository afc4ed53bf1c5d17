"""Choose the decision thresholds of a recognizer.

`python -m motionrt.bench.studies.thresholds BUNDLE DATA -o thresholds.json`

The validation streams are split into two halves. The best thresholds of one half are tested on the other half and vice
versa, so no stream is scored with thresholds that it helped to choose. The thresholds that ship are the best on both
halves. Besides one threshold for all labels, thresholds of each label are chosen for several numbers of false alarms
per minute. The network runs once; every setting then replays its logits.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
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
    hits,
    is_ongoing,
    run_stream,
    summarize,
    validation_streams,
)

MAX_FALSE_PER_MINUTE = 2.5
FEW_FALSE_PER_MINUTE = 1.0
ALARMS_PER_MINUTE = (0.25, 0.5, 1.0, 2.0, 4.0)
LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)  # thresholds that a label can get
SETTINGS = [
    Thresholds(temperature=1.0, smooth_s=smooth_s, on=on, off=on / 2, hold_s=hold_s)
    for smooth_s, on, hold_s in itertools.product((0.1, 0.2, 0.3), (0.4, 0.5, 0.6, 0.7, 0.8), (0.1, 0.25, 0.4))
]


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
    changed = replace(bundle, manifest=replace(bundle.manifest, decision=thresholds))
    return [
        run_stream(Recognizer(changed, Replay(recorded)), stream, bundle.manifest.labels)  # type: ignore[arg-type]
        for stream, recorded in zip(streams, logits, strict=True)
    ]


def best_setting(traces: Sequence[list[Trace]], streams: slice, max_false: float) -> int:
    """The setting with the most correct and early onsets among those with few false ones, else the one with fewest."""
    scores = [summarize(trace[streams]) for trace in traces]
    rates = [score["false_onsets_per_minute"] for score in scores]
    allowed = [i for i, rate in enumerate(rates) if rate <= max_false]
    return (
        max(allowed, key=lambda i: scores[i]["f1"] + scores[i]["f1_when_reported"])
        if allowed
        else int(np.argmin(rates))
    )


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


def by_label(traces: Sequence[Trace], labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Actions reported in time, and false onsets, of every label [C]."""
    in_time, false = np.zeros(len(labels)), np.zeros(len(labels))
    for trace in traces:
        for c, label in enumerate(labels):
            actions = [action for action in trace.actions if action.label == label]
            onsets = [onset for onset in trace.onsets if onset.label == label]
            in_time[c] += hits(replace(trace, actions=actions, onsets=onsets), when_reported=True)
            false[c] += sum(not is_ongoing(onset, actions) for onset in onsets)
    return in_time, false


def best_levels(in_time_LC: np.ndarray, false_LC: np.ndarray, allowed: float) -> np.ndarray:
    """The level of each label [C] with the most actions in time among those with `allowed` false onsets in all."""
    best = np.full(in_time_LC.shape[1], len(LEVELS) - 1)
    for price in np.geomspace(100, 0.01, 200):  # of a false onset, in actions
        value = (in_time_LC - price * false_LC)[::-1]  # among equals, the highest level
        chosen = len(LEVELS) - 1 - value.argmax(0)
        if np.take_along_axis(false_LC, chosen[None], 0).sum() > allowed:
            return best
        best = np.minimum(best, chosen)
    return best


def choose_by_label(
    bundle: Bundle, base: Thresholds, streams: Sequence[Stream], logits: Sequence[Any]
) -> dict[str, Any]:
    """Thresholds of each label by false alarms per minute, and the cross-fitted scores of the two halves."""
    bundle = replace(bundle, manifest=replace(bundle.manifest, decision=base))
    labels, indices = bundle.manifest.labels, range(len(streams))
    counted = [
        [by_label([trace], labels) for trace in replay(bundle, replace(base, on=level, off=level / 2), streams, logits)]
        for level in progress(LEVELS, "levels")
    ]

    def levels(chosen: Sequence[int], per_minute: float) -> list[float]:
        in_time_LC, false_LC = (np.array([sum(of_level[i][k] for i in chosen) for of_level in counted]) for k in (0, 1))
        minutes = sum(len(streams[i].joints) for i in chosen) / CAMERA_HZ / 60
        return [LEVELS[level] for level in best_levels(in_time_LC, false_LC, per_minute * minutes)]

    def cross_fit(per_minute: float) -> dict[str, Any]:
        traces = []
        for half in (0, 1):
            own = [i for i in indices if i % 2 == half]
            on = levels([i for i in indices if i % 2 != half], per_minute)
            traces += replay_levels(bundle, on, [streams[i] for i in own], [logits[i] for i in own])
        return {"per_minute": per_minute, **summarize(traces)}

    on = [levels(indices, per_minute) for per_minute in ALARMS_PER_MINUTE]
    return {
        "cross_fitted": [cross_fit(per_minute) for per_minute in progress(ALARMS_PER_MINUTE, "alarms")],
        "shipped": {"per_minute": ALARMS_PER_MINUTE, "on": on, "off": (np.array(on) / 2).tolist()},
    }


def choose(bundle: Bundle, data: Path) -> dict[str, Any]:
    """The thresholds to ship, the cross-fitted scores of the two halves, and the trade-off curve."""
    streams = validation_streams(data, bundle.manifest.layout, bundle.manifest.labels)
    logits = record(bundle, streams)
    traces = [replay(bundle, setting, streams, logits) for setting in progress(SETTINGS, "settings")]
    even, odd, every = slice(0, None, 2), slice(1, None, 2), slice(None)

    def cross_fit(max_false: float) -> dict[str, Any]:
        chosen = {half: traces[best_setting(traces, other, max_false)] for half, other in ((0, odd), (1, even))}
        return summarize(chosen[0][even] + chosen[1][odd])

    shipped = SETTINGS[best_setting(traces, every, MAX_FALSE_PER_MINUTE)]
    by_alarms = choose_by_label(bundle, shipped, streams, logits)
    return {
        "protocol": "thresholds chosen on every other stream, tested on the rest, and vice versa",
        "weights_sha256": bundle.manifest.files["weights.safetensors"].sha256,
        "cross_fitted": cross_fit(MAX_FALSE_PER_MINUTE),
        "cross_fitted_few_false": cross_fit(FEW_FALSE_PER_MINUTE),
        "cross_fitted_by_label": by_alarms["cross_fitted"],
        "shipped": asdict(shipped) | {"alarms": by_alarms["shipped"]},
        "curve": [{"thresholds": asdict(s), **summarize(t)} for s, t in zip(SETTINGS, traces, strict=True)],
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Plot F1 over false onsets per minute, one point per setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="false onsets per minute", ylabel="event F1, %")
    for smooth_s in sorted({point["thresholds"]["smooth_s"] for point in result["curve"]}):
        points = [point for point in result["curve"] if point["thresholds"]["smooth_s"] == smooth_s]
        x, y = ([point[key] for point in points] for key in ("false_onsets_per_minute", "f1"))
        axes.plot(x, y, "o", label=f"smoothed over {smooth_s} s", alpha=0.7)
    for key in ("cross_fitted", "cross_fitted_few_false"):
        axes.plot(result[key]["false_onsets_per_minute"], result[key]["f1"], "k*", ms=14)
    axes.plot([], [], "k*", ms=14, label="chosen on the other half")
    for limit in (FEW_FALSE_PER_MINUTE, MAX_FALSE_PER_MINUTE):
        axes.axvline(limit, color="gray", lw=1, ls="--")
    axes.legend()
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle")
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON file of all measurements")
    parser.add_argument("--run", type=Path, help="training run; its decision.json receives the thresholds to ship")
    parser.add_argument("--plot", type=Path, help="plot of the trade-off (needs matplotlib)")
    args = parser.parse_args()
    result = choose(Bundle.load(args.bundle), args.data)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    if args.run:
        (args.run / "decision.json").write_text(json.dumps(result["shipped"], indent=1) + "\n")
    if args.plot:
        draw(result, args.plot)
    print(json.dumps({"shipped": result["shipped"], "cross_fitted": result["cross_fitted"]}))


if __name__ == "__main__":
    main()

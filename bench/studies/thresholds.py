"""Choose the decision thresholds of a recognizer.

`python -m motionrt.bench.studies.thresholds BUNDLE DATA -o thresholds.json`

The validation streams are split into two halves. The best thresholds of one half are tested on the other half and vice
versa, so no stream is scored with thresholds that it helped to choose. The thresholds that ship are the best on both
halves. The network runs once; every setting then replays its logits.
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
from ...runtime.bundles.schema import Thresholds
from ...runtime.progress import progress
from ...runtime.recognition.recognizer import Recognizer
from ...training.data import vocabulary
from ...training.data.streams import Stream
from ..accuracy.protocols.continuous import Trace, run_stream, summarize, validation_streams

MAX_FALSE_PER_MINUTE = 2.5
FEW_FALSE_PER_MINUTE = 1.0
LABELS = (*vocabulary.labels(), vocabulary.NONE)
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
        run_stream(Recognizer(bundle, recorder), stream, LABELS)  # type: ignore[arg-type]
        recorded.append(recorder.logits)
    return recorded


def replay(bundle: Bundle, thresholds: Thresholds, streams: Sequence[Stream], logits: Sequence[Any]) -> list[Trace]:
    """The recognizer's output with these thresholds."""
    changed = replace(bundle, manifest=replace(bundle.manifest, decision=thresholds))
    return [
        run_stream(Recognizer(changed, Replay(recorded)), stream, LABELS)  # type: ignore[arg-type]
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


def choose(bundle: Bundle, data: Path) -> dict[str, Any]:
    """The thresholds to ship, the cross-fitted scores of the two halves, and the trade-off curve."""
    streams = validation_streams(data, bundle.manifest.layout)
    logits = record(bundle, streams)
    traces = [replay(bundle, setting, streams, logits) for setting in progress(SETTINGS, "settings")]
    even, odd, every = slice(0, None, 2), slice(1, None, 2), slice(None)

    def cross_fit(max_false: float) -> dict[str, Any]:
        chosen = {half: traces[best_setting(traces, other, max_false)] for half, other in ((0, odd), (1, even))}
        return summarize(chosen[0][even] + chosen[1][odd])

    return {
        "protocol": "thresholds chosen on every other stream, tested on the rest, and vice versa",
        "weights_sha256": bundle.manifest.files["weights.safetensors"].sha256,
        "cross_fitted": cross_fit(MAX_FALSE_PER_MINUTE),
        "cross_fitted_few_false": cross_fit(FEW_FALSE_PER_MINUTE),
        "shipped": asdict(SETTINGS[best_setting(traces, every, MAX_FALSE_PER_MINUTE)]),
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

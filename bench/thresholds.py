"""Choose when a recogniser tells an action: `python -m motionrt.bench.thresholds BUNDLE DATA -o thresholds.json`.

The validation streams are dealt into two halves. The thresholds that are best on one half are measured on the other and
the other way round, so no stream is measured with thresholds that it helped to choose. What ships is the best on both.
The network runs once; every setting then replays its logits.
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

from ..runtime.backends import create
from ..runtime.bundle import Bundle
from ..runtime.manifest import Thresholds
from ..runtime.recognizer import Recognizer
from ..training import vocabulary
from ..training.streams import Stream
from .continuous import Trace, follow, summary, validation_streams
from .progress import progress

MOST_FALSE_PER_MINUTE = 1.0
LABELS = (*vocabulary.labels(), vocabulary.NONE)
SETTINGS = [
    Thresholds(temperature=temperature, smooth_s=smooth_s, on=on, off=off, hold_s=hold_s)
    for temperature, smooth_s, (on, off), hold_s in itertools.product(
        (0.7, 1.0),
        (0.1, 0.2, 0.35),
        ((0.4, 0.2), (0.5, 0.25), (0.6, 0.3), (0.7, 0.3), (0.8, 0.4)),
        (0.1, 0.25),
    )
]


class Recorder:
    """A backend that keeps the logits of another one."""

    name = "recorder"

    def __init__(self, backend: Any):
        self.backend = backend
        self.logits: list[np.ndarray] = []

    def new_state(self, people: int) -> np.ndarray:
        return self.backend.new_state(people)

    def step(self, state: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits, features, state = self.backend.step(state, frames)
        self.logits.append(logits)
        return logits, features, state


class Player:
    """A backend that gives the logits of a `Recorder` again, in order."""

    name = "player"

    def __init__(self, logits: Sequence[np.ndarray]):
        self.logits = iter(logits)
        self.nothing = np.zeros((1, 0), np.float32)

    def new_state(self, people: int) -> np.ndarray:
        return self.nothing

    def step(self, state: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return next(self.logits), self.nothing, self.nothing


def record(bundle: Bundle, streams: Sequence[Stream]) -> list[list[np.ndarray]]:
    """The logits of every model frame of every stream."""
    recorded = []
    for stream in progress(streams, "network"):
        recorder = Recorder(create("auto", bundle))
        follow(Recognizer(bundle, recorder), stream, LABELS)  # type: ignore[arg-type]
        recorded.append(recorder.logits)
    return recorded


def replay(bundle: Bundle, thresholds: Thresholds, streams: Sequence[Stream], logits: Sequence[Any]) -> list[Trace]:
    """What the recogniser says with these thresholds."""
    changed = replace(bundle, manifest=replace(bundle.manifest, decision=thresholds))
    return [
        follow(Recognizer(changed, Player(recorded)), stream, LABELS)  # type: ignore[arg-type]
        for stream, recorded in zip(streams, logits, strict=True)
    ]


def best(traces: Sequence[list[Trace]], streams: slice) -> int:
    """The setting with the highest F1 among those with few enough false onsets, else the one with the fewest."""
    figures = [summary(trace[streams]) for trace in traces]
    rates = [figure["false_onsets_per_minute"] for figure in figures]
    fine = [i for i, rate in enumerate(rates) if rate <= MOST_FALSE_PER_MINUTE]
    return max(fine, key=lambda i: figures[i]["f1"]) if fine else int(np.argmin(rates))


def choose(bundle: Bundle, data: Path) -> dict[str, Any]:
    """The thresholds to ship, the figures of the two halves each with the other's, and the trade-off curve."""
    streams = validation_streams(data, bundle.manifest.layout)
    logits = record(bundle, streams)
    traces = [replay(bundle, setting, streams, logits) for setting in progress(SETTINGS, "settings")]
    even, odd, every = slice(0, None, 2), slice(1, None, 2), slice(None)
    crossed = traces[best(traces, odd)][even] + traces[best(traces, even)][odd]
    shipped = best(traces, every)
    curve = [{"thresholds": asdict(s), **summary(t)} for s, t in zip(SETTINGS, traces, strict=True)]
    return {
        "protocol": "thresholds chosen on every other stream, measured on the rest, and the other way round",
        "weights_sha256": bundle.manifest.files["weights.safetensors"].sha256,
        "cross_fitted": summary(crossed),
        "shipped": asdict(SETTINGS[shipped]),
        "curve": curve,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle")
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON of everything measured")
    parser.add_argument("--run", type=Path, help="training run whose decision.json gets the thresholds to ship")
    args = parser.parse_args()
    result = choose(Bundle.load(args.bundle), args.data)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    if args.run:
        (args.run / "decision.json").write_text(json.dumps(result["shipped"], indent=1) + "\n")
    print(json.dumps({"shipped": result["shipped"], "cross_fitted": result["cross_fitted"]}))


if __name__ == "__main__":
    main()

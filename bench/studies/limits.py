"""Limits of `live` on data sets that it was not trained on.

`python -m motionrt.bench.studies.limits DATA RUNS -o limits.json`, after `leave_one_set_out DATA RUNS`: the networks
that were trained without two sets each are tested on streams of these sets, with variants of how they decide, and on
clips of these sets and of people kept out of the other ones, alone and averaged over the seeds. What gains nothing here
is ruled out as the reason for a target that was missed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.backends.factory import create
from ...runtime.bundles.bundle import Bundle
from ...runtime.progress import progress
from ...runtime.recognition.recognizer import Recognizer
from ...training.data.clips import clip_sets
from ..accuracy.protocols.continuous import Trace, first_correct, run_stream, summarize
from ..accuracy.protocols.labeled_clips import Prediction
from ..accuracy.protocols.labeled_clips import summarize as summarize_clips
from ..accuracy.protocols.onsets import clips_kept_out
from .leave_one_set_out import FOLDS, clips_of, labels_by_set, streams_of
from .thresholds import LEVELS, Recorder, Replay, record

RATES = (0.5, 1.0, 2.0)  # false onsets per minute
WAITS_S = (0.25, 0.5, 1.0, 2.0)
Logits = Sequence[np.ndarray]
VARIANTS: dict[str, dict[str, Any]] = {
    "one threshold for all labels": {},
    "scores smoothed over 0.1 s": {"smooth_s": 0.1},
    "scores smoothed over 0.4 s": {"smooth_s": 0.4},
    "threshold held for 0.25 s": {"hold_s": 0.25},
    "none 2.7 times less likely": {"bias": 1.0},
    "none 7.4 times less likely": {"bias": 2.0},
    "three networks averaged": {"averaged": True},
}


def without_none(logits: Logits, none: int, bias: float) -> list[np.ndarray]:
    """Logits of which those of none are lower by `bias`."""
    return [row - bias * (np.arange(row.shape[1]) == none) for row in logits]


def mean_logits(of_networks: Sequence[Logits]) -> list[np.ndarray]:
    """Logits whose probabilities are the mean of those of several networks."""

    def probabilities(row: np.ndarray) -> np.ndarray:
        weights = np.exp(row - row.max(1, keepdims=True))
        return np.asarray(weights / weights.sum(1, keepdims=True))

    return [
        np.log(np.mean([probabilities(row) for row in rows], 0) + 1e-12).astype(np.float32)
        for rows in zip(*of_networks, strict=True)
    ]


def decide(bundle: Bundle, logits: Logits, **thresholds: Any) -> Recognizer:
    """A recognizer that sees these logits instead of running its network."""
    decision = replace(bundle.manifest.decision, **thresholds)
    changed = replace(bundle, manifest=replace(bundle.manifest, decision=decision, alarms=None, flat_model=None))
    return Recognizer(changed, Replay(logits))  # type: ignore[arg-type]


def detected_at(rate: float, curve: Iterable[tuple[float, float]]) -> float | None:
    """Actions detected at a number of false onsets per minute, between the points (false onsets, detected)."""
    rates, detected = zip(*sorted(curve), strict=True)
    return float(np.interp(np.log(rate), np.log(np.maximum(rates, 1e-3)), detected)) if rates[0] <= rate else None


def measure_streams(bundles: Sequence[Bundle], source: str, data: Path) -> dict[str, Any]:
    """Actions detected at each of RATES with each variant, and how soon the right label is the most likely one."""
    labels, none = bundles[0].manifest.labels, bundles[0].manifest.none_index
    streams = streams_of(source, bundles[0].manifest.layout, labels, data)
    recorded = [record(bundle, streams) for bundle in bundles]
    averaged = [mean_logits(rows) for rows in zip(*recorded, strict=True)]
    result: dict[str, Any] = {"detected": {}}
    for name, changes in progress(list(VARIANTS.items()), source):
        settings = dict(changes)
        logits = averaged if settings.pop("averaged", False) else recorded[0]
        bias = settings.pop("bias", 0.0)

        def traces(on: float, logits: Any = logits, bias: float = bias, settings: Any = settings) -> list[Trace]:
            changed = [without_none(one, none, bias) for one in logits]
            return [
                run_stream(decide(bundles[0], one, on=on, off=on / 2, **settings), stream, labels)
                for stream, one in zip(streams, changed, strict=True)
            ]

        scores = [summarize(traces(on)) for on in LEVELS[2::2]]
        curve = [(score["false_onsets_per_minute"], score["detected"]) for score in scores]
        result["detected"][name] = {str(rate): detected_at(rate, curve) for rate in RATES}
        if not changes:
            waits = [first_correct(trace, action) for trace in traces(LEVELS[0]) for action in trace.actions]
            firsts_s = [wait[0] for wait in waits if wait is not None]
            result["right_label_leads_within"] = {
                str(limit): 100 * sum(wait <= limit for wait in firsts_s) / max(len(waits), 1) for limit in WAITS_S
            }
    return result


def measure_clips(bundles: Sequence[Bundle], clips: Sequence[tuple[str, str, Any]], title: str) -> dict[str, float]:
    """Macro top-1 on clips (set, label, motion): mean over the networks, and of their average."""
    backends = [create("auto", bundle) for bundle in bundles]
    alone: list[list[Prediction]] = [[] for _ in bundles]
    together: list[Prediction] = []
    for source, name, motion in progress(clips, title):
        logits = []
        for bundle, backend, predictions in zip(bundles, backends, alone, strict=True):
            recorder = Recorder(backend)
            label = Recognizer(bundle, recorder).recognize(motion).label  # type: ignore[arg-type]
            predictions.append(Prediction(target=name, label=label, source=source, fingerprint=""))
            logits.append(recorder.logits)
        label = decide(bundles[0], mean_logits(logits)).recognize(motion).label
        together.append(Prediction(target=name, label=label, source=source, fingerprint=""))
    return {
        "alone": float(np.mean([summarize_clips(predictions)["macro_top1"] for predictions in alone])),
        "averaged": summarize_clips(together)["macro_top1"],
    }


def mean(rows: Sequence[Any]) -> Any:
    """The mean of numbers or of each entry of objects; None if one is missing."""
    if isinstance(rows[0], dict):
        return {key: mean([row[key] for row in rows]) for key in rows[0]}
    return None if any(row is None for row in rows) else float(np.mean(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    sets = [clip_set for clip_set in clip_sets(args.data) if clip_set.layout.dims == 3]
    found = labels_by_set(sets)
    streams, left_out, kept_out = {}, {}, {}
    for fold in FOLDS:
        runs = sorted(args.runs.glob(f"without-{'-'.join(fold)}-?"))
        bundles: list[Bundle] = [Bundle.load(run / "bundle") for run in runs]
        for source in fold:
            clips = [(source, name, motion) for _, _, name, motion in clips_of(source, sets, found)]
            left_out[source] = measure_clips(bundles, clips, source)
            streams[source] = measure_streams(bundles, source, args.data)
        known, _ = clips_kept_out(sets, bundles[0].manifest.labels)
        people = [(source, *clip) for source, clips in known.items() if source not in fold for clip in clips]
        kept_out["without " + " and ".join(fold)] = measure_clips(bundles, people, "people kept out")
        result = {
            "protocol": "networks of leave_one_set_out; streams of the sets left out: actions detected while they last "
            "at a number of false onsets per minute, and actions whose label is the most likely one within some "
            "seconds; clips: macro top-1 of one network and of the mean probabilities of the networks of all seeds",
            "streams": mean(list(streams.values())),
            "clips_of_sets_left_out": mean(list(left_out.values())),
            "clips_of_people_kept_out": mean(list(kept_out.values())),
            "sets": {source: {"streams": streams[source], "clips": left_out[source]} for source in streams},
            "people": kept_out,
        }
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()

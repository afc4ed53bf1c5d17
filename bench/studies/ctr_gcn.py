"""Accuracy of CTR-GCN on view 3 of NW-UCLA, by stream and ensemble.

`python -m motionrt.bench.studies.ctr_gcn RUN... [-o OUT.json]`
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import InputError
from ...training.data.clips import clip_sets, fingerprint
from ...training.models.ctr_gcn import CTRGCN, CTRGCNConfig
from ...training.recognition.ctr_gcn import compute_logits, load_views, whole_sample
from ...training.runs import read_network, weights_sha256
from ..accuracy.protocols.labeled_clips import Prediction, summarize

PROTOCOL = (
    "NW-UCLA cross-view: trained on views 1 and 2, tested on the clips of view 3, each whole; the network averaged "
    "over the last steps, after the last step; an ensemble is the weighted sum of its streams' logits"
)
WEIGHTS = {"joint": 0.6, "bone": 0.6, "joint_motion": 0.4, "bone_motion": 0.4}  # of the published ensemble
ENSEMBLES = (("joint", "bone"), tuple(WEIGHTS))


def evaluate(runs: Sequence[Path], data: Path) -> dict[str, Any]:
    """Scores of every run's stream and of the ensembles whose streams are available.

    Args:
        runs: folders of finished runs of the recipe nwucla-ctrgcn, of one stream each.
        data: folder of clip sets.
    Returns:
        A JSON object; percentages over all clips of view 3 and, `without_copies`, over those that are not copies of
        a clip of view 1 or 2.
    Raises:
        InputError: a missing run, two runs of one stream, runs with different labels, or no clip of view 3.
    """
    clips, names = load_views(data, 3), fingerprints(data, 3)
    if not clips:
        raise InputError(f"{data}: no clip of NW-UCLA's view 3 in the folder's clip sets")
    trained = fingerprints(data, 1, 2)
    logits_NC: dict[str, np.ndarray] = {}
    streams: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    for run in runs:
        network, about = read_network(run, CTRGCN, CTRGCNConfig)
        stream, run_labels = about["recipe"].get("stream"), tuple(about.get("labels", ()))
        if stream not in WEIGHTS or stream in streams or labels not in ((), run_labels):
            raise InputError(f"{run}: expected runs of nwucla-ctrgcn, one per stream, with the same labels")
        labels = run_labels
        loop = about["recipe"]["loop"]
        logits_NC[stream] = compute_logits(network, [whole_sample(clip, stream, labels) for clip in clips])
        streams[stream] = {"weights_sha256": weights_sha256(run), "steps": loop["steps"], "seed": loop["seed"]}

    def score(weights: Mapping[str, float]) -> dict[str, Any]:
        label_N = np.sum([weight * logits_NC[stream] for stream, weight in weights.items()], 0).argmax(1)
        predictions = [
            Prediction(target=clip.label or "", label=labels[i], source=clip.source, fingerprint=name)
            for clip, i, name in zip(clips, label_N, names, strict=True)
        ]
        new = [prediction for prediction in predictions if prediction.fingerprint not in trained]
        return {**summarize(predictions), "without_copies": summarize(new)}

    ensembles = [names for names in ENSEMBLES if set(names) <= set(streams)]
    return {
        "benchmark": "nw-ucla",
        "protocol": PROTOCOL,
        "n": len(clips),
        "streams": {stream: about | score({stream: 1.0}) for stream, about in streams.items()},
        "ensembles": {"+".join(names): score({name: WEIGHTS[name] for name in names}) for names in ensembles},
    }


def fingerprints(data: Path, *views: int) -> list[str]:
    """Fingerprints of NW-UCLA's clips of these views, in the order of `load_views`."""
    return [
        fingerprint(clip_set, i)
        for clip_set in clip_sets(data)
        for i, record in enumerate(clip_set.clips)
        if record.get("ds") == "nw-ucla" and record["view"] in views
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("-d", "--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_intermixed_args()
    report = evaluate(args.runs, args.data)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    scores = {**report["streams"], **report["ensembles"]}
    print(json.dumps({name: [s["top1"], s["without_copies"]["top1"]] for name, s in scores.items()}))


if __name__ == "__main__":
    main()

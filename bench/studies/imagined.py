"""Unseen labels recognized by motion that the generator makes of their texts.

`python -m motionrt.bench.studies.imagined DATA ENCODERS RUNS -o imagined.json [--model default]`

ENCODERS and RUNS are those of `unseen_labels`. Eight clips of each label are generated, four from its name and four
from the sentence on its motion. The mean of their features in the matcher's space is an example of the label; distances
from texts and from examples are mixed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.body.canonical import SMPL
from ...runtime.generation.generator import Generator
from ...runtime.progress import progress
from ...training.data.clips import LabeledClip
from ...training.data.unseen_labels import descriptions, splits
from ...training.data.vocabulary import open_labels
from ...training.tdsm.alignment import fit_alignment
from ...training.tdsm.encoders import FrozenEncoder, load_encoder
from ...training.tdsm.sentences import LabelSentences
from .unseen_labels import ALL_SENTENCES, RememberedTexts, Split, best_on_others, cached, load_split, names, over_splits

CLIPS = 4  # of each of the two texts of a label
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0)  # of the examples in the distance
ONLY_TEXT, ONLY_EXAMPLES = 0, len(SHARES) - 1
PROTOCOL = (
    "clips of unseen labels of our splits of the open vocabulary, of people kept out, among these labels; macro top-1; "
    "the share of the examples is the one that is best on the other splits; 95 % t-intervals over splits"
)


def imagine(generator: Generator) -> dict[str, np.ndarray]:
    """Joints of all clips of each label, one after the other, and their lengths."""
    found: dict[str, np.ndarray] = {}
    for label in progress(open_labels(), "labels"):
        clips = [
            generator.generate(text, seed=seed).joints
            for text in (label, descriptions()[label])
            for seed in range(CLIPS)
        ]
        found[label] = np.concatenate(clips)
        found[f"{label} lengths"] = np.array([len(clip) for clip in clips])
    return found


def encode(network: FrozenEncoder, motions: Mapping[str, np.ndarray], fps: float) -> np.ndarray:
    """Features of the clips of all labels, [K, n, D]."""
    to_layout = network.layout.map_from(SMPL)
    inputs = []
    for label in open_labels():
        for joints in np.split(motions[label], np.cumsum(motions[f"{label} lengths"])[:-1]):
            clip = LabeledClip(joints=to_layout @ joints, fps=fps, label=label, source="", record={})
            inputs.append(network.whole_input(clip))
    return network.features(inputs).reshape(len(open_labels()), 2 * CLIPS, -1)


def mixed_distances(split: Split, features_KND: np.ndarray) -> list[np.ndarray]:
    """Distances of the validation clips from all labels, for each of `SHARES`."""
    hidden = [label for label, unseen in zip(open_labels(), split.unseen_K, strict=True) if unseen]
    matcher = fit_alignment(split.trained, split.text, hidden)
    space, (K, n, D) = matcher.alignment, features_KND.shape
    texts = LabelSentences.for_labels(names(), split.text)
    from_texts = matcher.distances(split.held_out.features_ND, texts)[:, :K]
    examples_KE = space.embed(matcher.project(features_KND.reshape(-1, D))).reshape(K, n, -1).mean(1)
    examples_KE /= np.linalg.norm(examples_KE, axis=1, keepdims=True)
    from_examples = space.errors(matcher.project(split.held_out.features_ND), examples_KE)
    return [(1 - share) * from_texts + share * from_examples for share in SHARES]


def report(accuracy: Mapping[str, list[float]], model: str) -> dict[str, Any]:
    """Accuracy by text alone, by examples alone, and by both, for each split and share."""
    scores_NS = np.array(list(accuracy.values()))
    best, both = best_on_others(scores_NS)
    text = scores_NS[:, ONLY_TEXT].tolist()
    return {
        "benchmark": "imagined",
        "model": model,
        "protocol": PROTOCOL,
        "clips_of_a_label": 2 * CLIPS,
        "splits": list(accuracy),
        "mean_by_share": dict(zip(map(str, SHARES), scores_NS.mean(0).tolist(), strict=True)),
        "text": over_splits(text),
        "examples": over_splits(scores_NS[:, ONLY_EXAMPLES].tolist()),
        "both": over_splits(both) | {"shares": [SHARES[i] for i in best]},
        "difference": over_splits([a - b for a, b in zip(both, text, strict=True)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("encoders", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--model", default="default", help="name or path of a generation bundle")
    args = parser.parse_args()
    generator, text = Generator.load(args.model), RememberedTexts.load()
    sha256 = generator.bundle.manifest.files["weights.safetensors"].sha256
    motions = cached(args.runs / f"imagined-{sha256[:16]}.npz", lambda: imagine(generator))
    accuracy = {}
    for name in splits():
        split = load_split(name, args.encoders / name, args.data, args.runs, text)
        features_KND = encode(load_encoder(str(args.encoders / name)), motions, generator.fps)
        accuracy[name] = [
            split.trial({ALL_SENTENCES: distances}).zsl_scores(ALL_SENTENCES)["macro_top1"]
            for distances in mixed_distances(split, features_KND)
        ]
    results = report(accuracy, generator.name)
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    print({name: results[name]["mean"] for name in ("text", "examples", "both")})


if __name__ == "__main__":
    main()

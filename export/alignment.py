"""An encoder and a matcher by alignment that is fitted to its features, as one zero-shot bundle.

`python -m motionrt.export.alignment RUN DATA -o OUT`: RUN is a finished run of the recipe `open`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.bundles.bundle import Bundle, write_bundle
from ..runtime.bundles.safetensors import pack
from ..runtime.bundles.schema import MATCHER, SLOTS, WEIGHTS, ZeroShotManifest
from ..runtime.recognition.matcher import Matcher
from ..runtime.text_encoder import TextEncoder
from ..training.data.unseen_labels import BACKGROUND, sentences
from ..training.data.vocabulary import alternates
from ..training.tdsm.alignment import SHARES, AlignedMatcher, fit_alignment
from ..training.tdsm.calibration import calibrate_prototypes
from ..training.tdsm.encoders import EncodedClips, encode_clips, load_encoder
from ..training.tdsm.recipes import tdsm
from ..training.tdsm.sentences import LabelSentences
from ..training.tdsm.validation import macro_accuracy
from .recognizer import THRESHOLDS, export_run, read_json
from .zero_shot import PROBES, TASK

TOLERANCE = 1e-3  # of errors, with weights stored in 16 bits
MATCHING: dict[str, Any] = {  # the first four: see bench/results/unseen.json
    "scale": 11.2,
    "none": 1.0,
    "new": 0.39,
    "rivals": 0.2,
    "window_s": 2.0,
    "every_s": 0.25,
}


def export_alignment(run: Path, data: Path, out: Path) -> Bundle[ZeroShotManifest]:
    """Fit a matcher to the features of a run's encoder, and write both as the bundle `out`.

    Raises:
        InputError: the run is unfinished, or there are no clips in `data`.
    """
    text, network = TextEncoder.load(), load_encoder(str(run))
    trained, held_out = encode_clips(network, data, tdsm().copies, run.parent)
    matcher = fit_alignment(trained, text)
    labels = [label for label in network.labels if label in trained.labels]
    known = [*labels, BACKGROUND]
    texts = LabelSentences.for_labels(known, text)
    with tempfile.TemporaryDirectory() as folder:
        encoder = export_run(run, Path(folder) / "encoder")
        manifest, files = json.loads(encoder.manifest_file), dict(encoder.graphs)
        weights, sha256 = encoder.weights, encoder.manifest.files[WEIGHTS].sha256
    is_known = [label in known for label in held_out.labels]
    tested = EncodedClips(
        features_ND=held_out.features_ND[is_known],
        labels=tuple(label for label in held_out.labels if label in known),
    )
    target_N = np.array([known.index(label) for label in tested.labels])
    manifest |= {
        "name": out.name,
        "task": TASK,
        "decision": asdict(THRESHOLDS),
        "model": {
            **manifest["model"],
            "matcher": {"feature": matcher.projection_DF.shape[1], "parts": matcher.parts, "shares": SHARES},
        },
        "metrics": {"validation": accuracy(matcher, tested, texts, target_N)},
        "matching": {
            **MATCHING,
            **calibrate_prototypes(matcher.project(tested.features_ND), target_N),
            "labels": {label: sentences(label) for label in labels},
            "aliases": {name: label for label in labels for name in alternates(label)},
            "background": {BACKGROUND: sentences(BACKGROUND)},
            "encoder_sha256": sha256,
            "text_sha256": text.sha256,
        },
    }
    stored = {
        "mean": matcher.mean_D,
        "projection": matcher.projection_DF,
        "motion.weight": matcher.alignment.motion_FE,
        "motion.bias": matcher.alignment.motion_E,
        "text.weight": matcher.alignment.text_XE.reshape(len(SLOTS), text.width, -1).astype(np.float16),
        "text.bias": matcher.alignment.text_SE,
        "known": texts.features.numpy().astype(np.float16),
    }
    files[WEIGHTS] = pack({**weights, **{MATCHER + name: array for name, array in stored.items()}})
    sets = read_json(run / "recipe.json").get("sets", ())
    files["MODEL_CARD.md"] = card(manifest, len(files[WEIGHTS]), sets).encode()
    with tempfile.TemporaryDirectory() as folder:
        trial = Bundle.load(write_bundle(Path(folder) / out.name, manifest, files), ZeroShotManifest)
        check_parity(trial, text, matcher, tested.features_ND[:3])
    return Bundle.load(write_bundle(out, manifest, files), ZeroShotManifest)


def accuracy(
    matcher: AlignedMatcher, clips: EncodedClips, texts: LabelSentences, target_N: np.ndarray
) -> dict[str, float]:
    """Percent of the clips of an action, of the last fold, whose text is the nearest of all actions."""
    actions = len(texts.features) - 1
    is_action_N = target_N < actions
    predicted_N = matcher.distances(clips.features_ND[is_action_N], texts)[:, :actions].argmin(1)
    target_N = target_N[is_action_N]
    return {"top1": 100 * float((predicted_N == target_N).mean()), "macro_top1": macro_accuracy(predicted_N, target_N)}


def check_parity(
    bundle: Bundle[ZeroShotManifest], text: TextEncoder, matcher: AlignedMatcher, features_ND: np.ndarray
) -> None:
    """Check the bundle's errors against those of the fitted matcher, for texts in training and others."""
    texts = [*bundle.manifest.matching.labels.values(), *PROBES]
    exported = Matcher(bundle, text)
    found = exported.errors(exported.project(features_ND), texts)
    difference = float(np.abs(found - matcher.distances(features_ND, LabelSentences.encode(texts, text))).max())
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{bundle.path}: errors differ from the fitted matcher's by {difference:.1e}")


def card(manifest: dict[str, Any], weight_bytes: int, sets: Any) -> str:
    """Markdown card: architecture, labels, measurements, data, license and limits."""
    matching, metrics = manifest["matching"], manifest["metrics"]["validation"]
    rows = "".join(f"| {found['terms']} | {found['clips']} |\n" for found in sets)
    return f"""# {manifest["name"]}

A streaming recognizer whose labels are arbitrary texts or a few examples each: skeletons in layout
`{manifest["layout"]}` at {manifest["fps"]:g} frames a second in. Every {matching["every_s"]:g} s, in a separate thread,
the mean of a StreamGCN's features over the last {matching["window_s"]:g} s is projected to a space in which texts are
points, too. {SHARES[0]:.0%} of the cosine is of sentences (ESZSL), {SHARES[1]:.0%} of attributes of motion, such as how
high the hands are or whether it is repeated, which are predicted from features and from texts. The nearest text is the
label, unless {" or ".join(matching["background"])!r} or a label from training that is not chosen is nearer. A text has
up to {len(SLOTS)} sentences: {", ".join(SLOTS)}.

- {weight_bytes / 2**20:.1f} MiB with the encoder.
- Labels in training: {", ".join(matching["labels"])}.

## Validation clips: whole clips of other people, among all labels in training
- top1: {metrics["top1"]:.1f} %
- macro_top1: {metrics["macro_top1"]:.1f} %

Labels that were never trained on are measured in bench/results/unseen.json.

## Trained on
| data set: its terms | clips |
|---|---|
{rows}
## License
{manifest["license"]}

## Limits
English texts. It works best for actions similar to those in training, described by more than a name; it can confuse
others, or miss them. It was trained on whole bodies seen mostly from the front by depth cameras, and on motion capture.
It must not be the only safeguard where a mistake can cause harm.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    print(export_alignment(args.run, args.data, args.out).path)


if __name__ == "__main__":
    main()

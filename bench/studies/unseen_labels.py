"""Accuracy on labels that were never trained on.

`python -m motionrt.bench.studies.unseen_labels DATA ENCODERS RUNS -o OUT.json [KEY=VALUE ...]`

ENCODERS contains a finished run of the recipe `live` for every split of `training.data.unseen_labels`, in a folder
named after the split. On each, the recipe `tdsm` is trained with KEY=VALUE for every seed, with default settings and in
several variants, and compared with cosine alignment of the same features and texts. Runs stay in RUNS and are resumed.
`--pictures FOLDER` draws a confusion matrix for each split.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from ...runtime.bundles.schema import SLOTS
from ...runtime.errors import InputError
from ...runtime.text_encoder import TextEncoder
from ...training.data import vocabulary
from ...training.data.unseen_labels import BACKGROUND, splits
from ...training.data.vocabulary import labels
from ...training.models.tdsm import ZeroShot, ZeroShotConfig
from ...training.plots import draw_confusion
from ...training.recipes import train
from ...training.runs import read_network
from ...training.tdsm.calibration import balanced_weights, discriminants
from ...training.tdsm.encoders import EncodedClips, encode_clips, labeled_clips, load_encoder
from ...training.tdsm.recipes import tdsm
from ...training.tdsm.sentences import LabelSentences, drop_sentences
from ...training.tdsm.validation import macro_accuracy, project_features, scores
from .cocodiff import paired_interval

PROTOCOL = (
    "our splits: each label is unseen in one; encoder and matcher trained on clips of the seen labels, without the "
    "people of the validation folds; tested on the whole validation clips of the unseen labels among those (zsl), and "
    "on all validation clips among all labels (gzsl; calibrated: with the penalty on seen labels that is best on the "
    "other splits); top-1 as the mean over labels, the network of the last step, 10 noises; 95 % t-intervals over "
    "seeds of the mean over splits, for these clips; the recipe's settings were chosen on the same clips"
)
SEEDS = 3
ALIGNMENT = "alignment"
VARIANTS: dict[str, dict[str, str]] = {
    "tdsm": {},
    "no triplet": {"triplet": "0"},
    "no diffusion": {"diffusion": "0"},
    "small margin": {"margin": "0.1"},
    "wide features": {"spread": "1"},
    "all sentences": {"whole": "1"},
    "long": {"steps": "900"},
}
ABOUT = {
    "tdsm": "the default recipe",
    "no triplet": "without the triplet loss",
    "no diffusion": "without the diffusion loss",
    "small margin": "with a margin of 0.1 in the triplet loss",
    "wide features": "with features spread four times as wide, same noise",
    "all sentences": "with all eight sentences of a class in every step",
    "long": "with three times as many steps",
    ALIGNMENT: "cosine between the sentences and the projected feature; softmax over the seen labels",
}
SENTENCES = {"label": SLOTS[:1], "label and motion": SLOTS[:2], "everything": SLOTS}
ALL_SENTENCES = "everything"
SHOTS = (1, 3, 5)
DRAWS = 200
PENALTIES = 200

Distances = Mapping[str, np.ndarray]
"""Key of `SENTENCES` -> distances of the validation clips of a split from all labels, [N, K]."""


class Trial(NamedTuple):
    """Distances, the label of every clip, and the unseen labels."""

    distances: Distances
    target_N: np.ndarray
    unseen_K: np.ndarray  # bool

    def zsl(self, sentences: str = ALL_SENTENCES) -> np.ndarray:
        """Predictions for the clips of unseen labels, among the unseen labels."""
        unseen_N, names = self.unseen_K[self.target_N], np.flatnonzero(self.unseen_K)
        predictions: np.ndarray = names[self.distances[sentences][unseen_N][:, names].argmin(1)]
        return predictions

    def zsl_scores(self, sentences: str) -> dict[str, float]:
        predictions, targets = self.zsl(sentences), self.target_N[self.unseen_K[self.target_N]]
        top1 = 100 * float((predictions == targets).mean())
        return {"top1": top1, "macro_top1": macro_accuracy(predictions, targets)}

    def gzsl_scores(self, penalty: float = 0.0) -> dict[str, float]:
        """Accuracy among all labels on clips of seen and of unseen labels, and the harmonic mean."""
        predictions = (self.distances[ALL_SENTENCES] + penalty * ~self.unseen_K).argmin(1)
        unseen_N = self.unseen_K[self.target_N]
        seen, unseen = (macro_accuracy(predictions[part], self.target_N[part]) for part in (~unseen_N, unseen_N))
        return {"seen": seen, "unseen": unseen, "harmonic": 2 * seen * unseen / max(seen + unseen, 1e-9)}


Trials = Mapping[tuple[str, int], Trial]
"""(split, seed) -> trial."""


class Split(NamedTuple):
    """Features of a split.

    Attributes:
        trained: training clips.
        held_out: test clips with labels of the vocabulary.
        examples: clips of unseen labels, from other people than the test clips.
    """

    trained: EncodedClips
    held_out: EncodedClips
    examples: EncodedClips
    unseen_K: np.ndarray
    text: TextEncoder

    def trial(self, distances: Distances) -> Trial:
        target_N = np.array([labels().index(label) for label in self.held_out.labels])
        return Trial(distances, target_N, self.unseen_K)


def load_split(name: str, encoder: Path, data: Path, runs: Path, text: TextEncoder) -> Split:
    """Raises InputError for an encoder that was trained on an unseen label of the split."""
    network, unseen = load_encoder(str(encoder)), splits()[name].unseen
    names = [labels()[k] for k in unseen]
    if known := set(network.labels) & set(names):
        raise InputError(f"{encoder}: was trained on {min(known)!r}, expected a run with unseen={name}")
    trained, held_out = encode_clips(network, data, tdsm().copies, runs)
    clips = labeled_clips(network, data, vocabulary.is_trainable, names)
    clips = [clip for clip in clips if clip.label in names]
    features_ND = network.features([network.whole_input(clip) for clip in clips])
    examples = EncodedClips(features_ND=features_ND, labels=tuple(clip.label or "" for clip in clips))
    tested = select(held_out, [label in labels() for label in held_out.labels])
    return Split(trained, tested, examples, np.isin(np.arange(len(labels())), unseen), text)


def select(clips: EncodedClips, mask: Sequence[bool]) -> EncodedClips:
    keep = np.flatnonzero(mask)
    return EncodedClips(features_ND=clips.features_ND[keep], labels=tuple(clips.labels[i] for i in keep))


def cached(path: Path, compute: Callable[[], Distances]) -> Distances:
    """Load distances from a file, or compute and save them."""
    if not path.is_file():
        new = path.with_suffix(".new.npz")
        np.savez(new, **compute())  # type: ignore[arg-type]
        new.rename(path)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def match(split: Split, run: Path, kinds: Sequence[str]) -> Distances:
    """Distances by the network of a finished run, for some keys of `SENTENCES`."""
    network, _ = read_network(run, ZeroShot, ZeroShotConfig)
    z_NF = project_features(network, split.held_out.features_ND)
    return {
        kind: scores(network, z_NF, LabelSentences.for_labels(labels(), split.text, SENTENCES[kind])) for kind in kinds
    }


def align(split: Split, seed: int, steps: int = 600, batch: int = 256, temperature: float = 0.07) -> Distances:
    """Distances by a two-layer network that projects features to the sentences of their classes."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    trained = select(split.trained, [label != BACKGROUND for label in split.trained.labels])
    seen = sorted(set(trained.labels))
    target_N = np.array([seen.index(label) for label in trained.labels])
    mean, std = trained.features_ND.mean(0), trained.features_ND.std(0) + 1e-6
    z_ND, tested_ND = (torch.from_numpy((clips.features_ND - mean) / std) for clips in (trained, split.held_out))
    seen_sentences = LabelSentences.for_labels(seen, split.text)
    center_SW = seen_sentences.features.mean(0)

    def embed(sentences: LabelSentences) -> Tensor:
        return normalize(((sentences.features - center_SW) * sentences.present[:, :, None]).flatten(1), dim=1)

    width = seen_sentences.features[0].numel()
    model = nn.Sequential(nn.Linear(z_ND.shape[1], 256), nn.GELU(), nn.Dropout(0.3), nn.Linear(256, width))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    weight_N = balanced_weights(target_N)
    for _ in range(steps):
        i = draw.choice(len(target_N), batch, p=weight_N)
        texts_KM = embed(seen_sentences._replace(present=drop_sentences(seen_sentences.present, draw, 0.5)))
        logits = normalize(model(z_ND[i]), dim=1) @ texts_KM.T / temperature
        cross_entropy(logits, torch.from_numpy(target_N[i])).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        projected_NM = normalize(model(tested_ND), dim=1)
        texts = {
            kind: embed(LabelSentences.for_labels(labels(), split.text, slots)) for kind, slots in SENTENCES.items()
        }
        return {kind: -(projected_NM @ texts_KM.T).numpy() for kind, texts_KM in texts.items()}


def few_shot(loaded: Mapping[str, Split]) -> dict[str, Any]:
    """Top-1 with prototypes: the means of a few example clips per unseen label, nearest mean wins.

    Features are projected to the discriminants of the seen labels. Examples are clips of other people than those of the
    validation folds; the interval covers 95 % of the draws, each the mean over splits.
    """
    accuracy: dict[int, list[list[float]]] = {shots: [] for shots in SHOTS}
    for split in loaded.values():
        seen = sorted(set(split.trained.labels))
        target_N = np.array([seen.index(label) for label in split.trained.labels])
        mean_D, projection_DF = discriminants(split.trained.features_ND, target_N, len(seen) - 1)
        tested = select(split.held_out, [label in split.examples.labels for label in split.held_out.labels])
        tested_NF, examples_NF = ((clips.features_ND - mean_D) @ projection_DF for clips in (tested, split.examples))
        for shots in SHOTS:
            accuracy[shots].append(
                prototype_accuracies(
                    examples_NF, np.array(split.examples.labels), tested_NF, np.array(tested.labels), shots
                )
            )
    means = {shots: np.mean(by_split, 0) for shots, by_split in accuracy.items()}
    return {
        str(shots): {
            "mean": float(by_draw.mean()),
            "low": float(np.quantile(by_draw, 0.025)),
            "high": float(np.quantile(by_draw, 0.975)),
            "n": DRAWS,
            "over": "draws",
        }
        for shots, by_draw in means.items()
    }


def prototype_accuracies(
    examples_NF: np.ndarray, label_N: np.ndarray, tested_NF: np.ndarray, target_N: np.ndarray, shots: int
) -> list[float]:
    """Accuracy of each draw of `shots` examples per label."""
    names, draw, accuracies = np.unique(label_N), np.random.default_rng(shots), []
    for _ in range(DRAWS):
        chosen = [draw.permutation(np.flatnonzero(label_N == name))[:shots] for name in names]
        means_KF = np.stack([examples_NF[rows].mean(0) for rows in chosen])
        predictions = names[((tested_NF[:, None] - means_KF) ** 2).mean(2).argmin(1)]
        accuracies.append(macro_accuracy(predictions, target_N))
    return accuracies


def report(trials: Mapping[str, Trials], loaded: Mapping[str, Split]) -> dict[str, Any]:
    """Every method's scores, and the lead of TDSM over alignment."""
    seeds = sorted({seed for _, seed in trials[ALIGNMENT]})
    methods = {method: method_report(method, by_run, seeds, list(loaded)) for method, by_run in trials.items()}
    baseline = methods[ALIGNMENT]["zsl"][ALL_SENTENCES]["by_seed"]
    ahead = {}
    for method in methods:
        values = zip(methods[method]["zsl"][ALL_SENTENCES]["by_seed"], baseline, strict=True)
        ahead[method] = paired_interval([own - other for own, other in values])
    return {
        "benchmark": "zero-shot",
        "protocol": PROTOCOL,
        "splits": {
            name: {
                "unseen": [label for label, hidden in zip(labels(), split.unseen_K, strict=True) if hidden],
                "clips": sum(split.unseen_K[labels().index(label)] for label in split.held_out.labels).item(),
            }
            for name, split in loaded.items()
        },
        "chance": 100 * float(np.mean([1 / split.unseen_K.sum() for split in loaded.values()])),
        "methods": methods,
        "ahead_of_alignment": {method: lead for method, lead in ahead.items() if method != ALIGNMENT},
        "few_shot": few_shot(loaded),
    }


def method_report(method: str, trials: Trials, seeds: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
    """Scores of one method: mean over splits, interval over seeds."""
    penalties = {key: best_penalty(trials, key) for key in trials}

    def over_seeds(score: Callable[[str, int], float]) -> dict[str, Any]:
        interval = paired_interval([float(np.mean([score(name, seed) for name in names])) for seed in seeds])
        return {"by_seed": interval.pop("differences"), **{k: v for k, v in interval.items() if k != "improves"}}

    def zsl(kind: str) -> dict[str, Any]:
        return over_seeds(lambda name, seed: trials[name, seed].zsl_scores(kind)["macro_top1"])

    def gzsl(side: str, calibrated: bool) -> dict[str, Any]:
        return over_seeds(
            lambda name, seed: trials[name, seed].gzsl_scores(penalties[name, seed] if calibrated else 0.0)[side]
        )

    sides = ("seen", "unseen", "harmonic")
    return {
        "about": ABOUT[method],
        "zsl": {kind: zsl(kind) for kind in next(iter(trials.values())).distances},
        "by_split": {
            name: float(np.mean([trials[name, seed].zsl_scores(ALL_SENTENCES)["macro_top1"] for seed in seeds]))
            for name in names
        },
        "gzsl": {side: gzsl(side, calibrated=False) for side in sides},
        "gzsl_calibrated": {side: gzsl(side, calibrated=True) for side in sides},
    }


def best_penalty(trials: Trials, key: tuple[str, int]) -> float:
    """The penalty on seen labels with the best harmonic mean on the other splits of the same seed."""
    others = [trial for (split, seed), trial in trials.items() if seed == key[1] and split != key[0]]
    widths = [np.ptp(trial.distances[ALL_SENTENCES], axis=1).mean() for trial in others]
    candidates = np.linspace(0, 2 * np.mean(widths), PENALTIES)
    return float(max(candidates, key=lambda penalty: np.mean([t.gzsl_scores(penalty)["harmonic"] for t in others])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("encoders", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS, choices=range(2, 10))
    parser.add_argument("settings", nargs="*", help="settings of the recipe, KEY=VALUE")
    args = parser.parse_intermixed_args()
    settings = dict(setting.split("=", 1) for setting in args.settings) | {"data": str(args.data)}
    text = TextEncoder.load()
    loaded = {name: load_split(name, args.encoders / name, args.data, args.runs, text) for name in splits()}
    trials: dict[str, dict[tuple[str, int], Trial]] = {}
    for name, split in loaded.items():
        for seed in range(args.seeds):
            for variant, changes in VARIANTS.items():
                run = args.runs / f"{variant.replace(' ', '-')}-{name}-{seed}"
                run_settings = {"encoder": str(args.encoders / name), "run": str(run), "seed": str(seed)}
                if not (run / "model.safetensors").is_file():
                    train("tdsm", settings | changes | run_settings)
                kinds = tuple(SENTENCES) if variant == "tdsm" else (ALL_SENTENCES,)
                distances = cached(run / "distances.npz", partial(match, split, run, kinds))
                trials.setdefault(variant, {})[name, seed] = split.trial(distances)
            distances = cached(args.runs / f"{ALIGNMENT}-{name}-{seed}.npz", partial(align, split, seed))
            trials.setdefault(ALIGNMENT, {})[name, seed] = split.trial(distances)
    results = report(trials, loaded)
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    if args.pictures:
        for name in loaded:
            confusion = np.zeros((len(labels()),) * 2, int)
            for seed in range(args.seeds):
                trial = trials["tdsm"][name, seed]
                np.add.at(confusion, (trial.target_N[trial.unseen_K[trial.target_N]], trial.zsl()), 1)
            draw_confusion(args.pictures / f"confusion-{name}.png", confusion, labels())
    for method, scored in results["methods"].items():
        print(f"{method}: {scored['zsl'][ALL_SENTENCES]['mean']:.1f} %")


if __name__ == "__main__":
    main()

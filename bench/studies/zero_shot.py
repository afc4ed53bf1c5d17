"""Labels that were not trained on.

`python -m motionrt.bench.studies.zero_shot DATA ENCODERS RUNS -o OUT.json [KEY=VALUE ...]`

ENCODERS holds a finished run of the recipe `live` for every split of `training.zero_shot`, in a folder of its name. The
recipe `tdsm` is trained on each, with KEY=VALUE, for every seed, as it is and in other ways, and beside it cosine
alignment of the same features and texts. Runs stay in RUNS and are resumed. `--pictures FOLDER` draws a confusion
matrix for each split.
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
from .cocodiff import compared

PROTOCOL = (
    "our splits: each label is unseen in one; encoder and matcher trained on clips of the seen labels, without the "
    "people of the validation folds; tested on the whole validation clips of the unseen labels among those (zsl), and "
    "on all validation clips among all labels (gzsl; calibrated: seen labels are handicapped by what is best on the "
    "other splits); top-1 as the mean over labels, the network of the last step, 10 noises; 95 % t-intervals over "
    "seeds of the mean over splits, for these clips; the recipe's settings were chosen by the same clips"
)
SEEDS = 3
ALIGNMENT = "alignment"
VARIANTS: dict[str, dict[str, str]] = {
    "tdsm": {},
    "no triplet": {"triplet": "0"},
    "no diffusion": {"diffusion": "0"},
    "small margin": {"margin": "0.1"},
    "loud features": {"spread": "1"},
    "all said": {"whole": "1"},
    "long": {"steps": "900"},
}
ABOUT = {
    "tdsm": "the recipe as it is",
    "no triplet": "without the triplet loss",
    "no diffusion": "without the diffusion loss",
    "small margin": "with a margin of 0.1 in the triplet loss",
    "loud features": "with features four times as far apart under the same noise",
    "all said": "with all eight sentences of a class in every step",
    "long": "with three times as many steps",
    ALIGNMENT: "cosine of the sentences and of what a network makes of the feature; softmax over the seen labels",
}
SAID = {"label": SLOTS[:1], "label and motion": SLOTS[:2], "everything": SLOTS}
MOST = "everything"
SHOTS = (1, 3, 5)
DRAWS = 200
HANDICAPS = 200


Distances = Mapping[str, np.ndarray]
"""How far the validation clips of a split are from all of our labels, [N, K], by what is said of these."""


class Trial(NamedTuple):
    """Distances, the label of every clip, and which labels are unseen."""

    distances: Distances
    wanted_N: np.ndarray
    unseen_K: np.ndarray  # bool

    def zsl(self, said: str = MOST) -> np.ndarray:
        """Answers to the clips of unseen labels, among these."""
        mine, names = self.unseen_K[self.wanted_N], np.flatnonzero(self.unseen_K)
        answers: np.ndarray = names[self.distances[said][mine][:, names].argmin(1)]
        return answers

    def zsl_figures(self, said: str) -> dict[str, float]:
        answers, wanted = self.zsl(said), self.wanted_N[self.unseen_K[self.wanted_N]]
        return {"top1": 100 * float((answers == wanted).mean()), "macro_top1": macro_accuracy(answers, wanted)}

    def gzsl_figures(self, handicap: float = 0.0) -> dict[str, float]:
        """Of clips of either side among all labels, and their harmonic mean."""
        answers = (self.distances[MOST] + handicap * ~self.unseen_K).argmin(1)
        unseen_N = self.unseen_K[self.wanted_N]
        seen, unseen = (macro_accuracy(answers[mine], self.wanted_N[mine]) for mine in (~unseen_N, unseen_N))
        return {"seen": seen, "unseen": unseen, "harmonic": 2 * seen * unseen / max(seen + unseen, 1e-9)}


class Side(NamedTuple):
    """What is known of a split: features to train on and to test with, who is unseen, and of these the clips of others
    than who is tested."""

    trained: EncodedClips
    held_out: EncodedClips  # of our labels alone
    examples: EncodedClips
    unseen_K: np.ndarray
    text: TextEncoder

    def trial(self, distances: Distances) -> Trial:
        wanted_N = np.array([labels().index(label) for label in self.held_out.labels])
        return Trial(distances, wanted_N, self.unseen_K)


def side_of(split: str, encoder: Path, data: Path, runs: Path, text: TextEncoder) -> Side:
    """Raises InputError for an encoder that has seen a label of the split."""
    network, unseen = load_encoder(str(encoder)), splits()[split].unseen
    names = [labels()[k] for k in unseen]
    if known := set(network.labels) & set(names):
        raise InputError(f"{encoder}: was trained on {min(known)!r}, expected a run with unseen={split}")
    trained, held_out = encode_clips(network, data, tdsm().copies, runs)
    clips = labeled_clips(network, data, vocabulary.is_trainable, names)
    clips = [clip for clip in clips if clip.label in names]
    shown = [network.whole_input(clip) for clip in clips]
    examples = EncodedClips(features_ND=network.features(shown), labels=tuple(clip.label or "" for clip in clips))
    tested = chosen(held_out, [label in labels() for label in held_out.labels])
    return Side(trained, tested, examples, np.isin(np.arange(len(labels())), unseen), text)


def chosen(clips: EncodedClips, mine: Sequence[bool]) -> EncodedClips:
    """Some of them."""
    keep = np.flatnonzero(mine)
    return EncodedClips(features_ND=clips.features_ND[keep], labels=tuple(clips.labels[i] for i in keep))


def kept(path: Path, make: Callable[[], Distances]) -> Distances:
    """What is found in a file, else made and written there."""
    if not path.is_file():
        new = path.with_suffix(".new.npz")
        np.savez(new, **make())  # type: ignore[arg-type]
        new.rename(path)
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def matched(side: Side, run: Path, asked: Sequence[str]) -> Distances:
    """By the network of a finished run, for some of `SAID`."""
    network, _ = read_network(run, ZeroShot, ZeroShotConfig)
    z_NF = project_features(network, side.held_out.features_ND)
    return {said: scores(network, z_NF, LabelSentences.for_labels(labels(), side.text, SAID[said])) for said in asked}


def aligned(side: Side, seed: int, steps: int = 600, batch: int = 256, temperature: float = 0.07) -> Distances:
    """By a two-layer network that brings features to where the sentences on their classes are."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    trained = chosen(side.trained, [label != BACKGROUND for label in side.trained.labels])
    seen = sorted(set(trained.labels))
    target_N = np.array([seen.index(label) for label in trained.labels])
    mean, std = trained.features_ND.mean(0), trained.features_ND.std(0) + 1e-6
    z_ND, tested_ND = (torch.from_numpy((of.features_ND - mean) / std) for of in (trained, side.held_out))
    told = LabelSentences.for_labels(seen, side.text)
    centre_SW = told.features.mean(0)

    def texts(said: LabelSentences) -> Tensor:
        return normalize(((said.features - centre_SW) * said.present[:, :, None]).flatten(1), dim=1)

    width = told.features[0].numel()
    model = nn.Sequential(nn.Linear(z_ND.shape[1], 256), nn.GELU(), nn.Dropout(0.3), nn.Linear(256, width))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    share_N = balanced_weights(target_N)
    for _ in range(steps):
        i = draw.choice(len(target_N), batch, p=share_N)
        texts_KM = texts(told._replace(present=drop_sentences(told.present, draw, 0.5)))
        logits = normalize(model(z_ND[i]), dim=1) @ texts_KM.T / temperature
        cross_entropy(logits, torch.from_numpy(target_N[i])).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        found_NM = normalize(model(tested_ND), dim=1)
        every = {said: texts(LabelSentences.for_labels(labels(), side.text, slots)) for said, slots in SAID.items()}
        return {said: -(found_NM @ of_KM.T).numpy() for said, of_KM in every.items()}


def few_shot(sides: Mapping[str, Side]) -> dict[str, Any]:
    """Top-1 of prototypes: of each unseen label a few clips are examples, validation clips go to the nearest mean.

    Features are brought to the discriminants of the seen labels. Examples are clips of other people than those of the
    validation folds; the interval holds 95 % of the draws, each the mean over splits.
    """
    found: dict[int, list[list[float]]] = {shots: [] for shots in SHOTS}
    for side in sides.values():
        seen = sorted(set(side.trained.labels))
        target_N = np.array([seen.index(label) for label in side.trained.labels])
        mean_D, projection_DF = discriminants(side.trained.features_ND, target_N, len(seen) - 1)
        tested = chosen(side.held_out, [label in side.examples.labels for label in side.held_out.labels])
        tested_NF, examples_NF = ((of.features_ND - mean_D) @ projection_DF for of in (tested, side.examples))
        labels_N, wanted_N = np.array(side.examples.labels), np.array(tested.labels)
        names = np.unique(labels_N)
        for shots in SHOTS:
            draw, of_draws = np.random.default_rng(shots), []
            for _ in range(DRAWS):
                drawn = [draw.permutation(np.flatnonzero(labels_N == name))[:shots] for name in names]
                means_KF = np.stack([examples_NF[of].mean(0) for of in drawn])
                said_N = names[((tested_NF[:, None] - means_KF) ** 2).mean(2).argmin(1)]
                of_draws.append(macro_accuracy(said_N, wanted_N))
            found[shots].append(of_draws)
    figures = {shots: np.mean(of_splits, 0) for shots, of_splits in found.items()}
    return {
        str(shots): {
            "mean": float(of_draws.mean()),
            "low": float(np.quantile(of_draws, 0.025)),
            "high": float(np.quantile(of_draws, 0.975)),
            "n": DRAWS,
            "over": "draws",
        }
        for shots, of_draws in figures.items()
    }


def report(trials: Mapping[str, Mapping[tuple[str, int], Trial]], sides: Mapping[str, Side]) -> dict[str, Any]:
    """Every method's figures, and what TDSM is ahead of alignment."""
    seeds = sorted({seed for _, seed in trials[ALIGNMENT]})

    def over_seeds(figure: Any) -> dict[str, Any]:
        """`figure` of a split and a seed: mean over splits, interval over seeds."""
        found = compared([float(np.mean([figure(split, seed) for split in sides])) for seed in seeds])
        return {"by_seed": found.pop("differences"), **{k: v for k, v in found.items() if k != "improves"}}

    methods: dict[str, Any] = {}
    for method, of in trials.items():
        handicaps = {key: handicap(of, key) for key in of}
        methods[method] = {
            "about": ABOUT[method],
            "zsl": {
                said: over_seeds(lambda split, seed, of=of, said=said: of[split, seed].zsl_figures(said)["macro_top1"])
                for said in next(iter(of.values())).distances
            },
            "by_split": {
                split: float(np.mean([of[split, seed].zsl_figures(MOST)["macro_top1"] for seed in seeds]))
                for split in sides
            },
            "gzsl": {
                name: over_seeds(lambda split, seed, of=of, name=name: of[split, seed].gzsl_figures()[name])
                for name in ("seen", "unseen", "harmonic")
            },
            "gzsl_calibrated": {
                name: over_seeds(
                    lambda split, seed, of=of, name=name, far=handicaps: of[split, seed].gzsl_figures(far[split, seed])[
                        name
                    ]
                )
                for name in ("seen", "unseen", "harmonic")
            },
        }
    ahead = {}
    for method in trials:
        values = zip(methods[method]["zsl"][MOST]["by_seed"], methods[ALIGNMENT]["zsl"][MOST]["by_seed"], strict=True)
        ahead[method] = compared([one - other for one, other in values])
    return {
        "benchmark": "zero-shot",
        "protocol": PROTOCOL,
        "splits": {
            name: {
                "unseen": [label for label, hidden in zip(labels(), side.unseen_K, strict=True) if hidden],
                "clips": sum(side.unseen_K[labels().index(label)] for label in side.held_out.labels).item(),
            }
            for name, side in sides.items()
        },
        "chance": 100 * float(np.mean([1 / side.unseen_K.sum() for side in sides.values()])),
        "methods": methods,
        "ahead_of_alignment": {method: of for method, of in ahead.items() if method != ALIGNMENT},
        "few_shot": few_shot(sides),
    }


def handicap(of: Mapping[tuple[str, int], Trial], asked: tuple[str, int]) -> float:
    """What is best added to the distance of seen labels on the other splits of the same seed."""
    others = [trial for (split, seed), trial in of.items() if seed == asked[1] and split != asked[0]]
    widths = [np.ptp(trial.distances[MOST], axis=1).mean() for trial in others]
    return float(max(np.linspace(0, 2 * np.mean(widths), HANDICAPS),
                     key=lambda far: np.mean([trial.gzsl_figures(far)["harmonic"] for trial in others])))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("encoders", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS, choices=range(2, 10))
    parser.add_argument("settings", nargs="*", help="of the recipe, KEY=VALUE")
    args = parser.parse_intermixed_args()
    settings = dict(setting.split("=", 1) for setting in args.settings) | {"data": str(args.data)}
    text = TextEncoder.load()
    sides = {split: side_of(split, args.encoders / split, args.data, args.runs, text) for split in splits()}
    trials: dict[str, dict[tuple[str, int], Trial]] = {}
    for split, side in sides.items():
        for seed in range(args.seeds):
            for variant, changes in VARIANTS.items():
                run = args.runs / f"{variant.replace(' ', '-')}-{split}-{seed}"
                given = {"encoder": str(args.encoders / split), "run": str(run), "seed": str(seed)}
                if not (run / "model.safetensors").is_file():
                    train("tdsm", settings | changes | given)
                asked = tuple(SAID) if variant == "tdsm" else (MOST,)
                distances = kept(run / "distances.npz", partial(matched, side, run, asked))
                trials.setdefault(variant, {})[split, seed] = side.trial(distances)
            distances = kept(args.runs / f"{ALIGNMENT}-{split}-{seed}.npz", partial(aligned, side, seed))
            trials.setdefault(ALIGNMENT, {})[split, seed] = side.trial(distances)
    found = report(trials, sides)
    args.out.write_text(json.dumps(found, indent=1) + "\n")
    if args.pictures:
        for split in sides:
            confusion = np.zeros((len(labels()),) * 2, int)
            for seed in range(args.seeds):
                trial = trials["tdsm"][split, seed]
                np.add.at(confusion, (trial.wanted_N[trial.unseen_K[trial.wanted_N]], trial.zsl()), 1)
            draw_confusion(args.pictures / f"confusion-{split}.png", confusion, labels())
    for name, of in found["methods"].items():
        print(f"{name}: {of['zsl'][MOST]['mean']:.1f} %")


if __name__ == "__main__":
    main()

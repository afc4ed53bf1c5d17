"""Accuracy on labels that were never trained on.

`python -m motionrt.bench.studies.unseen_labels DATA ENCODERS RUNS -o OUT.json [--splits ...] [--tdsm SEEDS]`

ENCODERS contains a finished run of the recipe `open` for every split of `training.data.unseen_labels`, in a folder
named after the split. On the features of each, matchers are fitted or trained and compared. A run with `leave_out=` in
SPLIT-without is tested on the sets that it left out, with the bundle's kind of matcher. Features and trained matchers
stay in RUNS.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from ...runtime.bundles.schema import SLOTS
from ...runtime.errors import InputError
from ...runtime.text_encoder import TextEncoder, TextFeatures
from ...training.data import vocabulary
from ...training.data.open_clips import load_open_clips
from ...training.data.unseen_labels import BACKGROUND, splits
from ...training.data.vocabulary import open_labels
from ...training.models.tdsm import ZeroShot, ZeroShotConfig
from ...training.recipes import train
from ...training.runs import read_network
from ...training.tdsm.alignment import SENTENCE_RIDGE, SHARES, fit_alignment
from ...training.tdsm.calibration import SCALES, balanced_weights, discriminants
from ...training.tdsm.encoders import (
    MAX_VALIDATION,
    EncodedClips,
    StreamEncoder,
    encode_clips,
    labeled_clips,
    load_encoder,
    some,
)
from ...training.tdsm.recipes import tdsm
from ...training.tdsm.sentences import LabelSentences, drop_sentences
from ...training.tdsm.validation import macro_accuracy, project_features, scores
from .cocodiff import paired_interval

PROTOCOL = (
    "our splits of the open vocabulary; encoder and matcher trained on clips of the seen labels, without the people of "
    "the validation folds; tested on whole clips of these folds: of the unseen labels, among those (zsl); of all "
    "labels, among all (gzsl; calibrated: with the penalty on seen labels that is best on the other splits); top-1 as "
    "the mean over labels, the network of the last step; 95 % t-intervals over splits of the mean over seeds. The "
    "settings of the matchers were chosen on the clips of the first split, none on those of the others, but for two of "
    "the closed form: see `chosen_on_other_splits`, whose score is of each split with what is best on the others; the "
    "cosine of rivals on validation clips of the bundled encoder. Rejection: how "
    "well the distance of the best offered label tells clips with an offered label from clips without. Probabilities: "
    "of the seen labels and none, with the scale and offset that are best on the other splits"
)
FIRST = "draw-throw-bow"  # split that settings were chosen on
SEEDS = 3
ALIGNMENT = "alignment"
SHIPPED = "sentences and attributes"
CLOSED_FORM = {SHIPPED: SHARES, "sentences": (1.0, 0.0), "attributes": (0.0, 1.0)}
CHOICES = [(share, ridge) for share in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5) for ridge in (0.1, 0.3, 1.0, 3.0)]
ABOUT = {
    SHIPPED: f"ESZSL in the span of the seen texts, and {SHARES[1]:.0%} attributes of motion by ridge regression",
    "sentences": "ESZSL alone",
    "attributes": "attributes of motion alone",
    ALIGNMENT: "cosine between the sentences and the projected feature; softmax over the seen labels",
    "tdsm": "the recipe tdsm, 10 noises",
}
ENSEMBLES = {  # of equally large distances
    "sentences and alignment": ("sentences", ALIGNMENT),
    "sentences, attributes and alignment": (SHIPPED, ALIGNMENT),
    "sentences, attributes and tdsm": (SHIPPED, "tdsm"),
    "alignment and tdsm": (ALIGNMENT, "tdsm"),
}
ABOUT |= {name: f"distances of {name}, half each" for name in ENSEMBLES}
SENTENCES = {"label": SLOTS[:1], "label and motion": SLOTS[:2], "everything": SLOTS}
ALL_SENTENCES = "everything"
SHOTS = (1, 3, 5)
DRAWS = 200
PENALTIES = 200
LIKENESS = "likeness"  # in `Distances`: cosines of the labels in the space of the matcher, [K, K]
RIVALS = 0.2  # seen labels of a higher cosine with an offered one do not belong to the background
FEW, OFFERS = 5, 30  # labels that are offered together, and draws of them
KNOWN = 0.9  # share of the clips with an offered label that are accepted
BINS = 15  # of the calibration error

Distances = Mapping[str, np.ndarray]
"""Key of `SENTENCES` -> distances of the validation clips of a split from all labels and `BACKGROUND`, [N, K + 1]."""


def names() -> tuple[str, ...]:
    """The labels, and `BACKGROUND` as the last."""
    return (*open_labels(), BACKGROUND)


class Trial(NamedTuple):
    """Distances, the label of every clip (an index of `names`, -1 for clips that no label names), and the unseen
    labels."""

    distances: Distances
    target_N: np.ndarray
    unseen_K: np.ndarray  # bool

    def clips(self, unseen: bool) -> np.ndarray:
        """Mask [N] of the clips of unseen, or of seen labels."""
        found: np.ndarray = np.isin(self.target_N, np.flatnonzero(self.unseen_K == unseen))
        return found

    def zsl_scores(self, sentences: str) -> dict[str, float]:
        """Accuracy on clips of unseen labels among these."""
        unseen_N, hidden = self.clips(unseen=True), np.flatnonzero(self.unseen_K)
        predictions = hidden[self.distances[sentences][unseen_N][:, hidden].argmin(1)]
        targets = self.target_N[unseen_N]
        top1 = 100 * float((predictions == targets).mean())
        return {"top1": top1, "macro_top1": macro_accuracy(predictions, targets)}

    def gzsl_scores(self, penalty: float = 0.0) -> dict[str, float]:
        """Accuracy among all labels on clips of seen and of unseen labels, and the harmonic mean."""
        K = len(self.unseen_K)
        predictions = (self.distances[ALL_SENTENCES][:, :K] + penalty * ~self.unseen_K).argmin(1)
        seen, unseen = (
            macro_accuracy(predictions[part], self.target_N[part]) for part in map(self.clips, (False, True))
        )
        return {"seen": seen, "unseen": unseen, "harmonic": 2 * seen * unseen / max(seen + unseen, 1e-9)}

    def offer(self, offered_K: np.ndarray, rivals: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Lead of the best offered label over the background, for clips with and without an offered label.

        Args:
            rivals: whether seen labels that are not offered belong to the background; otherwise it is `BACKGROUND`.
        """
        K, distances_NT = len(self.unseen_K), self.distances[ALL_SENTENCES]
        background_N = distances_NT[:, K]
        if rivals:
            likeness_KK = self.distances.get(LIKENESS, np.full((K, K), -1.0))
            rivals_K = ~offered_K & ~self.unseen_K & (likeness_KK[:, offered_K].max(1) <= RIVALS)
            background_N = np.minimum(background_N, distances_NT[:, :K][:, rivals_K].min(1, initial=np.inf))
        gain_N = background_N - distances_NT[:, :K][:, offered_K].min(1)
        is_known_N = np.isin(self.target_N, np.flatnonzero(offered_K))
        return gain_N[is_known_N], gain_N[~is_known_N]

    def offer_few(self, rivals: bool) -> list[tuple[np.ndarray, np.ndarray]]:
        """`offer` of `FEW` seen labels with clips, for each of `OFFERS` draws."""
        draw, seen = np.random.default_rng(0), np.intersect1d(np.flatnonzero(~self.unseen_K), self.target_N)
        chosen = (np.isin(np.arange(len(self.unseen_K)), draw.choice(seen, FEW, replace=False)) for _ in range(OFFERS))
        return [self.offer(offered_K, rivals) for offered_K in chosen]

    def logits(self, scale: float, none: float) -> tuple[np.ndarray, np.ndarray]:
        """Logits [N, S + 1] of the seen labels and none for clips of these, of rest and of no label, and classes."""
        K, seen = len(self.unseen_K), np.flatnonzero(~self.unseen_K)
        rows = ~self.clips(unseen=True)
        distances_NT = self.distances[ALL_SENTENCES][rows]
        gain_NS = distances_NT[:, K:] - distances_NT[:, seen]
        target_N = self.target_N[rows]
        classes_N = np.where(np.isin(target_N, seen), np.searchsorted(seen, target_N), len(seen))
        return np.pad(scale * gain_NS - none, ((0, 0), (0, 1))), classes_N


Trials = Mapping[tuple[str, int], Trial]
"""(split, seed) -> trial."""


class Split(NamedTuple):
    """Features of a split.

    Attributes:
        trained: training clips.
        held_out: test clips: with labels of the vocabulary, of rest, and of no label.
        examples: clips of unseen labels, from other people than the test clips.
    """

    trained: EncodedClips
    held_out: EncodedClips
    examples: EncodedClips
    unseen_K: np.ndarray
    text: TextEncoder

    def trial(self, distances: Distances) -> Trial:
        index = {name: k for k, name in enumerate(names())}
        return Trial(distances, np.array([index.get(label, -1) for label in self.held_out.labels]), self.unseen_K)


class RememberedTexts(TextEncoder):
    """The text encoder, which encodes every text once."""

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        found = [self._encode_one(text) for text in texts]
        tokens = max(len(one.mask[0]) for one in found)
        return TextFeatures(
            tokens=np.zeros((len(found), tokens, self.width), np.float32),
            mask=np.zeros((len(found), tokens), bool),
            pooled=np.concatenate([one.pooled for one in found]),
        )

    @cache  # noqa: B019 - one encoder for the whole program
    def _encode_one(self, text: str) -> TextFeatures:
        return super().encode([text])


def load_split(name: str, encoder: Path, data: Path, runs: Path, text: TextEncoder) -> Split:
    """Raises InputError for an encoder that was trained on an unseen label of the split."""
    network, unseen = load_encoder(str(encoder)), splits()[name].unseen
    hidden = [open_labels()[k] for k in unseen]
    if known := set(network.labels) & set(hidden):
        raise InputError(f"{encoder}: was trained on {min(known)!r}, expected a run with unseen={name}")
    trained, held_out = encode_clips(network, data, tdsm().copies, runs)

    def encode_examples() -> Distances:
        clips = labeled_clips(network, data, vocabulary.is_open_trainable, hidden)
        clips = some([clip for clip in clips if clip.label in hidden], 2 * max(SHOTS))
        inputs = [network.whole_input(clip) for clip in clips]
        return {"features": network.features(inputs), "labels": np.array([clip.label for clip in clips])}

    found = cached(runs / f"examples-{network.sha256[:16]}.npz", encode_examples)
    examples = EncodedClips(features_ND=found["features"], labels=tuple(map(str, found["labels"])))
    return Split(trained, held_out, examples, np.isin(np.arange(len(open_labels())), unseen), text)


def load_left_out(name: str, encoder: Path, data: Path, runs: Path, text: TextEncoder) -> Split:
    """Clips of unseen labels from the sets that an encoder left out: `examples` of half of the people, and others."""
    network, unseen = load_encoder(str(encoder)), splits()[name].unseen
    assert isinstance(network, StreamEncoder)
    hidden = [open_labels()[k] for k in unseen]

    def encode() -> Distances:
        clips = load_open_clips(data, network.layout, lambda record: vocabulary.source(record) in network.left_out)
        clips = some([clip for clip in clips if clip.label in hidden and not clip.flat], MAX_VALIDATION)
        return {
            "features": network.features([network.whole_input(clip) for clip in clips]),
            "labels": np.array([clip.label for clip in clips]),
            "people": np.array([f"{clip.source} {clip.record.get('subject')}" for clip in clips]),
        }

    found = cached(runs / f"left-out-{network.sha256[:16]}.npz", encode)
    every = EncodedClips(features_ND=found["features"], labels=tuple(map(str, found["labels"])))
    people = np.unique(found["people"])
    is_example = np.isin(found["people"], people[::2]).tolist()
    trained, _ = encode_clips(network, data, tdsm().copies, runs)
    is_unseen_K = np.isin(np.arange(len(open_labels())), unseen)
    others = [not example for example in is_example]
    return Split(trained, select(every, others), select(every, is_example), is_unseen_K, text)


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
        kind: scores(network, z_NF, LabelSentences.for_labels(names(), split.text, SENTENCES[kind])) for kind in kinds
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
            kind: embed(LabelSentences.for_labels(names(), split.text, slots)) for kind, slots in SENTENCES.items()
        }
        return {kind: -(projected_NM @ texts_KM.T).numpy() for kind, texts_KM in texts.items()}


def fit(split: Split, shares: Sequence[float], sentence_ridge: float = SENTENCE_RIDGE) -> Distances:
    """Distances by the matcher in closed form."""
    unseen = [label for label, hidden in zip(open_labels(), split.unseen_K, strict=True) if hidden]
    matcher = fit_alignment(split.trained, split.text, unseen, shares, sentence_ridge)
    texts = LabelSentences.for_labels(open_labels(), split.text)
    (embedding_KE,) = matcher.alignment.condition(texts.features.numpy(), texts.present.numpy())
    return {LIKENESS: embedding_KE @ embedding_KE.T} | {
        kind: matcher.distances(split.held_out.features_ND, LabelSentences.for_labels(names(), split.text, slots))
        for kind, slots in SENTENCES.items()
    }


def blend(parts: Sequence[Distances]) -> Distances:
    """Distances by several methods, each scaled to a deviation of 1 from the mean of a clip, added up."""
    centered = [part[ALL_SENTENCES] - part[ALL_SENTENCES].mean(1, keepdims=True) for part in parts]
    return {ALL_SENTENCES: sum((distances / distances.std() for distances in centered), np.zeros(1))}


def best_on_others(scores_NC: np.ndarray) -> tuple[list[int], list[float]]:
    """For each split the choice, of C, with the best mean score on the other splits, and its score on this one."""
    best = [int(np.delete(scores_NC, i, 0).mean(0).argmax()) for i in range(len(scores_NC))]
    return best, [float(row[i]) for row, i in zip(scores_NC, best, strict=True)]


def chosen_on_others(loaded: Mapping[str, Split], baseline: Sequence[float]) -> dict[str, Any] | None:
    """Accuracy of each split with the share of attributes and the penalty that are best on the others.

    None for a single split.
    """
    if len(loaded) < 2:
        return None

    def score(split: Split, share: float, ridge: float) -> float:
        return split.trial(fit(split, (1 - share, share), ridge)).zsl_scores(ALL_SENTENCES)["macro_top1"]

    scores_NC = np.array([[score(split, *choice) for choice in CHOICES] for split in loaded.values()])
    best, chosen = best_on_others(scores_NC)
    return {
        "share_of_attributes_and_penalty": [CHOICES[i] for i in best],
        "zsl": over_splits(chosen),
        "ahead_of_alignment": over_splits([a - b for a, b in zip(chosen, baseline, strict=True)]),
    }


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


def sets_left_out(loaded: Mapping[str, Split]) -> dict[str, Any]:
    """Accuracy on sets that neither encoder nor matcher was trained on, by text among all unseen labels, and by few
    examples among those that the sets have."""
    scores_ = {name: split.trial(fit(split, SHARES)).zsl_scores(ALL_SENTENCES) for name, split in loaded.items()}
    return {
        "clips": {name: len(split.held_out.labels) for name, split in loaded.items()},
        "labels": {name: len(set(split.held_out.labels)) for name, split in loaded.items()},
        "zsl": over_splits([score["macro_top1"] for score in scores_.values()]),
        "few_shot": few_shot(loaded),
    }


def report(
    trials: Mapping[str, Trials], loaded: Mapping[str, Split], left_out: Mapping[str, Split] | None = None
) -> dict[str, Any]:
    """Every method's scores, and how far each is ahead of alignment."""
    methods = {method: method_report(method, by_run, list(loaded)) for method, by_run in trials.items()}
    baseline = methods[ALIGNMENT]["by_split"]
    ahead = {
        method: over_splits([found["by_split"][name] - baseline[name] for name in loaded])
        for method, found in methods.items()
        if method != ALIGNMENT
    }
    return {
        "benchmark": "zero-shot",
        "protocol": PROTOCOL,
        "settings_chosen_on": FIRST,
        "splits": {
            name: {
                "unseen": [label for label, hidden in zip(open_labels(), split.unseen_K, strict=True) if hidden],
                "clips": int(sum(label in split.examples.labels for label in split.held_out.labels)),
            }
            for name, split in loaded.items()
        },
        "chance": 100 * float(np.mean([1 / split.unseen_K.sum() for split in loaded.values()])),
        "methods": methods,
        "ahead_of_alignment": ahead,
        "chosen_on_other_splits": chosen_on_others(loaded, list(baseline.values())),
        "few_shot": few_shot(loaded),
        "sets_left_out": sets_left_out(left_out) if left_out else None,
        "probabilities": probabilities(trials[SHIPPED]),
    }


def over_splits(values: Sequence[float]) -> dict[str, Any]:
    """Mean over splits, and its interval if there are several."""
    if len(values) < 2:
        return {"by_split": list(values), "mean": float(np.mean(values)), "low": None, "high": None, "n": 1}
    interval = paired_interval(values)
    return {"by_split": interval.pop("differences"), **{k: v for k, v in interval.items() if k != "improves"}} | {
        "over": "splits"
    }


def method_report(method: str, trials: Trials, splits_: Sequence[str]) -> dict[str, Any]:
    """Scores of one method: intervals over splits of the mean over seeds."""
    penalties = {key: best_penalty(trials, key) for key in trials}

    def mean(score: Callable[[tuple[str, int]], float]) -> dict[str, Any]:
        return over_splits([float(np.mean([score(key) for key in trials if key[0] == name])) for name in splits_])

    def zsl(kind: str) -> dict[str, Any]:
        return mean(lambda key: trials[key].zsl_scores(kind)["macro_top1"])

    def gzsl(side: str, calibrated: bool) -> dict[str, Any]:
        return mean(lambda key: trials[key].gzsl_scores(penalties[key] if calibrated else 0.0)[side])

    sides = ("seen", "unseen", "harmonic")
    by_kind = {kind: zsl(kind) for kind in SENTENCES if kind in next(iter(trials.values())).distances}
    return {
        "about": ABOUT[method],
        "seeds": len({seed for _, seed in trials}),
        "zsl": by_kind,
        "by_split": dict(zip(splits_, by_kind[ALL_SENTENCES]["by_split"], strict=True)),
        "gzsl": {side: gzsl(side, calibrated=False) for side in sides},
        "gzsl_calibrated": {side: gzsl(side, calibrated=True) for side in sides},
        "penalty": float(np.mean(list(penalties.values()))),
        "rejection": {
            "all seen labels": rejection(mean, lambda key: [trials[key].offer(~trials[key].unseen_K)]),
            "all unseen labels": rejection(mean, lambda key: [trials[key].offer(trials[key].unseen_K)]),
            "all unseen labels, with rivals": rejection(
                mean, lambda key: [trials[key].offer(trials[key].unseen_K, rivals=True)]
            ),
            "a few seen labels": rejection(mean, lambda key: trials[key].offer_few(rivals=False)),
            "a few seen labels, with rivals": rejection(mean, lambda key: trials[key].offer_few(rivals=True)),
        },
    }


def rejection(
    mean: Callable[[Callable[[tuple[str, int]], float]], dict[str, Any]],
    gains: Callable[[tuple[str, int]], Sequence[tuple[np.ndarray, np.ndarray]]],
) -> dict[str, Any]:
    """AUROC, and percent of clips without an offered label that are accepted where `KNOWN` of those with one are."""

    def accepted(known_N: np.ndarray, others_N: np.ndarray) -> float:
        return 100 * float((others_N > np.quantile(known_N, 1 - KNOWN)).mean())

    return {
        "auroc": mean(lambda key: float(np.mean([auroc(*pair) for pair in gains(key)]))),
        "false_acceptances": mean(lambda key: float(np.mean([accepted(*pair) for pair in gains(key)]))),
    }


def auroc(known_N: np.ndarray, others_N: np.ndarray) -> float:
    """Probability that a value of the first kind is larger than one of the second."""
    larger = np.searchsorted(np.sort(others_N), known_N, "left") + np.searchsorted(np.sort(others_N), known_N, "right")
    return float(larger.mean() / (2 * len(others_N)))


def probabilities(trials: Trials) -> dict[str, Any]:
    """Expected calibration error with the scale and offset of none that are best on the other splits, and these."""
    chosen = {key: best_scale([trial for other, trial in trials.items() if other[0] != key[0]]) for key in trials}
    errors = [calibration_error(*trials[key].logits(*chosen[key])) for key in trials] if len(trials) > 1 else []
    scale, none = best_scale(list(trials.values()))
    return {"ece": over_splits(errors) if errors else None, "bins": BINS, "scale": scale, "none": none}


def best_scale(trials: Sequence[Trial]) -> tuple[float, float]:
    """Maximum-likelihood scale and offset of none, classes weighted equally."""

    def loss(scale: float, none: float) -> float:
        total = 0.0
        for trial in trials:
            logits_NC, target_N = trial.logits(scale, none)
            logits_NC = logits_NC - logits_NC.max(1, keepdims=True)
            nll_N = np.log(np.exp(logits_NC).sum(1)) - logits_NC[np.arange(len(target_N)), target_N]
            total += float(nll_N @ balanced_weights(np.unique(target_N, return_inverse=True)[1]))
        return total

    return min(((scale, none) for scale in SCALES[::3] for none in np.linspace(-6, 6, 25)), key=lambda x: loss(*x))


def calibration_error(logits_NC: np.ndarray, target_N: np.ndarray) -> float:
    """Expected difference of the best probability and the accuracy, over `BINS` of equal width."""
    probs_NC = np.exp(logits_NC - logits_NC.max(1, keepdims=True))
    best_N = (probs_NC / probs_NC.sum(1, keepdims=True)).max(1)
    is_right_N = logits_NC.argmax(1) == target_N
    bins_N = np.minimum((best_N * BINS).astype(int), BINS - 1)
    parts = [bins_N == k for k in np.unique(bins_N)]
    return float(sum(part.mean() * abs(best_N[part].mean() - is_right_N[part].mean()) for part in parts))


def best_penalty(trials: Trials, key: tuple[str, int]) -> float:
    """The penalty on seen labels with the best harmonic mean on the other splits of the same seed; of the own split if
    there is no other."""
    others = [trial for (split, seed), trial in trials.items() if seed == key[1] and split != key[0]] or [trials[key]]
    widths = [np.ptp(trial.distances[ALL_SENTENCES], axis=1).mean() for trial in others]
    candidates = np.linspace(0, 2 * np.mean(widths), PENALTIES)
    return float(max(candidates, key=lambda penalty: np.mean([t.gzsl_scores(penalty)["harmonic"] for t in others])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("encoders", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=list(splits()), choices=list(splits()))
    parser.add_argument("--seeds", type=int, default=SEEDS, choices=range(1, 10), help="of alignment")
    parser.add_argument("--tdsm", type=int, default=SEEDS, choices=range(10), help="seeds of TDSM")
    args = parser.parse_args()
    text = RememberedTexts.load()
    loaded = {name: load_split(name, args.encoders / name, args.data, args.runs, text) for name in args.splits}
    trials: dict[str, dict[tuple[str, int], Trial]] = {}
    for name, split in loaded.items():
        for method, shares in CLOSED_FORM.items():
            trials.setdefault(method, {})[name, 0] = split.trial(fit(split, shares))
        for seed in range(args.seeds):
            distances = cached(args.runs / f"{ALIGNMENT}-{name}-{seed}.npz", partial(align, split, seed))
            trials.setdefault(ALIGNMENT, {})[name, seed] = split.trial(distances)
        for seed in range(args.tdsm):
            run = args.runs / f"tdsm-{name}-{seed}"
            settings = {"encoder": str(args.encoders / name), "run": str(run), "seed": str(seed)}
            if not (run / "model.safetensors").is_file():
                train("tdsm", {"data": str(args.data), **settings})
            distances = cached(run / "distances.npz", partial(match, split, run, (ALL_SENTENCES,)))
            trials.setdefault("tdsm", {})[name, seed] = split.trial(distances)
        for method, parts in ENSEMBLES.items():
            if all(part in trials for part in parts):
                blended = blend([trials[part][name, 0].distances for part in parts])
                trials.setdefault(method, {})[name, 0] = split.trial(blended)
    left_out = {
        name: load_left_out(name, encoder, args.data, args.runs, text)
        for name in args.splits
        if ((encoder := args.encoders / f"{name}-without") / "model.safetensors").is_file()
    }
    results = report(trials, loaded, left_out)
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    for method, scored in results["methods"].items():
        print(f"{method}: {scored['zsl'][ALL_SENTENCES]['mean']:.1f} %")


if __name__ == "__main__":
    main()

"""The recipe `tdsm`: a small TDSM on the features of a frozen recogniser, for any labels.

Unlike as published, features are brought to the directions that tell their classes apart (linear discriminants) and
made as small as the noise in them; a class is told by eight sentences, on its name, its motion and the parts of the
body, side by side, of which random ones stay away.

Shapes: N samples, D an encoder's feature, F its discriminants, K classes, S sentences, W text width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...runtime.bundles.schema import SLOTS
from ...runtime.errors import InputError
from ...runtime.text_encoder import TextEncoder
from ..data.caption_features import CaptionFeatures
from ..data.unseen_labels import BACKGROUND, class_names, sentences, splits
from ..data.vocabulary import labels
from ..loop import LoopConfig
from ..models.tdsm import ZeroShot, ZeroShotConfig
from ..plots import draw_similarity
from ..settings import Job, check_loop
from .encoders import EncodedClips, encode_clips, load_encoder
from .loss import MatchingLoss, matching_loss
from .matching import ClassTexts, Matcher, fixed_noises

SHRINK = 0.1  # of the scatter within classes towards that of a sphere
NOISES = 10  # that features are matched with: three, as published, are too few beside features so small
GRID = np.geomspace(1, 1000, 61)  # of scales
SENTENCES = "sentences.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchSample:
    """A feature [F], its class, and the step that it is drawn for."""

    z: np.ndarray
    target: int
    step: int


@dataclass(frozen=True, kw_only=True)
class MatchingData:
    """Features to train on, of seen classes, and to validate with, and what is said of all classes, by `SLOTS`.

    Attributes:
        about: stands in run/recipe.json.
    """

    trained: EncodedClips
    held_out: EncodedClips
    texts: Mapping[str, Mapping[str, str]]
    about: Mapping[str, str]

    @cached_property
    def seen(self) -> list[str]:
        known = set(self.trained.labels)
        return [name for name in self.texts if name in known]

    @cached_property
    def asked(self) -> list[str]:
        """The classes that networks are measured among: the unseen ones, all where there are none."""
        unseen = [name for name in self.texts if name not in self.seen]
        return unseen or [name for name in self.texts if name != BACKGROUND]


def load_published(folder: Path, dataset: str, split: str) -> MatchingData:
    """Features as TDSM's code reads them: train.npy [N, D], train_label.npy, and ztest.npy, z_label.npy of the unseen.

    Classes count from 0. `sentences.json`, if there, has what is said of classes besides: {name: {slot: text}}.

    Raises:
        InputError: no such data set or split, a file that is missing or damaged, a class on the wrong side.
    """
    names, sides = class_names(dataset), splits(dataset)
    if split not in sides:
        raise InputError(f"split={split}: expected one of {', '.join(sides)}")
    found: list[EncodedClips] = []
    for features, numbers, side in (
        ("train.npy", "train_label.npy", sides[split].seen),
        ("ztest.npy", "z_label.npy", sides[split].unseen),
    ):
        try:
            z_ND, class_N = (np.asarray(np.load(folder / name, allow_pickle=False)) for name in (features, numbers))
            z_ND = z_ND.astype(np.float32).reshape(max(1, len(z_ND)), -1)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{folder}: {features} and {numbers} cannot be read ({error})") from None
        width = found[0].features_ND.shape[1] if found else z_ND.shape[1]
        if class_N.shape != (len(z_ND),) or z_ND.shape[1] != width or not width or not np.isfinite(z_ND).all():
            shapes = f"{list(z_ND.shape)} features, {list(class_N.shape)} classes"
            raise InputError(f"{folder / features}: {shapes}; expected [N, {width or 'D'}], finite, and [N]")
        if stray := set(class_N.tolist()) - set(side):
            raise InputError(f"{folder / numbers}: has class {min(stray)}, which is not on that side of {split}")
        found.append(EncodedClips(features_ND=z_ND, labels=tuple(names[int(k)] for k in class_N)))
    texts = {name: {SLOTS[0]: name} for name in names}
    if (folder / SENTENCES).is_file():
        try:
            for name, of in json.loads((folder / SENTENCES).read_text()).items():
                texts[name] |= {slot: str(of[slot]) for slot in SLOTS[1:] if slot in of}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{folder / SENTENCES}: expected sentences by {', '.join(SLOTS[1:])} ({error!r})"
            ) from None
    return MatchingData(trained=found[0], held_out=found[1], texts=texts, about={"licence": "that of the features"})


@dataclass(frozen=True, kw_only=True)
class MatchTask:
    """Features as they are matched, of all classes equally many."""

    z_NF: np.ndarray
    target_N: np.ndarray
    seed: int

    def batch(self, step: int, size: int) -> list[MatchSample]:
        drawn = np.random.default_rng((self.seed, step)).choice(len(self.z_NF), size, p=balanced_weights(self.target_N))
        return [MatchSample(z=self.z_NF[i], target=int(self.target_N[i]), step=step) for i in drawn]


@dataclass(frozen=True, kw_only=True, slots=True)
class TdsmRecipe:
    """Everything that makes a run; stored as recipe.json in the run's folder.

    Attributes:
        encoder: see `load_encoder`; the labels that it was trained without are unseen here too.
        features: a folder of features, see `load_published`, of this dataset and split, in place of encoder and data.
        copies: of every clip, each performed otherwise.
        whole: how likely everything is said of a class in a step; else half of the sentences stay away.
        spread: standard deviation of features as they are matched; that of the noise then is 0.26.
    """

    name: str
    loop: LoopConfig
    loss: MatchingLoss = MatchingLoss()
    encoder: str = "live"
    features: str | None = None
    dataset: str = "ntu60"
    split: str = "synse-55-5"
    data: str = "../shared/data"
    copies: int = 4
    whole: float = 0.5
    spread: float = 0.25
    width: int = 128
    depth: int = 2
    heads: int = 4
    threads: int | None = None

    def check(self) -> None:
        """Refuse settings that no run can have. Raises InputError."""
        positive = {name: getattr(self, name) for name in ("copies", "spread", "width", "depth", "heads", "threads")}
        check_loop(self.loop, **positive, others=self.loss.others)
        if not 0 <= self.whole <= 1:
            raise InputError(f"whole={self.whole}: expected a share from 0 to 1")
        if self.width % self.heads:
            raise InputError(f"width={self.width}: expected a multiple of the {self.heads} heads")

    def job(self, run: Path) -> Job:
        """The network and what it is shown. Raises InputError where data is missing."""
        text, given = TextEncoder.load(), self.material(run.parent)
        if len(given.seen) < 2:
            raise InputError(f"clips of {len(given.seen)} label(s) to train on, expected at least 2")
        config = ZeroShotConfig(
            encoded=given.trained.features_ND.shape[1],
            feature=min(len(given.seen) - 1, given.trained.features_ND.shape[1]),
            text=text.width,
            pooled=len(SLOTS) * text.width,
            tokens=len(SLOTS),
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            cross=True,
        )
        model, said = ZeroShot(config), LabelSentences.encode([given.texts[name] for name in given.seen], text)
        target_N = np.array([given.seen.index(label) for label in given.trained.labels])
        init_spaces(model, given.trained.features_ND, target_N, said, self.spread)
        z_NF = model.project(torch.from_numpy(given.trained.features_ND)).numpy()
        return Job(
            model=model,
            task=MatchTask(z_NF=z_NF, target_N=target_N, seed=self.loop.seed),
            about={
                **given.about,
                "labels": [name for name in given.seen if name != BACKGROUND],
                "model": asdict(config),
                "text_sha256": text.sha256,
            },
            validate=lambda model: validate(model, given, text),
            loss=partial(training_loss, self, model, said),
            finish=lambda model: finish(model, given, text, run),
        )

    def material(self, folder: Path) -> MatchingData:
        """What the settings ask for; `folder` keeps what was encoded."""
        if self.features is not None:
            return load_published(Path(self.features), self.dataset, self.split)
        encoder = load_encoder(self.encoder)
        trained, held_out = encode_clips(encoder, Path(self.data), self.copies, folder)
        texts = {name: sentences(name) for name in (*labels(), BACKGROUND)}
        about = {"licence": encoder.licence, "encoder_sha256": encoder.sha256}
        return MatchingData(trained=trained, held_out=held_out, texts=texts, about=about)


def tdsm() -> TdsmRecipe:
    """The bundled zero-shot recogniser's matcher."""
    return TdsmRecipe(
        name="tdsm",
        loop=LoopConfig(steps=300, batch=64, lr=1e-3, precision="no", validate_every=100, checkpoint_every=100),
        loss=MatchingLoss(others=8),
    )


class LabelSentences(NamedTuple):
    """What is said of classes: features of the sentences [K, S, W], and which there are, [K, S] of 0 and 1."""

    features: Tensor
    present: Tensor

    @classmethod
    def encode(cls, texts: Sequence[Mapping[str, str]], encoder: TextEncoder) -> LabelSentences:
        """Of sentences by `SLOTS`."""
        found = CaptionFeatures((sentence for of in texts for sentence in of.values()), encoder)
        features_KSW, there_KS = torch.zeros(len(texts), len(SLOTS), encoder.width), torch.zeros(len(texts), len(SLOTS))
        for k, of in enumerate(texts):
            places = [SLOTS.index(slot) for slot in of]
            features_KSW[k, places] = torch.from_numpy(found.pooled(list(of.values())))
            there_KS[k, places] = 1
        return cls(features_KSW, there_KS)

    @classmethod
    def for_labels(cls, names: Sequence[str], encoder: TextEncoder, slots: Sequence[str] = SLOTS) -> LabelSentences:
        """Of our labels, or some of what is said of them."""
        return cls.encode([{slot: sentences(name)[slot] for slot in slots} for name in names], encoder)


def init_spaces(
    model: ZeroShot, features_ND: np.ndarray, target_N: np.ndarray, said: LabelSentences, spread: float
) -> None:
    """Give the network its spaces: discriminants of the features' classes, sentences centred and scaled."""
    mean_D, projection_DF = discriminants(features_ND, target_N, model.config.feature)
    model.mean.copy_(torch.from_numpy(mean_D))
    model.projection.copy_(torch.from_numpy(projection_DF))
    model.projection.mul_(spread / model.project(torch.from_numpy(features_ND)).std())
    there_KS1 = said.present[:, :, None]
    model.sentence_mean.copy_(said.features.sum(0) / there_KS1.sum(0).clamp(min=1))
    off_KSW = (said.features - model.sentence_mean) * there_KS1
    model.sentence_scale.copy_((off_KSW.square().sum() / (there_KS1.sum() * off_KSW.shape[2])) ** -0.5)


def discriminants(features_ND: np.ndarray, target_N: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Fisher's linear discriminants, every class counted alike: mean of the classes [D], projection [D, count].

    Along these directions classes are as far apart as they can be beside the mean scatter within them, which is 1.
    """
    classes = [features_ND[target_N == k].astype(float) for k in range(target_N.max() + 1)]
    means_KD = np.stack([of.mean(0) for of in classes])
    within_DD = np.mean([np.cov(of.T, bias=True) for of in classes], 0)
    within_DD += SHRINK * np.trace(within_DD) / len(within_DD) * np.eye(len(within_DD))
    variances, axes = np.linalg.eigh(within_DD)
    white_DD = axes / np.sqrt(variances) @ axes.T
    mean_D = means_KD.mean(0)
    _, _, rows = np.linalg.svd((means_KD - mean_D) @ white_DD, full_matrices=False)
    return mean_D.astype(np.float32), (white_DD @ rows[:count].T).astype(np.float32)


def training_loss(
    recipe: TdsmRecipe,
    network: ZeroShot,
    said: LabelSentences,
    model: nn.Module,
    samples: list[MatchSample],
    device: torch.device,
) -> Tensor:
    """See `matching_loss`; `model`: the network, or what several processes make of it."""
    draw = np.random.default_rng((recipe.loop.seed, samples[0].step, 1))
    there_KS = drop_sentences(said.present, draw, recipe.whole).to(device)
    classes = class_texts(*network.embed_sentences(said.features.to(device), there_KS))
    z_BF = torch.from_numpy(np.stack([sample.z for sample in samples])).to(device)
    label_B = torch.tensor([sample.target for sample in samples], device=device)
    return matching_loss(recipe.loss, classes, model, z_BF, label_B, draw)


def drop_sentences(there_KS: Tensor, draw: np.random.Generator, whole: float) -> Tensor:
    """Of each class all sentences, so likely, or some of them, at least one."""
    chance_KS = draw.random(tuple(there_KS.shape)) * there_KS.numpy()
    kept_KS = (
        (chance_KS > 0.5) | (draw.random((len(there_KS), 1)) < whole) | (chance_KS == chance_KS.max(1, keepdims=True))
    )
    return torch.from_numpy(kept_KS.astype(np.float32)) * there_KS


def class_texts(words_KLW: Tensor, pooled_KM: Tensor) -> ClassTexts:
    """Of sentences, all of which are tokens."""
    every = torch.ones(words_KLW.shape[:2], dtype=torch.bool, device=words_KLW.device)
    return ClassTexts(words_KLW=words_KLW, valid_KL=every, pooled_KW=pooled_KM)


@torch.no_grad()
def scores(model: ZeroShot, z_NF: Tensor, said: LabelSentences) -> np.ndarray:
    """How far features are from each class, [N, K], by a network in evaluation mode."""
    device = z_NF.device
    classes = class_texts(*model.embed_sentences(said.features.to(device), said.present.to(device)))
    matcher = Matcher(model, classes, fixed_noises(NOISES, model.config.feature).to(device))
    return torch.cat([matcher.scores(part) for part in z_NF.split(256)]).cpu().numpy()


def project_features(model: ZeroShot, features_ND: np.ndarray) -> Tensor:
    """An encoder's features [N, F] on the network's device; see `ZeroShot.z`."""
    return model.project(torch.from_numpy(features_ND).to(model.mean.device))


def balanced_weights(target_N: np.ndarray) -> np.ndarray:
    """Shares [N] of a whole under which all classes count alike."""
    share_N: np.ndarray = 1 / np.bincount(target_N)[target_N]
    return share_N / share_N.sum()


def macro_accuracy(said_N: np.ndarray, wanted_N: np.ndarray) -> float:
    """Percent right, the mean over the classes that are there."""
    return 100 * float(np.mean([(said_N[wanted_N == of] == of).mean() for of in np.unique(wanted_N)]))


def validate(model: nn.Module, given: MatchingData, text: TextEncoder) -> dict[str, float]:
    """Top-1 of validation clips in percent among `given.asked`, over all and as the mean over classes."""
    mine = [i for i, label in enumerate(given.held_out.labels) if label in given.asked]
    if not mine:
        return {}
    assert isinstance(model, ZeroShot)
    said = LabelSentences.encode([given.texts[name] for name in given.asked], text)
    said_N = scores(model, project_features(model, given.held_out.features_ND[mine]), said).argmin(1)
    wanted_N = np.array([given.asked.index(given.held_out.labels[i]) for i in mine])
    return {"top1": 100 * float((said_N == wanted_N).mean()), "macro_top1": macro_accuracy(said_N, wanted_N)}


def finish(model: nn.Module, given: MatchingData, text: TextEncoder, run: Path) -> None:
    """Write run/matching.json and a picture of which text explains clips of which label, where there are such clips.

    Both are of seen labels and the background.
    """
    names = [*(name for name in given.seen if name != BACKGROUND), BACKGROUND]
    mine = [i for i, label in enumerate(given.held_out.labels) if label in names]
    if BACKGROUND not in given.seen or not mine:
        return
    assert isinstance(model, ZeroShot)
    z_NF = project_features(model, given.held_out.features_ND[mine])
    target_N = np.array([names.index(given.held_out.labels[i]) for i in mine])
    errors_NK = scores(model, z_NF, LabelSentences.encode([given.texts[name] for name in names], text))
    settings = {**calibrate_logits(errors_NK, target_N), **calibrate_prototypes(z_NF.cpu().numpy(), target_N)}
    (run / "matching.json").write_text(json.dumps(settings, indent=1) + "\n")
    there = [k for k in range(len(names)) if k in target_N]
    means_KK = np.stack([errors_NK[target_N == k].mean(0) for k in there])
    draw_similarity(run / "similarity.png", -means_KK, [names[k] for k in there], names)


def calibrate_logits(errors_NK: np.ndarray, target_N: np.ndarray) -> dict[str, float]:
    """`scale` and `none` of logits under which the labels and the background, the last, are likeliest.

    All classes count alike.
    """
    gain_NK = errors_NK[:, -1:] - errors_NK[:, :-1]
    share_N = balanced_weights(target_N)
    best = min(
        (_cross_entropy(np.pad(scale * gain_NK - none, ((0, 0), (0, 1))), target_N, share_N), scale, none)
        for scale in GRID
        for none in np.linspace(-6, 6, 49)
    )
    return {"scale": float(best[1]), "none": float(best[2])}


def _cross_entropy(logits_NK: np.ndarray, target_N: np.ndarray, share_N: np.ndarray) -> float:
    logits_NK = logits_NK - logits_NK.max(1, keepdims=True)
    nll_N = np.log(np.exp(logits_NK).sum(1)) - logits_NK[np.arange(len(target_N)), target_N]
    return float((nll_N * share_N).sum())


def calibrate_prototypes(z_NF: np.ndarray, target_N: np.ndarray, shots: int = 3) -> dict[str, float]:
    """`prototype_scale` and `prototype_offset` under which clips of a class are told best from all others.

    Every clip is held against the mean of `shots` others of its class, and of each other class; both answers count
    alike.
    """
    draw = np.random.default_rng(0)
    same: list[float] = []
    other: list[float] = []
    for i, z_F in enumerate(z_NF):
        for k in np.unique(target_N):
            mine = np.flatnonzero((target_N == k) & (np.arange(len(z_NF)) != i))
            if len(mine):
                mean_F = z_NF[draw.choice(mine, min(shots, len(mine)), replace=False)].mean(0)
                (same if k == target_N[i] else other).append(((z_F - mean_F) ** 2).mean())
    offsets = np.quantile(same, np.linspace(0.05, 0.95, 19))
    best = min(
        (np.logaddexp(0, -scale * (offset - np.array(same))).mean()
         + np.logaddexp(0, scale * (offset - np.array(other))).mean(), scale, offset)
        for scale in GRID for offset in offsets
    )  # fmt: skip
    return {"prototype_scale": float(best[1]), "prototype_offset": float(best[2])}

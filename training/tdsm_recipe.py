"""The recipe `tdsm`: a small TDSM on the features of a frozen recogniser, for any labels.

Unlike as published, features are brought to the directions that tell their classes apart (linear discriminants) and
made as small as the noise in them; a class is told by eight sentences, on its name, its motion and the parts of the
body, side by side, of which random ones stay away.

Shapes: N samples, D an encoder's feature, F its discriminants, K classes, S sentences, W text width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..runtime.errors import InputError
from ..runtime.manifest import SLOTS
from ..runtime.text import TextEncoder
from .encoders import Encoded, encoded, load_encoder
from .loop import LoopConfig
from .matching import ClassTexts, Matcher, noises
from .models.tdsm import ZeroShot, ZeroShotConfig
from .pictures import draw_similarity
from .settings import Job, check_loop
from .tdsm import MatchingLoss, matching_loss
from .texts import Texts
from .vocabulary import labels
from .zero_shot import BACKGROUND, sentences

SHRINK = 0.1  # of the scatter within classes towards that of a sphere
SPREAD = 0.25  # standard deviation of features as they are matched; that of the noise in them is 0.26
NOISES = 10  # that a network is measured with
GRID = np.geomspace(1, 1000, 61)  # of scales


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A feature [F], its class, and the step that it is drawn for."""

    z: np.ndarray
    target: int
    step: int


@dataclass(frozen=True, kw_only=True)
class MatchTask:
    """Features as they are matched, of all classes equally many."""

    z_NF: np.ndarray
    target_N: np.ndarray
    seed: int

    def batch(self, step: int, size: int) -> list[Sample]:
        share_N = 1 / np.bincount(self.target_N)[self.target_N]
        drawn = np.random.default_rng((self.seed, step)).choice(len(share_N), size, p=share_N / share_N.sum())
        return [Sample(z=self.z_NF[i], target=int(self.target_N[i]), step=step) for i in drawn]


@dataclass(frozen=True, kw_only=True, slots=True)
class TdsmRecipe:
    """Everything that makes a run; stored as recipe.json in the run's folder.

    Attributes:
        encoder: see `load_encoder`; the labels that it was trained without are unseen here too.
        copies: of every clip, each performed otherwise.
        whole: how likely everything is said of a class in a step; else half of the sentences stay away.
    """

    name: str
    loop: LoopConfig
    loss: MatchingLoss = MatchingLoss()
    encoder: str = "live"
    data: str = "../shared/data"
    copies: int = 4
    whole: float = 0.5
    width: int = 128
    depth: int = 2
    heads: int = 4
    threads: int | None = None

    def check(self) -> None:
        """Refuse settings that no run can have. Raises InputError."""
        check_loop(self.loop, copies=self.copies, depth=self.depth, others=self.loss.others, threads=self.threads)
        if not 0 <= self.whole <= 1:
            raise InputError(f"whole={self.whole}: expected a share from 0 to 1")
        if self.width % self.heads:
            raise InputError(f"width={self.width}: expected a multiple of the {self.heads} heads")

    def job(self, run: Path) -> Job:
        """The network and what it is shown. Raises InputError where data is missing."""
        encoder, text = load_encoder(self.encoder), TextEncoder.load()
        trained, held_out = encoded(encoder, Path(self.data), self.copies, run.parent)
        names = tuple(sorted(set(trained.labels)))
        config = ZeroShotConfig(
            encoded=encoder.width,
            feature=min(len(names) - 1, encoder.width),
            text=text.width,
            pooled=len(SLOTS) * text.width,
            tokens=len(SLOTS),
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            cross=True,
        )
        model, told_KSW = ZeroShot(config), told(names, text)
        target_N = np.array([names.index(label) for label in trained.labels])
        settle(model, trained.features_ND, target_N, told_KSW)
        z_NF = model.z(torch.from_numpy(trained.features_ND)).numpy()
        return Job(
            model=model,
            task=MatchTask(z_NF=z_NF, target_N=target_N, seed=self.loop.seed),
            about={
                "labels": [name for name in names if name != BACKGROUND],
                "model": asdict(config),
                "licence": encoder.licence,
                "encoder_sha256": encoder.sha256,
                "text_sha256": text.sha256,
            },
            validate=lambda model: validate(model, held_out, names, text),
            loss=partial(loss, self, model.said, told_KSW),
            finish=lambda model: finish(model, run, held_out, names, text),
        )


def tdsm() -> TdsmRecipe:
    """The bundled zero-shot recogniser's matcher."""
    return TdsmRecipe(
        name="tdsm",
        loop=LoopConfig(steps=300, batch=64, lr=1e-3, precision="no", validate_every=100, checkpoint_every=100),
        loss=MatchingLoss(others=8),
    )


def told(names: Sequence[str], text: TextEncoder) -> Tensor:
    """Features [K, S, W] of all that is said of labels."""
    said = [list(sentences(name).values()) for name in names]
    texts = Texts((sentence for of_label in said for sentence in of_label), text)
    return torch.from_numpy(np.stack([texts.pooled(of_label) for of_label in said]))


def settle(model: ZeroShot, features_ND: np.ndarray, target_N: np.ndarray, told_KSW: Tensor) -> None:
    """Give the network its spaces: discriminants of the features' classes, sentences centred and scaled."""
    mean_D, projection_DF = discriminants(features_ND, target_N, model.config.feature)
    model.mean.copy_(torch.from_numpy(mean_D))
    model.projection.copy_(torch.from_numpy(projection_DF))
    model.projection.mul_(SPREAD / model.z(torch.from_numpy(features_ND)).std())
    model.sentence_mean.copy_(told_KSW.mean(0))
    model.sentence_scale.copy_(1 / (told_KSW - model.sentence_mean).std())


def discriminants(features_ND: np.ndarray, target_N: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Fisher's linear discriminants, every class counted alike: mean of the classes [D], projection [D, count].

    Along these directions classes are as far apart as they can be beside the mean scatter within them, which is 1.
    """
    classes = [features_ND[target_N == k].astype(float) for k in range(target_N.max() + 1)]
    means_KD = np.stack([of.mean(0) for of in classes])
    within_DD = np.mean([np.cov(of.T) for of in classes], 0)
    within_DD += SHRINK * np.trace(within_DD) / len(within_DD) * np.eye(len(within_DD))
    variances, axes = np.linalg.eigh(within_DD)
    white_DD = axes / np.sqrt(variances) @ axes.T
    mean_D = means_KD.mean(0)
    _, _, rows = np.linalg.svd((means_KD - mean_D) @ white_DD, full_matrices=False)
    return mean_D.astype(np.float32), (white_DD @ rows[:count].T).astype(np.float32)


def loss(
    recipe: TdsmRecipe, said: Any, told_KSW: Tensor, model: nn.Module, samples: list[Sample], device: torch.device
) -> Tensor:
    """See `matching_loss`; `said`: that of the network."""
    draw = np.random.default_rng((recipe.loop.seed, samples[0].step, 1))
    there_KS = some_said(draw, len(told_KSW), recipe.whole).to(device)
    classes = class_texts(*said(told_KSW.to(device), there_KS))
    z_BF = torch.from_numpy(np.stack([sample.z for sample in samples])).to(device)
    label_B = torch.tensor([sample.target for sample in samples], device=device)
    return matching_loss(recipe.loss, classes, model, z_BF, label_B, draw)


def some_said(draw: np.random.Generator, count: int, whole: float) -> Tensor:
    """Which sentences are said of each class, [count, S] of 0 and 1, at least one."""
    there_KS = (draw.random((count, len(SLOTS))) < 0.5) | (draw.random((count, 1)) < whole)
    there_KS[np.arange(count), draw.integers(len(SLOTS), size=count)] = True
    return torch.from_numpy(there_KS.astype(np.float32))


def class_texts(words_KLW: Tensor, pooled_KM: Tensor) -> ClassTexts:
    """Of sentences, all of which are tokens."""
    every = torch.ones(words_KLW.shape[:2], dtype=torch.bool, device=words_KLW.device)
    return ClassTexts(words_KLW=words_KLW, valid_KL=every, pooled_KW=pooled_KM)


@torch.no_grad()
def scores(
    model: ZeroShot, features_ND: np.ndarray, told_KSW: Tensor, slots: Sequence[str] = SLOTS, count: int = NOISES
) -> np.ndarray:
    """How far features are from each class, [N, K].

    Args:
        model: in evaluation mode.
        slots: what is said of the classes. count: of noises.
    """
    device = model.mean.device
    there_S = torch.tensor([float(slot in slots) for slot in SLOTS], device=device)
    classes = class_texts(*model.said(told_KSW.to(device), there_S.expand(len(told_KSW), -1)))
    matcher = Matcher(model, classes, noises(count, model.config.feature).to(device))
    z_NF = model.z(torch.from_numpy(features_ND).to(device))
    return torch.cat([matcher.scores(part) for part in z_NF.split(256)]).cpu().numpy()


def macro(said: Sequence[str], wanted: Sequence[str]) -> float:
    """Percent right, the mean over the classes that are there."""
    pairs = np.array([said, wanted])
    return 100 * float(np.mean([(pairs[0][pairs[1] == name] == name).mean() for name in set(wanted)]))


def validate(model: nn.Module, held_out: Encoded, names: Sequence[str], text: TextEncoder) -> dict[str, float]:
    """Top-1 of validation clips in percent, over all and as the mean over classes: of unseen labels among those; if
    all are seen, among all."""
    unseen = [label for label in labels() if label not in names]
    asked = unseen or [name for name in names if name != BACKGROUND]
    mine = [i for i, label in enumerate(held_out.labels) if label in asked]
    if not mine:
        return {}
    assert isinstance(model, ZeroShot)
    found = scores(model, held_out.features_ND[mine], told(asked, text)).argmin(1)
    said, wanted = [asked[k] for k in found], [held_out.labels[i] for i in mine]
    top1 = 100 * float(np.mean([one == other for one, other in zip(said, wanted, strict=True)]))
    return {"top1": top1, "macro_top1": macro(said, wanted)}


def finish(model: nn.Module, run: Path, held_out: Encoded, names: Sequence[str], text: TextEncoder) -> None:
    """Write run/matching.json and a picture of which text explains clips of which label."""
    assert isinstance(model, ZeroShot)
    seen = [name for name in names if name != BACKGROUND]
    mine = [i for i, label in enumerate(held_out.labels) if label in names]
    features_ND, wanted = held_out.features_ND[mine], [held_out.labels[i] for i in mine]
    if not mine:
        return
    errors_NK = scores(model, features_ND, told([*seen, BACKGROUND], text))
    target_N = np.array([[*seen, BACKGROUND].index(label) for label in wanted])
    z_NF = model.z(torch.from_numpy(features_ND)).numpy()
    settings: dict[str, Any] = {**calibrated(errors_NK, target_N), **prototypes(z_NF, target_N)}
    settings["background"] = {BACKGROUND: sentences(BACKGROUND)}
    (run / "matching.json").write_text(json.dumps(settings, indent=1) + "\n")
    means_KK = np.stack([errors_NK[target_N == k].mean(0) for k in range(len(seen)) if k in target_N])
    there = [name for k, name in enumerate(seen) if k in target_N]
    draw_similarity(run / "similarity.png", -means_KK[:, : len(seen)], there, seen)


def calibrated(errors_NK: np.ndarray, target_N: np.ndarray) -> dict[str, float]:
    """`scale` and `none` of logits under which the labels and the background, the last, are likeliest.

    All classes count alike.
    """
    gain_NK = errors_NK[:, -1:] - errors_NK[:, :-1]
    share_N = 1 / np.bincount(target_N)[target_N]
    best = min(
        (_surprise(np.pad(scale * gain_NK - none, ((0, 0), (0, 1))), target_N, share_N), scale, none)
        for scale in GRID
        for none in np.linspace(-6, 6, 49)
    )
    return {"scale": float(best[1]), "none": float(best[2])}


def _surprise(logits_NK: np.ndarray, target_N: np.ndarray, share_N: np.ndarray) -> float:
    logits_NK = logits_NK - logits_NK.max(1, keepdims=True)
    nll_N = np.log(np.exp(logits_NK).sum(1)) - logits_NK[np.arange(len(target_N)), target_N]
    return float((nll_N * share_N).sum() / share_N.sum())


def prototypes(z_NF: np.ndarray, target_N: np.ndarray, shots: int = 3) -> dict[str, float]:
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

"""Closed-form fits around the matcher: its feature and text spaces, and the calibration of its scores.

Shapes: N samples, D encoder features, F discriminants, K classes, S sentences, W text width.
"""

from __future__ import annotations

import numpy as np
import torch

from ..models.tdsm import ZeroShot
from .sentences import LabelSentences

SHRINK = 0.1  # of the within-class scatter toward a sphere
SCALES = np.geomspace(1, 1000, 61)  # searched


def init_spaces(
    model: ZeroShot, features_ND: np.ndarray, target_N: np.ndarray, sentences: LabelSentences, spread: float
) -> None:
    """Set the network's projections: discriminants of the features' classes, centered and scaled sentences."""
    mean_D, projection_DF = discriminants(features_ND, target_N, model.config.feature)
    model.mean.copy_(torch.from_numpy(mean_D))
    model.projection.copy_(torch.from_numpy(projection_DF))
    model.projection.mul_(spread / model.project(torch.from_numpy(features_ND)).std())
    present_KS1 = sentences.present[:, :, None]
    model.sentence_mean.copy_(sentences.features.sum(0) / present_KS1.sum(0).clamp(min=1))
    offset_KSW = (sentences.features - model.sentence_mean) * present_KS1
    model.sentence_scale.copy_((offset_KSW.square().sum() / (present_KS1.sum() * offset_KSW.shape[2])) ** -0.5)


def discriminants(features_ND: np.ndarray, target_N: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Fisher's linear discriminants with equal class weights: mean of the class means [D], projection [D, count].

    They maximize the distance between classes relative to the mean scatter within them, which is scaled to 1.
    """
    classes = [features_ND[target_N == k].astype(float) for k in range(target_N.max() + 1)]
    means_KD = np.stack([members.mean(0) for members in classes])
    within_DD = np.mean([np.cov(members.T, bias=True) for members in classes], 0)
    within_DD += SHRINK * np.trace(within_DD) / len(within_DD) * np.eye(len(within_DD))
    variances, axes = np.linalg.eigh(within_DD)
    white_DD = axes / np.sqrt(variances) @ axes.T
    mean_D = means_KD.mean(0)
    _, _, rows = np.linalg.svd((means_KD - mean_D) @ white_DD, full_matrices=False)
    return mean_D.astype(np.float32), (white_DD @ rows[:count].T).astype(np.float32)


def balanced_weights(target_N: np.ndarray) -> np.ndarray:
    """Sample weights [N], summing to 1, that give every class the same total."""
    weight_N: np.ndarray = 1 / np.bincount(target_N)[target_N]
    return weight_N / weight_N.sum()


def calibrate_logits(errors_NK: np.ndarray, target_N: np.ndarray) -> dict[str, float]:
    """Maximum-likelihood `scale` and `none` of logits with equal class weights; the last class is the background."""
    gain_NK = errors_NK[:, -1:] - errors_NK[:, :-1]
    weight_N = balanced_weights(target_N)
    best = min(
        (_cross_entropy(np.pad(scale * gain_NK - none, ((0, 0), (0, 1))), target_N, weight_N), scale, none)
        for scale in SCALES
        for none in np.linspace(-6, 6, 49)
    )
    return {"scale": float(best[1]), "none": float(best[2])}


def _cross_entropy(logits_NK: np.ndarray, target_N: np.ndarray, weight_N: np.ndarray) -> float:
    logits_NK = logits_NK - logits_NK.max(1, keepdims=True)
    nll_N = np.log(np.exp(logits_NK).sum(1)) - logits_NK[np.arange(len(target_N)), target_N]
    return float((nll_N * weight_N).sum())


def calibrate_prototypes(z_NF: np.ndarray, target_N: np.ndarray, shots: int = 3) -> dict[str, float]:
    """`prototype_scale` and `prototype_offset` that best separate clips of a class from all others.

    Each clip is compared with the nearest of `shots` other clips of its own class and of every other class; matches and
    mismatches have equal weight.
    """
    rng = np.random.default_rng(0)
    same: list[float] = []
    other: list[float] = []
    for i, z_F in enumerate(z_NF):
        for k in np.unique(target_N):
            members = np.flatnonzero((target_N == k) & (np.arange(len(z_NF)) != i))
            if len(members):
                chosen_SF = z_NF[rng.choice(members, min(shots, len(members)), replace=False)]
                (same if k == target_N[i] else other).append(((z_F - chosen_SF) ** 2).mean(1).min())
    offsets = np.quantile(same, np.linspace(0.05, 0.95, 19))
    best = min(
        (np.logaddexp(0, -scale * (offset - np.array(same))).mean()
         + np.logaddexp(0, scale * (offset - np.array(other))).mean(), scale, offset)
        for scale in SCALES for offset in offsets
    )  # fmt: skip
    return {"prototype_scale": float(best[1]), "prototype_offset": float(best[2])}

"""Training of TDSM: its loss, and how a trained network is measured.

Shapes: B batch, N samples, F skeleton feature, K classes, J noises.
Source of the loss: TDSM, released code: squared errors, whose mean over the feature the margin is measured in, where
the paper writes norms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ..distributed import rank_and_world, rank_slice
from ..models.tdsm import STEPS, alpha_bar
from .matching import ClassTexts, Matcher, combine_noises


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchingLoss:
    """Weights of both parts, of which 0 leaves one out; the triplet's margin, in squared deviations of noise, and how
    many other classes a feature is told from."""

    diffusion: float = 1.0
    triplet: float = 1.0
    margin: float = 1.0
    others: int = 1


def matching_loss(
    parts: MatchingLoss, classes: ClassTexts, model: nn.Module, z_BF: Tensor, label_B: Tensor, draw: np.random.Generator
) -> Tensor:
    """mean p + mean [other] max(p - n + margin, 0): p the error under the own text, n those under other ones.

    All see the same feature, noise and step. Classes are drawn as the others at random; where one is the own one, the
    triplet counts as 0.

    Args:
        classes: the seen ones.
        model: a CrossDiT. z_BF: features. label_B: int64, their classes.
        draw: of steps, noises and other classes, the same in every process.
    Returns:
        A float32 scalar.
    """
    B, device, mine = len(z_BF), z_BF.device, rank_slice()
    whole = B * rank_and_world()[1]  # the samples of all processes
    t_B = torch.from_numpy(draw.integers(STEPS, size=whole)[mine]).to(device)
    noise_BF = torch.from_numpy(draw.standard_normal((whole, z_BF.shape[1]), np.float32)[mine]).to(device)
    others = parts.others if parts.triplet else 0
    other_OB = torch.from_numpy(draw.integers(len(classes.pooled_KW), size=(others, whole))[:, mine]).to(device)
    signal_B1 = torch.from_numpy(alpha_bar().astype(np.float32)).to(device)[t_B, None]
    noisy_BF = signal_B1.sqrt() * z_BF + (1 - signal_B1).sqrt() * noise_BF
    asked_AB = torch.cat([label_B[None], other_OB])
    times, texts = 1 + others, (classes.words_KLW, classes.pooled_KW, classes.valid_KL)
    found = model(noisy_BF.repeat(times, 1), t_B.repeat(times), *texts, asked_AB.flatten())
    error_AB = (found.float() - noise_BF.repeat(times, 1)).pow(2).mean(1).view(times, B)
    loss = parts.diffusion * error_AB[0].mean()
    if others:
        loss = loss + parts.triplet * triplet(error_AB[:1], error_AB[1:], other_OB != label_B, parts.margin)
    return loss


def triplet(own: Tensor, other: Tensor, differs: Tensor, margin: float) -> Tensor:
    """mean [differs] max(own - other + margin, 0)."""
    return (relu(own - other + margin) * differs).mean()


def accuracy(matcher: Matcher, z_NF: Tensor, label_N: Tensor, batch: int = 64) -> dict[str, Any]:
    """Percent of features whose own class is nearest.

    Returns:
        top1: by all noises of the matcher together. single_noise: by each alone, as many: how far chance moves it.
    """
    errors_NKJ = torch.cat([matcher.errors(part_BF) for part_BF in z_NF.split(batch)])
    right_N = combine_noises(errors_NKJ).argmin(1) == label_N
    right_NJ = errors_NKJ.argmin(1) == label_N[:, None]
    return {
        "top1": 100 * float(right_N.double().mean()),
        "single_noise": (100 * right_NJ.double().mean(0)).tolist(),
    }

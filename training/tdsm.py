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

from .matching import ClassTexts, Matcher, total
from .models.tdsm import STEPS, signal_left


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchingLoss:
    """Weights of both parts, of which 0 leaves one out, and the triplet's margin, in squared deviations of noise."""

    diffusion: float = 1.0
    triplet: float = 1.0
    margin: float = 1.0


def matching_loss(
    parts: MatchingLoss, classes: ClassTexts, model: nn.Module, z_BF: Tensor, label_B: Tensor, draw: np.random.Generator
) -> Tensor:
    """mean p + mean [other] max(p - n + margin, 0): p the error under the own text, n that under another one.

    Both see the same feature, noise and step. A class is drawn as the other one at random; where it is the own one,
    the triplet counts as 0.

    Args:
        classes: the seen ones.
        model: a CrossDiT. z_BF: features. label_B: int64, their classes.
        draw: of steps, noises and other classes.
    Returns:
        A float32 scalar.
    """
    B, device = len(z_BF), z_BF.device
    t_B = torch.from_numpy(draw.integers(STEPS, size=B)).to(device)
    noise_BF = torch.from_numpy(draw.standard_normal(tuple(z_BF.shape), np.float32)).to(device)
    other_B = torch.from_numpy(draw.integers(len(classes.pooled_KW), size=B)).to(device)
    signal_B1 = torch.from_numpy(signal_left().astype(np.float32)).to(device)[t_B, None]
    noisy_BF = signal_B1.sqrt() * z_BF + (1 - signal_B1).sqrt() * noise_BF
    asked = [label_B, other_B] if parts.triplet else [label_B]
    times, texts = len(asked), (classes.words_KLW, classes.pooled_KW, classes.valid_KL)
    found = model(noisy_BF.repeat(times, 1), t_B.repeat(times), *texts, torch.cat(asked))
    own_B, *others = (found.float() - noise_BF.repeat(times, 1)).pow(2).mean(1).split(B)
    loss = parts.diffusion * own_B.mean()
    for error_B in others:
        loss = loss + parts.triplet * triplet(own_B, error_B, other_B != label_B, parts.margin)
    return loss


def triplet(own_B: Tensor, other_B: Tensor, differs_B: Tensor, margin: float) -> Tensor:
    """mean [differs] max(own - other + margin, 0)."""
    return (relu(own_B - other_B + margin) * differs_B).mean()


def accuracy(matcher: Matcher, z_NF: Tensor, label_N: Tensor, batch: int = 64) -> dict[str, Any]:
    """Percent of features whose own class is nearest.

    Returns:
        top1: by all noises of the matcher together. single_noise: by each alone, as many: how far chance moves it.
    """
    errors_NKJ = torch.cat([matcher.errors(part_BF) for part_BF in z_NF.split(batch)])
    right_N = total(errors_NKJ).argmin(1) == label_N
    right_NJ = errors_NKJ.argmin(1) == label_N[:, None]
    return {
        "top1": 100 * float(right_N.double().mean()),
        "single_noise": (100 * right_NJ.double().mean(0)).tolist(),
    }

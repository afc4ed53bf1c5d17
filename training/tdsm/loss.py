"""Training loss of TDSM, and the accuracy of a trained network.

Shapes: B batch, N samples, F skeleton features, K classes, J noises, O other classes, A = 1 + O classes per sample.
Source of the loss: TDSM, released code, which uses squared errors (and measures the margin in their mean over the
feature) where the paper writes norms.
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
from .matching import PREDICTIONS, ClassTexts, Matcher, combine_noises, prediction_target


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchingLoss:
    """Weights of the two terms (0 drops one), the triplet margin in squared deviations of the noise, and the number of
    negative classes per feature."""

    diffusion: float = 1.0
    triplet: float = 1.0
    margin: float = 1.0
    others: int = 1


def matching_loss(
    config: MatchingLoss,
    classes: ClassTexts,
    model: nn.Module,
    z_BF: Tensor,
    label_B: Tensor,
    rng: np.random.Generator,
    prediction: str = PREDICTIONS[0],
) -> Tensor:
    """mean p + mean [other] max(p - n + margin, 0): errors p under the own text and n under other texts.

    All see the same feature, noise and step. Other classes are drawn at random; a triplet whose other class happens to
    be the own one counts as 0.

    Args:
        classes: the seen classes.
        model: a CrossDiT. z_BF: features. label_B: int64, their classes.
        rng: draws steps, noises and other classes, identically in every process.
        prediction: of the network, one of PREDICTIONS.
    Returns:
        A float32 scalar.
    """
    B, device, rows = len(z_BF), z_BF.device, rank_slice()
    total = B * rank_and_world()[1]  # samples of all processes
    t_B = torch.from_numpy(rng.integers(STEPS, size=total)[rows]).to(device)
    noise_BF = torch.from_numpy(rng.standard_normal((total, z_BF.shape[1]), np.float32)[rows]).to(device)
    others = config.others if config.triplet else 0
    other_OB = torch.from_numpy(rng.integers(len(classes.pooled_KW), size=(others, total))[:, rows]).to(device)
    signal_B1 = torch.from_numpy(alpha_bar().astype(np.float32)).to(device)[t_B, None]
    noisy_BF = signal_B1.sqrt() * z_BF + (1 - signal_B1).sqrt() * noise_BF
    class_AB = torch.cat([label_B[None], other_OB])
    repeats, texts = 1 + others, (classes.words_KLW, classes.pooled_KW, classes.valid_KL)
    predicted = model(noisy_BF.repeat(repeats, 1), t_B.repeat(repeats), *texts, class_AB.flatten())
    target_BF = prediction_target(prediction, z_BF, noise_BF, signal_B1)
    error_AB = (predicted.float() - target_BF.repeat(repeats, 1)).pow(2).mean(1).view(repeats, B)
    loss = config.diffusion * error_AB[0].mean()
    if others:
        loss = loss + config.triplet * triplet(error_AB[:1], error_AB[1:], other_OB != label_B, config.margin)
    return loss


def triplet(own: Tensor, other: Tensor, differs: Tensor, margin: float) -> Tensor:
    """mean [differs] max(own - other + margin, 0)."""
    return (relu(own - other + margin) * differs).mean()


def accuracy(matcher: Matcher, z_NF: Tensor, label_N: Tensor, batch: int = 64) -> dict[str, Any]:
    """Percent of features whose own class is the nearest.

    Returns:
        top1: with all noises of the matcher combined. single_noise: with each noise alone, which shows the variance.
    """
    errors_NKJ = torch.cat([matcher.errors(part_BF) for part_BF in z_NF.split(batch)])
    correct_N = combine_noises(errors_NKJ).argmin(1) == label_N
    correct_NJ = errors_NKJ.argmin(1) == label_N[:, None]
    return {
        "top1": 100 * float(correct_N.double().mean()),
        "single_noise": (100 * correct_NJ.double().mean(0)).tolist(),
    }

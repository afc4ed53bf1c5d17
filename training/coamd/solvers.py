"""Solvers for parity: the reference's adaptive one, and that of the DDPM twin."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ...runtime.extras import require

Velocity = Callable[[Tensor, float], Tensor]


def dopri5(velocity: Velocity, x: Tensor, rtol: float = 1e-3, atol: float = 1e-6) -> tuple[Tensor, int]:
    """Integrate from t = 0 to 1 by torchdiffeq's adaptive Dormand-Prince method, as the reference does.

    The error is the RMS over all of x, so the samples of a batch share their steps. The last step overshoots t = 1, and
    x is interpolated: the network is evaluated at times up to about 1.9.

    Returns:
        x at t = 1, and the number of evaluations.
    Raises:
        MissingExtra: torchdiffeq is not installed.
    """
    torchdiffeq = require("torchdiffeq", "train", "the dopri5 solver")
    evaluations = 0

    def field(t: Tensor, x: Tensor) -> Tensor:
        nonlocal evaluations
        evaluations += 1
        return velocity(x, float(t))

    ends = torch.tensor([0.0, 1.0], dtype=x.dtype, device=x.device)
    return torchdiffeq.odeint(field, x, ends, rtol=rtol, atol=atol, method="dopri5")[-1], evaluations


DDPM_STEPS = 50


def ddpm_schedule(steps: int = DDPM_STEPS) -> np.ndarray:
    """Cumulative alpha-bar after each step, [steps], falling: cosine schedule (Nichol and Dhariwal 2021)."""

    def alpha_bar(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - alpha_bar((k + 1) / steps) / alpha_bar(k / steps), 0.999) for k in range(steps)]
    return np.cumprod(1 - np.array(betas))


def ddpm(predict_noise: Velocity, x: Tensor, draw: Callable[[int], Tensor], temperature: float = 1.0) -> Tensor:
    """Ancestral sampling (Ho et al. 2020) with a network that predicts the noise at step t.

    Args:
        predict_noise: x and step, 49 to 0, -> noise.
        x: pure noise.
        draw: step -> fresh noise, like x.
        temperature: factor of the fresh noise.
    """
    alpha_bar = ddpm_schedule()
    for k in reversed(range(len(alpha_bar))):
        before = alpha_bar[k - 1] if k else 1.0
        alpha = alpha_bar[k] / before
        noise = predict_noise(x, float(k))
        mean = (x - (1 - alpha) / math.sqrt(1 - alpha_bar[k]) * noise) / math.sqrt(alpha)
        std = math.sqrt((1 - before) / (1 - alpha_bar[k]) * (1 - alpha))
        x = mean + temperature * std * draw(k) if k else mean
    return x

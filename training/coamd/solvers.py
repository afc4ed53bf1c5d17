"""Other ways from noise to token than `runtime.solvers`: the reference's adaptive one, and that of the DDPM twin."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]

# Dormand and Prince 1980: stages, solution of order 5, error estimate, and the point in the middle
TIMES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (
    35 / 384 - 1951 / 21600,
    0.0,
    500 / 1113 - 22642 / 50085,
    125 / 192 - 451 / 720,
    -2187 / 6784 + 12231 / 42400,
    11 / 84 - 649 / 6300,
    -1 / 60,
)
MIDDLE = (
    6025192743 / 30085553152 / 2,
    0.0,
    51252292925 / 65400821598 / 2,
    -2691868925 / 45128329728 / 2,
    187940372067 / 1594534317056 / 2,
    -1776094331 / 19743644256 / 2,
    11237099 / 235043384 / 2,
)


def dopri5(velocity: Velocity, x: Tensor, rtol: float = 1e-3, atol: float = 1e-6) -> tuple[Tensor, int]:
    """Adaptive Dormand-Prince steps as torchdiffeq takes them, for parity: x at t = 1, and the evaluations.

    The error is the RMS over all of x, so batch mates share their steps. The last step goes beyond t = 1, and x is
    read off its quartic interpolant: the network is asked for times up to about 1.9.
    """

    def rms(value: Tensor) -> float:
        return float(value.pow(2).mean().sqrt())

    f = velocity(x, 0.0)
    scale = atol + rtol * x.abs()
    d0, d1 = rms(x / scale), rms(f / scale)
    h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1
    d2 = rms((velocity(x + h0 * f, h0) - f) / scale) / h0
    h1 = max(1e-6, h0 * 1e-3) if d1 <= 1e-15 and d2 <= 1e-15 else (0.01 / max(d1, d2)) ** (1 / 5)
    t, h, evaluations = 0.0, min(100 * h0, h1), 2
    while True:
        k = [f]
        for time, weights in zip(TIMES, STAGES, strict=True):
            stage = x + h * _combined(k, weights)
            k.append(velocity(stage, t + time * h))
        evaluations += 6
        error = h * _combined(k, ERROR)
        ratio = rms(error / (atol + rtol * torch.maximum(x.abs(), stage.abs())))
        begin, step = t, h
        h *= 10 if ratio == 0 else min(10.0, max(0.9 / ratio**0.2, 1.0 if ratio < 1 else 0.2))
        if ratio > 1:
            continue
        if begin + step >= 1:
            middle = x + step * _combined(k, MIDDLE)
            return _quartic(x, middle, stage, step * f, step * k[-1], (1 - begin) / step), evaluations
        t, x, f = begin + step, stage, k[-1]


def _combined(k: list[Tensor], weights: tuple[float, ...]) -> Tensor:
    total = torch.zeros_like(k[0])
    for weight, value in zip(weights, k, strict=True):
        if weight:
            total = total + weight * value
    return total


def _quartic(y0: Tensor, middle: Tensor, y1: Tensor, d0: Tensor, d1: Tensor, s: float) -> Tensor:
    """At s in [0, 1], the polynomial through three values with two slopes."""
    a = 2 * (d1 - d0) - 8 * (y1 + y0) + 16 * middle
    b = 5 * d0 - 3 * d1 + 18 * y0 + 14 * y1 - 32 * middle
    c = d1 - 4 * d0 - 11 * y0 - 5 * y1 + 16 * middle
    return (((a * s + b) * s + c) * s + d0) * s + y0


DDPM_STEPS = 50


def ddpm_schedule(steps: int = DDPM_STEPS) -> np.ndarray:
    """The share of signal left after each step, [steps], falling: cosine schedule (Nichol and Dhariwal 2021)."""

    def signal(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - signal((k + 1) / steps) / signal(k / steps), 0.999) for k in range(steps)]
    return np.cumprod(1 - np.array(betas))


def ddpm(noise_of: Velocity, x: Tensor, draw: Callable[[int], Tensor], temperature: float = 1.0) -> Tensor:
    """Ancestral sampling (Ho et al. 2020) of a network that predicts the noise at step t.

    Args:
        noise_of: x and step, 49 to 0, -> noise.
        x: pure noise.
        draw: fresh noise of a step, like x.
        temperature: factor of what is drawn.
    """
    signal = ddpm_schedule()
    for k in reversed(range(len(signal))):
        before = signal[k - 1] if k else 1.0
        alpha = signal[k] / before
        noise = noise_of(x, float(k))
        mean = (x - (1 - alpha) / math.sqrt(1 - signal[k]) * noise) / math.sqrt(alpha)
        spread = math.sqrt((1 - before) / (1 - signal[k]) * (1 - alpha))
        x = mean + temperature * spread * draw(k) if k else mean
    return x

"""Solvers of dx/dt = velocity(x, t) from noise at t = 0 to a token at t = 1, and the sampler of the DDPM twin.

Those with a fixed number of evaluations have one signature, `solve(velocity, x, evaluations) -> x`, where velocity
takes x and a time. Arrays may be numpy's or torch's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Velocity = Callable[[Any, float], Any]
Solver = Callable[[Velocity, Any, int], Any]


class Stage(NamedTuple):
    """An evaluation and the update after it: x = x + step (v + carry v_previous).

    Attributes:
        time: of the evaluation.
        step, carry: as above.
        from_step_start: update the x that the previous stage started from, not the one that it ended with.
    """

    time: float
    step: float
    carry: float = 0.0
    from_step_start: bool = False


def euler_stages(evaluations: int) -> list[Stage]:
    return [Stage(k / evaluations, 1 / evaluations) for k in range(evaluations)]


def heun_stages(evaluations: int) -> list[Stage]:
    return _two_stage(evaluations, lambda t, h: (Stage(t, h), Stage(t + h, h / 2, carry=1, from_step_start=True)))


def midpoint_stages(evaluations: int) -> list[Stage]:
    return _two_stage(evaluations, lambda t, h: (Stage(t, h / 2), Stage(t + h / 2, h, from_step_start=True)))


def _two_stage(evaluations: int, pair: Callable[[float, float], tuple[Stage, Stage]]) -> list[Stage]:
    """Steps of two evaluations each; an odd one out is an Euler step at the end."""
    steps = (evaluations + 1) // 2
    stages = [stage for k in range(evaluations // 2) for stage in pair(k / steps, 1 / steps)]
    return stages + [Stage((steps - 1) / steps, 1 / steps)] * (evaluations % 2)


def plain_update(x: Any, v: Any, previous: Any, stage: Stage) -> tuple[Any, Any]:
    return x + stage.step * (v if previous is None else v + stage.carry * previous), v


def integrate(
    stages: Sequence[Stage],
    velocity: Velocity,
    x: Any,
    update: Callable[[Any, Any, Any, Stage], tuple[Any, Any]] = plain_update,
) -> Any:
    """Run all stages from x.

    Args:
        update: what follows an evaluation: x of the step, output of `velocity`, the velocity before or None, and the
            stage -> next x and the velocity.
    """
    start, previous = x, None
    for stage in stages:
        v = velocity(x, stage.time)
        start = start if stage.from_step_start else x
        x, previous = update(start, v, previous if stage.carry else None, stage)
    return x


def euler(velocity: Velocity, x: Any, evaluations: int) -> Any:
    """First order, one evaluation per step."""
    return integrate(euler_stages(evaluations), velocity, x)


def heun(velocity: Velocity, x: Any, evaluations: int) -> Any:
    """Second order, two evaluations per step: the mean of the velocities at both ends."""
    return integrate(heun_stages(evaluations), velocity, x)


def midpoint(velocity: Velocity, x: Any, evaluations: int) -> Any:
    """Second order, two evaluations per step: the velocity half-way."""
    return integrate(midpoint_stages(evaluations), velocity, x)


STAGES: dict[str, Callable[[int], list[Stage]]] = {
    "euler": euler_stages,
    "heun": heun_stages,
    "midpoint": midpoint_stages,
}
# Dormand-Prince 5(4): times and weights of the stages; the error's weights; those of the middle of a step
_DP_TIMES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_DP_STAGES: tuple[tuple[float, ...], ...] = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_DP_FOURTH = (1951 / 21600, 0.0, 22642 / 50085, 451 / 720, -12231 / 42400, 649 / 6300, 1 / 60)
_DP_ERROR = tuple(fifth - fourth for fifth, fourth in zip((*_DP_STAGES[-1], 0.0), _DP_FOURTH, strict=True))
_DP_MIDDLE = (
    6025192743 / 30085553152 / 2, 0.0, 51252292925 / 65400821598 / 2, -2691868925 / 45128329728 / 2,
    187940372067 / 1594534317056 / 2, -1776094331 / 19743644256 / 2, 11237099 / 235043384 / 2,
)  # fmt: skip


def dopri5(velocity: Velocity, x: Any, rtol: float = 1e-3, atol: float = 1e-6) -> tuple[Any, int]:
    """Integrate with the adaptive Dormand-Prince method as the reference does, which uses torchdiffeq.

    The error is the RMS over all of x, so the samples of a batch share their steps. The last step overshoots t = 1, and
    x is interpolated: the velocity is evaluated at times up to about 1.9.

    Returns:
        x at t = 1, and the number of evaluations.
    """

    def size(x: Any) -> float:
        return float((x**2).mean()) ** 0.5

    def combine(weights: Sequence[float], stages: Sequence[Any]) -> Any:
        return sum(weight * stage for weight, stage in zip(weights, stages, strict=True) if weight)

    evaluations, t = 2, 0.0
    v = velocity(x, t)  # the first step by Hairer, Norsett and Wanner, section II.4
    scale = atol + abs(x) * rtol
    slope = size(v / scale)
    h = 1e-6 if min(size(x / scale), slope) < 1e-5 else 0.01 * size(x / scale) / slope
    bend = size((velocity(x + h * v, h) - v) / scale) / h
    most = max(slope, bend)
    h = min(100 * h, max(1e-6, 1e-3 * h) if most <= 1e-15 else (0.01 / most) ** (1 / 5))
    while True:
        stages = [v]
        for time, weights in zip(_DP_TIMES, _DP_STAGES, strict=True):
            after = x + h * combine(weights, stages)
            stages.append(velocity(after, t + time * h))
        evaluations += 6
        larger = (abs(x) + abs(after) + abs(abs(x) - abs(after))) / 2
        error = size(h * combine(_DP_ERROR, stages) / (atol + rtol * larger))
        if error <= 1 and t + h >= 1:
            middle = x + h * combine(_DP_MIDDLE, stages)
            return _interpolate(x, middle, after, h * v, h * stages[-1], (1 - t) / h), evaluations
        if error <= 1:
            x, v, t = after, stages[-1], t + h
        least = 1 if error < 1 else 0.2
        h *= 10 if error == 0 else min(10, max(0.9 / error ** (1 / 5), least))


def _interpolate(x: Any, middle: Any, after: Any, v: Any, v_after: Any, share: float) -> Any:
    """The polynomial of degree 4 through a step, `share` of the way; `v` are the slopes at its ends."""
    fourth = 2 * (v_after - v) - 8 * (after + x) + 16 * middle
    third = 5 * v - 3 * v_after + 18 * x + 14 * after - 32 * middle
    second = v_after - 4 * v - 11 * x - 5 * after + 16 * middle
    return (((fourth * share + third) * share + second) * share + v) * share + x


SOLVERS: dict[str, Solver] = {
    "euler": euler,
    "heun": heun,
    "midpoint": midpoint,
    "dopri5": lambda velocity, x, evaluations: dopri5(velocity, x)[0],
}
DDPM_STEPS = 50


def ddpm_schedule(steps: int = DDPM_STEPS) -> np.ndarray:
    """Cumulative alpha-bar after each step, [steps], falling: cosine schedule (Nichol and Dhariwal 2021)."""

    def alpha_bar(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - alpha_bar((k + 1) / steps) / alpha_bar(k / steps), 0.999) for k in range(steps)]
    return np.cumprod(1 - np.array(betas))


def ddpm(predict_noise: Velocity, x: Any, draw: Callable[[int], Any], temperature: float = 1.0) -> Any:
    """Ancestral sampling (Ho et al. 2020) with a network that predicts the noise at step t.

    Args:
        predict_noise: x and step, 49 to 0, -> noise.
        x: pure noise.
        draw: step -> fresh noise, like x.
        temperature: factor of the fresh noise.
    """
    alpha_bar = ddpm_schedule().tolist()
    for k in reversed(range(len(alpha_bar))):
        before = alpha_bar[k - 1] if k else 1.0
        alpha = alpha_bar[k] / before
        noise = predict_noise(x, float(k))
        mean = (x - (1 - alpha) / math.sqrt(1 - alpha_bar[k]) * noise) / math.sqrt(alpha)
        std = math.sqrt((1 - before) / (1 - alpha_bar[k]) * (1 - alpha))
        x = mean + temperature * std * draw(k) if k else mean
    return x


def classifier_free(velocities: Any, cfg: float) -> Any:
    """v_u + cfg (v_c - v_u) of the velocities with text and without; of a single one, itself."""
    return velocities[0] if len(velocities) == 1 else velocities[1] + cfg * (velocities[0] - velocities[1])

"""Solvers with a fixed number of evaluations: dx/dt = velocity(x, t) from noise at t = 0 to a token at t = 1.

All have one signature, `solve(velocity, x, evaluations) -> x`, where velocity takes x and a time; arrays may be numpy's
or torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
SOLVERS: dict[str, Solver] = {"euler": euler, "heun": heun, "midpoint": midpoint}


def evaluation_times(solver: Solver, evaluations: int) -> list[float]:
    """Times at which a solver evaluates the velocity, in its order."""
    times: list[float] = []

    def velocity(x: float, t: float) -> float:
        times.append(t)
        return 0.0

    solver(velocity, 0.0, evaluations)
    return times


def classifier_free(velocities: Any, cfg: float) -> Any:
    """v_u + cfg (v_c - v_u) of the velocities with text and without; of a single one, itself."""
    return velocities[0] if len(velocities) == 1 else velocities[1] + cfg * (velocities[0] - velocities[1])

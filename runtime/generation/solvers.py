"""From noise to token by a fixed number of evaluations: dx/dt = velocity(x, t) from t = 0 to 1.

All have one signature, `solve(velocity, x, evaluations) -> x`, where velocity takes x and a time; arrays may be numpy's
or torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Velocity = Callable[[Any, float], Any]
Solver = Callable[[Velocity, Any, int], Any]


class Stage(NamedTuple):
    """An evaluation and what follows: x = x + step (v + carry v_before).

    Attributes:
        time: of the evaluation.
        step, carry: as above.
        from_step_start: x goes on from where the stage before began, not from where it ended.
    """

    time: float
    step: float
    carry: float = 0.0
    from_step_start: bool = False


def euler_stages(evaluations: int) -> list[Stage]:
    return [Stage(k / evaluations, 1 / evaluations) for k in range(evaluations)]


def heun_stages(evaluations: int) -> list[Stage]:
    return _by_two(evaluations, lambda t, h: (Stage(t, h), Stage(t + h, h / 2, carry=1, from_step_start=True)))


def midpoint_stages(evaluations: int) -> list[Stage]:
    return _by_two(evaluations, lambda t, h: (Stage(t, h / 2), Stage(t + h / 2, h, from_step_start=True)))


def _by_two(evaluations: int, pair: Callable[[float, float], tuple[Stage, Stage]]) -> list[Stage]:
    """Steps of two evaluations; an odd one is an Euler step at the end."""
    steps = (evaluations + 1) // 2
    stages = [stage for k in range(evaluations // 2) for stage in pair(k / steps, 1 / steps)]
    return stages + [Stage((steps - 1) / steps, 1 / steps)] * (evaluations % 2)


def integrate(stages: Sequence[Stage], velocity: Velocity, x: Any) -> Any:
    """x after all stages."""
    begin = before = x
    for stage in stages:
        v = velocity(x, stage.time)
        begin = begin if stage.from_step_start else x
        x = begin + stage.step * (v + stage.carry * before if stage.carry else v)
        before = v
    return x


def euler(velocity: Velocity, x: Any, evaluations: int) -> Any:
    """As many steps as evaluations."""
    return integrate(euler_stages(evaluations), velocity, x)


def heun(velocity: Velocity, x: Any, evaluations: int) -> Any:
    """Second order, two evaluations a step: the mean of both ends' velocities."""
    return integrate(heun_stages(evaluations), velocity, x)


def midpoint(velocity: Velocity, x: Any, evaluations: int) -> Any:
    """Second order, two evaluations a step: the velocity half-way."""
    return integrate(midpoint_stages(evaluations), velocity, x)


STAGES: dict[str, Callable[[int], list[Stage]]] = {
    "euler": euler_stages,
    "heun": heun_stages,
    "midpoint": midpoint_stages,
}
SOLVERS: dict[str, Solver] = {"euler": euler, "heun": heun, "midpoint": midpoint}


def evaluation_times(solver: Solver, evaluations: int) -> list[float]:
    """The times that a solver asks for, in its order."""
    asked: list[float] = []

    def velocity(x: float, t: float) -> float:
        asked.append(t)
        return 0.0

    solver(velocity, 0.0, evaluations)
    return asked

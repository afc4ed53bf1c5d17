"""From noise to token by a fixed number of evaluations: dx/dt = velocity(x, t) from t = 0 to 1.

All have one signature, `solve(velocity, x, evaluations) -> x`, where velocity takes x and a time; arrays may be numpy's
or torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Velocity = Callable[[Any, float], Any]
Solver = Callable[[Velocity, Any, int], Any]


def euler(velocity: Velocity, x: Any, evaluations: int) -> Any:
    """As many steps as evaluations."""
    for k in range(evaluations):
        x = x + velocity(x, k / evaluations) / evaluations
    return x


def heun(velocity: Velocity, x: Any, evaluations: int) -> Any:
    """Second order, two evaluations a step: the mean of both ends' velocities."""

    def step(x: Any, v: Any, t: float, h: float) -> Any:
        return x + h / 2 * (v + velocity(x + h * v, t + h))

    return _by_two(velocity, x, evaluations, step)


def midpoint(velocity: Velocity, x: Any, evaluations: int) -> Any:
    """Second order, two evaluations a step: the velocity half-way."""

    def step(x: Any, v: Any, t: float, h: float) -> Any:
        return x + h * velocity(x + h / 2 * v, t + h / 2)

    return _by_two(velocity, x, evaluations, step)


def _by_two(velocity: Velocity, x: Any, evaluations: int, step: Callable[[Any, Any, float, float], Any]) -> Any:
    """Steps that ask the velocity once more; an odd evaluation is an Euler step at the end."""
    steps = (evaluations + 1) // 2
    for k in range(steps):
        t, h = k / steps, 1 / steps
        v = velocity(x, t)
        x = x + h * v if 2 * k + 1 == evaluations else step(x, v, t, h)
    return x


SOLVERS: dict[str, Solver] = {"euler": euler, "heun": heun, "midpoint": midpoint}


def times_of(solver: Solver, evaluations: int) -> list[float]:
    """The times that a solver asks for, in its order."""
    asked: list[float] = []

    def velocity(x: float, t: float) -> float:
        asked.append(t)
        return 0.0

    solver(velocity, 0.0, evaluations)
    return asked

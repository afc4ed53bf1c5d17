"""`Tracker`: ids that stay with the people of successive moments.

A person is expected where the last pose would be had it moved on at its own velocity. What it costs to find them
in a pose instead is

    1 - IoU(box expected, box found) + |centre expected - centre found| / body size,

where the body size is the larger box's diagonal. Poses further away than `REACH` body sizes are somebody else; of
the others, the assignment with the lowest total cost is taken.
Shapes: P people known, M poses, D dimensions (2: pixels, 3: metres).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..body.motion_data import MAX_PEOPLE

REACH = 0.5  # body sizes
SETTLE_S = 0.15  # time constant of a velocity
SLACK_S = 1e-4  # rounding allowed when two times are compared

Array = NDArray[np.float64]
Pairs = list[tuple[int, int]]  # (person, pose)


@dataclass(slots=True)
class _Body:
    """Where somebody is: the box of the joints in x and y, and the centre."""

    low: Array  # [2]
    high: Array  # [2]
    centre: Array  # [D]

    @property
    def size(self) -> float:
        return float(np.linalg.norm(self.high - self.low))

    def moved(self, way: Array) -> _Body:
        return _Body(self.low + way[:2], self.high + way[:2], self.centre + way)


@dataclass(slots=True)
class _Track:
    """What is known of a person: the last pose, when it was seen, and how fast it moved then."""

    t: float
    body: _Body
    velocity: Array  # [D] a second
    seconds: float = 0.0  # for how long the velocity has been observed

    def expected(self, t: float) -> _Body:
        return self.body.moved(self.velocity * (t - self.t))

    def update(self, t: float, body: _Body) -> None:
        passed = t - self.t
        if passed > 0:
            self.seconds += passed
            weight = max(passed / self.seconds, 1 - np.exp(-passed / SETTLE_S))  # at first, the mean
            self.velocity += weight * ((body.centre - self.body.centre) / passed - self.velocity)
        self.t, self.body = t, body


class Tracker:
    """Gives the people of successive moments ids by where they are.

    A person keeps an id over `forget_s` seconds out of sight; then it is free for somebody else.

    Args:
        forget_s: seconds.
        max_people: how many are followed at once, those out of sight for a moment included; ids are below it.
    """

    def __init__(self, forget_s: float = 0.5, max_people: int = MAX_PEOPLE) -> None:
        self.forget_s, self.max_people = forget_s, max_people
        self._tracks: dict[int, _Track] = {}
        self._solve = _solver()

    def assign(
        self, t: float, poses: Sequence[NDArray[Any]], confidence: Sequence[ArrayLike] | None = None
    ) -> list[int]:
        """The ids of everybody seen at one moment; the smallest free ones for those who are new.

        Args:
            t: seconds, not falling; a clock that has been set back by more than `forget_s` makes everybody new.
            poses: [V, 2] pixels or [V, 3] metres each, NaN where a joint is missing.
            confidence: of each pose, [V] or one number; of more newcomers than there is room for, the surest are
                followed.
        Returns:
            Ids in the order of `poses`; -1 for a pose that is one too many or has no joint.
        """
        self._tracks = {
            person: track for person, track in self._tracks.items() if abs(t - track.t) <= self.forget_s + SLACK_S
        }
        found = {m: body for m, pose in enumerate(poses) if (body := _body(pose)) is not None}
        ids = [-1] * len(poses)
        for person, m in self._match(t, found):
            ids[m] = person
            self._tracks[person].update(t, found[m])
        newcomers = [m for m in found if ids[m] < 0]
        if confidence is not None:
            sure = {m: _mean(confidence[m]) for m in newcomers}
            newcomers.sort(key=lambda m: -sure[m])
        for m in newcomers[: self.max_people - len(self._tracks)]:
            ids[m] = next(person for person in range(self.max_people) if person not in self._tracks)
            self._tracks[ids[m]] = _Track(t, found[m], np.zeros(len(found[m].centre)))
        return ids

    def _match(self, t: float, found: dict[int, _Body]) -> Pairs:
        """(person, pose) of everybody who is known already."""
        people, poses = list(self._tracks), list(found)
        if not people or not poses:
            return []
        expected = [self._tracks[person].expected(t) for person in people]
        cost = np.array([[_cost(body, found[m]) for m in poses] for body in expected])  # [P, M]
        return [(people[p], poses[m]) for p, m in self._solve(cost)]


def _mean(confidence: ArrayLike) -> float:
    return float(np.nan_to_num(np.asarray(confidence, np.float64)).mean())


def _body(pose: NDArray[Any]) -> _Body | None:
    seen = np.asarray(pose, np.float64)
    seen = seen[np.isfinite(seen).all(axis=-1)]
    if not len(seen):
        return None
    return _Body(seen[:, :2].min(axis=0), seen[:, :2].max(axis=0), seen.mean(axis=0))


def _cost(expected: _Body, found: _Body) -> float:
    """Infinite where it cannot be the same person."""
    distance = float(np.linalg.norm(expected.centre - found.centre)) / max(expected.size, found.size, 1e-9)
    return 1 - _overlap(expected, found) + distance if distance <= REACH else np.inf


def _overlap(a: _Body, b: _Body) -> float:
    """Intersection over union of two boxes; 0 where they have no area."""
    both = np.prod((np.minimum(a.high, b.high) - np.maximum(a.low, b.low)).clip(0))
    either = np.prod(a.high - a.low) + np.prod(b.high - b.low) - both
    return float(both / either) if either > 0 else 0.0


def _solver() -> Callable[[Array], Pairs]:
    """The assignment of lowest cost where scipy is installed, else an approximation of it."""
    try:
        linear_sum_assignment = import_module("scipy.optimize").linear_sum_assignment
    except ImportError:
        return _greedy
    return lambda cost: _optimal(cost, linear_sum_assignment)


def _optimal(cost: Array, linear_sum_assignment: Callable[..., Any]) -> Pairs:
    """A pair may be left out: it then costs as much as the worst pair that is possible, 1 + REACH."""
    rows, columns = linear_sum_assignment(np.minimum(cost - (1 + REACH), 0))
    return [(int(p), int(m)) for p, m in zip(rows, columns, strict=True) if np.isfinite(cost[p, m])]


def _greedy(cost: Array) -> Pairs:
    """The cheapest pairs first."""
    pairs: dict[int, int] = {}
    for index in np.argsort(cost, axis=None, kind="stable"):
        p, m = divmod(int(index), cost.shape[1])
        if np.isfinite(cost[p, m]) and p not in pairs and m not in pairs.values():
            pairs[p] = m
    return list(pairs.items())

"""Plausibility checks of incoming joints: meters, y up, joints in the order of their layout.

Shapes: T poses, V joints.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, LayoutError
from .layout import Layout
from .people import MAX_SPREAD_M, MIN_SPREAD_M, mask_unseen, sample, spreads, without_nobody
from .time_check import TimeMonitor, check_times

POSES = 30  # checked per person: one second of a camera
MAX_TRACKED = 64  # people whose poses are kept until there are enough
TYPICAL_SPREAD_M = 0.6  # of an adult who stands
UNITS_M = {
    "kilometers": 1e3,
    "tens of meters": 10.0,
    "feet": 0.3048,
    "decimeters": 0.1,
    "inches": 0.0254,
    "centimeters": 0.01,
    "millimeters": 1e-3,
}
# Mean bone length over mean joint distance: 0.2 to 0.6 for people, about 1 for joints in random order.
MAX_BONE = 0.8
# Cosine of ankles-to-shoulders, and of hips-to-shoulders, with an axis: only a person lying exactly along x or z
# reaches it there.
MIN_COSINE = 0.85
AXES = ("x", "z", "-x", "-y", "-z")

log = logging.getLogger(__name__)
Poses = NDArray[np.float32]


class InputMonitor:
    """Checks the first poses of everybody in a stream and its first timestamps; logs each problem once.

    Attributes:
        problems: those logged so far.
    """

    def __init__(self) -> None:
        self._first: dict[tuple[str, int | None], list[Poses] | None] = {}  # by layout and person; None: checked
        self._times: TimeMonitor | None = TimeMonitor()
        self.problems: list[str] = []

    def restart(self) -> None:
        """Check the next frames again: a new stream starts."""
        self._first.clear()
        self._times = TimeMonitor()

    def check_time(self, t: float, people: Sequence[int]) -> None:
        """Check the time in seconds of one frame of a stream."""
        if self._times is not None:
            self._report(self._times.check_frame(t, people))
            if self._times.is_done:
                self._times = None

    def check_times(self, times_T: NDArray[np.float64]) -> None:
        """Check the times of a clip."""
        self._report(check_times(times_T))

    def check_frame(self, joints: Poses, confidence: Poses | None, layout: Layout, people: Sequence[int]) -> None:
        """Check one frame [M, V, 3] of M people of a stream.

        Raises:
            InputError: as `diagnose`, from a person's thirtieth pose on, until most of the last thirty are in meters.
        """
        for m, person in enumerate(people):
            if self._first.get((layout.name, person), ()) is not None:
                self._check_person(
                    joints[m : m + 1], None if confidence is None else confidence[m : m + 1], layout, person
                )

    def _check_person(self, pose: Poses, confidence: Poses | None, layout: Layout, person: int) -> None:
        key = self._key(layout, person)
        first = self._first.setdefault(key, [])
        if first is None:
            return
        first.extend(sample(mask_unseen(without_nobody(pose), confidence), 1))
        if len(first) >= POSES:
            try:
                self._log(np.array(first), layout)
            except InputError:
                del first[0]
                raise
            self._first[key] = None

    def _key(self, layout: Layout, person: int) -> tuple[str, int | None]:
        """The person's key; if there are many people who leave before they are checked, the one of all newcomers."""
        if (layout.name, person) in self._first or len(self._first) < MAX_TRACKED:
            return layout.name, person
        self._first = {key: first for key, first in self._first.items() if first is not None}
        return layout.name, person if len(self._first) < MAX_TRACKED else None

    def check_clip(self, joints: Poses, confidence: Poses | None, layout: Layout) -> None:
        """Check a clip [T, V, 3]. Raises InputError as `diagnose`."""
        poses_TV3 = sample(mask_unseen(joints, confidence), POSES)
        if len(poses_TV3):
            self._log(poses_TV3, layout)

    def _log(self, poses_TV3: Poses, layout: Layout) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # from values near the largest float
            problem = diagnose(poses_TV3, layout)
        self._report(problem)

    def _report(self, problem: str | None) -> None:
        if problem is not None and problem not in self.problems:
            self.problems.append(problem)
            log.warning(problem)


def diagnose(poses_TV3: Poses, layout: Layout) -> str | None:
    """Describe a problem that would make a recognizer's output meaningless; None if there is none.

    Only complete poses tell an order of joints or an axis; NaN where a joint is missing.

    Raises:
        InputError: the joints are not in meters.
    """
    check_unit(poses_TV3)
    spread_T = spreads(poses_TV3)
    is_usable = np.isfinite(poses_TV3).all(axis=(1, 2)) & (spread_T >= MIN_SPREAD_M)
    poses_TV3, spread_T = poses_TV3[is_usable], spread_T[is_usable]
    if len(poses_TV3) == 0:
        return None
    bones = np.array(layout.edges)
    if _median(_distances(poses_TV3, bones[:, 0], bones[:, 1]) / spread_T) > MAX_BONE:
        return f"the joints do not look like those of layout {layout.name} in its order"
    axis = _upright(poses_TV3, layout)
    return None if axis is None else f"the body stands along {axis}, y is expected to be up"


def check_unit(poses_TV3: Poses) -> None:
    """Raise InputError with the likely unit if poses, of which each has most of its joints, are not in meters.

    Poses that are too small, such as a phantom's, do not count beside others: recognizers take them for nobody.
    """
    spread_T = spreads(poses_TV3)
    people_T = spread_T[spread_T >= MIN_SPREAD_M]
    spread = _median(people_T if len(people_T) else spread_T)
    if not MIN_SPREAD_M <= spread <= MAX_SPREAD_M:
        unit = min(UNITS_M, key=lambda name: abs(math.log(max(spread, 1e-9) * UNITS_M[name] / TYPICAL_SPREAD_M)))
        raise InputError(f"the joints are {spread:.3g} apart on average, which looks like {unit}, expected meters")


def _upright(poses_TV3: Poses, layout: Layout) -> str | None:
    """The axis the body stands along, if it is not y."""
    weights = _midpoint_weights(layout)
    if weights is None:
        return None
    shoulders, hips, ankles = np.einsum("kv,tvc->ktc", weights, poses_TV3)
    cosines = [
        np.mean(up_T3 / np.maximum(np.linalg.norm(up_T3, axis=-1, keepdims=True), 1e-6), axis=0)
        for up_T3 in (shoulders - ankles, shoulders - hips)
    ]
    x, y, z = np.sign(cosines[0]) * np.min(np.abs(cosines), axis=0)
    found = zip(AXES, (x, z, -x, -y, -z), strict=True)
    return next((axis for axis, cosine in found if cosine > MIN_COSINE), None)


@cache
def _midpoint_weights(layout: Layout) -> Poses | None:
    """Weights [3, V] of the midpoints of shoulders, hips and ankles; None if the layout lacks them."""
    core = Layout.load("core15")
    try:
        rows = core.map_from(layout)
    except LayoutError:
        return None
    parts = ("shoulder", "hip", "ankle")
    return np.array(
        [sum(rows[core.joints.index(f"{side}_{part}")] for side in ("left", "right")) / 2 for part in parts]
    )


def _median(values_T: NDArray[np.floating[Any]]) -> float:
    """Without `np.median`, whose first call imports more than hundreds of frames take."""
    return float(np.sort(values_T)[len(values_T) // 2])


def _distances(poses_TV3: Poses, left: NDArray[np.intp], right: NDArray[np.intp]) -> Poses:
    """Mean distance [T] of pairs of joints."""
    return np.linalg.norm(poses_TV3[:, left] - poses_TV3[:, right], axis=-1).mean(axis=-1)

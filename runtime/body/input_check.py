"""Plausibility checks of incoming joints: meters, y up, joints in the order of their layout.

Shapes: T poses, V joints.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, LayoutError
from .layout import Layout
from .motion_data import MotionData
from .people import MAX_SPREAD_M, MIN_SPREAD_M, mask_unseen, sample, spreads, without_nobody
from .time_check import TimeMonitor, check_times
from .units import SPREAD_OF_HEIGHT, UNITS_M, UPS, height, median, nearest_unit

POSES = 30  # checked per person: one second of a camera
MAX_TRACKED = 64  # people whose poses are kept until there are enough
LARGER_UNITS_M = {"kilometers": 1e3, "tens of meters": 10.0}
# Mean bone length over mean joint distance: 0.2 to 0.6 for people, about 1 for joints in random order.
MAX_BONE = 0.8
# Cosine of ankles-to-shoulders, and of hips-to-shoulders, with an axis: only a person lying exactly along x or z
# reaches it there.
MIN_COSINE = 0.85
LYING_M = (-0.06, 0.3)  # height of the lowest joint of a person who lies on the floor
MIN_THICKNESS_M = 0.06  # mean height of the joints there
FEET_M = (-0.06, 0.12)  # of the lowest joint of a person who stands on it
AXES = ("x", "z", "-x", "-y", "-z")
# Cosine of a foot with the front of its leg: above -0.2 in every pose of real people but a few wrong ones.
BACKWARD = -0.2
MOST = 0.8
SIDES = ("left", "right")
LEG = ("hip", "knee", "ankle", "foot")

log = logging.getLogger(__name__)
Poses = NDArray[np.float32]
_reported: WeakValueDictionary[int, Poses] = WeakValueDictionary()  # joints of files, by `report_file`


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
        """Check one frame [M, V, 3] of M people of a stream; 2-D joints may be in any unit.

        Raises:
            InputError: as `diagnose`, from a person's thirtieth pose on, until most of the last thirty are in meters.
        """
        if layout.dims == 2:
            return
        for m, person in enumerate(people):
            if self._first.get((layout.name, person), ()) is not None:
                self._check_person(
                    joints[m : m + 1], None if confidence is None else confidence[m : m + 1], layout, person
                )

    def watch_frame(self, joints: Poses, confidence: Poses | None, layout: Layout, people: Sequence[int]) -> None:
        """Check a frame as `check_frame` does, but log joints that are not in meters, once per person."""
        for m, person in enumerate(people):
            try:
                one = slice(m, m + 1)
                self.check_frame(joints[one], None if confidence is None else confidence[one], layout, [person])
            except InputError as error:
                self._first[self._key(layout, person)] = None
                self._report(str(error))

    def _check_person(self, pose: Poses, confidence: Poses | None, layout: Layout, person: int) -> None:
        key = self._key(layout, person)
        first = self._first.setdefault(key, [])
        if first is None:
            return
        first.extend(sample(mask_unseen(without_nobody(pose), confidence), 1))
        if len(first) >= POSES:
            try:
                self._report(diagnose(np.array(first), layout))
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
        """Check a clip [T, V, 3]; 2-D joints may be in any unit. Raises InputError as `diagnose`."""
        if layout.dims == 2:
            return
        poses_TV3 = sample(mask_unseen(joints, confidence), POSES)
        if len(poses_TV3):
            self._report(diagnose(poses_TV3, layout), logged=_is_reported(joints))

    def _report(self, problem: str | None, *, logged: bool = False) -> None:
        if problem is not None and problem not in self.problems:
            self.problems.append(problem)
            if not logged:
                log.warning(problem)


def check_motion(motion: MotionData) -> None:
    """Log what would make results for a clip meaningless, unless `report_file` did. Raises InputError as `diagnose`."""
    problem = _problem(motion)
    if problem is not None and not _is_reported(motion.joints):
        log.warning(problem)


def report_file(motion: MotionData, name: str) -> None:
    """Log, with the file's name, what would make results for a clip meaningless; other checks will not repeat it."""
    try:
        problem = _problem(motion)
    except InputError as error:
        problem = str(error)
    if problem is not None:
        _reported[id(_owner(motion.joints))] = _owner(motion.joints)
        log.warning("%s: %s", name, problem)


def _problem(motion: MotionData) -> str | None:
    """The problem of the first person who has one. Raises InputError as `diagnose`."""
    layout = Layout.load(motion.layout)
    for m in range(motion.people if layout.dims == 3 else 0):
        person = motion.person(m)
        poses_TV3 = sample(mask_unseen(person.joints, person.confidence), POSES)
        if len(poses_TV3) and (problem := diagnose(poses_TV3, layout)) is not None:
            return problem
    return None


def _is_reported(joints: Poses) -> bool:
    return _reported.get(id(_owner(joints))) is _owner(joints)


def _owner(joints: Poses) -> Poses:
    """The array that `joints` is a view of."""
    return joints.base if isinstance(joints.base, np.ndarray) else joints


@np.errstate(over="ignore", invalid="ignore")  # of single joints that are far away; the rest decides
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
    if median(_distances(poses_TV3, bones[:, 0], bones[:, 1]) / spread_T) > MAX_BONE:
        return f"the joints do not look like those of layout {layout.name} in its order"
    tall = height(poses_TV3, layout)
    if nearest_unit(tall) != "meters":
        raise _not_in_meters(f"the body is {tall:.3g} tall", tall)
    axis = _upright(poses_TV3, layout)
    if axis is not None:
        remedy = f' (--up {axis}, or up="{axis}" of Motion.load)' if axis in UPS else ""
        return f"the body stands along {axis}, y is expected to be up{remedy}"
    if _is_mirrored(poses_TV3, layout):
        return (
            "the toes point backward: left and right are exchanged, or the coordinates are left-handed as in Unity, "
            "expected right-handed ones (negate x)"
        )
    return None


def _is_mirrored(poses_TV3: Poses, layout: Layout) -> bool:
    """Whether both feet point backward, seen from hips and shins, in most poses."""
    index = {joint: i for i, joint in enumerate(layout.joints)}
    if not all(f"{side}_{part}" in index for side in SIDES for part in LEG):
        return False
    across_T3 = poses_TV3[:, index["left_hip"]] - poses_TV3[:, index["right_hip"]]
    backward_T = np.ones(len(poses_TV3), bool)
    for side in SIDES:
        ankle_T3 = poses_TV3[:, index[f"{side}_ankle"]]
        front_T3 = np.cross(across_T3, poses_TV3[:, index[f"{side}_knee"]] - ankle_T3)
        foot_T3 = poses_TV3[:, index[f"{side}_foot"]] - ankle_T3
        lengths_T = np.linalg.norm(front_T3, axis=-1) * np.linalg.norm(foot_T3, axis=-1)
        backward_T &= (front_T3 * foot_T3).sum(axis=-1) < BACKWARD * lengths_T
    return bool(np.mean(backward_T) > MOST)


def check_unit(poses_TV3: Poses) -> None:
    """Raise InputError with the likely unit if poses, of which each has most of its joints, are not in meters.

    Poses that are too small, such as a phantom's, do not count beside others: recognizers take them for nobody.
    """
    spread_T = spreads(poses_TV3)
    people_T = spread_T[spread_T >= MIN_SPREAD_M]
    spread = median(people_T if len(people_T) else spread_T)
    if not MIN_SPREAD_M <= spread <= MAX_SPREAD_M:
        raise _not_in_meters(f"the joints are {spread:.3g} apart on average", spread / SPREAD_OF_HEIGHT)


def _not_in_meters(what: str, tall: float) -> InputError:
    units_m = LARGER_UNITS_M | UNITS_M
    unit = nearest_unit(tall, units_m)
    return InputError(f"{what}, which looks like {unit}, expected meters (--scale {units_m[unit]:.4g})")


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
    axis = next((axis for axis, cosine in found if cosine > MIN_COSINE), None)
    return None if axis is None or _lies(poses_TV3, axis) else axis


def _lies(poses_TV3: Poses, axis: str) -> bool:
    """Whether the body lies along x or z on a floor at height 0, and does not stand on such a floor along `axis`."""
    if axis == "-y":
        return False
    along_TV = poses_TV3[..., "xyz".index(axis[-1])] * (-1 if axis[0] == "-" else 1)
    lowest_m, end_m = median(poses_TV3[..., 1].min(axis=1)), median(along_TV.min(axis=1))
    above_m = median(poses_TV3[..., 1].mean(axis=1))
    return LYING_M[0] < lowest_m < LYING_M[1] and above_m > MIN_THICKNESS_M and not FEET_M[0] < end_m < FEET_M[1]


@cache
def _midpoint_weights(layout: Layout) -> Poses | None:
    """Weights [3, V] of the midpoints of shoulders, hips and ankles, or of the pelvis instead of missing legs.

    None if the layout lacks other joints.
    """
    core = Layout.load("core15")
    try:
        rows = core.map_from(layout, needs_legs=False)
    except LayoutError:
        return None
    parts = ("shoulder", "hip", "ankle")
    rows = np.where(rows.any(axis=1, keepdims=True), rows, rows[core.root])
    return np.array(
        [sum(rows[core.joints.index(f"{side}_{part}")] for side in ("left", "right")) / 2 for part in parts]
    )


def _distances(poses_TV3: Poses, left: NDArray[np.intp], right: NDArray[np.intp]) -> Poses:
    """Mean distance [T] of pairs of joints."""
    return np.linalg.norm(poses_TV3[:, left] - poses_TV3[:, right], axis=-1).mean(axis=-1)

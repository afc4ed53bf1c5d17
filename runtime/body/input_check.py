"""Whether joints can be a person's in metres, with y up, in the order of their layout.

Shapes: T poses, V joints.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, LayoutError
from .layout import Layout

POSES = 30  # that are looked at: a second of a camera
# What is between any two joints of a person, on average: 0.3 to 0.7 m.
MAX_SPREAD_M = 5.0
MAX_SPREAD_CM = 150.0
# Mean bone by mean distance of any two joints: 0.2 to 0.6 of people, about 1 of joints in a random order.
MAX_BONE = 0.8
# Cosine of shoulders over ankles, and over hips, with an axis: only who lies exactly along it comes as near to x or z.
ALONG = 0.85
AXES = ("x", "z", "-x", "-y", "-z")

log = logging.getLogger(__name__)
Poses = NDArray[np.float32]


class Watch:
    """Looks at the first whole poses of every layout, and logs what is odd about them, once."""

    def __init__(self) -> None:
        self._first: dict[str, list[Poses]] = {}
        self._told: set[str] = set()

    def restart(self) -> None:
        """What comes is of another stream."""
        self._first.clear()

    def see(self, joints: Poses, confidence: Poses | None, layout: Layout) -> None:
        """One frame of a stream, [M, V, 3], of M people. Raises InputError as `doubt`."""
        first = self._first.setdefault(layout.name, [])
        if len(first) < POSES:
            first.extend(_whole(joints, confidence))
            if len(first) >= POSES:
                self._tell(np.array(first[:POSES]), layout)

    def see_clip(self, joints: Poses, confidence: Poses | None, layout: Layout) -> None:
        """A whole clip [T, V, 3]. Raises InputError as `doubt`."""
        whole = _whole(joints, confidence)
        if len(whole):
            self._tell(whole[np.linspace(0, len(whole) - 1, min(POSES, len(whole))).astype(int)], layout)

    def _tell(self, poses_TV3: Poses, layout: Layout) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers near the largest there are
            told = doubt(poses_TV3, layout)
        if told is not None and told not in self._told:
            self._told.add(told)
            log.warning(told)


def doubt(poses_TV3: Poses, layout: Layout) -> str | None:
    """What about these poses a recogniser would make nonsense of; None: nothing.

    Raises:
        InputError: they are not in metres.
    """
    left, right = np.triu_indices(len(layout.joints), 1)
    spread_T = np.maximum(_distances(poses_TV3, left, right), 1e-6)
    spread = _median(spread_T)
    if spread > MAX_SPREAD_M:
        unit = "centimetres" if spread < MAX_SPREAD_CM else "millimetres"
        raise InputError(f"the joints are {spread:.0f} apart on average, which looks like {unit}, expected metres")
    bones = np.array(layout.edges)
    if _median(_distances(poses_TV3, bones[:, 0], bones[:, 1]) / spread_T) > MAX_BONE:
        return f"the joints do not look like those of layout {layout.name} in its order"
    axis = _upright(poses_TV3, layout)
    return None if axis is None else f"the body stands along {axis}, y is expected to be up"


def _upright(poses_TV3: Poses, layout: Layout) -> str | None:
    """The axis that the body stands along, if it is not y."""
    weights = _middles(layout)
    if weights is None:
        return None
    shoulders, hips, ankles = np.einsum("kv,tvc->ktc", weights, poses_TV3)
    cosines = [
        np.mean(up_T3 / np.maximum(np.linalg.norm(up_T3, axis=-1, keepdims=True), 1e-6), axis=0)
        for up_T3 in (shoulders - ankles, shoulders - hips)
    ]
    x, y, z = np.sign(cosines[0]) * np.min(np.abs(cosines), axis=0)
    found = zip(AXES, (x, z, -x, -y, -z), strict=True)
    return next((axis for axis, cosine in found if cosine > ALONG), None)


@cache
def _middles(layout: Layout) -> Poses | None:
    """Weights [3, V] of the middles of shoulders, hips and ankles; None: it lacks them."""
    core = Layout.load("core15")
    try:
        rows = core.map_from(layout)
    except LayoutError:
        return None
    parts = ("shoulder", "hip", "ankle")
    return np.array(
        [sum(rows[core.joints.index(f"{side}_{part}")] for side in ("left", "right")) / 2 for part in parts]
    )


def _whole(joints_TV3: Poses, confidence_TV: Poses | None) -> Poses:
    """The poses of which every joint was seen."""
    seen = np.isfinite(joints_TV3).all(axis=(1, 2))
    if confidence_TV is not None:
        seen &= (confidence_TV > 0).all(axis=1)
    return joints_TV3[seen]


def _median(values_T: NDArray[np.floating[Any]]) -> float:
    """`np.median` would load, at its first call, what takes longer than hundreds of frames."""
    return float(np.sort(values_T)[len(values_T) // 2])


def _distances(poses_TV3: Poses, left: NDArray[np.intp], right: NDArray[np.intp]) -> Poses:
    """Mean distance [T] of pairs of joints."""
    return np.linalg.norm(poses_TV3[:, left] - poses_TV3[:, right], axis=-1).mean(axis=-1)

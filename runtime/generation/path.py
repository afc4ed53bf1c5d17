"""A motion led along a path on the floor.

Shapes: T frames, V joints, K points of the path, meters, y up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..body.canonical import to_canonical
from ..errors import InputError
from .postprocess import join_path, plant_feet, split_path, turn_ground

MAX_POINTS = 10_000
MIN_PATH_M, MAX_PATH_M = 0.2, 300.0
_SCALES = (0.5, 2.0)  # of the speed along the path, relative to the motion's own
_CIRCLE_M = 1.0  # the shortest circle: rounding leaves too little of shorter ones
_STEP_M = 0.02  # between points of the path as it is followed
_CORNER_M = 0.15  # over which corners are rounded
_SWAY_FRAMES = 8  # over which the root's own path is smoothed: it sways about it
_PLANT_PASSES = 2


def check_path(path: ArrayLike) -> np.ndarray:
    """Points [K, 2] of a path. Raises InputError: not two or more finite points, or too short or long a path."""
    try:
        points = np.asarray(path, np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or not 2 <= len(points) <= MAX_POINTS or not np.isfinite(points).all():
        raise InputError(f"path has shape {list(points.shape)}, expected 2 to {MAX_POINTS} points [x, z] in meters")
    length = length_of(points)
    if not MIN_PATH_M <= length <= MAX_PATH_M:
        raise InputError(f"path is {length:.3g} m long, expected {MIN_PATH_M:g} to {MAX_PATH_M:g} m")
    return points


def length_of(points: np.ndarray) -> float:
    """Length of a path [K, 2], or of the way of a root."""
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def way(joints: np.ndarray) -> float:
    """Length of the way on the floor of joints [T, V, 3], without swaying."""
    return length_of(_smooth(joints[:, 0, [0, 2]].astype(np.float64), _SWAY_FRAMES))


def go_around(joints: np.ndarray, side: int) -> np.ndarray:
    """Lead a motion [T, V, 3] around a circle as long as its way, to the left (1) or right (-1), from the origin.

    A motion that goes less than a meter stays as it is.
    """
    length = way(joints)
    if length < _CIRCLE_M:
        return joints
    angle, radius = np.linspace(0, 2 * np.pi, 100), length / (2 * np.pi)
    return to_canonical(follow(joints, radius * np.stack([side * (1 - np.cos(angle)), np.sin(angle)], 1)))


def follow(joints: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Lead a motion [T, V, 3] along a path [K, 2], from its first point to its last, turned as the path turns.

    Raises InputError: the motion goes less than half as far, or more than twice.
    """
    route = _route(points)
    root, pose = split_path(joints)
    smooth = _smooth(root[:, :2], _SWAY_FRAMES)
    length, own = length_of(route), length_of(smooth)
    if not _SCALES[0] * own <= length <= _SCALES[1] * own:
        raise InputError(
            f"path is {length:.3g} m long and the motion goes {own:.2g} m, expected {_SCALES[0]:g} to {_SCALES[1]:g} "
            "times as much: change its duration, or describe a person who goes that far"
        )
    along, ahead = _along(route), _directions(route)
    done = _along(smooth) * (length / own)
    target = np.stack([np.interp(done, along, axis) for axis in (*route.T, ahead)], 1)
    target[:, 2] -= _directions(smooth)
    target[:, :2] += turn_ground(root[:, :2] - smooth, target[:, 2])
    target[:, 2] += root[:, 2]
    found = join_path(target, pose)
    for _ in range(_PLANT_PASSES):
        found = plant_feet(found)
        drift = _smooth(found[:, 0, [0, 2]] - target[:, :2], 2 * _SWAY_FRAMES)
        found[..., [0, 2]] -= drift[:, None].astype(np.float32)
    return found


def _route(points: np.ndarray) -> np.ndarray:
    """Points of a path, closely and evenly, with rounded corners."""
    along = _along(points)
    even = np.linspace(0, along[-1], max(2, round(along[-1] / _STEP_M)) + 1)
    return _smooth(np.stack([np.interp(even, along, axis) for axis in points.T], 1), _CORNER_M / _STEP_M)


def _along(points: np.ndarray) -> np.ndarray:
    """Distance from the first point, [K], along the path."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def _directions(points: np.ndarray) -> np.ndarray:
    """Direction of a path in each point, [K], as headings count; where it rests, that of the points around."""
    steps = np.gradient(points, axis=0)
    speed = np.linalg.norm(steps, axis=1)
    goes = np.flatnonzero(speed >= 0.2 * speed.max())
    angles = np.unwrap(np.arctan2(-steps[goes, 0], steps[goes, 1]))
    return np.interp(np.arange(len(points)), goes, angles)


def _smooth(points: np.ndarray, sigma: float) -> np.ndarray:
    """Points [K, D] smoothed by a Gaussian; the first and the last stay."""
    reach = min(int(3 * sigma), len(points) - 1)
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(points, ((reach, reach), (0, 0)), "reflect", reflect_type="odd")
    return np.stack([np.convolve(axis, weight / weight.sum(), "valid") for axis in padded.T], 1)

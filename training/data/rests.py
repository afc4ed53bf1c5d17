"""Clips of people who stand still, cut from the rests of other clips. Needs no torch.

Shapes: T time, V = 22 joints. Meters, y up.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ...runtime.body.canonical import SMPL

RATE_HZ = 20.0
SHORTEST, LONGEST = 16, 160  # frames of a rest; shorter ones are too few to tell, longer ones are cut
EXTENDED = 60, 160  # frames, least and most, that a shorter rest is extended to
SPEED = 0.3  # m/s, of the fastest joint, averaged over SPAN frames
SPAN = 5
DRIFT_M = 0.1  # of the root, in a rest
STRAIGHT = 1.02  # least height of the pelvis above the lower foot, in lengths of thigh and shin: 0.9 of standing
UPRIGHT = np.cos(np.radians(20))  # of the trunk
HANDS_M = 0.15  # most that a wrist is above the pelvis
FEET_M = 0.6  # between the ankles


def rest_of(joints: np.ndarray) -> slice | None:
    """Return the longest part of a clip [T, 22, 3] in which a person stands upright and quiet; None: there is none."""
    quiet = _is_upright(joints) & (_speed(joints) < SPEED)
    ends = np.flatnonzero(np.diff(np.concatenate(([False], quiet, [False]))))
    found = [_cut_where_it_drifts(joints, slice(begin, end)) for begin, end in zip(ends[::2], ends[1::2], strict=True)]
    longest = max(found, key=lambda part: part.stop - part.start, default=slice(0, 0))
    return longest if longest.stop - longest.start >= SHORTEST else None


def extend(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Play a rest [T, 22, 3] forward and backward until it is as long as drawn, as standing has no direction."""
    T, frames = len(joints), int(rng.integers(*EXTENDED, endpoint=True))
    if frames <= T:
        return joints
    there_and_back = np.concatenate((np.arange(T), np.arange(T - 2, 0, -1)))
    return joints[np.resize(there_and_back, frames)]


def _is_upright(joints: np.ndarray) -> np.ndarray:
    """Mask [T] of frames with straight legs, an upright trunk, feet together and hands down."""
    at = {name: joints[:, i] for i, name in enumerate(SMPL.joints)}
    chain = [at[f"left_{part}"] for part in ("hip", "knee", "ankle")]
    leg = np.median(sum(np.linalg.norm(a - b, axis=1) for a, b in pairwise(chain)))
    pelvis, trunk = at["pelvis"][:, 1], at["neck"] - at["pelvis"]
    feet = np.minimum(at["left_foot"][:, 1], at["right_foot"][:, 1])
    hands = np.maximum(at["left_wrist"][:, 1], at["right_wrist"][:, 1])
    apart = np.linalg.norm(at["left_ankle"] - at["right_ankle"], axis=1)
    upright = trunk[:, 1] > UPRIGHT * np.linalg.norm(trunk, axis=1)
    return upright & (pelvis - feet > STRAIGHT * leg) & (hands - pelvis < HANDS_M) & (apart < FEET_M)


def _speed(joints: np.ndarray) -> np.ndarray:
    """Speed [T] of the fastest joint in m/s, over SPAN frames around each."""
    around = np.pad(joints, ((SPAN // 2, SPAN // 2), (0, 0), (0, 0)), "edge")
    distance = np.linalg.norm(around[SPAN - 1 :] - around[: len(joints)], axis=2).max(1)
    frames = np.minimum(np.arange(len(joints)), SPAN // 2) + np.minimum(np.arange(len(joints))[::-1], SPAN // 2)
    return distance * RATE_HZ / np.maximum(frames, 1)


def _cut_where_it_drifts(joints: np.ndarray, part: slice) -> slice:
    """The first part of a rest in which the root stays near its start, at most LONGEST frames."""
    root = joints[part, 0][:, [0, 2]]
    away = np.flatnonzero(np.linalg.norm(root - root[0], axis=1) >= DRIFT_M)
    return slice(part.start, part.start + min(int(away[0]) if len(away) else len(root), LONGEST))

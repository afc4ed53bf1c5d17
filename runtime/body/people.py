"""People of a clip: poses without extent are nobody, and a person who moves is preferred to a phantom.

Sensors fill the slots of absent people with zeros, and track phantoms in furniture.
Shapes: T poses, M people, V joints, D dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POINT = 1e-4  # poses whose joints are all this close together, in meters or pixels, are nobody
MIN_SPREAD_M, MAX_SPREAD_M = 0.12, 1.3  # mean distance between any two joints of a person: 0.2 to 1.0 m
MIN_SHARE = 0.5  # of the joints, to judge a pose
PLAUSIBLE_POSES = 30  # of a clip, to judge somebody's size
STILL_M = 1e-3  # people move more than that, even when they stand
SIMILAR_M = 0.01  # movements that differ by less are equal

Poses = NDArray[np.float32]


def without_nobody(joints: Poses) -> Poses:
    """Joints [..., V, D] with NaN for poses that have all their joints in one point; a copy if there are any."""
    nobody = is_nobody(joints)
    if not nobody.any():
        return joints
    joints = joints.copy()
    joints[nobody] = np.nan
    return joints


def is_nobody(joints: Poses) -> NDArray[np.bool_]:
    """Find poses [..., V, D] with several joints, all in one point: bool [...]."""
    seen = np.isfinite(joints).all(axis=-1, keepdims=True)
    low = np.where(seen, joints, np.inf).min(axis=-2)
    high = np.where(seen, joints, -np.inf).max(axis=-2)
    extent = (high.astype(float) - low).max(axis=-1)
    return np.asarray((seen.sum(axis=(-2, -1)) > 1) & (extent <= POINT))


def mask_unseen(joints: Poses, confidence: Poses | None) -> Poses:
    """Joints [..., V, D] with NaN where they are missing; a copy."""
    seen = np.asarray(np.isfinite(joints).all(axis=-1))
    if confidence is not None:
        seen &= confidence > 0
    masked: Poses = np.where(seen[..., None], joints, np.nan).astype(np.float32)
    return masked


def by_preference(joints_TMVD: Poses) -> list[int]:
    """Sort the people of a clip in the order in which a recognizer should choose one.

    Those of a plausible size (in 3-D) come first; of them, those seen at least half as much as the one seen most; of
    them, the one who moves most (in 2-D: relative to the size). NaN where a joint is missing.
    """
    people = [joints_TMVD[:, m] for m in range(joints_TMVD.shape[1])]
    if joints_TMVD.shape[-1] == 2:
        with np.errstate(over="ignore"):
            people = [person / max(_size(person), POINT) for person in people]
    seen = [int(np.isfinite(person).all(axis=-1).sum()) for person in people]
    ranks = [
        (_is_plausible(person), 2 * count >= max(seen), round(movement(person) / SIMILAR_M), count)
        for person, count in zip(people, seen, strict=True)
    ]
    return sorted(range(len(people)), key=lambda m: ranks[m], reverse=True)


def is_phantom(poses_TVD: Poses) -> bool:
    """Tell whether somebody is too still for a person or, in 3-D, of another size. NaN where a joint is missing."""
    return movement(poses_TVD) < STILL_M or (poses_TVD.shape[-1] == 3 and not _is_plausible(poses_TVD))


def movement(poses_TVD: Poses) -> float:
    """Root mean square distance of a person's joints from their mean positions over time, meters."""
    seen = np.isfinite(poses_TVD).all(axis=-1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        poses = np.where(seen, poses_TVD, 0).astype(float)
        mean = poses.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        squared = np.where(seen, (poses - mean) ** 2, 0).sum() / max(seen.sum(), 1)
    return float(np.sqrt(squared)) if np.isfinite(squared) else 0.0


def sample(poses_TV3: Poses, count: int) -> Poses:
    """Select up to `count` of the poses that have enough joints, evenly over time."""
    enough = np.flatnonzero(np.isfinite(poses_TV3).all(axis=-1).mean(axis=-1) >= MIN_SHARE)
    return poses_TV3[enough[np.linspace(0, len(enough) - 1, min(count, len(enough))).astype(int)]]


def spreads(poses_TV3: Poses) -> NDArray[np.float64]:
    """Mean distance [T] between any two joints of each pose, in meters; NaN where a joint is missing."""
    left, right = np.triu_indices(poses_TV3.shape[1], 1)
    with np.errstate(over="ignore", invalid="ignore"):
        distances = np.linalg.norm(poses_TV3[:, left].astype(float) - poses_TV3[:, right], axis=-1)
    known = np.isfinite(distances)
    found: NDArray[np.float64] = np.where(known, distances, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    return found


def _is_plausible(poses_TV3: Poses) -> bool:
    return MIN_SPREAD_M <= _size(poses_TV3) <= MAX_SPREAD_M


def _size(poses_TVD: Poses) -> float:
    """Median of `spreads`; 0 if no pose has enough joints."""
    found = np.sort(spreads(sample(poses_TVD, PLAUSIBLE_POSES)))
    return float(found[len(found) // 2]) if len(found) else 0.0

"""A motion led to joints that are given for some of its frames.

Shapes: T frames, V joints, K keyframes, meters, y up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..body.canonical import FEET_OF, LAYOUTS, heading, rotate_y
from ..errors import InputError
from .parts import below
from .postprocess import bone_lengths, fix_bone_lengths, join_path, plant_feet, project_lengths, split_path

Keyframes = Mapping[int, ArrayLike]
_REACH_FRAMES = 10  # before and after a keyframe, in which the pose is led to it and back
_MAX_STEP_M = 0.15  # per frame, that the body may be moved
_PROJECTIONS = 300
_NEAR_M = 0.005  # of the right length, a bone is as good as right
_STRETCH = 0.98  # of a limb's length
_LARGER, _OFF_M = 1.1, 0.1  # than this body, another one may be whose joints are given
_GROUND = np.array([1.0, 0.0, 1.0])  # x and z
_PLANT_PASSES = 2
_LIMBS = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")


def check_keyframes(keyframes: Keyframes, frames: int, V: int) -> dict[int, np.ndarray]:
    """Joints [V, 3] by frame, in order, NaN where free. Raises InputError: no such frame, shape or value, or none."""
    if not isinstance(keyframes, Mapping) or not keyframes:
        raise InputError(f"keyframes is {keyframes!r:.80}, expected joints by frame, {{40: joints}}")
    found = {}
    for frame, joints in keyframes.items():
        if isinstance(frame, bool) or not isinstance(frame, int | np.integer) or not 0 <= frame < frames:
            raise InputError(f"keyframes has frame {frame!r}, expected 0 to {frames - 1}, the frames of the motion")
        try:
            at = np.array(joints, np.float64)
        except (TypeError, ValueError):
            at = np.zeros(0)
        if at.shape != (V, 3):
            raise InputError(f"keyframes has shape {list(at.shape)} in frame {frame}, expected [{V}, 3]")
        free = np.isnan(at)
        if np.isinf(at).any() or free.all() or (free.any(1) != free.all(1)).any():
            raise InputError(
                f"keyframes has no joint in frame {frame} or part of one, expected x, y and z, or NaN thrice"
            )
        found[int(frame)] = at
    return dict(sorted(found.items()))


def reach(joints: np.ndarray, keyframes: Keyframes) -> np.ndarray:
    """Lead a motion [T, V, 3] to the joints of keyframes; the pose half a second before and after stays as it is.

    If the root is given, or out of reach, the body is moved on the floor, from the keyframe before on, and turned if
    hips and shoulders are given. Bones keep their lengths.

    Raises InputError: invalid keyframes, or joints that the body cannot reach.
    """
    T, V, _ = joints.shape
    targets = check_keyframes(keyframes, T, V)
    path, pose = split_path(joints)
    moves, changes = [], []
    for frame, target in targets.items():
        move, body = _place(joints[frame].astype(np.float64), target, joints, frame)
        x, z, angle = path[frame] + move
        changes.append(rotate_y((body - [x, 0, z])[None], angle)[0] - pose[frame])
        moves.append(move)
    frames, offsets = list(targets), np.array(moves)
    if frames[0] > 0:
        frames, offsets = [0, *frames], np.concatenate([np.zeros((1, 3)), offsets])
    steps = np.linalg.norm(np.diff(offsets[:, :2], axis=0), axis=1)
    for start, end, step in zip(frames, frames[1:], steps, strict=False):
        if step > _MAX_STEP_M * (end - start):
            raise InputError(
                f"keyframes has frame {end} {step:.2g} m from where the body would be, expected at most "
                f"{_MAX_STEP_M * (end - start):.2g} m, {end - start} frames later"
            )
    path += _interpolate(frames, offsets, T)
    for frame, change in zip(targets, changes, strict=True):
        pose += _weight(frame, list(targets), T)[:, None, None] * change
    found = fix_bone_lengths(join_path(path, pose), joints)
    for _ in range(_PLANT_PASSES):
        found = plant_feet(found)
        missed = [np.nanmean((target - found[frame])[:, [0, 2]], 0) for frame, target in targets.items()]
        missed = missed if 0 in targets else [np.zeros(2), *missed]
        found[..., [0, 2]] += _interpolate(frames, np.array(missed), T)[:, None].astype(np.float32)
    return found


def _place(body: np.ndarray, target: np.ndarray, joints: np.ndarray, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Move of a body [V, 3] on the floor, x, z and heading, and its joints when it has moved and reaches a target.

    Raises InputError: it cannot.
    """
    layout, root = LAYOUTS[len(body)], LAYOUTS[len(body)].root
    lengths = bone_lengths(joints)
    reaches = _reaches(lengths, len(body))
    is_fixed = ~np.isnan(target[:, 0])
    _check_reach(target, reaches, frame)
    turn, step = 0.0, np.zeros(3)
    if is_fixed[[*layout.facing[0], *layout.facing[1]]].all():
        turn = float(heading(target[None], layout)[0] - heading(body[None], layout)[0])
        turn -= 2 * np.pi * np.round(turn / (2 * np.pi))
    start = body[root].copy()
    body = rotate_y((body - start)[None], -turn)[0] + start
    tops = {joint: layout.joints.index(top) for top in _LIMBS for joint in below(layout, top)}
    if is_fixed[root]:
        step = (target[root] - start) * _GROUND
    else:
        far = [_excess(target[i] - body[top], reaches[top, i]) for i in np.flatnonzero(is_fixed).tolist()
               if (top := tops.get(i, root)) != i]  # fmt: skip
        step = np.mean([one for one in far if one.any()] or [step], 0)
    body = body + step
    arms_and_legs = set(tops) - set(tops.values())
    feet = {joint for foot in FEET_OF[len(body)] for joint in (foot, layout.parents[foot])}
    for held in (set(range(len(body))) - arms_and_legs, feet, *([set()] if is_fixed[root] else [])):
        is_free = ~is_fixed
        is_free[list(held)] = False
        found = np.where(is_fixed[:, None], target, body)[..., None]
        project_lengths(found, _braced(lengths, body), is_free, _PROJECTIONS)
        off = [abs(np.linalg.norm(found[i] - found[j]) - length) for (i, j), length in lengths.items()
               if not (is_fixed[i] and is_fixed[j])]  # fmt: skip
        if max(off, default=0) < _NEAR_M:
            return np.array([step[0], step[2], turn]), found[..., 0]
    raise InputError(f"keyframes has joints in frame {frame} that the body does not reach, expected nearer ones")


def _excess(way: np.ndarray, reach: float) -> np.ndarray:
    """Move on the floor, [3], after which a joint at the end of `way` [3] is in reach."""
    level = np.linalg.norm(way * _GROUND)
    excess = level - np.sqrt(max((_STRETCH * reach) ** 2 - way[1] ** 2, 0))
    return max(excess, 0) / max(level, 1e-9) * way * _GROUND


def _reaches(lengths: Mapping[tuple[int, int], float], V: int) -> np.ndarray:
    """Lengths of bones between joints, [V, V]."""
    found = np.where(np.eye(V, dtype=bool), 0, np.inf)
    for (i, j), length in lengths.items():
        found[i, j] = found[j, i] = length
    for middle in range(V):
        found = np.minimum(found, found[:, middle, None] + found[middle])
    return found


def _braced(lengths: Mapping[tuple[int, int], float], body: np.ndarray) -> dict[tuple[int, int], float]:
    """Lengths, and distances of joints with the same parent, so that hips and shoulders keep their shape."""
    parents = LAYOUTS[len(body)].parents
    pairs = [(i, j) for i in range(len(body)) for j in range(i) if parents[i] == parents[j]]
    return {**lengths, **{(i, j): float(np.linalg.norm(body[i] - body[j])) for i, j in pairs}}


def _check_reach(target: np.ndarray, reaches: np.ndarray, frame: int) -> None:
    """Raises InputError: given joints are farther apart than any body like this one reaches."""
    apart = np.linalg.norm(target[:, None] - target, axis=2)
    names = LAYOUTS[len(target)].joints
    for i, j in zip(*np.nonzero(apart > _LARGER * reaches + _OFF_M), strict=True):
        raise InputError(
            f"keyframes has {names[j]} {apart[i, j]:.2f} m from {names[i]} in frame {frame}, expected at most "
            f"{reaches[i, j]:.2f} m, as far as the body reaches"
        )


def _interpolate(frames: Sequence[int], values: np.ndarray, T: int) -> np.ndarray:
    """Values [T, D] that rest in each of some frames, with those in these frames, [K, D]."""
    number = np.interp(np.arange(T), frames, np.arange(len(frames)))
    eased = np.floor(number) + (1 - np.cos(np.pi * (number % 1))) / 2
    return np.stack([np.interp(eased, np.arange(len(frames)), axis) for axis in values.T], 1)


def _weight(frame: int, frames: Sequence[int], T: int) -> np.ndarray:
    """Weight [T] of a keyframe's pose: 1 in its frame, 0 in those before and after, and half a second from it."""
    before = max([frame - _REACH_FRAMES, *(other for other in frames if other < frame)])
    after = min([frame + _REACH_FRAMES, *(other for other in frames if other > frame)])
    return (1 - np.cos(np.pi * np.interp(np.arange(T), [before, frame, after], [0, 1, 0]))) / 2

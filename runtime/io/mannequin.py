"""`mannequin`: a body with volume around the joints of one pose.

Sizes are those of an adult of 1.7 m, times a scale that `body_scale` estimates from the bones.
Shapes: T time, V joints; meters, y up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout

Array = NDArray[np.float64]
Joints = dict[str, Array]

SIDES = ("left", "right")
LIMBS = (  # (from, to, radius there), for both sides
    ("shoulder", "elbow", 0.053, 0.041),
    ("elbow", "wrist", 0.042, 0.029),
    ("hip", "knee", 0.082, 0.054),
    ("knee", "ankle", 0.056, 0.036),
)
BONES_M = {("hip", "knee"): 0.42, ("knee", "ankle"): 0.41, ("shoulder", "elbow"): 0.28, ("elbow", "wrist"): 0.25}
TORSO_M = 0.47  # between the midpoints of hips and shoulders
SPINE = ("spine2", "spine", "spine1")  # the joint at which the torso bends, in order of preference
FINGERS = ("hand_tip", "fingers", "index", "hand")
COVERED = {"pelvis", "spine", "spine1", "spine2", "spine3", "neck", "upper_neck", "head", "head_top", "nose"} | {
    f"{side}_{part}"
    for side in SIDES
    for part in (
        *("collar", "shoulder", "elbow", "wrist", "hand", "hand_tip", "fingers", "thumb", "index", "pinky"),
        *("hip", "knee", "ankle", "heel", "foot", "toes", "ear", "mouth", "eye", "eye_inner", "eye_outer"),
    )
}


@dataclass(frozen=True, slots=True, eq=False)
class Capsule:
    """A round bone whose radius changes from `start` to `end`."""

    start: Array  # [3]
    end: Array  # [3]
    start_radius: float
    end_radius: float
    side: str  # left, right or middle


@dataclass(frozen=True, slots=True, eq=False)
class Ellipsoid:
    """An ellipsoid; `axes` [3, 3] are its semi-axes to the left, up and forward. A head has a face."""

    center: Array  # [3]
    axes: Array
    side: str
    face: bool = False


Part = Capsule | Ellipsoid


def body_scale(joints: Array, layout: Layout) -> float:
    """Size of a person [T, V, 3] relative to an adult, from the lengths of the limbs; 1 if none is visible."""
    index = layout.joints.index
    ratios = []
    for (start, end), length_m in BONES_M.items():
        for side in SIDES:
            names = f"{side}_{start}", f"{side}_{end}"
            if set(names) <= set(layout.joints):
                lengths = np.linalg.norm(joints[:, index(names[0])] - joints[:, index(names[1])], axis=-1)
                lengths = lengths[np.isfinite(lengths)]
                if len(lengths):
                    ratios.append(float(np.median(lengths)) / length_m)
    return float(np.median(ratios)) or 1.0 if ratios else 1.0


def mannequin(pose: Array, layout: Layout, scale: float = 1.0) -> list[Part]:
    """Body parts around the joints [V, 3] of a pose; a part whose joints are missing (NaN) is left out."""
    visible = np.asarray(np.isfinite(pose).all(axis=-1))  # [V]
    joints: Joints = {name: pose[i] for i, name in enumerate(layout.joints) if visible[i]}
    parts: list[Part] = []
    for side in SIDES:
        for start, end, r0, r1 in LIMBS:
            if (a := joints.get(f"{side}_{start}")) is not None and (b := joints.get(f"{side}_{end}")) is not None:
                parts.append(Capsule(a, b, r0 * scale, r1 * scale, side))
        parts += _hand(joints, side, scale) + _foot(joints, side, scale)
    parts += _torso_and_head(joints, scale)
    for i, j in _other_edges(layout):
        if visible[i] and visible[j]:
            parts.append(Capsule(pose[j], pose[i], 0.03 * scale, 0.025 * scale, body_side(layout.joints[i])))
    return parts


def body_side(joint: str) -> str:
    """`left`, `right` or `middle`."""
    name, _, rest = joint.partition("_")
    return name if rest and name in SIDES else "middle"


@cache
def _other_edges(layout: Layout) -> list[tuple[int, int]]:
    """Bones of a custom layout that are not parts of the mannequin."""
    names = layout.joints
    return [(i, j) for i, j in layout.edges if i != layout.root and not {names[i], names[j]} <= COVERED]


def _hand(joints: Joints, side: str, scale: float) -> list[Part]:
    wrist, elbow = joints.get(f"{side}_wrist"), joints.get(f"{side}_elbow")
    if wrist is None:
        return []
    tip = _first(joints, [f"{side}_{name}" for name in FINGERS])
    if tip is not None and (length := float(np.linalg.norm(tip - wrist))) > 0.03 * scale:
        end = wrist + np.clip(length, 0.07 * scale, 0.16 * scale) * _unit(tip - wrist)
    elif elbow is not None:
        end = wrist + 0.1 * scale * _unit(wrist - elbow)
    else:
        return []
    return [Capsule(wrist, end, 0.032 * scale, 0.031 * scale, side)]


def _foot(joints: Joints, side: str, scale: float) -> list[Part]:
    knee, ankle = joints.get(f"{side}_knee"), joints.get(f"{side}_ankle")
    toe = _first(joints, [f"{side}_toes", f"{side}_foot"])
    if ankle is None or toe is None:
        return []
    down = _unit(toe - ankle) if knee is None else _unit(ankle - knee)
    forward = toe - ankle
    forward = _unit(forward - (forward @ down) * down)
    heel = joints.get(f"{side}_heel")
    if heel is None:
        drop = max(float((toe - ankle) @ down), 0.02 * scale)  # the sole is level with the toes
        heel = ankle + drop * down - 0.03 * scale * forward
    tip = toe + 0.03 * scale * forward
    return [
        Capsule(ankle, heel, 0.036 * scale, 0.036 * scale, side),
        Capsule(ankle, tip, 0.036 * scale, 0.026 * scale, side),
        Capsule(heel, tip, 0.036 * scale, 0.028 * scale, side),
    ]


def _torso_and_head(joints: Joints, scale: float) -> list[Part]:
    hips, shoulders = (_pair(joints, name) for name in ("hip", "shoulder"))
    pelvis = joints.get("pelvis") if hips is None else hips[0]
    neck = _first(joints, ["neck", "upper_neck"]) if shoulders is None else shoulders[0]
    parts: list[Part] = []
    if pelvis is not None and neck is not None and (hips is not None or shoulders is not None):
        across_hips = hips[1] if hips is not None else shoulders[1]  # type: ignore[index]
        across_shoulders = shoulders[1] if shoulders is not None else across_hips
        bend = _first(joints, SPINE)
        middle = (pelvis + neck) / 2 if bend is None else bend
        waist_up, chest_up = _unit(middle - pelvis), _unit(neck - middle)
        lower, upper = float(np.linalg.norm(middle - pelvis)), float(np.linalg.norm(neck - middle))
        length = float(np.clip((lower + upper) / scale, 0.35, 0.65))
        hip_width, shoulder_width = (
            float(np.clip(np.linalg.norm(across) / scale, 0.15, 0.42)) for across in (across_hips, across_shoulders)
        )
        waist = 0.38 * (lower + upper)
        waist_center = pelvis + min(waist, lower) * waist_up + max(waist - lower, 0) * chest_up
        hips_center = pelvis + 0.05 * (lower + upper) * waist_up
        waist_width = 0.075 + 0.1 * (hip_width + shoulder_width)
        parts += [
            _ellipsoid(hips_center, across_hips, waist_up, (0.068 + hip_width / 2, 0.28 * length, 0.11), scale),
            _ellipsoid(
                waist_center,
                across_hips + across_shoulders,
                neck - pelvis,
                (waist_width, 0.44 * length, 0.104),
                scale,
            ),
            _ellipsoid(
                neck - 0.32 * (lower + upper) * chest_up,
                across_shoulders,
                chest_up,
                (0.045 + 0.36 * shoulder_width, 0.44 * length, 0.12),
                scale,
            ),
        ]
        if shoulders is not None:
            for sign in (1, -1):
                end = neck + sign * 0.42 * across_shoulders
                parts += [
                    Capsule(neck - 0.06 * scale * chest_up, end, 0.07 * scale, 0.048 * scale, "middle"),
                    Capsule(neck + 0.05 * scale * chest_up, end, 0.045 * scale, 0.042 * scale, "middle"),
                ]
    if neck is not None:
        parts += _head(joints, neck, None if shoulders is None else shoulders[1], scale)
    return parts


def _head(joints: Joints, neck: Array, across: Array | None, scale: float) -> list[Part]:
    ears = _pair(joints, "ear")
    head = joints.get("head") if ears is None else ears[0]
    if head is None:
        return []
    base = joints.get("neck", neck)
    up = _unit(head - base) if np.linalg.norm(head - base) > 1e-6 * scale else np.array([0.0, 1.0, 0.0])
    distance = float(np.clip(np.linalg.norm(head - base), 0.2 * scale, 0.25 * scale))
    center = head if ears is not None else base + distance * up
    nose = joints.get("nose")
    if ears is not None and nose is not None:
        forward = _unit(nose - head)
        across = ears[1]
        up = _unit(np.cross(forward, across))
    parts: list[Part] = [
        Capsule(neck, base, 0.06 * scale, 0.06 * scale, "middle"),
        Capsule(base, center, 0.058 * scale, 0.05 * scale, "middle"),
    ]
    if across is None:
        return [*parts, Ellipsoid(center, 0.09 * scale * np.eye(3), "middle")]
    return [*parts, _ellipsoid(center, across, up, (0.083, 0.118, 0.1), scale, face=True)]


def _ellipsoid(
    center: Array, left: Array, up: Array, sizes: tuple[float, float, float], scale: float, *, face: bool = False
) -> Ellipsoid:
    """An ellipsoid whose axes point up, as far to the `left` as possible, and forward."""
    up = _unit(up) if np.linalg.norm(up) > 1e-6 * scale else np.array([0.0, 1.0, 0.0])
    left = left - (left @ up) * up
    if np.linalg.norm(left) < 1e-6 * scale:
        left = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    left = _unit(left)
    axes = np.stack([left, up, np.cross(left, up)])
    return Ellipsoid(center, scale * np.array(sizes)[:, None] * axes, "middle", face)


def _pair(joints: Joints, name: str) -> tuple[Array, Array] | None:
    """Midpoint of a left and a right joint, and the vector from right to left."""
    left, right = joints.get(f"left_{name}"), joints.get(f"right_{name}")
    return None if left is None or right is None else ((left + right) / 2, left - right)


def _first(joints: Joints, names: list[str] | tuple[str, ...]) -> Array | None:
    return next((joints[name] for name in names if name in joints), None)


def _unit(vector: Array) -> Array:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)

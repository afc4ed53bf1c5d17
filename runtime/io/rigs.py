"""Skeletons with the joint names of other programs, for files of rotations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..body.motion_data import MotionData
from ..body.proportions import SMPL, to_smpl
from ..body.rotations import Rig
from ..errors import InputError

_CENTER = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
_SIDES = ("collar", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "foot")


def _names(prefix: str, center: str, sides: str) -> dict[str, str]:
    """Names of the joints of smpl22: those of `_CENTER`, and of `_SIDES` with {} for left or right."""
    found = {joint: prefix + name for joint, name in zip(_CENTER, center.split(), strict=True)}
    for joint, name in zip(_SIDES, sides.split(), strict=True):
        for side in ("left", "right"):
            found[f"{side}_{joint}"] = prefix + name.replace("{}", side.title()).replace("{s}", side[0])
    return found


RIGS = {
    "mixamo": _names(
        "mixamorig:",
        "Hips Spine Spine1 Spine2 Neck Head",
        "{}Shoulder {}Arm {}ForeArm {}Hand {}UpLeg {}Leg {}Foot {}ToeBase",
    ),
    "vrm": _names(
        "",
        "Hips Spine Chest UpperChest Neck Head",
        "{}Shoulder {}UpperArm {}LowerArm {}Hand {}UpperLeg {}LowerLeg {}Foot {}Toes",
    ),
    "unreal": _names(
        "",
        "pelvis spine_01 spine_02 spine_03 neck_01 head",
        "clavicle_{s} upperarm_{s} lowerarm_{s} hand_{s} thigh_{s} calf_{s} foot_{s} ball_{s}",
    ),
    "smplx": {joint: joint for joint in SMPL.joints},
}
A_POSE_DEG = {"unreal": 45.0}  # by which arms hang at rest; in other rigs they are level, a T-pose


def rig_of(motion: MotionData, name: str | None) -> tuple[MotionData, Rig]:
    """The rig of one person, and the motion in its layout.

    Args:
        name: one of `RIGS`: 22 joints without helper nodes, at rest as `A_POSE_DEG` says; None: the motion's own joints
            with helper nodes.

    Raises InputError: several people, a 2-D layout, or a missing joint.
    """
    if name is None:
        return motion, Rig.from_motion(motion, helpers=True)
    motion = to_smpl(motion)
    rig = Rig.from_motion(motion)
    offsets = rig.offsets.copy()
    angle = np.radians(A_POSE_DEG.get(name, 0))
    for side, sign in (("left", 1), ("right", -1)):
        arm = [SMPL.joints.index(f"{side}_{part}") for part in ("elbow", "wrist")]
        length = np.linalg.norm(offsets[arm], axis=1)
        offsets[arm, :2] = length[:, None] * [sign * np.cos(angle), -np.sin(angle)]
    return motion, replace(rig, nodes=tuple(RIGS[name][joint] for joint in rig.nodes), offsets=offsets)


def check_rig(name: str) -> None:
    """Raise InputError: there is no rig of this name."""
    if name not in RIGS:
        raise InputError(f"rig is {name!r}, expected {', '.join(RIGS)}, amass, or a character's FILE.glb")

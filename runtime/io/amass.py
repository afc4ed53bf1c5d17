"""AMASS: body model parameters (SMPL-H or SMPL-X), z up, whose joints need the user's copy of the body model.

The license of the body models forbids passing them on, so their folder is named by the environment variable
`MOTIONRT_BODY_MODELS`. It holds the `.npz` files as they are distributed, such as `smplh/male/model.npz` or
`smplx/SMPLX_NEUTRAL.npz`. Writing needs no model: rotations are relative to the rest pose of SMPL-H's mean body.

Shapes: T time, J joints of the model, V joints of smpl22.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..body.motion_data import MotionData
from ..body.proportions import SMPL, Body, put_on, to_smpl
from ..body.rotations import one_person, to_rotation_vectors, with_right_side
from ..body.units import turn
from ..errors import InputError
from .arrays import array_names, load_arrays, read_npz
from .text import check_size

FOLDER_VARIABLE = "MOTIONRT_BODY_MODELS"
RATES = ("mocap_framerate", "mocap_frame_rate")
BODY_JOINTS = 22  # of every model, in the order of smpl22
MODELS = {156: "SMPL-H", 165: "SMPL-X", 72: "SMPL"}  # by numbers a pose
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # turns y up to z up
_REST_M = {  # of joints of the mean body
    "pelvis": (0, -0.223, 0.028),
    "left_hip": (0.068, -0.314, 0.023),
    "left_knee": (0.105, -0.693, 0.016),
    "left_ankle": (0.09, -1.091, -0.027),
    "left_foot": (0.116, -1.143, 0.094),
    "spine1": (0, -0.114, 0.002),
    "spine2": (0, 0.021, 0.003),
    "spine3": (0, 0.074, 0.028),
    "neck": (0, 0.288, -0.015),
    "head": (0, 0.353, 0.037),
    "left_collar": (0.08, 0.194, -0.008),
    "left_shoulder": (0.174, 0.226, -0.017),
    "left_elbow": (0.43, 0.213, -0.042),
    "left_wrist": (0.683, 0.221, -0.045),
}


def read_npz_or_amass(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read an .npz of joints, or one of AMASS, which has `poses` and `trans` instead."""
    names = array_names(path)
    if "joints" not in names and {"poses", "trans"} <= names:
        return read_amass(path, layout, fps)
    return read_npz(path, layout, fps)


def read_amass(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Joints of the body model of the file's gender and shape, in every frame, y up."""
    arrays = load_arrays(path, only={"poses", "trans", "betas", "gender", *RATES})
    missing = [name for name in ("poses", "trans") if name not in arrays]
    if missing:
        raise InputError(f"has no array {missing[0]}")
    poses, moves = arrays["poses"], arrays["trans"]
    if poses.ndim != 2 or poses.shape[1] not in MODELS or moves.shape != (len(poses), 3):
        raise InputError(f"poses {list(poses.shape)} and trans {list(moves.shape)} are not those of AMASS")
    rate = next((float(arrays[name].item()) for name in RATES if name in arrays and arrays[name].size == 1), None)
    rate = rate if fps is None else fps
    if rate is None:
        raise InputError("has no mocap_framerate: pass fps (--fps)")
    check_size(len(poses), poses.shape[1] // 3)
    gender = _gender(arrays.get("gender"))
    rest, parents = _rest_joints(gender, poses.shape[1], arrays.get("betas"))
    joints = _pose(rest, parents, poses.astype(np.float64).reshape(len(poses), -1, 3)) + moves[:, None]
    return MotionData(turn(joints.astype(np.float32), "z"), rate, layout or "smpl22")


def write_amass(motion: MotionData, file: BinaryIO) -> None:
    """Write one person as parameters of SMPL-H's neutral mean body, z up; hands at rest.

    Raises InputError for several people, a 2-D layout or a missing joint.
    """
    positions = with_right_side(_REST_M)
    rest = np.array([positions[name] for name in SMPL.joints])
    body = Body(joints=SMPL.joints, parents=SMPL.parents, rest=rest)
    pelvis, turns = put_on(body, one_person(to_smpl(motion)))
    above = [max(parent, 0) for parent in body.parents]
    local = np.swapaxes(turns[:, above], -1, -2) @ turns
    local[:, 0] = Z_UP @ turns[:, 0]
    poses = np.zeros((motion.frames, 156))
    poses[:, : 3 * BODY_JOINTS] = to_rotation_vectors(local).reshape(motion.frames, -1)
    np.savez_compressed(
        file,
        poses=poses,
        trans=pelvis @ Z_UP.T - rest[0],
        betas=np.zeros(16),
        gender=np.array("neutral"),
        mocap_framerate=np.array(float(motion.fps)),
    )


def _gender(value: NDArray[np.generic] | None) -> str:
    word = value.item() if value is not None and value.size == 1 else "neutral"
    word = word.decode("ascii", "replace") if isinstance(word, bytes) else str(word)
    return word if word in ("male", "female") else "neutral"


def _rest_joints(
    gender: str, width: int, betas: NDArray[np.floating] | None
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Rest positions [J, 3] and parents [J] of the joints, from the model of that gender and number of joints."""
    folder, kind = os.environ.get(FOLDER_VARIABLE), f"{gender} {MODELS[width]}"
    if not folder:
        raise InputError(
            f"holds parameters of a body model, not joints: set {FOLDER_VARIABLE} to the folder of your {kind} model"
        )
    word = re.compile(rf"(?<![a-z]){gender}(?![a-z])", re.IGNORECASE)
    for path in sorted(Path(folder).rglob("*.npz")):
        if not word.search(str(path.relative_to(folder))):
            continue
        model = load_arrays(path, only={"J_regressor", "v_template", "shapedirs", "kintree_table"})
        if len(model) == 4 and model["kintree_table"].shape[-1] == width // 3:
            break
    else:
        raise InputError(f"needs the {kind} body model, which is not in {folder} ({FOLDER_VARIABLE})")
    try:
        shape = np.zeros(0) if betas is None else betas.astype(np.float64).ravel()[: model["shapedirs"].shape[-1]]
        vertices = model["v_template"] + model["shapedirs"][..., : len(shape)] @ shape
        rest = np.asarray(model["J_regressor"] @ vertices, np.float64)[: width // 3]
        parents = model["kintree_table"][0].astype(np.int64)
        parents[0] = -1
        if not (parents[1:] < np.arange(1, len(parents))).all() or (parents[1:] < 0).any():
            raise ValueError
    except (ValueError, IndexError, TypeError):
        raise InputError(f"the body model {path} is damaged or of another kind") from None
    return rest, parents


def _pose(rest: NDArray[np.float64], parents: NDArray[np.intp], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions [T, V, 3] of the body's joints turned by rotation vectors [T, J, 3]."""
    turns = np.empty((len(vectors), BODY_JOINTS, 3, 3))
    positions = np.empty((len(vectors), BODY_JOINTS, 3))
    for joint in range(BODY_JOINTS):
        local, above = _rotations(vectors[:, joint]), parents[joint]
        if above < 0:
            turns[:, joint], positions[:, joint] = local, rest[joint]
        else:
            turns[:, joint] = turns[:, above] @ local
            positions[:, joint] = positions[:, above] + turns[:, above] @ (rest[joint] - rest[above])
    return positions


def _rotations(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices [T, 3, 3] of rotation vectors [T, 3], by Rodrigues' formula."""
    angle = np.linalg.norm(vectors, axis=-1)[:, None, None]
    x, y, z = (vectors / np.maximum(angle[..., 0], 1e-12)).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)

"""HumanML3D's vectors: 263 numbers a frame (22 joints), and the 251 of KIT-ML in the same form (21 joints).

Per frame: the root's turn about y (half the angle, radians a frame), its velocity x, z in its own frame, its height,
positions of the other joints relative to the root's x, z and heading, then rotations, velocities and foot contacts,
which positions do not need. Shapes: T time, V joints.

Source: Guo et al., "Generating diverse and natural 3D human motions from text" (2022), section 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..body.rotations import from_quaternions
from ..errors import InputError

KIT_UNIT_M = 0.001
FORMS = {263: ("smpl22", 20.0, 1.0), 251: ("kit21", 12.5, KIT_UNIT_M)}  # layout, frames a second, meters per unit
CONTACTS = 4  # the last columns, 0 or 1


def recover_joints(vectors: NDArray[np.floating]) -> tuple[NDArray[np.float32], str, float]:
    """Joints [T, V, 3] in meters, layout and rate of vectors [T, 263] or [T, 251].

    Raises InputError for vectors that were normalized, and for another width.
    """
    if vectors.shape[1] not in FORMS:
        raise InputError(
            f"has shape {list(vectors.shape)}, expected [T, V, 3] or [T, M, V, 3], or vectors [T, 263] (HumanML3D) "
            "or [T, 251] (KIT-ML)"
        )
    layout, fps, unit = FORMS[vectors.shape[1]]
    contacts = vectors[:, -CONTACTS:]
    if not len(vectors) or np.nanmin(contacts) < -0.5 or np.nanmax(contacts) > 1.5:
        raise InputError("vectors are normalized: multiply them by the data set's Std.npy and add its Mean.npy")
    vectors = vectors.astype(np.float64)
    joints = (vectors.shape[1] + 1) // 12  # 4 + 3 (V - 1) + 6 (V - 1) + 3 V + 4
    half_angle = np.concatenate([[0], np.cumsum(vectors[:-1, 0])])
    zeros = np.zeros_like(half_angle)
    unturn = from_quaternions(np.stack([np.cos(half_angle), zeros, -np.sin(half_angle), zeros], axis=-1))  # [T, 3, 3]
    steps = np.zeros((len(vectors), 3))
    steps[1:, [0, 2]] = vectors[:-1, 1:3]
    root = np.cumsum((unturn @ steps[..., None])[..., 0], axis=0)
    root[:, 1] = vectors[:, 3]
    local = vectors[:, 4 : 4 + 3 * (joints - 1)].reshape(len(vectors), -1, 3)
    others = local @ unturn.transpose(0, 2, 1)
    others[..., [0, 2]] += root[:, None, [0, 2]]
    return (np.concatenate([root[:, None], others], axis=1) * unit).astype(np.float32), layout, fps

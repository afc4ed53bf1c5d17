"""Parts of the body that can be regenerated on their own.

Shapes: T frames, V joints, meters, y up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..body.canonical import SMPL
from ..errors import InputError


def _below(*tops: str) -> frozenset[int]:
    """Joints from these on outward."""
    found = {SMPL.joints.index(top) for top in tops}
    for joint, parent in enumerate(SMPL.parents):  # parents come first
        if parent in found:
            found.add(joint)
    return frozenset(found)


PARTS = {
    "arms": _below("left_shoulder", "right_shoulder"),
    "left_arm": _below("left_shoulder"),
    "right_arm": _below("right_shoulder"),
    "upper_body": _below("spine1"),
}


def part_joints(parts: str | Sequence[str]) -> frozenset[int]:
    """Joints of a part or several. Raises InputError: an unknown part, or none."""
    names = [parts] if isinstance(parts, str) else list(parts)
    for name in names:
        if name not in PARTS:
            raise InputError(f"parts has {name!r}, expected {', '.join(PARTS)}")
    if not names:
        raise InputError(f"parts is empty, expected {', '.join(PARTS)}")
    return frozenset().union(*(PARTS[name] for name in names))


def transplant(base_TV3: np.ndarray, other_TV3: np.ndarray, joints: frozenset[int]) -> np.ndarray:
    """Replace joints by those of a body that faces the same way, moved to where the base's body holds them."""
    found = base_TV3.copy()
    for joint in sorted(joints):
        parent = SMPL.parents[joint]
        found[:, joint] = found[:, parent] + (other_TV3[:, joint] - other_TV3[:, parent])
    return found

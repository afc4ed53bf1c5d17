"""Parts of the body that can be regenerated on their own.

Shapes: T frames, V joints, meters, y up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..body.canonical import LAYOUTS, SMPL
from ..body.layout import Layout
from ..errors import InputError


def below(layout: Layout, *tops: str) -> frozenset[int]:
    """Joints from these on outward."""
    found = {layout.joints.index(top) for top in tops}
    for joint, parent in enumerate(layout.parents):  # parents come first
        if parent in found:
            found.add(joint)
    return frozenset(found)


_TOPS = {
    "arms": ("left_shoulder", "right_shoulder"),
    "left_arm": ("left_shoulder",),
    "right_arm": ("right_shoulder",),
    "upper_body": ("spine1",),
}
PARTS_OF = {V: {part: below(layout, *tops) for part, tops in _TOPS.items()} for V, layout in LAYOUTS.items()}
PARTS = PARTS_OF[len(SMPL.joints)]


def part_joints(parts: str | Sequence[str], V: int = len(SMPL.joints)) -> frozenset[int]:
    """Joints of a part or several, of a body of V joints. Raises InputError: an unknown part, or none."""
    names = [parts] if isinstance(parts, str) else list(parts)
    for name in names:
        if name not in PARTS:
            raise InputError(f"parts has {name!r}, expected {', '.join(PARTS)}")
    if not names:
        raise InputError(f"parts is empty, expected {', '.join(PARTS)}")
    return frozenset().union(*(PARTS_OF[V][name] for name in names))


def transplant(base_TV3: np.ndarray, other_TV3: np.ndarray, joints: frozenset[int]) -> np.ndarray:
    """Replace joints by those of a body that faces the same way, moved to where the base's body holds them."""
    found, parents = base_TV3.copy(), LAYOUTS[base_TV3.shape[1]].parents
    for joint in sorted(joints):
        parent = parents[joint]
        found[:, joint] = found[:, parent] + (other_TV3[:, joint] - other_TV3[:, parent])
    return found

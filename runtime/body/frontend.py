"""Preprocessing of joints before the network: one frozen configuration of the C++ core."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .layout import Layout

if TYPE_CHECKING:
    from .._core import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontend:
    """Resampling, gap filling, centering and facing of a person's joints.

    Attributes:
        rate_hz: frame rate of the network.
        facing_s: time constant of the smoothed heading that is turned to +z, seconds; 0: the heading is not changed.
        reach_m: joints farther from the root count as missing, meters.
        max_gap_s: longest time for which missing joints are filled before the person is lost, seconds.
        bones: lengths [V] of the bones to the parent joints, meters, 0 for a joint without one. Every pose is rebuilt
            with them: each joint in its direction from the parent; hips and shoulders with the same parent on both
            sides of it, along the line through them; the root of the tree between the hips. None: poses keep theirs.
        flat: whether 2-D poses are taken, too: in any unit, y up or down. They get the size of a person by the longest
            trunk of late and y up; z is 0. Nothing else but the trunk's length is known of them: `bones` are not
            applied, and the person is not turned.
    """

    rate_hz: float
    facing_s: float = 1.0
    reach_m: float = 2.0
    max_gap_s: float = 0.5
    bones: tuple[float, ...] | None = None
    flat: bool = False

    def __post_init__(self) -> None:
        if self.bones is not None:  # a list in JSON
            object.__setattr__(self, "bones", tuple(self.bones))

    def config(self, layout: Layout, labels: int, **decision: Any) -> Config:
        """Settings of the C++ core for people in `layout`."""
        from .._core import Config  # manifests are read without it

        left, right = layout.facing
        return Config(
            joints=len(layout.joints),
            root=layout.root,
            left=list(left),
            right=list(right),
            parents=layout.parents,
            labels=labels,
            **(asdict(self) | {"bones": self.bones or ()}),
            **decision,
        )


def prepare(joints: np.ndarray, frontend: Frontend, layout: Layout, flat: bool = False) -> np.ndarray:
    """Joints [T, V, 3] in meters at the network's rate -> input frames [T, V, 3] of the network.

    Args:
        flat: the joints are taken as 2-D ones, [T, V, 2] or [T, V, 3] without their z, in any unit.
    Raises:
        InputError: a frame in which the person could not be tracked.
    """
    from .._core import Session

    session = Session(replace(frontend, flat=flat).config(layout, 1))
    source = session.add_layout(np.eye(len(layout.joints), dtype=np.float32), flat)
    joints = joints[..., :2] if flat else joints
    frames = []
    for t, pose in enumerate(np.ascontiguousarray(joints, np.float32)):
        pushed = session.push(0, t / frontend.rate_hz, pose, None, source)
        if len(pushed.frames) != 1:
            raise InputError(f"frame {t}: the person is {pushed.status}; a training clip must not have gaps")
        frames.append(pushed.frames[0])
    return np.stack(frames)

"""What happens to joints before a network sees them, as one frozen configuration over the C++ core."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .._core import Config, Session
from ..errors import InputError
from .layout import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontend:
    """Resampling, gap filling, centring and facing of a person's joints.

    Attributes:
        rate_hz: frames a second that the network steps at.
        facing_s: time constant of the slow heading that is turned to +z, seconds; 0 leaves the heading alone.
        reach_m: joints farther from the root are taken for missing, metres.
        max_gap_s: how long a pose is held for what is missing before a person is lost, seconds.
    """

    rate_hz: float
    facing_s: float = 1.0
    reach_m: float = 2.0
    max_gap_s: float = 0.5

    def config(self, layout: Layout, labels: int, **decision: Any) -> Config:
        """The core's settings for people in `layout`."""
        left, right = layout.facing
        return Config(
            joints=len(layout.joints),
            root=layout.root,
            left=list(left),
            right=list(right),
            labels=labels,
            **asdict(self),
            **decision,
        )


def prepare(joints: np.ndarray, frontend: Frontend, layout: Layout) -> np.ndarray:
    """Joints [T, V, 3] at the network's rate, metres -> frames [T, V, 3] as the network is given them.

    Raises:
        InputError: a frame in which the person could not be followed.
    """
    session = Session(frontend.config(layout, 1))
    same = session.add_layout(np.eye(len(layout.joints), dtype=np.float32))
    frames = []
    for t, pose in enumerate(np.ascontiguousarray(joints, np.float32)):
        pushed = session.push(0, t / frontend.rate_hz, pose, None, same)
        if len(pushed.frames) != 1:
            raise InputError(f"frame {t}: the person was {pushed.status}; a training clip must be whole")
        frames.append(pushed.frames[0])
    return np.stack(frames)

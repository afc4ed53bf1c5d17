"""Preprocessing of joints before the network: one frozen configuration of the C++ core."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .._core import Config, Session
from ..errors import InputError
from .layout import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontend:
    """Resampling, gap filling, centering and facing of a person's joints.

    Attributes:
        rate_hz: frame rate of the network.
        facing_s: time constant of the smoothed heading that is turned to +z, seconds; 0: the heading is not changed.
        reach_m: joints farther from the root count as missing, meters.
        max_gap_s: longest time for which missing joints are filled before the person is lost, seconds.
    """

    rate_hz: float
    facing_s: float = 1.0
    reach_m: float = 2.0
    max_gap_s: float = 0.5

    def config(self, layout: Layout, labels: int, **decision: Any) -> Config:
        """Settings of the C++ core for people in `layout`."""
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
    """Joints [T, V, 3] in meters at the network's rate -> input frames [T, V, 3] of the network.

    Raises:
        InputError: a frame in which the person could not be tracked.
    """
    session = Session(frontend.config(layout, 1))
    source = session.add_layout(np.eye(len(layout.joints), dtype=np.float32))
    frames = []
    for t, pose in enumerate(np.ascontiguousarray(joints, np.float32)):
        pushed = session.push(0, t / frontend.rate_hz, pose, None, source)
        if len(pushed.frames) != 1:
            raise InputError(f"frame {t}: the person is {pushed.status}; a training clip must not have gaps")
        frames.append(pushed.frames[0])
    return np.stack(frames)

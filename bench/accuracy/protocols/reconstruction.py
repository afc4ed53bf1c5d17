"""Motion through an auto-encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....runtime.body.layout import Layout
from ....training.metrics import motion
from ....training.metrics.statistics import bootstrap
from .scoring import Example, ScoringConfig, cut_generated, motion_quality

Reconstruct = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
"""clips [T, V, 3] -> clips as long."""


def reconstruction(
    reconstruct: Reconstruct, real: Sequence[Example], config: ScoringConfig | None = None
) -> dict[str, Any]:
    """Position errors of reconstructed joints, and the quality of the motion before and after.

    Returns:
        protocol, counts, `mpjpe_mm` (relative to the pelvis), `world_mpjpe_mm`, and the metrics of the motion itself
        for `real` and `reconstructed`.
    """
    config = config or ScoringConfig()
    layout, groups = Layout.load(config.layout), [example.group for example in real]
    clips = [example.joints for example in real]
    reconstructed = cut_generated(reconstruct(clips), [len(joints) for joints in clips])
    pairs = list(zip(reconstructed, clips, strict=True))
    errors = {
        name: np.array([motion.mpjpe(joints, target, root) for joints, target in pairs])
        for name, root in (("mpjpe_mm", layout.root), ("world_mpjpe_mm", None))
    }
    return {
        "protocol": "motion put through the auto-encoder, every clip whole",
        "counts": {"clips": len(real), "recordings": len(set(groups)), "frames": sum(map(len, clips))},
        **{name: bootstrap(values, groups).json() for name, values in errors.items()},
        **{
            side: {
                name: bootstrap(values, groups).json()
                for name, values in motion_quality(joints, config.fps, layout).items()
            }
            for side, joints in (("real", clips), ("reconstructed", reconstructed))
        },
    }

"""The three views that both networks have of a motion: joints, bones and frame-to-frame motion.

All are taken from normalised coordinates, so bones and motion are stretched by the normalisation; published weights
expect that. A parent that is the joint itself makes a bone of length 0.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

# SMPL-22, rooted at the third spine joint
SMPL22 = (3, 0, 0, 6, 1, 2, 9, 4, 5, 9, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
# KIT-ML, rooted at the pelvis
KIT21 = (0, 0, 1, 2, 3, 3, 5, 6, 3, 8, 9, 0, 11, 12, 13, 14, 0, 16, 17, 18, 19)
# as released, for its weights only: neck and head are each other's parent, and an ankle hangs on a wrist
KIT21_REFERENCE = (1, 2, 3, 4, 3, 3, 5, 6, 3, 8, 9, 0, 11, 12, 13, 14, 0, 10, 17, 18, 19)


def bones(x_BTC: Tensor, parents: tuple[int, ...]) -> Tensor:
    """Joint minus parent, [B, T, C]."""
    x_BTV3 = x_BTC.unflatten(2, (len(parents), 3))
    return (x_BTV3 - x_BTV3[:, :, torch.tensor(parents, device=x_BTC.device)]).flatten(2)


def motion(x_BTC: Tensor) -> Tensor:
    """Frame minus the frame before, 0 at the first, [B, T, C]."""
    return pad(x_BTC[:, 1:] - x_BTC[:, :-1], (0, 0, 1, 0))

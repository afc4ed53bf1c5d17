"""The three views of a motion that the networks see: joints, bones and frame-to-frame motion.

All are computed from normalized coordinates, as published weights expect. A joint that is its own parent has a bone of
length 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

# SMPL-22, rooted at the third spine joint
SMPL22 = (3, 0, 0, 6, 1, 2, 9, 4, 5, 9, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
# KIT-ML, rooted at the pelvis
KIT21 = (0, 0, 1, 2, 3, 3, 5, 6, 3, 8, 9, 0, 11, 12, 13, 14, 0, 16, 17, 18, 19)
# as released, for its weights only: neck and head are each other's parent, and an ankle's parent is a wrist
KIT21_REFERENCE = (1, 2, 3, 4, 3, 3, 5, 6, 3, 8, 9, 0, 11, 12, 13, 14, 0, 10, 17, 18, 19)


def bones(x_BTC: Tensor, parents_V: Tensor) -> Tensor:
    """Joint minus parent, [B, T, C]."""
    x_BTV3 = x_BTC.unflatten(2, (len(parents_V), 3))
    return (x_BTV3 - x_BTV3[:, :, parents_V]).flatten(2)


def motion(x_BTC: Tensor) -> Tensor:
    """Frame minus previous frame, 0 at the first, [B, T, C]."""
    return pad(x_BTC[:, 1:] - x_BTC[:, :-1], (0, 0, 1, 0))


def views(x_BTC: Tensor, parents_V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Joints, bones and motion."""
    return x_BTC, bones(x_BTC, parents_V), motion(x_BTC)


class Scales(nn.Module):
    """Scales the networks' inputs and outputs to unit variance: poses vary less than the distance people walk.

    Attributes:
        mix: [C, C], from the decoder's output, root position and offsets from it, to normalized joints.
        unmix: its inverse. bone, motion: [C], standard deviations of those views.
        parents: [V], on the device of the weights, because a CUDA graph can copy nothing from the host.
    All scales are 1 in the published model, which does not scale.
    """

    mix: Tensor
    unmix: Tensor
    bone: Tensor
    motion: Tensor
    parents: Tensor

    def __init__(self, parents: tuple[int, ...]):
        super().__init__()
        coordinates = 3 * len(parents)
        self.register_buffer("parents", torch.tensor(parents), persistent=False)
        for name in ("mix", "unmix"):
            self.register_buffer(name, torch.eye(coordinates))
        for name in ("bone", "motion"):
            self.register_buffer(name, torch.ones(coordinates))

    def views(self, x_BTC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Joints, bones and motion, each of unit variance."""
        joint, bone, motion = views(x_BTC, self.parents)
        return joint @ self.unmix, bone / self.bone, motion / self.motion

    @torch.no_grad()
    def fit(self, x_NC: Tensor, bone_NC: Tensor, motion_NC: Tensor) -> None:
        """Fit to frames of normalized joints, the root first, and to their other views."""
        offset_NC = x_NC - x_NC[:, :3].repeat(1, x_NC.shape[1] // 3)
        std = torch.cat([x_NC[:, :3].std(0), offset_NC[:, 3:].std(0).clamp(min=1e-3)])
        mix = torch.diag(std)
        for coordinate in range(3, len(mix)):
            mix[coordinate % 3, coordinate] = std[coordinate % 3]
        self.mix.copy_(mix)
        self.unmix.copy_(torch.linalg.inv(mix.double()))
        for scale, view in ((self.bone, bone_NC), (self.motion, motion_NC)):
            scale.copy_(view.std(0).clamp(min=1e-3))

"""Estimation of a motion's length from its description."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ....runtime.generation.schedule import MAX_TOKENS


class LengthEstimator(nn.Sequential):
    """Text features [B, W] -> logits [B, 50] of the number of tokens. Source: MARDM's length estimator.

    Ours also gets the capture quality [B], as clips of depth sensors are shorter.
    """

    def __init__(self, text: int = 512, qualities: int = 0):
        layers: list[nn.Module] = []
        for before, after in ((text + qualities, 512), (512, 256), (256, 128)):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Linear(128, MAX_TOKENS + 1))
        self.qualities = qualities

    def forward(self, text_BW: Tensor, quality_B: Tensor | None = None) -> Tensor:
        if self.qualities:
            assert quality_B is not None, "an estimator with qualities needs one"
            text_BW = torch.cat([text_BW, one_hot(quality_B, self.qualities).to(text_BW)], 1)
        return super().forward(text_BW)

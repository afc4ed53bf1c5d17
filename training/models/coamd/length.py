"""How many tokens a description takes."""

from __future__ import annotations

from torch import Tensor, nn

from ....runtime.sampling import MAX_TOKENS


class LengthEstimator(nn.Sequential):
    """Text features [B, W] -> logits [B, 50] of the number of tokens. Source: MARDM's length estimator."""

    def __init__(self, text: int = 512):
        layers: list[nn.Module] = []
        for before, after in ((text, 512), (512, 256), (256, 128)):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Linear(128, MAX_TOKENS + 1))

    def forward(self, text_BW: Tensor) -> Tensor:
        return super().forward(text_BW)

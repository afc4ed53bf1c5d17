"""CoAMD's networks as a bundle names them: one method for each thing that a motion takes; what is constant, apart.

Shapes: B batch, L tokens of D channels, Q places asked for, G conditions (told and untold) side by side, S solver
times, N noisy tokens, R of all conditions, T = 4L frames, W text features, F width of the recogniser's space, M what
layers are told.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...runtime.generation.schedule import STRIDE
from .guidance import reward_of
from .pipeline import CoamdPipeline


class ExportedCoamd(nn.Module):
    """The networks under the names that its weights have in a bundle; its methods are those of the bundle's graphs."""

    mean: Tensor
    std: Tensor

    def __init__(self, pipeline: CoamdPipeline):
        super().__init__()
        self.autoencoder, self.generator = pipeline.autoencoder, pipeline.generator
        self.recognizer, self.lengths = pipeline.recognizer, pipeline.lengths
        for name in ("mean", "std"):
            self.register_buffer(name, torch.from_numpy(getattr(pipeline.normalization, name)))

    def condition(self, text_BW: Tensor, quality_B: Tensor) -> tuple[Tensor, Tensor]:
        told = self.generator.modulations(self.generator.condition(text_BW, quality_B))
        return torch.cat(told, 1), self.lengths(self.generator.standardized(text_BW), quality_B)

    def trunk(self, tokens_BLD: Tensor, counts_B: Tensor, told_GBM: Tensor, places_BQ: Tensor) -> tuple[Tensor]:
        (B, L, _), G = tokens_BLD.shape, told_GBM.shape[0]
        valid_BL = torch.arange(L, device=counts_B.device) < counts_B[:, None]
        both = [x.expand(G, *x.shape).flatten(0, 1) for x in (tokens_BLD, valid_BL, places_BQ)]
        told = told_GBM.flatten(0, 1).chunk(len(self.generator.blocks), 1)
        return (self.generator.trunk(both[0], told, both[1], both[2]).unflatten(0, (G, B)),)

    def times(self, times_S: Tensor, z_RE: Tensor) -> tuple[Tensor]:
        return (torch.cat(self.generator.head.modulations(times_S[:, None], z_RE), 2),)

    def velocity(self, x_ND: Tensor, told_GNM: Tensor) -> tuple[Tensor]:
        head = self.generator.head
        sizes = [part.modulation.out_features for part in (*head.blocks, head)]
        return (head.velocity(x_ND, told_GNM.split(sizes, 2)),)

    def decode(self, tokens_BLD: Tensor, counts_B: Tensor) -> tuple[Tensor]:
        x_BTC = self.autoencoder.decode(tokens_BLD, STRIDE * counts_B)
        return ((x_BTC * self.std + self.mean).unflatten(2, (-1, 3)),)

    def encode(self, joints_BTV3: Tensor, frames_B: Tensor) -> tuple[Tensor]:
        return (self.autoencoder.encode(self.normalized(joints_BTV3), frames_B),)

    def motion(self, joints_BTV3: Tensor, frames_B: Tensor) -> tuple[Tensor]:
        return (self.recognizer.encode(self.normalized(joints_BTV3), frames_B).fused,)

    def describe(self, words_BLW: Tensor, counts_B: Tensor) -> tuple[Tensor]:
        valid_BL = torch.arange(words_BLW.shape[1], device=counts_B.device) < counts_B[:, None]
        return (self.recognizer.describe(words_BLW, valid_BL),)

    def reward(self, tokens_BLD: Tensor, counts_B: Tensor, target_BF: Tensor) -> Tensor:
        return reward_of(self.autoencoder, self.recognizer, target_BF)(tokens_BLD, counts_B)

    def normalized(self, joints_BTV3: Tensor) -> Tensor:
        return (joints_BTV3.flatten(2) - self.mean) / self.std

"""CoAMD's networks as the graphs of a bundle: one method per graph, with inputs as in `runtime.bundles.signatures`.

Shapes: B batch, L tokens of D channels, Q positions, G conditions (with and without a text), S solver times, N noisy
tokens, R = G N, T = 4L frames, W text features, F width of the recognizer's space, M modulation of all layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...runtime.generation.schedule import STRIDE
from .guidance import similarity
from .pipeline import CoamdPipeline


class ExportedCoamd(nn.Module):
    """The networks, with their weights named as in a bundle.

    Methods are named as the graphs.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, pipeline: CoamdPipeline):
        super().__init__()
        self.autoencoder, self.generator = pipeline.autoencoder, pipeline.generator
        self.recognizer, self.lengths = pipeline.recognizer, pipeline.lengths
        for name in ("mean", "std"):
            self.register_buffer(name, torch.from_numpy(getattr(pipeline.normalization, name)))

    def condition(self, text_BW: Tensor, quality_B: Tensor) -> tuple[Tensor, Tensor]:
        modulations = self.generator.modulations(self.generator.condition(text_BW, quality_B))
        return torch.cat(modulations, 1), self.lengths(self.generator.standardize(text_BW), quality_B)

    def trunk(
        self, tokens_BLD: Tensor, counts_B: Tensor, modulation_GBM: Tensor, positions_BQ: Tensor
    ) -> tuple[Tensor]:
        (B, L, _), G = tokens_BLD.shape, modulation_GBM.shape[0]
        valid_BL = torch.arange(L, device=counts_B.device) < counts_B[:, None]
        tokens, valid, positions = (
            x.expand(G, *x.shape).flatten(0, 1)
            for x in (tokens_BLD, valid_BL, positions_BQ)  # of all conditions
        )
        count = len(self.generator.blocks)
        modulations = modulation_GBM.flatten(0, 1).split(count * [modulation_GBM.shape[2] // count], 1)
        return (self.generator.trunk(tokens, modulations, valid, positions).unflatten(0, (G, B)),)

    def times(self, times_S: Tensor, z_RE: Tensor) -> tuple[Tensor]:
        return (torch.cat(self.generator.head.modulations(times_S[:, None], z_RE), 2),)

    def velocity(self, x_ND: Tensor, modulation_GNM: Tensor) -> tuple[Tensor]:
        head = self.generator.head
        sizes = [part.modulation.out_features for part in (*head.blocks, head)]
        return (head.velocity(x_ND, modulation_GNM.split(sizes, 2)),)

    def decode(self, tokens_BLD: Tensor, counts_B: Tensor) -> tuple[Tensor]:
        x_BTC = self.autoencoder.decode(tokens_BLD, STRIDE * counts_B)
        return ((x_BTC * self.std + self.mean).unflatten(2, (-1, 3)),)

    def encode(self, joints_BTV3: Tensor, frames_B: Tensor) -> tuple[Tensor]:
        return (self.autoencoder.encode(self.normalize(joints_BTV3), frames_B),)

    def motion(self, joints_BTV3: Tensor, frames_B: Tensor) -> tuple[Tensor]:
        return (self.recognizer.encode(self.normalize(joints_BTV3), frames_B).fused,)

    def describe(self, words_BLW: Tensor, counts_B: Tensor) -> tuple[Tensor]:
        valid_BL = torch.arange(words_BLW.shape[1], device=counts_B.device) < counts_B[:, None]
        return (self.recognizer.describe(words_BLW, valid_BL),)

    def describe_ids(self, ids_BL: Tensor) -> tuple[Tensor]:
        return (self.recognizer.describe(ids_BL),)

    def guide(self, tokens_BLD: Tensor, counts_B: Tensor, target_BF: Tensor) -> tuple[Tensor, Tensor]:
        return self.guide_lengths(tokens_BLD, counts_B, STRIDE * counts_B, target_BF)

    def guide_lengths(
        self, tokens_BLD: Tensor, counts_B: Tensor, lengths_B: Tensor, target_BF: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = tokens_BLD.detach().requires_grad_()
            reward_B = self.reward_lengths(leaf, counts_B, lengths_B, target_BF)
            (gradient_BLD,) = torch.autograd.grad(reward_B.sum(), leaf)
        return gradient_BLD, reward_B.detach()

    def reward(self, tokens_BLD: Tensor, counts_B: Tensor, target_BF: Tensor) -> Tensor:
        return self.reward_lengths(tokens_BLD, counts_B, STRIDE * counts_B, target_BF)

    def reward_lengths(self, tokens_BLD: Tensor, counts_B: Tensor, lengths_B: Tensor, target_BF: Tensor) -> Tensor:
        return similarity(self.autoencoder, self.recognizer, target_BF, tokens_BLD, STRIDE * counts_B, lengths_B)

    def normalize(self, joints_BTV3: Tensor) -> Tensor:
        return (joints_BTV3.flatten(2) - self.mean) / self.std

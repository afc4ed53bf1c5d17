"""CoAMD's networks as ONNX graphs, one for each thing that a motion takes; what is constant is computed apart.

Shapes: B batch, L tokens of D channels, Q places asked for, G conditions (told and untold) side by side, S solver
times, N noisy tokens, T = 4L frames, W text features, F width of the recogniser's space, M what layers are told.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from ..runtime.sampling import STRIDE
from ..training.family import Family
from ..training.guidance import reward_of
from .gradient import with_gradient
from .graphs import to_onnx

OUTPUTS = {
    "condition": ("told", "lengths"),
    "trunk": ("z",),
    "times": ("told",),
    "velocity": ("v",),
    "decode": ("joints",),
    "encode": ("tokens",),
    "motion": ("features",),
    "describe": ("features",),
    "guide": ("gradient", "reward"),
}


class Networks(nn.Module):
    """The family under the names that its weights have in a bundle."""

    mean: Tensor
    std: Tensor

    def __init__(self, family: Family):
        super().__init__()
        self.autoencoder, self.generator = family.autoencoder, family.generator
        self.recognizer, self.lengths = family.recognizer, family.lengths
        for name in ("mean", "std"):
            self.register_buffer(name, torch.from_numpy(getattr(family.normalisation, name)))

    def condition(self, text_BW: Tensor, quality_B: Tensor) -> tuple[Tensor, Tensor]:
        told = self.generator.modulations(self.generator.condition(text_BW, quality_B))
        return torch.cat(told, 1), self.lengths(self.generator.standardised(text_BW), quality_B)

    def trunk(self, tokens_BLD: Tensor, counts_B: Tensor, told_GBM: Tensor, places_BQ: Tensor) -> tuple[Tensor]:
        (B, L, _), G = tokens_BLD.shape, told_GBM.shape[0]
        valid_BL = torch.arange(L) < counts_B[:, None]
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
        return (self.autoencoder.encode(self.normalised(joints_BTV3), frames_B),)

    def motion(self, joints_BTV3: Tensor, frames_B: Tensor) -> tuple[Tensor]:
        return (self.recognizer.encode(self.normalised(joints_BTV3), frames_B).fused,)

    def describe(self, words_BLW: Tensor, counts_B: Tensor) -> tuple[Tensor]:
        return (self.recognizer.describe(words_BLW, torch.arange(words_BLW.shape[1]) < counts_B[:, None]),)

    def reward(self, tokens_BLD: Tensor, counts_B: Tensor, target_BF: Tensor) -> Tensor:
        return reward_of(self.autoencoder, self.recognizer, target_BF)(tokens_BLD, counts_B)

    def normalised(self, joints_BTV3: Tensor) -> Tensor:
        return (joints_BTV3.flatten(2) - self.mean) / self.std


def family_graphs(family: Family, names: Collection[str] = tuple(OUTPUTS)) -> dict[str, bytes]:
    """File name -> ONNX graph; of those named, or all."""
    networks = Networks(family).eval().requires_grad_(False)
    generator, recognizer = family.generator.config, family.recognizer.config
    B, L, G, Q, S, N, T = Dim("B"), Dim("L"), Dim("G"), Dim("Q"), Dim("S"), Dim("N"), STRIDE * Dim("L")
    # examples of the inputs; no size is 1 or that of another, or the exporter would take them for the same
    counts, quality = torch.tensor([7, 5, 6]), torch.tensor([0, 1, 1])
    tokens, joints = torch.randn(3, 7, generator.latent), torch.randn(3, 28, len(recognizer.parents), 3)
    words, target = torch.randn(3, 9, recognizer.text), torch.randn(3, recognizer.feature)
    places = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0], [2, 1, 0, 5, 3]])
    of_places = torch.randn(2, 3, generator.depth * 6 * generator.width)
    of_tokens = torch.randn(2, 5, (3 * generator.head_depth + 2) * generator.head_width)
    inputs: dict[str, tuple[dict[str, Tensor], tuple[dict[int, Any], ...]]] = {
        "condition": ({"text": torch.randn(3, generator.text), "quality": quality}, ({0: B}, {0: B})),
        "trunk": (
            {"tokens": tokens, "counts": counts, "told": of_places, "places": places},
            ({0: B, 1: L}, {0: B}, {0: G, 1: B}, {0: B, 1: Q}),
        ),
        "times": ({"times": torch.rand(4), "z": torch.randn(5, generator.width)}, ({0: S}, {0: N})),
        "velocity": ({"x": torch.randn(5, generator.latent), "told": of_tokens}, ({0: N}, {0: G, 1: N})),
        "decode": ({"tokens": tokens, "counts": counts}, ({0: B, 1: L}, {0: B})),
        "encode": ({"joints": joints, "frames": STRIDE * counts}, ({0: B, 1: T}, {0: B})),
        "motion": ({"joints": joints, "frames": STRIDE * counts}, ({0: B, 1: T}, {0: B})),
        "describe": ({"words": words, "counts": counts}, ({0: B, 1: L}, {0: B})),
        "guide": ({"tokens": tokens, "counts": counts, "target": target}, ({0: B, 1: L}, {0: B}, {0: B})),
    }
    weights = dict(networks.state_dict())
    found = {}
    for name in names:
        given, dynamic = inputs[name]
        network: nn.Module = networks
        method = getattr(networks, "reward" if name == "guide" else name)
        if name == "guide":
            network = with_gradient(networks, method, tuple(given.values()))
            method = network.forward
        found[f"{name}.onnx"] = to_onnx(network, method, given, OUTPUTS[name], dynamic, weights)
    return found

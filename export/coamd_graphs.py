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

from ..runtime.generation.schedule import STRIDE
from ..training.coamd.exported import ExportedCoamd
from ..training.coamd.pipeline import CoamdPipeline
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


def onnx_graphs(pipeline: CoamdPipeline, names: Collection[str] = tuple(OUTPUTS)) -> dict[str, bytes]:
    """File name -> ONNX graph; of those named, or all."""
    networks = ExportedCoamd(pipeline).eval().requires_grad_(False)
    generator, recognizer = pipeline.generator.config, pipeline.recognizer.config
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

"""The graph of a CTR-GCN that classifies people one by one."""

from __future__ import annotations

import torch
from torch.export import Dim

from ..training.models.fast_ctr_gcn import FastCTRGCN
from .graphs import to_onnx


def person_graph(network: FastCTRGCN) -> bytes:
    """ONNX graph of `FastCTRGCN.person`: clip [P, C, T, V], place [P] int64 -> logits [P, classes]; P and T vary."""
    config, P, T = network.config, Dim("P"), Dim("T", min=8)
    inputs = {
        "clip": torch.zeros(2, config.in_channels, 52, config.joints),
        "place": torch.zeros(2, dtype=torch.int64),
    }
    return to_onnx(network, lambda *inputs: (network.person(*inputs),), inputs, ("logits",), ({0: P, 2: T}, {0: P}))

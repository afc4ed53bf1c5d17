"""StreamGCN: a causal spatio-temporal graph convolution network that recognizes actions one frame at a time.

A clip and its single frames give the same numbers: `forward` takes any number of frames and the state after the
previous ones, so a clip is one call with the empty state, and a live stream is one call per frame.

Shapes: N batch, T time, V joints, C channels, K adjacency subsets, D features, S state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ...kernels.graph_conv import graph_conv
from ...kernels.temporal_conv import temporal_conv, temporal_step

INPUTS = 9  # joint, bone and motion, three coordinates each


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamGCNConfig:
    """Architecture of a StreamGCN; stored as JSON next to the weights."""

    parents: tuple[int, ...]  # parent of every joint, -1 for the root
    classes: int
    fps: float
    channels: tuple[int, ...] = (64, 64, 64, 128, 128, 128)  # of each block
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 2, 4)
    dropout: float = 0.3
    body: int = 0  # channels of the body, into which the joints are joined after the blocks; 0: joints are averaged
    body_blocks: int = 0  # temporal convolutions of the body

    @property
    def joints(self) -> int:
        return len(self.parents)

    @property
    def features(self) -> int:
        return self.body or self.channels[-1]


class Rings(NamedTuple):
    """State of S streams in fixed memory.

    Attributes:
        last_SX: whether there was a previous frame, and its joints.
        blocks: ring buffer of every block, [S, P], see `temporal_step`.
        place_S: number of previous frames.
    """

    last_SX: Tensor
    blocks: tuple[Tensor, ...]
    place_S: Tensor


class Ring(NamedTuple):
    """A block's part of `Rings`, and the streams to step."""

    ring_SP: Tensor
    place_S: Tensor
    slot_M: Tensor


class StreamGCN(nn.Module):
    """Spatial graph convolutions over K learned adjacencies, causal multi-scale temporal convolutions, a linear head.

    The joints are averaged after the last block, with learned weights, or joined in one vector, the body, which has
    temporal convolutions of its own.

    Inputs are frames from the C++ core: root-centered, facing +z, in meters, at `config.fps`. Bones (joint minus
    parent) and motion (minus the previous frame, zero at the first) are computed inside and fused in the first layer.

    Attributes:
        receptive_field: number of frames that influence an output.
        delay: frames by which an output lags its input; 0, because the network is causal.
        state_size: number of floats in the state of a stream.
    """

    delay = 0
    parents: Tensor

    def __init__(self, config: StreamGCNConfig):
        super().__init__()
        self.config = config
        V, D = config.joints, config.features
        parents = [parent if parent >= 0 else joint for joint, parent in enumerate(config.parents)]
        self.register_buffer("parents", torch.tensor(parents), persistent=False)
        self.embed = conv_bn(INPUTS, config.channels[0])
        self.position = nn.Parameter(torch.zeros(config.channels[0], 1, V))
        A_KVV = adjacency(config.parents)
        widths = (config.channels[0], *config.channels)
        blocks = [Block(a, b, A_KVV, config) for a, b in pairwise(widths)]
        self.blocks = nn.ModuleList(blocks)
        if config.body:
            self.join = nn.Sequential(nn.Conv2d(config.channels[-1], D, (1, V), bias=False), nn.BatchNorm2d(D))
            self.body = nn.ModuleList(TemporalConv(D, 1, config) for _ in range(config.body_blocks))
        else:
            self.pool = nn.Parameter(torch.full((D, V), 1 / V))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(D, config.classes)

        last_frame = (1 + V * 3,)  # whether there was one, and its joints
        self.state_shapes = [last_frame, *(shape for time in self.times() for shape in time.state_shapes)]
        self.state_size = sum(map(prod, self.state_shapes))
        self.receptive_field = 2 + sum(max(time.reaches) for time in self.times())

    def new_state(self, n: int = 1) -> Tensor:
        """Initial state [N, S] of streams."""
        return torch.zeros(n, self.state_size)

    def step(self, frame_NVC: Tensor, state_NS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One frame [N, V, 3] -> logits [N, classes], features [N, D], next state [N, S]."""
        logits, features, state = self(frame_NVC[:, None], state_NS)
        return logits[:, 0], features[:, 0], state

    def forward(self, x_NTVC: Tensor, state_NS: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Frames [N, T, V, 3] -> logits [N, T, classes], features [N, T, D], next state [N, S]."""
        N, _, V, _ = x_NTVC.shape
        if state_NS is None:
            state_NS = self.new_state(N).to(x_NTVC)
        flat = state_NS.split([prod(shape) for shape in self.state_shapes], 1)
        last, *past = (part.view(N, *shape) for part, shape in zip(flat, self.state_shapes, strict=True))

        started, last_frame = last[:, :1, None, None], last[:, 1:].view(N, 1, V, 3)
        before = torch.cat([torch.lerp(x_NTVC[:, :1], last_frame, started), x_NTVC[:, :-1]], 1)
        branches = len(self.config.dilations)
        logits, features_NTD, kept = self.run_layers(
            x_NTVC, before, [past[i : i + branches] for i in range(0, len(past), branches)]
        )
        next_state = [torch.cat([torch.ones_like(last[:, :1]), x_NTVC[:, -1].flatten(1)], 1)]
        next_state += [part.flatten(1) for part in kept]
        return logits, features_NTD, torch.cat(next_state, 1)

    def stack(self) -> None:
        """Stack weights for the kernels, see `TemporalConv.stack`."""
        for time in self.times():
            time.stack()

    def times(self) -> list[TemporalConv]:
        """The temporal convolutions, in order."""
        return [module for module in self.modules() if isinstance(module, TemporalConv)]

    def new_rings(self, streams: int) -> Rings:
        """Initial state of streams; zeros."""
        weight = self.head.weight
        last_SX = weight.new_zeros(streams, *self.state_shapes[0])
        rings = tuple(weight.new_zeros(streams, sum(map(prod, time.state_shapes))) for time in self.times())
        return Rings(last_SX, rings, torch.zeros(streams, dtype=torch.long, device=weight.device))

    def step_in_rings(self, frame_MVC: Tensor, rings: Rings, slot_M: Tensor) -> tuple[Tensor, Tensor]:
        """One frame of some of the streams -> logits [M, classes], features [M, D]; updates the rings."""
        x_M1VC, last_MX = frame_MVC[:, None], rings.last_SX[slot_M]
        before = torch.lerp(x_M1VC, last_MX[:, 1:].view_as(x_M1VC), last_MX[:, :1, None, None])
        logits, features, _ = self.run_layers(
            x_M1VC, before, [Ring(ring, rings.place_S, slot_M) for ring in rings.blocks]
        )
        rings.last_SX[slot_M] = torch.cat([torch.ones_like(last_MX[:, :1]), frame_MVC.flatten(1)], 1)
        rings.place_S[slot_M] += 1
        return logits[:, 0], features[:, 0]

    def run_layers(
        self, x_NTVC: Tensor, before_NTVC: Tensor, pasts: Sequence[list[Tensor] | Ring]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Frames, the frame before each, and the past of every block -> logits, features and the new past."""
        bone, motion = x_NTVC - x_NTVC[:, :, self.parents], (x_NTVC - before_NTVC) * (self.config.fps / 4)
        x = torch.cat([x_NTVC, bone, motion], 3).permute(0, 3, 1, 2)
        x = self.embed(x)
        x = relu(x + self.position.to(x.dtype))
        kept: list[Tensor] = []
        past = iter(pasts)
        for block in self.blocks:
            x, kept_of_block = block(x, next(past))
            kept += kept_of_block
        if self.config.body:
            x = relu(self.join(x))
            for time in self.body:
                x, kept_of_block = time(self.dropout(x), next(past), x)
                kept += kept_of_block
            features_NTD = x[..., 0].mT
        else:
            features_NTD = torch.einsum("nctv,cv->ntc", x, self.pool.to(x.dtype))
        return self.head(self.dropout(features_NTD)), features_NTD, kept


class Block(nn.Module):
    """Graph convolution, then temporal convolution, each with a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, A_KVV: Tensor, config: StreamGCNConfig):
        super().__init__()
        self.graph = GraphConv(in_channels, out_channels, A_KVV)
        self.time = TemporalConv(out_channels, config.joints, config)
        self.shortcut = nn.Identity() if in_channels == out_channels else conv_bn(in_channels, out_channels)

    def forward(self, x_NCTV: Tensor, past: list[Tensor] | Ring) -> tuple[Tensor, list[Tensor]]:
        shortcut = self.shortcut(x_NCTV)
        return self.time(self.graph(x_NCTV, shortcut), past, shortcut)


class GraphConv(nn.Module):
    """y = W [A_1 x; ...; A_K x] over the joints, then batch norm; the adjacencies A [K, V, V] are learned."""

    def __init__(self, in_channels: int, out_channels: int, A_KVV: Tensor):
        super().__init__()
        self.A = nn.Parameter(A_KVV.transpose(0, 1).flatten(0, 1))  # [V K, V]: a joint's subsets next to each other
        self.conv: nn.Module = conv_bn(len(A_KVV) * in_channels, out_channels)

    def forward(self, x_NCTV: Tensor, shortcut_NCTV: Tensor) -> Tensor:
        """ReLU(graph convolution + shortcut)."""
        if isinstance(self.conv, nn.Conv2d):  # with folded batch norm
            return graph_conv(x_NCTV, self.A, self.conv.weight, self.conv.bias, shortcut_NCTV, relu=True)
        assert isinstance(self.conv, nn.Sequential)
        conv, norm = self.conv
        return relu(norm(graph_conv(x_NCTV, self.A, conv.get_parameter("weight"))) + shortcut_NCTV)


class TemporalConv(nn.Module):
    """A 1x1 stem whose channels are split into causal convolutions of several dilations and one identity part."""

    def __init__(self, channels: int, joints: int, config: StreamGCNConfig):
        super().__init__()
        width, self.dilations = channels // (len(config.dilations) + 1), config.dilations
        self.stem = conv_bn(channels, channels)
        self.branches = nn.ModuleList(
            nn.Conv2d(width, width, (config.kernel, 1), dilation=(d, 1)) for d in config.dilations
        )
        self.reaches = [d * (config.kernel - 1) for d in config.dilations]
        self.state_shapes = [(reach, joints, width) for reach in self.reaches]
        self.stacked: tuple[Tensor, Tensor] | None = None

    def stack(self) -> None:
        """Stack the branches' weights, as the kernels expect; they no longer follow the parameters."""
        self.stacked = torch.stack(self._branch_parameters("weight")), torch.stack(self._branch_parameters("bias"))

    def forward(self, x_NCTV: Tensor, past: list[Tensor] | Ring, shortcut_NCTV: Tensor) -> tuple[Tensor, list[Tensor]]:
        """ReLU(convolutions + shortcut), and the new past; none for a ring, which is updated in place."""
        h_NCTV = relu(self.stem(x_NCTV))
        weights, biases = self.stacked or (self._branch_parameters("weight"), self._branch_parameters("bias"))
        if not isinstance(past, Ring):
            return temporal_conv(h_NCTV, weights, biases, self.dilations, past, shortcut_NCTV, relu=True)
        h_MCV, shortcut_MCV = h_NCTV[:, :, 0], shortcut_NCTV[:, :, 0]
        y_MCV = temporal_step(h_MCV, weights, biases, self.dilations, *past, shortcut_MCV, relu=True)
        return y_MCV[:, :, None], []

    def _branch_parameters(self, kind: str) -> list[Tensor]:
        return [branch.get_parameter(kind) for branch in self.branches]


def conv_bn(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution and batch-norm."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))


def adjacency(parents: tuple[int, ...]) -> Tensor:
    """Initial subsets [K=3, V, V]: a joint itself, its parent, the mean of its children."""
    V = len(parents)
    inward = torch.zeros(V, V)
    for joint, parent in enumerate(parents):
        if parent >= 0:
            inward[joint, parent] = 1
    outward = inward.T / inward.sum(0).clamp(min=1)[:, None]
    return torch.stack([torch.eye(V), inward, outward])


def from_weights(model: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> StreamGCN:
    """The folded network of a bundle; other weights in the bundle are ignored.

    Raises:
        KeyError, TypeError, RuntimeError: the weights do not match the model, or are not those of a StreamGCN.
    """
    fields = {name: model[name] for name in StreamGCNConfig.__dataclass_fields__ if name in model}
    settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    config = StreamGCNConfig(**settings)
    network = fold(StreamGCN(config).eval())
    network.load_state_dict({name: torch.from_numpy(weights[name].copy()) for name in network.state_dict()})
    return network


def fold(model: StreamGCN) -> StreamGCN:
    """Copy of the network with every batch norm folded into the previous convolution, for inference."""
    folded = StreamGCN(model.config).eval()
    folded.load_state_dict(model.state_dict())
    for module in folded.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Sequential):
                conv, bn = child
                assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
                setattr(module, name, fuse_conv_bn_eval(conv, bn))
    return folded


class FrozenNormStreamGCN(StreamGCN):
    """A StreamGCN whose batch norms do not change in training: for a network that has lost their statistics."""

    def train(self, mode: bool = True) -> FrozenNormStreamGCN:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def unfold(folded: StreamGCN, labels: Sequence[str], new_labels: Sequence[str]) -> FrozenNormStreamGCN:
    """The network of a bundle with `labels`, to train on with `new_labels`: same features, other head.

    Rows of the head are kept for labels that are in both.
    """
    model = FrozenNormStreamGCN(replace(folded.config, classes=len(new_labels)))
    state = model.state_dict()
    for name, value in folded.state_dict().items():
        owner, kind = name.rsplit(".", 1) if "." in name else ("", name)
        if owner == "head":
            for new, label in enumerate(new_labels):
                if label in labels:
                    state[name][new] = value[labels.index(label)]
        elif name in state:
            state[name] = value
        else:  # a convolution whose batch norm is folded
            state[f"{owner}.0.weight" if kind == "weight" else f"{owner}.1.bias"] = value
    model.load_state_dict(state)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            module.running_var.fill_(1 - module.eps)
    return model

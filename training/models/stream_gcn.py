"""StreamGCN: a causal spatio-temporal graph convolution network that recognises actions one frame at a time.

A clip and its frames one by one give the same numbers: `forward` takes any number of frames together with the state
that the frames before them left, so a clip is one call from the empty state and a live stream is one call a frame.

Shapes: N batch, T time, V joints, C channels, K adjacency subsets, D features, S state.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.nn.utils.fusion import fuse_conv_bn_eval

INPUTS = 9  # joint, bone and motion, three coordinates each


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamGCNConfig:
    """Architecture of a StreamGCN; stored as JSON beside the weights."""

    parents: tuple[int, ...]  # parent of every joint, -1 for the root
    classes: int
    fps: float
    channels: tuple[int, ...] = (64, 64, 64, 128, 128, 128)
    kernel: int = 5
    dilations: tuple[int, ...] = (1, 2, 4)
    dropout: float = 0.3

    @property
    def joints(self) -> int:
        return len(self.parents)


class StreamGCN(nn.Module):
    """Spatial graph convolutions over K learned adjacencies, causal multi-scale temporal convolutions, a linear head.

    Input are frames as the C++ core hands them out: root-centred, facing +z, metres, at `config.fps`. Bones (joint
    minus parent) and motion (minus the frame before, zero at the first) are taken inside and fused in the first layer.

    Attributes:
        receptive_field: frames that can influence one output.
        delay: frames by which an output lags its input; 0, the network is causal.
        state_size: floats of state a stream carries from frame to frame.
    """

    delay = 0
    parents: Tensor

    def __init__(self, config: StreamGCNConfig):
        super().__init__()
        self.config = config
        V, D = config.joints, config.channels[-1]
        parents = [parent if parent >= 0 else joint for joint, parent in enumerate(config.parents)]
        self.register_buffer("parents", torch.tensor(parents), persistent=False)
        self.embed = conv_bn(INPUTS, config.channels[0])
        self.position = nn.Parameter(torch.zeros(config.channels[0], 1, V))
        A_KVV = adjacency(config.parents)
        widths = (config.channels[0], *config.channels)
        blocks = [Block(a, b, A_KVV, config) for a, b in pairwise(widths)]
        self.blocks = nn.ModuleList(blocks)
        self.pool = nn.Parameter(torch.full((D, V), 1 / V))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(D, config.classes)

        last_frame = (1 + V * 3,)  # whether there was one, and its joints
        self.state_shapes = [last_frame, *(shape for block in blocks for shape in block.time.state_shapes)]
        self.state_size = sum(map(prod, self.state_shapes))
        self.receptive_field = 2 + sum(max(block.time.reaches) for block in blocks)

    def new_state(self, n: int = 1) -> Tensor:
        """The state [N, S] of streams that have not begun."""
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

        begun, last_frame = last[:, :1, None, None], last[:, 1:].view(N, 1, V, 3)
        before = torch.cat([torch.lerp(x_NTVC[:, :1], last_frame, begun), x_NTVC[:, :-1]], 1)
        bone, motion = x_NTVC - x_NTVC[:, :, self.parents], (x_NTVC - before) * (self.config.fps / 4)
        x = torch.cat([x_NTVC, bone, motion], 3).permute(0, 3, 1, 2)
        next_state = [torch.cat([torch.ones_like(last[:, :1]), x_NTVC[:, -1].flatten(1)], 1)]

        x = self.embed(x)
        x = relu(x + self.position.to(x.dtype))
        branches = len(self.config.dilations)
        for i, block in enumerate(self.blocks):
            x, kept = block(x, past[i * branches : (i + 1) * branches])
            next_state += [part.flatten(1) for part in kept]
        features_NTD = torch.einsum("nctv,cv->ntc", x, self.pool.to(x.dtype))
        return self.head(self.dropout(features_NTD)), features_NTD, torch.cat(next_state, 1)


class Block(nn.Module):
    """Graph convolution, then temporal convolution, each with a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, A_KVV: Tensor, config: StreamGCNConfig):
        super().__init__()
        self.graph = GraphConv(in_channels, out_channels, A_KVV)
        self.time = TemporalConv(out_channels, config)
        self.shortcut = nn.Identity() if in_channels == out_channels else conv_bn(in_channels, out_channels)

    def forward(self, x_NCTV: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        shortcut = self.shortcut(x_NCTV)
        h, kept = self.time(relu(self.graph(x_NCTV) + shortcut), past)
        return relu(h + shortcut), kept


class GraphConv(nn.Module):
    """y = W [A_1 x; ...; A_K x] over the joints, then batch-norm; the adjacencies A [K, V, V] are learned."""

    def __init__(self, in_channels: int, out_channels: int, A_KVV: Tensor):
        super().__init__()
        self.K = len(A_KVV)
        self.A = nn.Parameter(A_KVV.transpose(0, 1).flatten(0, 1))  # [V K, V]: a joint's subsets next to each other
        self.conv = conv_bn(self.K * in_channels, out_channels)

    def forward(self, x_NCTV: Tensor) -> Tensor:
        N, C, T, V = x_NCTV.shape
        x = x_NCTV.permute(0, 2, 3, 1).reshape(N * T, V, C)
        x = torch.bmm(self.A.to(x.dtype).expand(N * T, -1, -1), x)
        return self.conv(x.view(N, T, V, self.K * C).permute(0, 3, 1, 2))


class TemporalConv(nn.Module):
    """A 1x1 stem whose channels are split over causal convolutions of several dilations and one part left alone."""

    def __init__(self, channels: int, config: StreamGCNConfig):
        super().__init__()
        width, branches = channels // (len(config.dilations) + 1), len(config.dilations)
        self.widths = [width] * branches + [channels - width * branches]
        self.stem = conv_bn(channels, channels)
        self.branches = nn.ModuleList(
            nn.Conv2d(width, width, (config.kernel, 1), dilation=(d, 1)) for d in config.dilations
        )
        self.reaches = [d * (config.kernel - 1) for d in config.dilations]
        self.state_shapes = [(reach, config.joints, width) for reach in self.reaches]

    def forward(self, x_NCTV: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        *parts, rest = relu(self.stem(x_NCTV)).split(self.widths, 1)
        windows = [torch.cat([p.permute(0, 3, 1, 2).to(x.dtype), x], 2) for p, x in zip(past, parts, strict=True)]
        outputs = [branch(window) for branch, window in zip(self.branches, windows, strict=True)]
        kept = [w[:, :, -reach:].permute(0, 2, 3, 1) for w, reach in zip(windows, self.reaches, strict=True)]
        return torch.cat([*outputs, rest], 1), kept


def conv_bn(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution and batch-norm."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))


def adjacency(parents: tuple[int, ...]) -> Tensor:
    """Subsets [K=3, V, V] to begin learning from: a joint itself, its parent, the mean of its children."""
    V = len(parents)
    inward = torch.zeros(V, V)
    for joint, parent in enumerate(parents):
        if parent >= 0:
            inward[joint, parent] = 1
    outward = inward.T / inward.sum(0).clamp(min=1)[:, None]
    return torch.stack([torch.eye(V), inward, outward])


def fold(model: StreamGCN) -> StreamGCN:
    """The same network with every batch-norm folded into the convolution before it, for inference."""
    folded = StreamGCN(model.config).eval()
    folded.load_state_dict(model.state_dict())
    for module in folded.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Sequential):
                conv, bn = child
                assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
                setattr(module, name, fuse_conv_bn_eval(conv, bn))
    return folded

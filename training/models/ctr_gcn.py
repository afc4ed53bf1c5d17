"""CTR-GCN: a graph convolution network that refines its adjacency for every clip and channel.

The whole-clip baseline for streaming recognizers. Modules are named as in the official checkpoints, which therefore
load with `load_state_dict`.

Source: Chen et al., Channel-wise Topology Refinement Graph Convolution for Skeleton-Based Action Recognition, ICCV
2021.
Shapes: N batch, M people, T time, V joints, C channels, R relation channels, K adjacency subsets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ...kernels.ctr_graph_conv import ctr_graph_conv

# Kinect v2's 25 joints, all chains leading to the upper spine (20), as in the NTU bone pairs.
NTU_PARENTS = (1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, -1, 22, 7, 24, 11)
# Kinect v1's 20 joints, all chains leading to the neck (2), as in the NW-UCLA bone pairs.
NWUCLA_PARENTS = (1, 2, -1, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18)
# OpenPose's 18 joints, all chains leading to the neck (1), as in ST-GCN's graph for Kinetics-Skeleton.
OPENPOSE_PARENTS = (1, -1, 1, 2, 3, 1, 5, 6, 2, 8, 9, 5, 11, 12, 0, 0, 14, 15)
CHANNELS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)


@dataclass(frozen=True, kw_only=True, slots=True)
class CTRGCNConfig:
    """Architecture of a CTR-GCN; stored as JSON next to the weights."""

    classes: int
    parents: tuple[int, ...] = NTU_PARENTS  # parent of every joint, -1 for the root
    people: int = 2
    in_channels: int = 3
    channels: tuple[int, ...] = CHANNELS  # a unit that increases them halves the frame rate
    dropout: float = 0.0

    @property
    def joints(self) -> int:
        return len(self.parents)

    @property
    def features(self) -> int:
        return self.channels[-1]


class CTRGCN(nn.Module):
    """Units of graph and temporal convolution over one stream (joints, bones or their motion), then a linear head."""

    def __init__(self, config: CTRGCNConfig):
        super().__init__()
        self.config = config
        self.data_bn = nn.BatchNorm1d(config.people * config.joints * config.in_channels)
        A_KVV = adjacency(config.parents)
        for k, channels in enumerate(config.channels):
            before = config.channels[k - 1] if k else config.in_channels
            stride = 2 if k and channels > before else 1
            setattr(self, f"l{k + 1}", Unit(before, channels, A_KVV, stride, residual=k > 0))
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(config.features, config.classes)
        self.apply(init_conv)
        nn.init.normal_(self.fc.weight, 0, (2 / config.classes) ** 0.5)

    def fold(self) -> None:
        """Turn each graph convolution into one operation, for inference; see `GraphConv.fold`."""
        for module in self.modules():
            if isinstance(module, GraphConv):
                module.fold()

    def forward(self, x_NCTVM: Tensor) -> Tensor:
        """Clips [N, C, T, V, M], absent people all zeros -> logits [N, classes]."""
        return self.fc(self.dropout(self.features(x_NCTVM)))

    def features(self, x_NCTVM: Tensor) -> Tensor:
        """Inputs of the head: means over frames, joints and people, [N, C of the last unit]."""
        N, C, T, V, M = x_NCTVM.shape
        x = self.data_bn(x_NCTVM.permute(0, 4, 3, 1, 2).reshape(N, M * V * C, T))
        x = x.view(N * M, V, C, T).permute(0, 2, 3, 1)
        for k in range(len(self.config.channels)):
            x = self.get_submodule(f"l{k + 1}")(x)
        return x.mean((2, 3)).view(N, M, -1).mean(1)


class Unit(nn.Module):
    """Graph convolution, then temporal convolution, with one shortcut around both (none in the first unit)."""

    def __init__(self, in_channels: int, out_channels: int, A_KVV: Tensor, stride: int, residual: bool):
        super().__init__()
        self.gcn1 = GraphConv(in_channels, out_channels, A_KVV)
        self.tcn1 = TemporalConv(out_channels, stride)
        self.residual: nn.Module | None = None
        if residual:
            same = in_channels == out_channels and stride == 1
            self.residual = nn.Identity() if same else ConvBN(in_channels, out_channels, stride=stride)

    def forward(self, x_NCTV: Tensor) -> Tensor:
        y = self.tcn1(self.gcn1(x_NCTV))
        return relu(y if self.residual is None else y + self.residual(x_NCTV))


class GraphConv(nn.Module):
    """y = ReLU(BN(sum_k CTR_k(x; PA_k, alpha)) + shortcut(x)), with learned adjacencies PA [K, V, V]."""

    def __init__(self, in_channels: int, out_channels: int, A_KVV: Tensor):
        super().__init__()
        self.PA = nn.Parameter(A_KVV.clone())
        self.alpha = nn.Parameter(torch.zeros(1))
        self.convs = nn.ModuleList(TopologyConv(in_channels, out_channels) for _ in A_KVV)
        self.bn = nn.BatchNorm2d(out_channels)
        nn.init.constant_(self.bn.weight, 1e-6)  # a new unit starts as its shortcut
        self.down = nn.Identity() if in_channels == out_channels else conv_bn(in_channels, out_channels)
        self.folded: dict[str, Any] | None = None

    @torch.no_grad()
    def fold(self) -> None:
        """Fold the batch norm and stack the subsets' weights; they no longer follow the parameters."""
        bn: Any = self.bn
        scale_O = bn.weight / (bn.running_var + bn.eps) ** 0.5

        def stacked(layer: str) -> tuple[Tensor, Tensor]:
            convs: list[Any] = [conv.get_submodule(layer) for conv in self.convs]
            return torch.stack([conv.weight.flatten(1) for conv in convs]), torch.stack([conv.bias for conv in convs])

        (w1, b1), (w2, b2), (w3, b3), (w4, b4) = (stacked(f"conv{k}") for k in (1, 2, 3, 4))
        self.folded = {
            "A_KVV": self.PA,
            "alpha": self.alpha,
            "w1_KRC": w1,
            "b1_KR": b1,
            "w2_KRC": w2,
            "b2_KR": b2,
            "w3_KOC": w3 * scale_O[:, None],
            "b3_KO": b3 * scale_O,
            "w4_KOR": w4,
            "b4_KO": b4,
            "bias_O": bn.bias - bn.running_mean * scale_O,
        }

    def forward(self, x_NCTV: Tensor) -> Tensor:
        if self.folded is not None:
            return ctr_graph_conv(x_NCTV, **self.folded, residual_NOTV=self.down(x_NCTV), relu=True)
        y = sum(conv(x_NCTV, A_VV, self.alpha) for conv, A_VV in zip(self.convs, self.PA, strict=True))
        return relu(self.bn(y) + self.down(x_NCTV))


class TopologyConv(nn.Module):
    """y_cu = sum_v (alpha Q_cuv + A_uv) (W3 x)_cv, with Q_uv = W4 tanh(W1 m_u - W2 m_v) and m the mean of x over T."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        relation_channels = 8 if in_channels in (3, 9) else in_channels // 8
        self.conv1 = nn.Conv2d(in_channels, relation_channels, 1)
        self.conv2 = nn.Conv2d(in_channels, relation_channels, 1)
        self.conv3 = nn.Conv2d(in_channels, out_channels, 1)
        self.conv4 = nn.Conv2d(relation_channels, out_channels, 1)

    def forward(self, x_NCTV: Tensor, A_VV: Tensor, alpha: Tensor) -> Tensor:
        mean_NC1V = x_NCTV.mean(2, keepdim=True)  # the mean over T commutes with 1x1 convolutions
        relation_NRVV = torch.tanh(self.conv1(mean_NC1V).transpose(2, 3) - self.conv2(mean_NC1V))
        A_NCVV = self.conv4(relation_NRVV) * alpha + A_VV
        return torch.einsum("ncuv,nctv->nctu", A_NCVV, self.conv3(x_NCTV))


class TemporalConv(nn.Module):
    """Four branches of a quarter of the channels each: two dilated convolutions, a max-pool, a 1x1 convolution."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        width = channels // 4
        pool = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches = nn.ModuleList(
            [
                *(
                    nn.Sequential(*conv_bn(channels, width), nn.ReLU(), ConvBN(width, width, 5, stride, dilation))
                    for dilation in (1, 2)
                ),
                nn.Sequential(*conv_bn(channels, width), nn.ReLU(), pool, nn.BatchNorm2d(width)),
                conv_bn(channels, width, stride),
            ]
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.02)

    def forward(self, x_NCTV: Tensor) -> Tensor:
        return torch.cat([branch(x_NCTV) for branch in self.branches], 1)


class ConvBN(nn.Module):
    """Convolution over time, padded to keep the length (apart from the stride), and batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, dilation: int = 1):
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.conv = nn.Conv2d(in_channels, out_channels, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x_NCTV: Tensor) -> Tensor:
        return self.bn(self.conv(x_NCTV))


def conv_bn(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """1x1 convolution of every `stride`-th frame, and batch norm."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, (stride, 1)), nn.BatchNorm2d(out_channels))


def adjacency(parents: tuple[int, ...]) -> Tensor:
    """Initial subsets [K=3, V, V]: self, from the children, from the parent; columns sum to 1 or 0."""
    V = len(parents)
    inward = torch.zeros(V, V)
    for joint, parent in enumerate(parents):
        if parent >= 0:
            inward[parent, joint] = 1
    outward = inward.T / inward.T.sum(0).clamp(min=1)
    return torch.stack([torch.eye(V), inward, outward])


def init_conv(module: nn.Module) -> None:
    """He initialization by fan-out."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)

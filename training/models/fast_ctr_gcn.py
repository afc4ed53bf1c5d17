"""CTR-GCN for inference: the same logits from fewer and larger products.

Equal up to rounding: batch-norms are folded into the convolutions before them; the convolutions of the relations run on
means over time instead of on frames; the 1x1 convolutions of the three subsets are merged, as are those of the four
branches; alpha is multiplied into weights; people are classified one by one, since the head is linear, and the logits
of absent people, all zeros, only depend on the length of the clip.

Shapes: N batch, M people of a clip, P people of all clips, C channels, T time, V joints, R relation channels,
K adjacency subsets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu
from torch.nn.utils import fuse_conv_bn_eval

from .ctr_gcn import CTRGCN, ConvBN, CTRGCNConfig, GraphConv, TemporalConv, Unit


class FastCTRGCN(nn.Module):
    """A CTR-GCN after `fold`.

    Attributes:
        config: configuration of the original network.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: CTRGCN):
        super().__init__()
        config = model.config
        self.config: CTRGCNConfig = config
        for name, part in zip(("scale", "shift"), affine(model.data_bn), strict=True):
            part_MVC = part.detach().view(config.people, config.joints, config.in_channels)
            self.register_buffer(name, part_MVC.transpose(1, 2).unsqueeze(2).contiguous())  # [M, C, 1, V]
        units = (model.get_submodule(f"l{k + 1}") for k in range(len(config.channels)))
        self.units = nn.ModuleList(FastUnit(unit) for unit in units if isinstance(unit, Unit))
        self.fc = model.fc
        self.absent: dict[int, Tensor] = {}  # frames of a clip -> logits [M, classes] of absent people

    def forward(self, x_NCTVM: Tensor) -> Tensor:
        """Clips [N, C, T, V, M], absent people all zeros -> logits [N, classes]. Absent people cost no time."""
        x_NMCTV = x_NCTVM.permute(0, 4, 1, 2, 3)
        N, M, C, T, V = x_NMCTV.shape
        if T not in self.absent:
            self.absent[T] = self.person(x_NMCTV.new_zeros(M, C, T, V), torch.arange(M, device=x_NCTVM.device))
        logits_NMC = self.absent[T].repeat(N, 1, 1)
        here_NM = (x_NMCTV != 0).flatten(2).any(2)
        if here_NM.any():
            logits_NMC[here_NM] = self.person(x_NMCTV[here_NM], here_NM.nonzero()[:, 1])
        return logits_NMC.mean(1)

    def people(self, x_MCTV: Tensor) -> Tensor:
        """A clip of M people -> logits [classes]; unlike in `forward`, absent people are computed, too."""
        return self.person(x_MCTV, torch.arange(len(self.scale), device=x_MCTV.device)).mean(0)

    def person(self, x_PCTV: Tensor, place_P: Tensor) -> Tensor:
        """Clips of one person each, and the index of the person in its clip, 0 to M - 1 -> logits [P, classes].

        The logits of a clip are the mean over its M people; the input of absent people is zero.
        """
        x = x_PCTV * self.scale[place_P] + self.shift[place_P]
        for unit in self.units:
            x = unit(x)
        return self.fc(x.mean((2, 3)))


class FastUnit(nn.Module):
    """A unit whose graph convolution is three products and a sum, and whose temporal branches share their first."""

    def __init__(self, unit: Unit):
        super().__init__()
        self.gcn = FastGraphConv(unit.gcn1)
        self.tcn = FastTemporalConv(unit.tcn1)
        self.residual = fuse(unit.residual) if isinstance(unit.residual, ConvBN) else unit.residual

    def forward(self, x_NCTV: Tensor) -> Tensor:
        y = self.tcn(self.gcn(x_NCTV))
        return relu(y if self.residual is None else y + self.residual(x_NCTV))


class FastGraphConv(nn.Module):
    """y = ReLU(sum_k A'_k (s W3_k x) + shortcut(x) + h), with scale s and shift h of the batch-norm."""

    def __init__(self, gcn: GraphConv):
        super().__init__()
        scale, shift = affine(gcn.bn)
        convs: list[Any] = list(gcn.convs)
        self.relate = pointwise(*concatenate([c.conv1 for c in convs] + [c.conv2 for c in convs]))
        weight, bias = concatenate([c.conv4 for c in convs])
        self.refine = pointwise(weight * gcn.alpha, bias * gcn.alpha, groups=len(convs))
        self.PA = nn.Parameter(gcn.PA[:, None])
        weight, bias = concatenate([c.conv3 for c in convs])
        scale = scale.repeat(len(convs))
        self.features = pointwise(weight * scale[:, None, None, None], bias * scale)
        self.shortcut = fuse(gcn.down) if isinstance(gcn.down, nn.Sequential) else nn.Identity()
        self.shift = nn.Parameter(shift[:, None, None])

    def forward(self, x_NCTV: Tensor) -> Tensor:
        K = len(self.PA)
        own_NRV, other_NRV = self.relate(x_NCTV.mean(2, keepdim=True)).squeeze(2).chunk(2, 1)
        relation_NRVV = torch.tanh(own_NRV[..., None] - other_NRV[:, :, None])
        A_NKCVV = self.refine(relation_NRVV).unflatten(1, (K, -1)) + self.PA
        transformed_NKCTV = self.features(x_NCTV).unflatten(1, (K, -1)) @ A_NKCVV.transpose(3, 4)
        return relu(transformed_NKCTV.sum(1) + self.shortcut(x_NCTV) + self.shift)


class FastTemporalConv(nn.Module):
    """Four branches whose 1x1 convolutions are one."""

    def __init__(self, tcn: TemporalConv):
        super().__init__()
        branches: list[Any] = list(tcn.branches)
        self.width = len(branches[0][0].weight)
        self.stride = branches[0][3].conv.stride[0]
        self.stems = pointwise(*concatenate([fuse(branch[:2]) for branch in branches]))
        self.convs = nn.ModuleList(fuse(branch[3]) for branch in branches[:2])
        scale, shift = affine(branches[2][4])
        self.scale, self.shift = nn.Parameter(scale[:, None, None]), nn.Parameter(shift[:, None, None])

    def pool(self, x_NCTV: Tensor) -> Tensor:
        """Maximum of three frames, not below 0."""
        T, step = x_NCTV.shape[2], self.stride
        x_NCTV = pad(x_NCTV, (0, 0, 1, 1))
        first, second, third = (x_NCTV[:, :, k : T + k : step] for k in range(3))
        return torch.maximum(torch.maximum(first, second), third)

    def forward(self, x_NCTV: Tensor) -> Tensor:
        stems = self.stems(x_NCTV)
        first, second, pooled = relu(stems[:, : 3 * self.width]).chunk(3, 1)
        plain = stems[:, 3 * self.width :, :: self.stride]
        pooled = self.pool(pooled) * self.scale + self.shift
        return torch.cat([self.convs[0](first), self.convs[1](second), pooled, plain], 1)


def fold(model: CTRGCN) -> FastCTRGCN:
    """A faster copy of the network for inference; logits are equal up to rounding."""
    return FastCTRGCN(deepcopy(model).eval().double()).float().eval().requires_grad_(False)


def from_weights(model: Mapping[str, Any], stream: str, weights: Mapping[str, np.ndarray]) -> FastCTRGCN:
    """The network of a bundle's stream.

    Raises:
        KeyError, TypeError, RuntimeError: the weights do not match the model, or are not those of a CTR-GCN.
    """
    own = {name.removeprefix(f"{stream}."): array for name, array in weights.items() if name.startswith(f"{stream}.")}
    units = len({name.split(".")[1] for name in own if name.startswith("units.")})
    config = CTRGCNConfig(
        classes=len(own["fc.bias"]),
        parents=tuple(-1 if parent == joint else parent for joint, parent in enumerate(model["parents"])),
        people=model["people"],
        in_channels=model["channels"],
        channels=tuple(len(own[f"units.{k}.gcn.shift"]) for k in range(units)),
    )
    network = fold(CTRGCN(config))
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in own.items()})
    return network


def affine(bn: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift [C] that are equivalent to a batch-norm in evaluation."""
    assert isinstance(bn, nn.BatchNorm1d | nn.BatchNorm2d)
    assert bn.running_mean is not None and bn.running_var is not None
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    return scale, bn.bias - bn.running_mean * scale


def fuse(pair: nn.Module) -> nn.Conv2d:
    """Fold a convolution and the batch-norm after it into one convolution."""
    conv, bn = pair.children()
    assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
    return fuse_conv_bn_eval(conv, bn)


def concatenate(convs: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with the concatenated outputs of all of them."""
    return torch.cat([conv.weight for conv in convs]), torch.cat([conv.bias for conv in convs])


def pointwise(weight: Tensor, bias: Tensor, groups: int = 1) -> nn.Conv2d:
    """A 1x1 convolution with these weights."""
    conv = nn.Conv2d(weight.shape[1] * groups, len(weight), 1, groups=groups)
    conv.weight, conv.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return conv

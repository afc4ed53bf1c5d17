"""Reference. N batch, M people, S streams, C channels, T time, V joints, D dilations, W width, L taps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.nn.functional import relu as positive


def temporal_conv(
    x_NCTV: Tensor,
    weights: Tensor | Sequence[Tensor],
    biases: Tensor | Sequence[Tensor],
    dilations: Sequence[int],
    past: Sequence[Tensor] | None = None,
    residual_NCTV: Tensor | None = None,
    relu: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    N, C, _, V = x_NCTV.shape
    D, (W, _, L, _) = len(dilations), weights[0].shape
    assert all(weight.shape == (W, W, L, 1) for weight in weights) and C >= D * W
    reaches = [dilation * (L - 1) for dilation in dilations]
    past = [x_NCTV.new_zeros(N, reach, V, W) for reach in reaches] if past is None else past
    *parts, rest = x_NCTV.split([W] * D + [C - D * W], 1)
    windows = [torch.cat([p.permute(0, 3, 1, 2).to(x.dtype), x], 2) for p, x in zip(past, parts, strict=True)]
    of = zip(windows, weights, biases, dilations, strict=True)
    y = torch.cat([*(conv2d(x, weight, bias, dilation=(d, 1)) for x, weight, bias, d in of), rest], 1)
    y = y if residual_NCTV is None else y + residual_NCTV
    kept = [x[:, :, -reach:].permute(0, 2, 3, 1) for x, reach in zip(windows, reaches, strict=True)]
    return positive(y) if relu else y, kept


def temporal_step(
    x_MCV: Tensor,
    weights: Tensor | Sequence[Tensor],
    biases: Tensor | Sequence[Tensor],
    dilations: Sequence[int],
    ring_SP: Tensor,
    place_S: Tensor,
    slot_M: Tensor,
    residual_MCV: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    M, _, V = x_MCV.shape
    W, _, L, _ = weights[0].shape
    reaches = [dilation * (L - 1) for dilation in dilations]
    place_M, one_M = place_S[slot_M], torch.arange(M, device=slot_M.device)
    own = ring_SP[slot_M].split([reach * V * W for reach in reaches], 1)
    rings = [ring.unflatten(1, (-1, V, W)).clone() for ring in own]
    orders = [(place_M[:, None] + torch.arange(reach, device=slot_M.device)) % reach for reach in reaches]
    past = [ring[one_M[:, None], order] for ring, order in zip(rings, orders, strict=True)]  # oldest first
    for d, (ring, reach) in enumerate(zip(rings, reaches, strict=True)):
        ring[one_M, place_M % reach] = x_MCV[:, d * W : (d + 1) * W].mT.to(ring.dtype)
    ring_SP[slot_M] = torch.cat([ring.flatten(1) for ring in rings], 1)
    residual = None if residual_MCV is None else residual_MCV[:, :, None]
    return temporal_conv(x_MCV[:, :, None], weights, biases, dilations, past, residual, relu)[0][:, :, 0]

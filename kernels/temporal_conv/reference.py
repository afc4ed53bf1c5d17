"""What the kernels mean. N batch, M people, S streams, C channels, T time, V joints, D dilations, W width, L taps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.nn.functional import relu as positive


def temporal_conv(
    x_NCTV: Tensor,
    weight_DWWL: Tensor,
    bias_DW: Tensor,
    dilations: Sequence[int],
    past_NP: Tensor | None = None,
    residual_NCTV: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    (N, C, _, V), (D, W, _, L) = x_NCTV.shape, weight_DWWL.shape
    assert weight_DWWL.shape == (D, W, W, L) and bias_DW.shape == (D, W) and len(dilations) == D and C >= D * W
    reaches = [dilation * (L - 1) for dilation in dilations]
    past_NP = x_NCTV.new_zeros(N, sum(reaches) * V * W) if past_NP is None else past_NP
    pasts = past_NP.split([reach * V * W for reach in reaches], 1)
    *parts, rest = x_NCTV.split([W] * D + [C - D * W], 1)
    made = []
    for part, past, reach, weight, bias, dilation in zip(
        parts, pasts, reaches, weight_DWWL, bias_DW, dilations, strict=True
    ):
        window = torch.cat([past.view(N, reach, V, W).permute(0, 3, 1, 2).to(part.dtype), part], 2)
        made.append(conv2d(window, weight[..., None], bias, dilation=(dilation, 1)))
    y = torch.cat([*made, rest], 1)
    y = y if residual_NCTV is None else y + residual_NCTV
    return positive(y) if relu else y


def temporal_step(
    x_MCV: Tensor,
    weight_DWWL: Tensor,
    bias_DW: Tensor,
    dilations: Sequence[int],
    ring_SP: Tensor,
    place_S: Tensor,
    slot_M: Tensor,
    residual_MCV: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    M, _, V = x_MCV.shape
    _, W, _, L = weight_DWWL.shape
    reaches = [dilation * (L - 1) for dilation in dilations]
    ends = list(accumulate(reach * V * W for reach in reaches))
    place_M, one = place_S[slot_M], torch.arange(M, device=slot_M.device)
    pasts = []
    for d, (reach, end) in enumerate(zip(reaches, ends, strict=True)):
        ring = ring_SP[slot_M, end - reach * V * W : end].view(M, reach, V, W)
        order = (place_M[:, None] + torch.arange(reach, device=slot_M.device)) % reach  # the oldest first
        pasts.append(ring[one[:, None], order].flatten(1))
        ring[one, place_M % reach] = x_MCV[:, d * W : (d + 1) * W].mT.to(ring.dtype)
        ring_SP[slot_M, end - reach * V * W : end] = ring.flatten(1)
    residual = None if residual_MCV is None else residual_MCV[:, :, None]
    past = torch.cat(pasts, 1)
    return temporal_conv(x_MCV[:, :, None], weight_DWWL, bias_DW, dilations, past, residual, relu)[:, :, 0]

"""A residual MLP modulated by a condition (adaLN): one block in two launches, or all blocks of a head in one."""

from __future__ import annotations

import torch
from torch import Tensor

from ..choice import faster
from ..dispatch import Cost, use_triton
from .reference import adaln_mlp as reference
from .reference import adaln_mlp_blocks as reference_blocks


@faster()
def adaln_mlp(
    h_NE: Tensor,
    modulation_NM: Tensor,
    norm_weight_E: Tensor,
    norm_bias_E: Tensor,
    weight1_EE: Tensor,
    bias1_E: Tensor,
    weight2_EE: Tensor,
    bias2_E: Tensor,
    *,
    out: Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """y = h + gate * (W2 silu(W1 (LN(h) (1 + scale) + shift) + b1) + b2), where shift, scale, gate = modulation.

    Optimized for at most 32 rows, for which the weights are read from memory once; more need four launches.

    Args:
        h_NE: [N, E] or [G, N, E], fp32 or the weights' type; fp32 avoids the rounding of bf16 between blocks.
        modulation_NM: [N, 3 E] or [G, N, 3 E], broadcast with h: the same rows can have G different conditions.
        norm_weight_E, norm_bias_E: [E], of the layer normalization, eps 1e-6.
        weight1_EE, weight2_EE: [E, E], fp32, fp16 or bf16. bias1_E, bias2_E: [E], of the same type.
        out: tensor for the result, of h's type, with contiguous rows; also used by the reference. It can be h.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        [N, E] or [G, N, E].
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    tensors = (h_NE, modulation_NM, norm_weight_E, norm_bias_E, weight1_EE, bias1_E, weight2_EE, bias2_E)
    if use_triton(impl, *tensors):
        from .triton import adaln_mlp as kernel

        with torch.cuda.device_of(tensors[0]):
            return kernel(*tensors, out)
    y_NE = reference(*tensors)
    return y_NE if out is None else out.copy_(y_NE)


@faster()
def adaln_mlp_blocks(
    h_NE: Tensor,
    modulations_KNM: Tensor,
    norm_weight_KE: Tensor,
    norm_bias_KE: Tensor,
    weight1_KEE: Tensor,
    bias1_KE: Tensor,
    weight2_KEE: Tensor,
    bias2_KE: Tensor,
    *,
    out: Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """h = adaln_mlp(h, ...) for each of K blocks in turn; h is rounded to its type after each.

    At most 32 rows need one launch.

    Triton's interpreter runs the kernel as a single program, so it verifies the computation but not the synchronization
    between programs, which needs a GPU.

    Args:
        h_NE: [N, E] or [G, N, E]. modulations_KNM: [K, N, 3 E] or [K, G, N, 3 E]. Both as for `adaln_mlp`.
        norm_weight_KE, norm_bias_KE, bias1_KE, bias2_KE: [K, E]. weight1_KEE, weight2_KEE: [K, E, E].
        out: as for `adaln_mlp`.
        impl: "auto", "reference" or "triton", see `use_triton`.
    Returns:
        [N, E] or [G, N, E].
    Raises:
        ValueError, RuntimeError: see `use_triton`.
    """
    weights = (norm_weight_KE, norm_bias_KE, weight1_KEE, bias1_KE, weight2_KEE, bias2_KE)
    if use_triton(impl, h_NE, modulations_KNM, *weights):
        from .triton import adaln_mlp_blocks as kernel

        with torch.cuda.device_of(h_NE):
            return kernel(h_NE, modulations_KNM, *weights, out)
    y_NE = reference_blocks(h_NE, modulations_KNM, *weights)
    return y_NE if out is None else out.copy_(y_NE)


def cost(N: int, E: int, size: int, K: int = 1) -> Cost:
    """Cost of K blocks with elements of `size` bytes; weights are read once, h is read and written once."""
    return Cost(flops=K * 4 * N * E * E, bytes=size * (K * (2 * E * E + 4 * E + 3 * N * E) + 2 * N * E))

"""Reference implementation. N rows, E width, M = 3 E shift, scale and gate of every row, K blocks."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import layer_norm, linear, silu

EPS = 1e-6


def adaln_mlp(
    h_NE: Tensor,
    modulation_NM: Tensor,
    norm_weight_E: Tensor,
    norm_bias_E: Tensor,
    weight1_EE: Tensor,
    bias1_E: Tensor,
    weight2_EE: Tensor,
    bias2_E: Tensor,
) -> Tensor:
    E = h_NE.shape[-1]
    assert modulation_NM.shape[-1] == 3 * E and weight1_EE.shape == weight2_EE.shape == (E, E)
    assert norm_weight_E.shape == norm_bias_E.shape == bias1_E.shape == bias2_E.shape == (E,)
    shift, scale, gate = modulation_NM.to(h_NE.dtype).chunk(3, -1)
    norm = norm_weight_E.to(h_NE.dtype), norm_bias_E.to(h_NE.dtype)
    x_NE = (layer_norm(h_NE, (E,), *norm, EPS) * (1 + scale) + shift).to(weight1_EE.dtype)
    return h_NE + gate * linear(silu(linear(x_NE, weight1_EE, bias1_E)), weight2_EE, bias2_E)


def adaln_mlp_blocks(h_NE: Tensor, modulations_KNM: Tensor, *weights: Tensor) -> Tensor:
    for block in zip(modulations_KNM, *weights, strict=True):
        h_NE = adaln_mlp(h_NE, *block)
    return h_NE

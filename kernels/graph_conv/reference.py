"""Reference. N batch, C and O channels, T time, V and U joints, K adjacency subsets, M = K C, R = V K."""

from __future__ import annotations

from torch import Tensor, bmm
from torch.nn.functional import conv2d
from torch.nn.functional import relu as positive


def graph_conv(
    x_NCTV: Tensor,
    A_RV: Tensor,
    weight_OM11: Tensor,
    bias_O: Tensor | None = None,
    residual_NOTV: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    N, C, T, V = x_NCTV.shape
    K, O = len(A_RV) // V, len(weight_OM11)  # noqa: E741
    assert A_RV.shape == (V * K, V) and weight_OM11.shape == (O, K * C, 1, 1)
    assert residual_NOTV is None or residual_NOTV.shape == (N, O, T, V)
    x = x_NCTV.permute(0, 2, 3, 1).reshape(N * T, V, C)
    x = bmm(A_RV.to(x.dtype).expand(N * T, -1, -1), x)
    y = conv2d(x.view(N, T, V, K * C).permute(0, 3, 1, 2), weight_OM11, bias_O)
    y = y if residual_NOTV is None else y + residual_NOTV
    return positive(y) if relu else y

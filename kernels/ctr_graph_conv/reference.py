"""Reference implementation. N batch, C and O channels, R of relations, T time, V and U joints, K adjacency subsets."""

from __future__ import annotations

from torch import Tensor, einsum, tanh
from torch.nn.functional import linear
from torch.nn.functional import relu as positive


def ctr_graph_conv(
    x_NCTV: Tensor,
    A_KVV: Tensor,
    alpha: Tensor,
    w1_KRC: Tensor,
    b1_KR: Tensor,
    w2_KRC: Tensor,
    b2_KR: Tensor,
    w3_KOC: Tensor,
    b3_KO: Tensor,
    w4_KOR: Tensor,
    b4_KO: Tensor,
    bias_O: Tensor,
    residual_NOTV: Tensor | None = None,
    relu: bool = False,
) -> Tensor:
    (N, C, T, V), (K, O, R) = x_NCTV.shape, w4_KOR.shape  # noqa: E741
    assert A_KVV.shape == (K, V, V) and alpha.numel() == 1 and w3_KOC.shape == (K, O, C)
    assert w1_KRC.shape == w2_KRC.shape == (K, R, C) and b1_KR.shape == b2_KR.shape == (K, R)
    assert b3_KO.shape == b4_KO.shape == (K, O) and bias_O.shape == (O,)
    assert residual_NOTV is None or residual_NOTV.shape == (N, O, T, V)
    mean_NVC = x_NCTV.mean(2).transpose(1, 2)
    p_NUKR = linear(mean_NVC, w1_KRC.flatten(0, 1), b1_KR.flatten()).unflatten(2, (K, R))
    q_NVKR = linear(mean_NVC, w2_KRC.flatten(0, 1), b2_KR.flatten()).unflatten(2, (K, R))
    relation_NUVKR = tanh(p_NUKR[:, :, None] - q_NVKR[:, None])
    refined_NKOUV = einsum("nuvkr,kor->nkouv", relation_NUVKR, w4_KOR) + b4_KO[:, :, None, None]
    refined_NKOUV = alpha * refined_NKOUV + A_KVV[:, None]
    h_NTVKO = linear(x_NCTV.permute(0, 2, 3, 1), w3_KOC.flatten(0, 1), b3_KO.flatten()).unflatten(3, (K, O))
    y_NOTU = einsum("nkouv,ntvko->notu", refined_NKOUV, h_NTVKO) + bias_O[:, None, None]
    y_NOTU = y_NOTU if residual_NOTV is None else y_NOTU + residual_NOTV
    return positive(y_NOTU) if relu else y_NOTU

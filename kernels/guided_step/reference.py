"""Reference implementation. N rows, B samples, L tokens, D and F numbers of a token and of a feature."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import normalize

EPS = 1e-8  # added to a gradient's length


def guided_step(
    x_ND: Tensor,
    cond_ND: Tensor,
    uncond_ND: Tensor | None,
    before_ND: Tensor | None,
    cfg: float,
    step: float,
    carry: float,
) -> tuple[Tensor, Tensor]:
    assert all(part is None or part.shape == x_ND.shape for part in (cond_ND, uncond_ND, before_ND))
    v_ND = cond_ND if uncond_ND is None else uncond_ND + cfg * (cond_ND - uncond_ND)
    return x_ND + step * (v_ND if before_ND is None else v_ND + carry * before_ND), v_ND


def cosine_gradient(features: Sequence[Tensor], target_BF: Tensor, weights: Sequence[float]) -> tuple[Tensor, ...]:
    assert all(feature.shape == target_BF.shape for feature in features) and len(features) == len(weights)
    target_BF, gradients = normalize(target_BF, dim=1), []
    for f_BF, weight in zip(features, weights, strict=True):
        unit_BF = normalize(f_BF, dim=1)
        cosine_B1 = (unit_BF * target_BF).sum(1, keepdim=True)
        gradients.append(weight * (target_BF - cosine_B1 * unit_BF) / f_BF.norm(dim=1, keepdim=True))
    return tuple(gradients)


def masked_step(tokens_BLD: Tensor, gradient_BLD: Tensor, sampled_BL: Tensor, step: float, norm: str) -> Tensor:
    assert tokens_BLD.shape == gradient_BLD.shape and sampled_BL.shape == tokens_BLD.shape[:2]
    own_BLD = gradient_BLD * sampled_BL[:, :, None]
    length_B = (gradient_BLD if norm == "all" else own_BLD).float().flatten(1).norm(dim=1) + EPS
    if norm == "token":
        length_B = length_B / sampled_BL.sum(1).clamp(min=1).sqrt()
    return tokens_BLD + (step * own_BLD / length_B[:, None, None]).to(tokens_BLD.dtype)

"""Guidance: tokens follow the gradient of the similarity of motion and description in the recognizer's space.

The reward of a motion is 0.7 cos(fused, text) + 0.1 (cos(joint, text) + cos(bone, text) + cos(motion, text)).
Source: CoAMD, released code. Shapes: B batch, L tokens, D channels of a token, F width of the common space.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ...kernels.guided_step import masked_step
from ...runtime.generation.schedule import STRIDE, Guidance
from ..models.coamd import AutoEncoder, MotionRecognizer

WEIGHTS = (0.7, 0.1, 0.1, 0.1)  # of the fused, joint, bone and motion features
Reward = Callable[[Tensor, Tensor], Tensor]  # tokens [B, L, D], their number [B] -> [B]


def reward_of(
    autoencoder: AutoEncoder,
    recognizer: MotionRecognizer,
    text_BF: Tensor,
    lengths: str = "frames",
    padding: str = "motion",
) -> Reward:
    """Reward of motions for descriptions, whose features come from `recognizer.describe`.

    Args:
        lengths, padding: see `Guidance` and `Sampling`.
    """

    def reward(tokens_BLD: Tensor, counts_B: Tensor) -> Tensor:
        frames_B = STRIDE * counts_B
        padded_B = frames_B if padding == "motion" else torch.full_like(frames_B, STRIDE * tokens_BLD.shape[1])
        lengths_B = frames_B if lengths == "frames" else counts_B
        return similarity(autoencoder, recognizer, text_BF, tokens_BLD, padded_B, lengths_B)

    return reward


def similarity(
    autoencoder: AutoEncoder,
    recognizer: MotionRecognizer,
    text_BF: Tensor,
    tokens_BLD: Tensor,
    frames_B: Tensor,
    lengths_B: Tensor,
) -> Tensor:
    """The reward [B] of tokens, decoded with lengths `frames` and recognized with lengths `lengths`."""
    features = recognizer.encode(autoencoder.decode(tokens_BLD, frames_B), lengths_B)
    parts = [w * cosine_similarity(f, text_BF) for w, f in zip(WEIGHTS, features, strict=True)]
    return torch.stack(parts).sum(0)


def guide_tokens(
    reward: Reward, tokens_BLD: Tensor, counts_B: Tensor, sampled_BL: Tensor, guidance: Guidance
) -> Tensor:
    """Move sampled tokens one step along the gradient of the reward."""
    with torch.enable_grad():
        leaf = tokens_BLD.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(reward(leaf, counts_B).sum(), leaf)
    return masked_step(tokens_BLD, gradient, sampled_BL, step=guidance.step, norm=guidance.norm)

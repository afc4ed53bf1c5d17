"""Guidance: tokens are moved along the gradient of how well the recogniser finds the description in their motion.

The reward of a motion is 0.7 cos(fused, text) + 0.1 (cos(joint, text) + cos(bone, text) + cos(motion, text)).
Source: CoAMD, released code. Shapes: B batch, L tokens, D channels of a token, F width of the common space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from .models.coamd import AutoEncoder, MotionRecognizer
from .models.coamd.autoencoder import STRIDE

WEIGHTS = (0.7, 0.1, 0.1, 0.1)  # of the fused, joint, bone and motion features
Reward = Callable[[Tensor, Tensor], Tensor]  # tokens [B, L, D], their number [B] -> [B]


@dataclass(frozen=True, kw_only=True, slots=True)
class Guidance:
    """How strongly, when and on what a sampler is guided.

    Attributes:
        step: length of the move along the unit gradient.
        last: how many of the last autoregressive steps are guided; None: all.
        norm: what of the gradient has length 1: all tokens that are "sampled" at the step, each "token" of them on
            average, or "all" of the motion's.
        preview: evaluations for tokens that will be masked again, which only shape the gradient; None: as many as for
            the others.
        lengths: in what the recogniser is told how long the motion is: "frames"; "tokens", the released code's mistake,
            which shows it the first quarter of a motion.
    """

    step: float
    last: int | None = None
    norm: str = "sampled"
    preview: int | None = None
    lengths: str = "frames"

    def __post_init__(self) -> None:
        for name, allowed in (("norm", ("sampled", "token", "all")), ("lengths", ("frames", "tokens"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected {', '.join(allowed)}")

    @classmethod
    def reference(cls, scale: float) -> Guidance | None:
        """As released: a step of 0.5 + scale at every autoregressive step; none at scale 0."""
        return cls(step=0.5 + scale, norm="all", lengths="tokens") if scale > 0 else None

    def at(self, step: int, steps: int) -> bool:
        """Whether this autoregressive step is guided."""
        return self.last is None or step >= steps - self.last


def reward_of(
    autoencoder: AutoEncoder, recognizer: MotionRecognizer, text_BF: Tensor, lengths: str = "frames"
) -> Reward:
    """How well each motion fits its description, whose features come from `recognizer.describe`."""

    def reward(tokens_BLD: Tensor, counts_B: Tensor) -> Tensor:
        frames = STRIDE * counts_B
        x_BTC = autoencoder.decode(tokens_BLD, frames)
        features = recognizer.encode(x_BTC, frames if lengths == "frames" else counts_B)
        parts = [w * cosine_similarity(f, text_BF) for w, f in zip(WEIGHTS, features, strict=True)]
        return torch.stack(parts).sum(0)

    return reward


def guided(reward: Reward, tokens_BLD: Tensor, counts_B: Tensor, sampled_BL: Tensor, guidance: Guidance) -> Tensor:
    """The tokens after one move of those that were sampled."""
    with torch.enable_grad():
        leaf = tokens_BLD.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(reward(leaf, counts_B).sum(), leaf)
    counted = gradient if guidance.norm == "all" else gradient * sampled_BL[:, :, None]
    length_B = counted.flatten(1).norm(dim=1) + 1e-8
    if guidance.norm == "token":
        length_B = length_B / sampled_BL.sum(1).clamp(min=1).sqrt()
    return tokens_BLD + guidance.step * gradient / length_B[:, None, None] * sampled_BL[:, :, None]

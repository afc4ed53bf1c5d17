"""Text to tokens in plain PyTorch: the operations of the sampling loop on a generator and a reward.

Shapes: B batch, L tokens, D channels of a token, N tokens sampled together, W width of the text features, E of the
trunk.
Source: Li et al., "Autoregressive image generation without vector quantization" (2024); MARDM; CoAMD.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...runtime.generation.sampler import sample_tokens
from ...runtime.generation.schedule import (
    DecodeStep,
    NoiseKey,
    Part,
    Sampling,
    draw_noise,
    initial_tokens,
    noise_keys,
    solve,
)
from ...runtime.generation.solvers import classifier_free
from ..models.coamd import MotionGenerator
from .guidance import Reward, guide_tokens


@torch.no_grad()
def sample(
    generator: MotionGenerator,
    text_BW: Tensor,
    counts: Sequence[int],
    settings: Sampling | None = None,
    *,
    seed: int = 0,
    samples: Sequence[int] | None = None,
    quality_B: Tensor | None = None,
    reward: Reward | None = None,
    known_BLD: Tensor | None = None,
    regenerate_BL: np.ndarray | None = None,
) -> Tensor:
    """Sample tokens [B, L, D] for texts, zeros beyond their counts.

    Args:
        generator: in evaluation mode.
        text_BW: features of the texts.
        counts: tokens of every motion, at least 1.
        seed, samples: key of the noise, which depends on the seed and the sample's number (0, 1, ...) alone.
        quality_B: capture quality, for generators conditioned on it.
        reward: objective of `settings.guidance`.
        known_BLD, regenerate_BL: to edit, the tokens of a motion, and the mask of those to regenerate.
    Raises:
        ValueError: a temperature for a flow; guidance without a reward.
    """
    settings = settings or Sampling()
    if generator.config.objective == "flow" and settings.temperature != 1:
        raise ValueError(f"temperature {settings.temperature}: a flow has none, expected 1")
    if settings.guidance is not None and reward is None:
        raise ValueError("guidance needs a reward")
    device = text_BW.device
    keys = noise_keys(len(counts), seed) if samples is None else [(seed, number) for number in samples]
    known = None if known_BLD is None else known_BLD.cpu().numpy()
    mask_D = generator.mask.detach().cpu().numpy()
    tokens_BLD, steps = initial_tokens(mask_D, counts, settings, keys, known, regenerate_BL)
    counts_B = torch.tensor(list(counts), device=device)
    ops = TorchOps(
        generator=generator,
        modulations=condition_modulations(generator, text_BW, quality_B, settings.cfg),
        counts_B=counts_B,
        valid_BL=torch.arange(tokens_BLD.shape[1], device=device) < counts_B[:, None],
        settings=settings,
        keys=keys,
        reward=reward,
    )
    tokens: Tensor = sample_tokens(ops, torch.from_numpy(tokens_BLD).to(device), steps)
    return tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchOps:
    """`SamplerOps` on tensors: the trunk runs once for every condition, the head once for every evaluation of each.

    Attributes:
        modulations: of the trunk, for every condition.
    """

    generator: MotionGenerator
    modulations: list[list[Tensor]]
    counts_B: Tensor
    valid_BL: Tensor
    settings: Sampling
    keys: Sequence[NoiseKey]
    reward: Reward | None

    def mask(self, tokens_BLD: Tensor, step: DecodeStep) -> Tensor:
        tokens_BLD[self._tensor(step.masked)] = self.generator.mask
        return tokens_BLD

    def trunk(self, tokens_BLD: Tensor, step: DecodeStep) -> list[Tensor]:
        return [self.generator.trunk(tokens_BLD, modulation, self.valid_BL) for modulation in self.modulations]

    def sample(self, tokens_BLD: Tensor, z: list[Tensor], step: DecodeStep, part: Part) -> Tensor:
        def draw(number: int = 0) -> Tensor:
            width = tokens_BLD.shape[2]
            return self._tensor(draw_noise(self.keys, step.number, part.rows, width, number))

        rows_BL = self._tensor(part.rows)
        z_of_rows = [z_BLE[rows_BL] for z_BLE in z]
        tokens_BLD[rows_BL] = solve_head(self.generator, z_of_rows, draw, self.settings, part.evaluations)
        return tokens_BLD

    def guide(self, tokens_BLD: Tensor, step: DecodeStep) -> Tensor:
        assert self.reward is not None and step.guidance is not None
        return guide_tokens(self.reward, tokens_BLD, self.counts_B, self._tensor(step.masked), step.guidance)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.counts_B.device)


def condition_modulations(
    generator: MotionGenerator, text_BW: Tensor, quality_B: Tensor | None, cfg: float
) -> list[list[Tensor]]:
    """Modulations of the trunk's blocks for the text, for no text, or for each in turn."""
    texts = (text_BW, torch.zeros_like(text_BW))
    text, no_text = (generator.modulations(generator.condition(x_BW, quality_B)) for x_BW in texts)
    return [text] if cfg == 1 else [no_text] if cfg == 0 else [text, no_text]


def solve_head(
    generator: MotionGenerator, z: list[Tensor], draw: Callable[..., Tensor], settings: Sampling, evaluations: int
) -> Tensor:
    """Sample tokens [N, D] from the trunk's outputs at their positions, [N, E] for every condition.

    Args:
        draw: number of the draw -> noise [N, D].
    """

    def velocity(x_ND: Tensor, t: float) -> Tensor:
        v_ND: Tensor = classifier_free([generator.head(x_ND, x_ND.new_tensor([t]), z_NE) for z_NE in z], settings.cfg)
        return v_ND

    x_ND: Tensor = solve(generator.config.objective, velocity, draw, settings, evaluations)
    return x_ND

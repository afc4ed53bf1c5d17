"""Text to tokens: the masked-autoregressive loop, in plain PyTorch.

All tokens are sampled at once and most of them masked again; every step keeps a few more, until all are decided.
Editing is the same with some tokens known.

Shapes: B batch, L tokens, D channels of a token, W width of the text features.
Source: Li et al., "Autoregressive image generation without vector quantization" (2024); MARDM; CoAMD.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ...runtime.generation import rng as noise
from ...runtime.generation.schedule import Sampling, decode_schedule, draw_noise
from ...runtime.generation.solvers import SOLVERS
from ..models.coamd import MotionGenerator
from .guidance import Reward, guided
from .solvers import ddpm, dopri5


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
    """Tokens [B, L, D] for descriptions, zeros beyond their counts.

    Args:
        generator: in evaluation mode.
        text_BW: features of the descriptions.
        counts: tokens of every motion, at least 1.
        seed, samples: the noise of a sample depends on the seed and its own number (0, 1, ...) only.
        quality_B: kind of capture, for generators that know kinds.
        reward: what `settings.guidance` climbs.
        known_BLD, regenerate_BL: to edit, the tokens of a motion, and which of them are made anew.
    Raises:
        ValueError: a temperature for a flow; guidance without a reward.
    """
    settings = settings or Sampling()
    flow = generator.config.objective == "flow"
    if flow and settings.temperature != 1:
        raise ValueError(f"temperature {settings.temperature}: a flow has none, expected 1")
    if settings.guidance is not None and reward is None:
        raise ValueError("guidance needs a reward")
    B, L, device = len(counts), max(counts), text_BW.device
    samples = range(B) if samples is None else samples
    counts_B = torch.tensor(list(counts), device=device)
    valid_BL = torch.arange(L, device=device) < counts_B[:, None]
    inside = valid_BL.cpu().numpy()
    wanted = inside if regenerate_BL is None else inside & regenerate_BL
    orders = [np.pad(noise.order(seed, s, m), (0, L - m)) for s, m in zip(samples, counts, strict=True)]

    tokens = generator.mask.expand(B, L, -1) if known_BLD is None else known_BLD
    tokens = (tokens * valid_BL[:, :, None]).contiguous()
    conditions = condition_modulations(generator, text_BW, quality_B, settings.cfg)
    for step in decode_schedule(wanted, orders, settings):
        masked_BL = torch.from_numpy(step.masked).to(device)
        tokens[masked_BL] = generator.mask
        z = [generator.trunk(tokens, told, valid_BL) for told in conditions]
        for rows, evaluations in step.parts:
            draw = partial(drawn, seed, samples, step.number, rows, generator.config.latent, device)
            at = torch.from_numpy(rows).to(device)
            tokens[at] = solve(generator, [z_BLE[at] for z_BLE in z], draw, settings, evaluations)
        if step.guidance is not None:
            assert reward is not None
            tokens = guided(reward, tokens, counts_B, masked_BL, step.guidance)
    return tokens


def condition_modulations(
    generator: MotionGenerator, text_BW: Tensor, quality_B: Tensor | None, cfg: float
) -> list[list[Tensor]]:
    """What the trunk must be told: the text, its absence, or each in turn."""
    texts = (text_BW, torch.zeros_like(text_BW))
    told, untold = (generator.modulations(generator.condition(text, quality_B)) for text in texts)
    return [told] if cfg == 1 else [untold] if cfg == 0 else [told, untold]


def drawn(
    seed: int, samples: Sequence[int], step: int, rows_BL: np.ndarray, width: int, device: torch.device, draw: int = 0
) -> Tensor:
    """The noise of some tokens, [rows, D], in their order in the batch."""
    return torch.from_numpy(draw_noise(seed, samples, step, rows_BL, width, draw)).to(device)


def solve(
    generator: MotionGenerator, z: list[Tensor], draw: Callable[..., Tensor], settings: Sampling, evaluations: int
) -> Tensor:
    """Tokens [rows, D] whose places' outputs of the trunk are z, [rows, E] for every condition."""

    def velocity(x: Tensor, t: float) -> Tensor:
        found = [generator.head(x, x.new_tensor([t]), z_NE) for z_NE in z]
        return found[0] if len(found) == 1 else found[1] + settings.cfg * (found[0] - found[1])

    if generator.config.objective == "ddpm":
        return ddpm(velocity, draw(), lambda k: draw(draw=k + 1), settings.temperature)
    if settings.solver == "dopri5":
        return dopri5(velocity, draw())[0]
    solver = SOLVERS[settings.solver] if isinstance(settings.solver, str) else settings.solver
    return solver(velocity, draw(), evaluations)

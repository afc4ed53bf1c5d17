"""The loop of `sampling.sample` as one function of tensors, for a given number of tokens: what a CUDA graph can hold.

What is random or depends on a seed, and where masked tokens are, is drawn before and handed in; what is left are the
same operations in the same order for every seed. Both conditions go through the networks together, and what the head's
layers are told at all times of a step is computed at once.

Shapes: B batch, L tokens of D channels, G conditions (told and untold), N tokens sampled together, S solver times,
E width of the trunk, M what layers are told, F width of the recogniser's space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ...kernels.guided_step import cosine_gradient, guided_step, masked_step
from ...runtime.generation.schedule import STRIDE, Guidance, Sampling, draw_noise, initial_tokens
from ...runtime.generation.solvers import STAGES
from ..models.coamd.generator import FlowHead
from .exported import ExportedCoamd
from .guidance import WEIGHTS


@dataclass(frozen=True, slots=True)
class Step:
    """An autoregressive step: how many tokens are sampled together, with how many evaluations; and its guidance."""

    parts: tuple[tuple[int, int], ...]
    guidance: Guidance | None


@dataclass(frozen=True, slots=True)
class SamplingLoop:
    """All that is the same for every seed. Made by `draw_inputs`, together with what is not."""

    steps: tuple[Step, ...]
    solver: str
    cfg: float

    def __call__(self, networks: ExportedCoamd, told_GBM: Tensor, target_BF: Tensor, *drawn: Tensor) -> Tensor:
        """Tokens [B, L, D] of descriptions.

        Args:
            told_GBM: what the trunk is told of them and, with G = 2, of no description besides.
            target_BF: them in the recogniser's space; not read without guidance.
            drawn: as by `draw_inputs`.
        """
        generator, G = networks.generator, len(told_GBM)
        counts_B, tokens_BLD, *rest = drawn
        valid_BL = torch.arange(tokens_BLD.shape[1], device=counts_B.device) < counts_B[:, None]
        told, given = told_GBM.flatten(0, 1).chunk(len(generator.blocks), 1), iter(rest)
        for step in self.steps:
            masked_BL = next(given)
            tokens_BLD = torch.where(masked_BL[:, :, None], generator.mask, tokens_BLD)
            z = generator.trunk(tokens_BLD.repeat(G, 1, 1), told, valid_BL.repeat(G, 1)).unflatten(0, (G, -1))
            for _, evaluations in step.parts:
                place_N, x_ND = next(given), next(given)
                x_ND = self.solved(generator.head, x_ND, z.flatten(1, 2)[:, place_N], evaluations)
                tokens_BLD = tokens_BLD.flatten(0, 1).index_copy(0, place_N, x_ND).view_as(tokens_BLD)
            if step.guidance is not None:
                gradient = gradient_of(networks, tokens_BLD, counts_B, target_BF, step.guidance.lengths)
                of = step.guidance
                tokens_BLD = masked_step(tokens_BLD, gradient, masked_BL, step=of.step, norm=of.norm)
        return tokens_BLD

    def solved(self, head: FlowHead, x_ND: Tensor, z_GNE: Tensor, evaluations: int) -> Tensor:
        """From noise to tokens, [N, D]."""
        stages = STAGES[self.solver](evaluations)
        times = sorted({stage.time for stage in stages})
        told = head.modulations(_times(tuple(times), x_ND.device)[:, None, None], z_GNE)  # [S, G, N, ...] each
        begin, before = x_ND, None
        for stage in stages:
            v_GND = head.velocity(x_ND, [part[times.index(stage.time)] for part in told])
            begin = begin if stage.from_step_start else x_ND
            earlier = before if stage.carry else None
            untold = v_GND[1] if len(v_GND) == 2 else None
            x_ND, before = guided_step(
                begin, v_GND[0], untold, earlier, cfg=self.cfg, step=stage.step, carry=stage.carry
            )
        return x_ND


@cache
def _times(times: tuple[float, ...], device: torch.device) -> Tensor:
    """Kept, as numbers of the host cannot be brought to a device within a CUDA graph."""
    return torch.tensor(times, device=device)


def gradient_of(
    networks: ExportedCoamd, tokens_BLD: Tensor, counts_B: Tensor, target_BF: Tensor, lengths: str
) -> Tensor:
    """That of `guidance.reward_of`, [B, L, D], the cosines' by hand."""
    frames_B = STRIDE * counts_B
    with torch.enable_grad():
        leaf = tokens_BLD.detach().requires_grad_()
        x_BTC = networks.autoencoder.decode(leaf, frames_B)
        features = networks.recognizer.encode(x_BTC, frames_B if lengths == "frames" else counts_B)
    toward = cosine_gradient([feature.detach() for feature in features], target_BF, WEIGHTS)
    return torch.autograd.grad(features, leaf, toward)[0]


def draw_inputs(
    mask_D: np.ndarray,
    counts: Sequence[int],
    settings: Sampling,
    *,
    seed: int = 0,
    samples: Sequence[int] | None = None,
    known_BLD: np.ndarray | None = None,
    regenerate_BL: np.ndarray | None = None,
) -> tuple[SamplingLoop, list[np.ndarray]]:
    """The loop for some numbers of tokens, and what is drawn for it; arguments as of `sampling.sample`.

    Returns:
        The loop, and its arguments: counts [B], tokens [B, L, D] to begin with, and for every step which tokens are
        masked, [B, L], and for each part of it the places in B L, [N], and noise, [N, D].
    """
    samples = range(len(counts)) if samples is None else samples
    tokens, planned = initial_tokens(mask_D, counts, settings, seed, samples, known_BLD, regenerate_BL)
    found: list[np.ndarray] = [np.array(counts, np.int64), tokens]
    steps = []
    for step in planned:
        found.append(step.masked)
        for rows, _ in step.parts:
            found += [np.flatnonzero(rows), draw_noise(seed, samples, step.number, rows, len(mask_D))]
        steps.append(Step(tuple((int(rows.sum()), n) for rows, n in step.parts), step.guidance))
    assert isinstance(settings.solver, str)
    return SamplingLoop(tuple(steps), settings.solver, settings.cfg), found

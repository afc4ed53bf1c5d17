"""The sampling loop as one function of tensors, for fixed numbers of tokens: the content of a CUDA graph.

Everything random, and the positions of masked tokens, are drawn in advance and passed in; what is left are the same
operations in the same order for every seed and for all lengths in a bucket, where shorter motions sample some tokens
twice. Both conditions go through the networks together, and the modulations of the head's layers are computed in one
run for all times of a solver.

Shapes: B batch, L tokens of D channels, G conditions (text, no text), N tokens sampled together, S solver times,
E width of the trunk, M modulation parameters of all layers, F width of the recognizer's space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ...kernels.guided_step import cosine_gradient, guided_step, masked_step
from ...runtime.generation.sampler import sample_tokens
from ...runtime.generation.schedule import (
    MAX_TOKENS,
    STRIDE,
    Guidance,
    NoiseKey,
    Sampling,
    decode_schedule,
    draw_noise,
    initial_tokens,
    noise_keys,
)
from ...runtime.generation.solvers import STAGES, Stage, integrate
from .exported import ExportedCoamd
from .guidance import WEIGHTS

BUCKET = 8  # numbers of tokens are multiples of this one, or the largest


@dataclass(frozen=True, slots=True)
class StepShape:
    """Constants of an autoregressive step: for every part the number of tokens and of evaluations; and its guidance."""

    parts: tuple[tuple[int, int], ...]
    guidance: Guidance | None


@dataclass(frozen=True, slots=True)
class TensorPart:
    """Tokens that are sampled together: their positions in B L, [N], their noise, [N, D], and evaluations."""

    positions_N: Tensor
    noise_ND: Tensor
    evaluations: int


@dataclass(frozen=True, slots=True)
class TensorStep:
    """A `DecodeStep` as tensors; masked is [B, L] bool."""

    masked_BL: Tensor
    parts: list[TensorPart]
    guidance: Guidance | None


@dataclass(frozen=True, slots=True)
class SamplingLoop:
    """Everything about a loop that is the same for every seed; hashable. `draw_inputs` makes it and its inputs."""

    steps: tuple[StepShape, ...]
    solver: str
    cfg: float

    def __call__(self, networks: ExportedCoamd, modulation_GBM: Tensor, target_BF: Tensor, *inputs: Tensor) -> Tensor:
        """Sample tokens [B, L, D].

        Args:
            modulation_GBM: of the trunk, for each condition.
            target_BF: texts in the recognizer's space; ignored without guidance.
            inputs: from `draw_inputs`.
        """
        counts_B, tokens_BLD, *drawn = inputs
        ops = _Ops(
            networks=networks,
            solver=self.solver,
            cfg=self.cfg,
            counts_B=counts_B,
            valid_BL=torch.arange(tokens_BLD.shape[1], device=counts_B.device) < counts_B[:, None],
            modulation=modulation_GBM.flatten(0, 1).chunk(len(networks.generator.blocks), 1),
            conditions=len(modulation_GBM),
            target_BF=target_BF,
        )
        tokens: Tensor = sample_tokens(ops, tokens_BLD, self._steps(iter(drawn)))
        return tokens

    def _steps(self, drawn: Iterator[Tensor]) -> Iterator[TensorStep]:
        for shape in self.steps:
            masked_BL = next(drawn)
            parts = [TensorPart(next(drawn), next(drawn), evaluations) for _, evaluations in shape.parts]
            yield TensorStep(masked_BL, parts, shape.guidance)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ops:
    """`SamplerOps` on tensors without data-dependent shapes; nothing is changed in place."""

    networks: ExportedCoamd
    solver: str
    cfg: float
    counts_B: Tensor
    valid_BL: Tensor
    modulation: Sequence[Tensor]  # of the trunk's blocks, [G B, ...] each
    conditions: int
    target_BF: Tensor

    def mask(self, tokens_BLD: Tensor, step: TensorStep) -> Tensor:
        return torch.where(step.masked_BL[:, :, None], self.networks.generator.mask, tokens_BLD)

    def trunk(self, tokens_BLD: Tensor, step: TensorStep) -> Tensor:
        G = self.conditions
        z = self.networks.generator.trunk(tokens_BLD.repeat(G, 1, 1), self.modulation, self.valid_BL.repeat(G, 1))
        return z.unflatten(0, (G, -1))

    def sample(self, tokens_BLD: Tensor, z_GBLE: Tensor, step: TensorStep, part: TensorPart) -> Tensor:
        head = self.networks.generator.head
        stages = STAGES[self.solver](part.evaluations)
        times = sorted({stage.time for stage in stages})
        z_GNE = z_GBLE.flatten(1, 2)[:, part.positions_N]
        modulations = head.modulations(_constant(tuple(times), z_GNE.device)[:, None, None], z_GNE)  # [S, G, N, ...]

        def velocity(x_ND: Tensor, t: float) -> Tensor:
            return head.velocity(x_ND, [layer[times.index(t)] for layer in modulations])

        x_ND = integrate(stages, velocity, part.noise_ND, self._update)
        return tokens_BLD.flatten(0, 1).index_copy(0, part.positions_N, x_ND).view_as(tokens_BLD)

    def _update(self, x_ND: Tensor, v_GND: Tensor, previous_ND: Tensor | None, stage: Stage) -> tuple[Tensor, Tensor]:
        no_text = v_GND[1] if len(v_GND) == 2 else None
        return guided_step(x_ND, v_GND[0], no_text, previous_ND, cfg=self.cfg, step=stage.step, carry=stage.carry)

    def guide(self, tokens_BLD: Tensor, step: TensorStep) -> Tensor:
        assert step.guidance is not None
        gradient = reward_gradient(self.networks, tokens_BLD, self.counts_B, self.target_BF, step.guidance.lengths)
        return masked_step(tokens_BLD, gradient, step.masked_BL, step=step.guidance.step, norm=step.guidance.norm)


@cache
def _constant(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers as a tensor, cached: inside a CUDA graph nothing can be copied from the host."""
    return torch.tensor(numbers, device=device)


def reward_gradient(
    networks: ExportedCoamd, tokens_BLD: Tensor, counts_B: Tensor, target_BF: Tensor, lengths: str
) -> Tensor:
    """Gradient of `guidance.reward_of`, [B, L, D]; that of the cosines is computed by hand."""
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
    keys: Sequence[NoiseKey] | None = None,
    known_BLD: np.ndarray | None = None,
    regenerate_BL: np.ndarray | None = None,
) -> tuple[SamplingLoop, list[np.ndarray]]:
    """Build the loop for some numbers of tokens and draw its inputs; arguments as of `Networks.sample`.

    Returns:
        The loop, which is the same for all counts with the same `bucket`, and its inputs: counts [B], initial tokens
        [B, L, D], and for every step the mask [B, L] and, for every part of it, positions in B L, [N], and noise, [N,
        D]. L is the bucket.
    """
    keys = noise_keys(len(counts)) if keys is None else keys
    L = bucket(max(counts))
    initial, schedule = initial_tokens(mask_D, counts, settings, keys, known_BLD, regenerate_BL)
    more = L - initial.shape[1]
    drawn = {step.number: step for step in schedule}
    inputs: list[np.ndarray] = [np.array(counts, np.int64), np.pad(initial, ((0, 0), (0, more), (0, 0)))]
    shapes = []
    for number, most, guidance in _largest(L, settings):
        step = drawn[min(later for later in drawn if later >= number)]  # masks change only where tokens are decided
        sampled = {part.evaluations: part.rows for part in step.parts} if step.number == number else {}
        masked_BL = np.pad(step.masked, ((0, 0), (0, more)))
        one_BL = np.arange(masked_BL.size).reshape(masked_BL.shape) == masked_BL.argmax()  # that is masked again
        inputs.append(masked_BL)
        parts = []
        for evaluations, rows in most.items():
            rows_BL = np.pad(sampled[evaluations], ((0, 0), (0, more))) if evaluations in sampled else one_BL
            positions_N, noise_ND = np.flatnonzero(rows_BL), draw_noise(keys, number, rows_BL, len(mask_D))
            missing = (0, rows * len(counts) - len(positions_N))
            inputs += [np.pad(positions_N, missing, "edge"), np.pad(noise_ND, (missing, (0, 0)), "edge")]
            parts.append((rows * len(counts), evaluations))
        shapes.append(StepShape(tuple(parts), guidance))
    assert isinstance(settings.solver, str)
    return SamplingLoop(tuple(shapes), settings.solver, settings.cfg), inputs


def bucket(tokens: int) -> int:
    """Number of tokens that a motion is padded to."""
    return max(tokens, min(-(-tokens // BUCKET) * BUCKET, MAX_TOKENS))


@cache
def _largest(tokens: int, settings: Sampling) -> list[tuple[int, dict[int, int], Guidance | None]]:
    """Steps of motions of at most `tokens`: number, most tokens of each part by its evaluations, and guidance."""
    most: dict[int, dict[int, int]] = {}
    guidance: dict[int, Guidance | None] = {}
    for count in range(1, tokens + 1):
        for step in decode_schedule(np.ones((1, count), bool), [np.arange(count)], settings):
            rows = most.setdefault(step.number, {})
            for part in step.parts:
                rows[part.evaluations] = max(rows.get(part.evaluations, 0), int(part.rows.sum()))
            guidance[step.number] = step.guidance
    return [(number, most[number], guidance[number]) for number in sorted(most)]

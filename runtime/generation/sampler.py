"""The masked-autoregressive sampling loop, written once for arrays of any library, and its operations on ONNX graphs.

Which tokens are sampled at which step is data, see `schedule`; networks and arrays belong to the operations.

Shapes: B batch, L tokens of D channels, Q positions, G conditions (text, no text), S solver times, N noisy tokens,
E width of the trunk, F width of the recognizer's space, M modulation parameters of all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .schedule import STRIDE, DecodeStep, Guidance, NoiseKey, Part, Sampling, draw_noise, solve
from .solvers import STAGES, classifier_free

MAX_MODULATIONS = 1 << 25  # floats that are computed in one run


class SamplerOps(Protocol):
    """Operations of the sampling loop on tokens [B, L, D]; each returns the tokens, in place or not."""

    def mask(self, tokens: Any, step: Any) -> Any:
        """Put the mask token where the step masks."""

    def trunk(self, tokens: Any, step: Any) -> Any:
        """Run the trunk, at least for the tokens that the step samples; returns its output."""

    def sample(self, tokens: Any, z: Any, step: Any, part: Any) -> Any:
        """Sample the tokens of a part from the trunk's output."""

    def guide(self, tokens: Any, step: Any) -> Any:
        """Move masked tokens along the gradient of the reward."""


def sample_tokens(ops: SamplerOps, tokens: Any, steps: Iterable[Any]) -> Any:
    """Sample tokens in autoregressive steps.

    Args:
        ops: networks and arrays.
        tokens: initial ones, [B, L, D].
        steps: each with `parts`, tokens that are sampled together, and `guidance` or None; see `schedule.DecodeStep`.
    """
    for step in steps:
        tokens = ops.mask(tokens, step)
        z = ops.trunk(tokens, step)
        for part in step.parts:
            tokens = ops.sample(tokens, z, step, part)
        if step.guidance is not None:
            tokens = ops.guide(tokens, step)
    return tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphOps:
    """`SamplerOps` on numpy arrays and a bundle's graphs.

    Attributes:
        run: run a graph: name and inputs -> outputs.
        mask_D: the mask token. counts_B: tokens of every motion.
        modulation_GBM: of the trunk, for each condition. target_BF: features of the texts, for guidance.
        keys: of the noise of every motion.
        objective: of the head, "flow" or "ddpm".
        modulation: size of the modulations of the head by one time and token.
        with_lengths: whether the gradient takes the lengths that the recognizer gets.
    """

    run: Callable[..., list[np.ndarray]]
    mask_D: np.ndarray
    counts_B: np.ndarray
    modulation_GBM: np.ndarray
    settings: Sampling
    keys: Sequence[NoiseKey]
    target_BF: np.ndarray | None
    objective: str = "flow"
    modulation: int = 1
    with_lengths: bool = False

    def mask(self, tokens_BLD: np.ndarray, step: DecodeStep) -> np.ndarray:
        tokens_BLD[step.masked] = self.mask_D
        return tokens_BLD

    def trunk(self, tokens_BLD: np.ndarray, step: DecodeStep) -> np.ndarray:
        """Run the trunk for the sampled tokens alone; [G, B, L, E], zeros elsewhere."""
        sampled_BL = np.logical_or.reduce([part.rows for part in step.parts])
        Q = int(sampled_BL.sum(1).max())
        positions_BQ = np.argsort(~sampled_BL, axis=1, kind="stable")[:, :Q]  # sampled tokens first, in their order
        (z_GBQE,) = self.run("trunk", tokens_BLD, self.counts_B, self.modulation_GBM, positions_BQ)
        z_GBLE = np.zeros((*self.modulation_GBM.shape[:2], sampled_BL.shape[1], z_GBQE.shape[-1]), np.float32)
        z_GBLE[:, np.arange(len(positions_BQ))[:, None], positions_BQ] = z_GBQE
        return z_GBLE

    def sample(self, tokens_BLD: np.ndarray, z_GBLE: np.ndarray, step: DecodeStep, part: Part) -> np.ndarray:
        """Sample by the head; its modulations are computed in one run if the times of the solver are few and known."""
        z_GNE = z_GBLE[:, part.rows]
        at_time: dict[float, np.ndarray] = {}

        def modulate(*times: float) -> None:
            G, N, E = z_GNE.shape
            (modulation,) = self.run("times", np.array(times, np.float32), z_GNE.reshape(G * N, E))
            at_time.update({t: modulation[s].reshape(G, N, -1) for s, t in enumerate(times)})

        def velocity(x_ND: np.ndarray, t: float) -> np.ndarray:
            if t not in at_time:
                at_time.clear()
                modulate(t)
            (v_GND,) = self.run("velocity", x_ND.astype(np.float32), at_time[t])
            return classifier_free(v_GND, self.settings.cfg)

        def draw(number: int = 0) -> np.ndarray:
            return draw_noise(self.keys, step.number, part.rows, tokens_BLD.shape[2], number)

        solver = self.settings.solver
        if self.objective == "flow" and isinstance(solver, str) and solver in STAGES:
            times = sorted({stage.time for stage in STAGES[solver](part.evaluations)})
            if len(times) * z_GNE[..., 0].size * self.modulation <= MAX_MODULATIONS:
                modulate(*times)
        tokens_BLD[part.rows] = solve(self.objective, velocity, draw, self.settings, part.evaluations)
        return tokens_BLD

    def guide(self, tokens_BLD: np.ndarray, step: DecodeStep) -> np.ndarray:
        assert step.guidance is not None and self.target_BF is not None, "guidance needs a target"
        guidance, counts_B = step.guidance, self.counts_B
        if guidance.lengths == "frames" and self.settings.padding == "motion" and not self.with_lengths:
            gradient_BLD, _ = self.run("guide", tokens_BLD, counts_B, self.target_BF)
        else:
            lengths_B = STRIDE * counts_B if guidance.lengths == "frames" else counts_B
            padded_B = np.array(self.settings.padded(counts_B.tolist()), np.int64)
            gradient_BLD, _ = self.run("guide_lengths", tokens_BLD, padded_B, lengths_B, self.target_BF)
        tokens_BLD += guidance_step(gradient_BLD, step.masked, guidance)
        return tokens_BLD


def guidance_step(gradient_BLD: np.ndarray, sampled_BL: np.ndarray, guidance: Guidance) -> np.ndarray:
    """Move of sampled tokens along a gradient, step m g / |m g|; as `kernels.guided_step.masked_step`."""
    own = gradient_BLD * sampled_BL[:, :, None]
    counted = gradient_BLD if guidance.norm == "all" else own
    length_B = np.sqrt((counted**2).sum((1, 2))) + 1e-8
    if guidance.norm == "token":
        length_B = length_B / np.sqrt(np.maximum(sampled_BL.sum(1), 1))
    move: np.ndarray = (guidance.step * own / length_B[:, None, None]).astype(np.float32)
    return move

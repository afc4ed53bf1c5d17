"""Settings of generation, and which tokens are decided at which step.

All tokens are sampled at once and most of them masked again; every autoregressive step keeps a few more, until all are
decided. Editing is the same with some tokens known.

Shapes: B batch, L tokens. Source: Li et al., "Autoregressive image generation without vector quantization" (2024).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from . import rng as noise
from .solvers import SOLVERS, Solver

STRIDE = 4  # frames of a token
MAX_TOKENS = 49  # of a motion: 196 frames


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Settings of a sampler.

    Attributes:
        steps: N, autoregressive ones.
        solver: name in SOLVERS, "dopri5" (adaptive, for parity) or a function of their signature.
        evaluations: of the head in a step, for solvers of fixed steps; neither dopri5 nor the DDPM twin heeds it.
        cfg: weight of classifier-free guidance; 1 is the text alone, 0 no text.
        guidance: by the recogniser; None: without.
        temperature: of the DDPM twin; a flow has none.
        eliminate: leave out samples that cannot influence the result.
    """

    steps: int = 12
    solver: str | Solver = "heun"
    evaluations: int = 8
    cfg: float = 4.5
    guidance: Guidance | None = None
    temperature: float = 1.0
    eliminate: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1 or self.evaluations < 1:
            raise ValueError(f"steps {self.steps} and evaluations {self.evaluations}, expected at least 1 of each")
        if isinstance(self.solver, str) and self.solver not in (*SOLVERS, "dopri5"):
            raise ValueError(f"unknown solver {self.solver!r}, expected {', '.join(SOLVERS)} or dopri5")


def masked_counts(count: int, steps: int) -> list[int]:
    """How many of `count` tokens are masked at each step: cosine, at least 1; all of them at the first."""
    if steps == 1:
        return [count]
    return [max(1, round(math.cos(math.pi / 2 * k / (steps - 1)) * count)) for k in range(steps)]


def masks(regenerate_BL: np.ndarray, orders: Sequence[np.ndarray], steps: int) -> np.ndarray:
    """Which tokens are masked at each step, [steps, B, L]; each a subset of the one before, none where none is wanted.

    Args:
        regenerate_BL: tokens that may be; the others are known or padding.
        orders: of each sample, when a token is decided, [L], the highest first.
    """
    found = np.zeros((steps, *regenerate_BL.shape), bool)
    for b, (wanted, order) in enumerate(zip(regenerate_BL, orders, strict=True)):
        places = np.flatnonzero(wanted)
        places = places[np.argsort(order[places], kind="stable")]
        if len(places):
            for k, n in enumerate(masked_counts(len(places), steps)):
                found[k, b, places[:n]] = True
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeStep:
    """An autoregressive step in which something is sampled.

    Attributes:
        number: k, from 0.
        masked: [B, L] bool, tokens that are not decided yet.
        parts: which of them are sampled, [B, L] bool, each with the evaluations of the head that it takes.
        guidance: of this step.
    """

    number: int
    masked: np.ndarray
    parts: list[tuple[np.ndarray, int]]
    guidance: Guidance | None


def decode_schedule(
    regenerate_BL: np.ndarray, orders: Sequence[np.ndarray], settings: Sampling
) -> Iterator[DecodeStep]:
    """The steps of a sampler, for tokens as in `masks`; those that cannot influence the result are left out."""
    plan = masks(regenerate_BL, orders, settings.steps)
    for k, masked in enumerate(plan):
        guidance = settings.guidance if settings.guidance and settings.guidance.at(k, settings.steps) else None
        again = plan[k + 1] if k + 1 < settings.steps else np.zeros_like(masked)
        decided = masked & ~again
        if settings.eliminate and not decided.any():
            continue  # what is sampled and moved here is all masked again
        if guidance is None and settings.eliminate:
            parts = [(decided, settings.evaluations)]
        elif guidance is None or guidance.preview in (None, settings.evaluations):
            parts = [(masked, settings.evaluations)]
        else:  # what will be masked again only shapes the gradient
            parts = [(decided, settings.evaluations), (masked & again, guidance.preview)]
        parts = [(rows, evaluations) for rows, evaluations in parts if rows.any()]
        if not parts:
            continue
        yield DecodeStep(number=k, masked=masked, parts=parts, guidance=guidance)


def initial_tokens(
    mask_D: np.ndarray,
    counts: Sequence[int],
    settings: Sampling,
    seed: int,
    samples: Sequence[int],
    known_BLD: np.ndarray | None = None,
    regenerate_BL: np.ndarray | None = None,
) -> tuple[np.ndarray, Iterator[DecodeStep]]:
    """Tokens [B, L, D] to begin with, masked or known, zeros beyond their counts; and the steps of a sampler."""
    L = max(counts)
    inside_BL = np.arange(L) < np.array(counts)[:, None]
    wanted_BL = inside_BL if regenerate_BL is None else inside_BL & regenerate_BL
    orders = [np.pad(noise.order(seed, s, m), (0, L - m)) for s, m in zip(samples, counts, strict=True)]
    tokens = np.broadcast_to(mask_D, (len(counts), L, len(mask_D))) if known_BLD is None else known_BLD
    return (tokens * inside_BL[:, :, None]).astype(np.float32), decode_schedule(wanted_BL, orders, settings)


def draw_noise(
    seed: int, samples: Sequence[int], step: int, rows_BL: np.ndarray, width: int, draw: int = 0
) -> np.ndarray:
    """The noise of some tokens, [rows, D], in their order in the batch."""
    of = zip(samples, rows_BL, strict=True)
    return np.concatenate([noise.tokens(seed, s, step, np.flatnonzero(at), width, draw) for s, at in of])

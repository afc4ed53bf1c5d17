"""Settings of generation, and the schedule of masked-autoregressive sampling.

All tokens are sampled at once and most of them masked again; every autoregressive step keeps a few more, until all are
decided. Editing is the same with some tokens known.

Shapes: B batch, L tokens. Source: Li et al., "Autoregressive image generation without vector quantization" (2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from . import rng
from .solvers import SOLVERS, Solver, Velocity, ddpm

STRIDE = 4  # frames per token
MAX_TOKENS = 49  # per motion: 196 frames
OBJECTIVES = ("flow", "ddpm")  # of a head
PADDINGS = ("motion", "batch")
NoiseKey = tuple[int, int]  # seed and number of the sample, on which alone a motion's noise depends


@dataclass(frozen=True, kw_only=True, slots=True)
class Guidance:
    """Settings of guidance by the recognizer's gradient.

    Attributes:
        step: length of the move along the unit gradient.
        last: number of autoregressive steps, the last ones, that are guided; None: all.
        norm: part of the gradient that is scaled to length 1: that of all tokens "sampled" at the step, of each such
            "token" on average, or of "all" tokens of the motion.
        preview: evaluations for tokens that will be masked again, which only shape the gradient; None: as many as for
            the others.
        lengths: unit in which the recognizer gets a motion's length: "frames", or "tokens" as in the released code,
            which by mistake shows it only the first quarter of a motion.
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
        """Settings of the released code: a step of 0.5 + scale at every autoregressive step; None at scale 0."""
        return cls(step=0.5 + scale, norm="all", lengths="tokens") if scale > 0 else None

    def at(self, step: int, steps: int) -> bool:
        """True if this autoregressive step is guided."""
        return self.last is None or step >= steps - self.last


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Settings of a sampler.

    Attributes:
        steps: number of autoregressive steps.
        solver: name in SOLVERS ("dopri5" is adaptive, for parity) or a function of their signature.
        evaluations: of the head per step, for solvers with a fixed number; dopri5 and the DDPM twin ignore it.
        cfg: weight of classifier-free guidance; 1: with text only, 0: without text only.
        guidance: by the recognizer; None: off.
        temperature: of the DDPM twin; a flow has none.
        eliminate: leave out samples that cannot influence the result.
        padding: "motion": what pads a motion in a batch does not affect it; "batch", as in the released code: the
            autoencoder takes the padding, up to the longest motion of a batch or, of a motion to edit, up to 196
            frames, as motion.
    """

    steps: int = 12
    solver: str | Solver = "heun"
    evaluations: int = 8
    cfg: float = 4.5
    guidance: Guidance | None = None
    temperature: float = 1.0
    eliminate: bool = True
    padding: str = "motion"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.evaluations < 1:
            raise ValueError(f"steps {self.steps} and evaluations {self.evaluations}, expected at least 1 of each")
        if isinstance(self.solver, str) and self.solver not in SOLVERS:
            raise ValueError(f"unknown solver {self.solver!r}, expected {', '.join(SOLVERS)}")
        if self.padding not in PADDINGS:
            raise ValueError(f"padding is {self.padding!r}, expected {', '.join(PADDINGS)}")

    @property
    def solve(self) -> Solver:
        """The solver as a function."""
        return SOLVERS[self.solver] if isinstance(self.solver, str) else self.solver

    def padded(self, counts: Sequence[int]) -> list[int]:
        """Tokens of every motion of a batch that the autoencoder takes as motion."""
        return [max(counts)] * len(counts) if self.padding == "batch" else list(counts)


def solve(objective: str, predict: Velocity, draw: Callable[..., Any], settings: Sampling, evaluations: int) -> Any:
    """Sample tokens [N, D] with a head.

    Args:
        objective: "flow" or "ddpm".
        predict: tokens and time -> velocity or noise.
        draw: number of the draw, by default 0, -> noise [N, D].
    """
    if objective == "ddpm":
        return ddpm(predict, draw(), lambda k: draw(k + 1), settings.temperature)
    return settings.solve(predict, draw(), evaluations)


def masked_counts(count: int, steps: int) -> list[int]:
    """Number of tokens, of `count`, that are masked at each step: a cosine, at least 1; all at the first step.

    In single precision, as in the released code: where the product is half a token, it decides.
    """
    if steps == 1:
        return [count]
    step = float(np.float32(1) / np.float32(steps - 1))
    times = [step * k if k < steps // 2 else 1 - step * (steps - 1 - k) for k in range(steps)]
    turns = np.array(times, np.float32) * np.float32(math.pi) * np.float32(0.5)
    return [max(1, round(np.float32(math.cos(turn)) * np.float32(count))) for turn in turns]


def masks(regenerate_BL: np.ndarray, orders: Sequence[np.ndarray], steps: int) -> np.ndarray:
    """Masked tokens at each step, [steps, B, L] bool, each a subset of the one before.

    Args:
        regenerate_BL: tokens to sample; the others are known or padding.
        orders: of each sample, the rank by which a token is decided, [L], the highest first.
    """
    masks_SBL = np.zeros((steps, *regenerate_BL.shape), bool)
    for b, (regenerate, order) in enumerate(zip(regenerate_BL, orders, strict=True)):
        positions = np.flatnonzero(regenerate)
        positions = positions[np.argsort(order[positions], kind="stable")]
        if len(positions):
            for k, n in enumerate(masked_counts(len(positions), steps)):
                masks_SBL[k, b, positions[:n]] = True
    return masks_SBL


class Part(NamedTuple):
    """Tokens that are sampled together, [B, L] bool, and the evaluations of the head that they take."""

    rows: np.ndarray
    evaluations: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeStep:
    """An autoregressive step in which something is sampled.

    Attributes:
        number: k, from 0.
        masked: [B, L] bool, tokens that are not decided yet.
        parts: subsets of `masked` to sample.
        guidance: of this step.
    """

    number: int
    masked: np.ndarray
    parts: list[Part]
    guidance: Guidance | None


def decode_schedule(
    regenerate_BL: np.ndarray, orders: Sequence[np.ndarray], settings: Sampling
) -> Iterator[DecodeStep]:
    """Steps of a sampler, arguments as of `masks`; steps and samples that cannot influence the result are left out."""
    plan = masks(regenerate_BL, orders, settings.steps)
    for k, masked in enumerate(plan):
        guidance = settings.guidance if settings.guidance and settings.guidance.at(k, settings.steps) else None
        remasked = plan[k + 1] if k + 1 < settings.steps else np.zeros_like(masked)
        decided = masked & ~remasked
        if settings.eliminate and not decided.any():
            continue  # all samples of this step are masked again
        if guidance is None and settings.eliminate:
            parts = [Part(decided, settings.evaluations)]
        elif guidance is None or guidance.preview in (None, settings.evaluations):
            parts = [Part(masked, settings.evaluations)]
        else:  # tokens that will be masked again only shape the gradient
            parts = [Part(decided, settings.evaluations), Part(masked & remasked, guidance.preview)]
        parts = [part for part in parts if part.rows.any()]
        if parts:
            yield DecodeStep(number=k, masked=masked, parts=parts, guidance=guidance)


def split_parts(steps: Iterable[DecodeStep], most: int) -> Iterator[DecodeStep]:
    """The same steps with at most so many tokens in a part."""
    for step in steps:
        parts = []
        for part in step.parts:
            places = np.flatnonzero(part.rows)
            for some in np.array_split(places, -(-len(places) // most)):
                rows = np.zeros_like(part.rows)
                rows.flat[some] = True
                parts.append(Part(rows, part.evaluations))
        yield replace(step, parts=parts)


def initial_tokens(
    mask_D: np.ndarray,
    counts: Sequence[int],
    settings: Sampling,
    keys: Sequence[NoiseKey],
    known_BLD: np.ndarray | None = None,
    regenerate_BL: np.ndarray | None = None,
) -> tuple[np.ndarray, Iterator[DecodeStep]]:
    """Initial tokens [B, L, D], masked or known, zeros beyond their counts; and the steps that sample them."""
    L = max(counts)
    valid_BL = np.arange(L) < np.array(counts)[:, None]
    regenerate_BL = valid_BL if regenerate_BL is None else valid_BL & regenerate_BL
    orders = [np.pad(rng.order(*key, m), (0, L - m)) for key, m in zip(keys, counts, strict=True)]
    tokens = np.broadcast_to(mask_D, (len(counts), L, len(mask_D))) if known_BLD is None else known_BLD
    return (tokens * valid_BL[:, :, None]).astype(np.float32), decode_schedule(regenerate_BL, orders, settings)


def noise_keys(count: int, seed: int = 0) -> list[NoiseKey]:
    """Keys of samples 0, 1, ... of a seed."""
    return [(seed, sample) for sample in range(count)]


def draw_noise(keys: Sequence[NoiseKey], step: int, rows_BL: np.ndarray, width: int, draw: int = 0) -> np.ndarray:
    """The noise of some tokens, [rows, D], in their order in the batch."""
    rows = zip(keys, rows_BL, strict=True)
    return np.concatenate([rng.tokens(*key, step, np.flatnonzero(row), width, draw) for key, row in rows])

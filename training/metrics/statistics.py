"""Uncertainty of metrics: repeated random measurements, bootstrap over clips, paired differences."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.random import Generator

from ...runtime.errors import InputError

Z95 = 1.96  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A value with its 95 % interval over `n` observations of kind `over`: "repeats" or "clips"."""

    mean: float
    low: float
    high: float
    n: int
    over: str

    @property
    def half(self) -> float:
        """Half the width of the interval: the value is mean +- half."""
        return (self.high - self.low) / 2

    @property
    def differs_from_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def json(self) -> dict[str, Any]:
        """The fields, with None for values that are not finite."""
        return {key: value if not isinstance(value, float) or isfinite(value) else None
                for key, value in asdict(self).items()}  # fmt: skip


def repeat(measure: Callable[[Generator], float], repeats: int = 20, seed: int = 0) -> Estimate:
    """Mean of a random measurement +- 1.96 sigma / sqrt(repeats), sigma with n - 1.

    The interval covers the randomness of the measurement, not the choice of clips: see `bootstrap`.

    Args:
        measure: called with a new generator every time.
        repeats: at least 2.
    Source: the protocol of Guo et al., CVPR 2022 (HumanML3D).
    """
    return repeat_all(lambda rng: {"": measure(rng)}, repeats, seed)[""]


def repeat_all(
    measure: Callable[[Generator], Mapping[str, float]], repeats: int = 20, seed: int = 0
) -> dict[str, Estimate]:
    """`repeat` for several values that are measured together."""
    if repeats < 2:
        raise InputError(f"{repeats} repeats, expected at least 2")  # before anything is measured
    measured = [measure(np.random.default_rng((seed, i))) for i in range(repeats)]
    return {name: summary([one[name] for one in measured]) for name in measured[0]}


def summary(values: Sequence[float]) -> Estimate:
    """Mean +- 1.96 sigma / sqrt(n) of at least two repeats."""
    if len(values) < 2:
        raise InputError(f"{len(values)} repeats, expected at least 2")
    mean, half = float(np.mean(values)), float(Z95 * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=len(values), over="repeats")


def bootstrap(
    values_N: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    statistic: Callable[[np.ndarray], float] = np.mean,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """A statistic of clips and its 95 % percentile interval over resampled clips.

    Args:
        values_N: [N] one value per clip, N >= 2.
        groups: the recording of every clip, if a recording has several clips: whole groups are resampled.
        statistic: of the values of one draw.
    Raises:
        InputError: fewer than two clips or groups, or not one group per value.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    values = np.asarray(values_N, float)
    names = range(len(values)) if groups is None else groups
    if values.ndim != 1 or len(names) != len(values):
        raise InputError(f"values of shape {list(values.shape)} with {len(names)} groups, expected one group per value")
    indices: dict[Hashable, list[int]] = {}
    for i, name in enumerate(names):
        indices.setdefault(name, []).append(i)
    if len(indices) < 2:
        raise InputError(f"an interval over {len(indices)} clips or groups of clips, expected at least 2")
    rng, members = np.random.default_rng(seed), [np.array(group) for group in indices.values()]
    if len(members) == len(values):
        resampled = (values[rng.integers(len(values), size=len(values))] for _ in range(draws))
    else:
        resampled = (
            values[np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])]
            for _ in range(draws)
        )
    statistics = [float(statistic(draw)) for draw in resampled]
    low, high = np.quantile(statistics, (0.025, 0.975), method="closest_observation")
    return Estimate(mean=float(statistic(values)), low=float(low), high=float(high), n=len(values), over="clips")


def paired_difference(
    before_N: np.ndarray, after_N: np.ndarray, groups: Sequence[Hashable] | None = None, seed: int = 0
) -> Estimate:
    """Mean of after - before over the same clips, with a 95 % bootstrap interval.

    A difference is significant if the interval excludes zero (`differs_from_zero`).

    Args:
        before_N, after_N: [N] one value per clip, in the same order.
        groups: as in `bootstrap`.
    """
    before, after = np.asarray(before_N, float), np.asarray(after_N, float)
    if before.shape != after.shape:
        raise InputError(f"paired values of shapes {list(before.shape)} and {list(after.shape)}, expected the same")
    return bootstrap(after - before, groups, seed=seed)


def ratio(
    part_N: np.ndarray, whole_M: np.ndarray, groups: Sequence[Hashable] | None = None, draws: int = 2000, seed: int = 0
) -> Estimate:
    """mean(part) / mean(whole) over the same clips, with a 95 % bootstrap interval; groups as in `bootstrap`.

    Unbounded if `whole` can be 0.
    """
    part, whole = np.asarray(part_N, float), np.asarray(whole_M, float)
    if part.shape != whole.shape:
        raise InputError(f"paired values of shapes {list(part.shape)} and {list(whole.shape)}, expected the same")

    def ratio_of_means(indices: np.ndarray) -> float:
        chosen = indices.astype(int)
        denominator = whole[chosen].mean()
        return float(part[chosen].mean() / denominator) if denominator else float("inf")

    return bootstrap(np.arange(len(part)), groups, ratio_of_means, draws, seed)

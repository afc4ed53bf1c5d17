"""How sure a figure is: repeats of a random measurement, bootstrap over clips, paired differences."""

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
    """A figure and its 95 % interval; `over` says of what the `n` observations are: "repeats" or "clips"."""

    mean: float
    low: float
    high: float
    n: int
    over: str

    @property
    def half(self) -> float:
        """Half the width of the interval: the figure is mean +- half."""
        return (self.high - self.low) / 2

    @property
    def differs_from_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def json(self) -> dict[str, Any]:
        """The fields; None for what is not finite."""
        return {key: value if not isinstance(value, float) or isfinite(value) else None
                for key, value in asdict(self).items()}  # fmt: skip


def repeat(measure: Callable[[Generator], float], repeats: int = 20, seed: int = 0) -> Estimate:
    """Mean of a random measurement +- 1.96 sigma / sqrt(repeats), sigma with n - 1.

    The interval tells how far chance in the measuring moves the figure, not how far other clips would: see `bootstrap`.

    Args:
        measure: called with a generator of its own every time.
        repeats: at least 2.
    Source: the protocol of Guo et al., CVPR 2022 (HumanML3D).
    """
    return repeat_all(lambda rng: {"": measure(rng)}, repeats, seed)[""]


def repeat_all(
    measure: Callable[[Generator], Mapping[str, float]], repeats: int = 20, seed: int = 0
) -> dict[str, Estimate]:
    """`repeat` of several figures that are measured together."""
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
        values_N: [N] a figure a clip, N >= 2.
        groups: what every clip was cut from, if several were cut from one recording: whole groups are resampled.
        statistic: of the values of one draw.
    Raises:
        InputError: fewer than two clips or groups, or as many groups as do not fit the values.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    values = np.asarray(values_N, float)
    names = range(len(values)) if groups is None else groups
    if values.ndim != 1 or len(names) != len(values):
        raise InputError(f"values of shape {list(values.shape)} with {len(names)} groups, expected one group a value")
    places: dict[Hashable, list[int]] = {}
    for i, name in enumerate(names):
        places.setdefault(name, []).append(i)
    if len(places) < 2:
        raise InputError(f"an interval over {len(places)} clips or groups of clips, expected at least 2")
    rng, members = np.random.default_rng(seed), [np.array(place) for place in places.values()]
    if len(members) == len(values):
        drawn = (values[rng.integers(len(values), size=len(values))] for _ in range(draws))
    else:
        drawn = (
            values[np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])]
            for _ in range(draws)
        )
    found = [float(statistic(draw)) for draw in drawn]
    low, high = np.quantile(found, (0.025, 0.975), method="closest_observation")
    return Estimate(mean=float(statistic(values)), low=float(low), high=float(high), n=len(values), over="clips")


def paired_difference(
    before_N: np.ndarray, after_N: np.ndarray, groups: Sequence[Hashable] | None = None, seed: int = 0
) -> Estimate:
    """Mean of after - before over the same clips, with a 95 % bootstrap interval.

    A difference counts when the interval leaves zero out (`differs_from_zero`).

    Args:
        before_N, after_N: [N] a figure a clip, in the same order.
        groups: as in `bootstrap`.
    """
    before, after = np.asarray(before_N, float), np.asarray(after_N, float)
    if before.shape != after.shape:
        raise InputError(f"paired figures of shapes {list(before.shape)} and {list(after.shape)}, expected the same")
    return bootstrap(after - before, groups, seed=seed)


def ratio(
    part_N: np.ndarray, whole_M: np.ndarray, groups: Sequence[Hashable] | None = None, draws: int = 2000, seed: int = 0
) -> Estimate:
    """mean(part) / mean(whole) over the same clips, with a 95 % bootstrap interval; groups as in `bootstrap`.

    Without bound where the whole can be 0.
    """
    part, whole = np.asarray(part_N, float), np.asarray(whole_M, float)
    if part.shape != whole.shape:
        raise InputError(f"paired figures of shapes {list(part.shape)} and {list(whole.shape)}, expected the same")

    def of(places: np.ndarray) -> float:
        chosen = places.astype(int)
        below = whole[chosen].mean()
        return float(part[chosen].mean() / below) if below else float("inf")

    return bootstrap(np.arange(len(part)), groups, of, draws, seed)

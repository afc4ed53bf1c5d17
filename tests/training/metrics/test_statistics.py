"""Intervals: of the stated width, and true as often as they say."""

import numpy as np
import pytest

from motionrt.runtime.errors import InputError
from motionrt.training.metrics.statistics import Estimate, bootstrap, paired_difference, ratio, repeat, repeat_all


def test_repeat_gives_the_mean_and_196_sigma_over_root_n() -> None:
    values = iter([1.0, 2.0, 3.0, 6.0])
    found = repeat(lambda rng: next(values), repeats=4)
    assert found.mean == 3 and found.n == 4 and found.over == "repeats"
    assert found.half == pytest.approx(1.96 * np.std([1, 2, 3, 6], ddof=1) / 2)
    assert (found.low, found.high) == pytest.approx((3 - found.half, 3 + found.half))


def test_repeats_draw_differently_and_a_seed_reproduces() -> None:
    drawn: list[float] = []

    def measure(rng: np.random.Generator) -> float:
        drawn.append(rng.random())
        return drawn[-1]

    first, again, other = repeat(measure, seed=3), repeat(measure, seed=3), repeat(measure, seed=4)
    assert len(set(drawn[:20])) == 20 and drawn[:20] == drawn[20:40]
    assert first == again != other


def test_values_measured_together_share_their_draws() -> None:
    found = repeat_all(lambda rng: {"x": (x := rng.random()), "twice": 2 * x}, repeats=5)
    assert found["twice"].mean == pytest.approx(2 * found["x"].mean)


def test_a_bootstrap_interval_covers_the_truth_about_as_often_as_it_claims() -> None:
    rng, inside, normal = np.random.default_rng(0), 0, []
    for i in range(200):
        values = rng.normal(5, 2, 60)
        found = bootstrap(values, draws=400, seed=i)
        inside += found.low <= 5 <= found.high
        normal.append(found.half / (1.96 * 2 / np.sqrt(60)))
    assert 0.88 <= inside / 200 <= 0.99
    assert np.mean(normal) == pytest.approx(1, abs=0.08)


def test_clips_of_one_recording_are_resampled_together() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=20), 10)
    alone, together = bootstrap(values), bootstrap(values, np.repeat(np.arange(20), 10).tolist())
    assert together.mean == alone.mean and together.n == 200
    assert together.half / alone.half == pytest.approx(np.sqrt(10), rel=0.25), "ten copies are one observation"


def test_other_statistics_than_the_mean() -> None:
    values = np.r_[np.zeros(30), np.full(31, 7.0), 1e9]
    assert bootstrap(values, statistic=np.median).mean == 7
    assert bootstrap(values, statistic=np.median).high == 7


def test_a_paired_difference_is_significant_where_two_intervals_overlap() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(0, 10, 200)
    after = before + rng.normal(0.5, 1, 200)
    found = paired_difference(before, after)
    assert found.mean == pytest.approx((after - before).mean()) and found.differs_from_zero and found.low > 0
    assert not paired_difference(before, rng.permutation(after)).differs_from_zero
    assert paired_difference(after, before).high < 0 and paired_difference(after, before).differs_from_zero


def test_a_ratio_is_the_ratio_of_means() -> None:
    whole = np.random.default_rng(0).uniform(1, 2, 100)
    found = ratio(0.75 * whole, whole)
    assert (found.mean, found.low, found.high) == pytest.approx((0.75,) * 3)
    loose = ratio(0.75 * whole[::-1], whole)
    assert loose.mean == pytest.approx(0.75) and loose.low < 0.75 < loose.high


def test_a_ratio_to_zero_is_unbounded_and_still_json() -> None:
    whole = np.zeros(10)
    whole[0] = 1
    found = ratio(np.ones(10), whole)
    assert found.mean == 10 and found.json()["high"] is None and found.json()["mean"] == 10


def test_errors_name_why_there_is_no_interval() -> None:
    with pytest.raises(InputError, match="1 repeats, expected at least 2"):
        repeat(lambda rng: 1.0, repeats=1)
    with pytest.raises(InputError, match="an interval over 1 clips"):
        bootstrap(np.ones(1))
    with pytest.raises(InputError, match="an interval over 1 clips or groups of clips"):
        bootstrap(np.ones(5), ["a"] * 5)
    with pytest.raises(InputError, match=r"shape \[5\] with 4 groups"):
        bootstrap(np.ones(5), ["a"] * 4)
    with pytest.raises(InputError, match="expected the same"):
        paired_difference(np.ones(4), np.ones(5))
    with pytest.raises(InputError, match="expected the same"):
        ratio(np.ones(4), np.ones(5))


def test_an_interval_that_touches_zero_is_not_significant() -> None:
    assert not Estimate(mean=1, low=0, high=2, n=3, over="clips").differs_from_zero

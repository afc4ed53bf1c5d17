"""Timing: percentiles, turns, fixed rates."""

import numpy as np
import pytest

from motionrt.bench.speed.timing import in_turns, median_of, paced, percentiles, timed


def test_percentiles_of_known_latencies() -> None:
    found = percentiles(np.random.default_rng(0).permutation(np.arange(1001.0)))
    wanted = {"n": 1001, "mean_ms": 500, "p50_ms": 500, "p90_ms": 900, "p99_ms": 990, "p999_ms": 999, "max_ms": 1000}
    assert found == pytest.approx(wanted)
    assert percentiles([1.0, 2.0])["p50_ms"] == 1.5, "interpolated"
    assert percentiles([7.0])["p999_ms"] == 7


def test_percentiles_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no latencies"):
        percentiles([])


def test_runs_are_combined_by_the_median_except_for_the_longest_call() -> None:
    runs = [percentiles(np.full(10, ms)) for ms in (1.0, 9.0, 2.0)]
    figures = dict.fromkeys(("mean_ms", "p50_ms", "p90_ms", "p99_ms", "p999_ms"), 2)
    assert median_of(runs) == {"n": 30, **figures, "max_ms": 9}


def test_calls_are_numbered_and_timed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns, seen = [0], []

    def call(i: int) -> None:
        seen.append(i)
        now_ns[0] += i * 1_000_000

    monkeypatch.setattr("time.perf_counter_ns", lambda: now_ns[0])
    assert timed(call, 3, first=5).tolist() == [5, 6, 7]
    assert seen == [5, 6, 7]


def test_calls_take_turns_and_are_numbered_consecutively() -> None:
    seen: list[tuple[str, int]] = []
    turns: list[None] = []
    calls = {name: lambda i, name=name: seen.append((name, i)) for name in "ab"}
    latencies = in_turns(calls, rounds=2, round_s=0, after_turn=lambda: turns.append(None))
    assert "".join(name for name, _ in seen) == "aaabbb" * 3, "a warm-up and two rounds"
    assert [i for name, i in seen if name == "a"] == list(range(9))
    assert {name: len(found) for name, found in latencies.items()} == {"a": 6, "b": 6}, "the warm-up does not count"
    assert len(turns) == 4


def test_a_turn_lasts_about_as_long_as_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = [0]

    def call(i: int) -> None:
        now_ns[0] += 2_000_000

    monkeypatch.setattr("time.perf_counter_ns", lambda: now_ns[0])
    latencies = in_turns({"a": call}, rounds=3, round_s=0.1)["a"]
    assert len(latencies) == 3 * 50 and set(latencies) == {2.0}


class Clock:
    """A clock that advances only by sleeps and calls; the k-th call takes `seconds[k]`."""

    def __init__(self, seconds: list[float]) -> None:
        self.now, self.seconds, self.begins = 100.0, seconds, list[float]()

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def call(self, i: int) -> None:
        self.begins.append(self.now)
        self.now += self.seconds[i]


def test_paced_calls_begin_when_due_and_their_latency_does_not_count_the_sleep() -> None:
    clock = Clock([0.01, 0.02, 0.03])
    latencies = paced(clock.call, 3, rate_hz=10, clock=lambda: clock.now, sleep=clock.sleep)
    assert clock.begins == pytest.approx([100.0, 100.1, 100.2])
    assert latencies == pytest.approx([10, 20, 30])


def test_a_slow_call_makes_the_next_ones_late() -> None:
    clock = Clock([0.25, 0.01, 0.01, 0.01, 0.01])
    latencies = paced(clock.call, 5, rate_hz=10, clock=lambda: clock.now, sleep=clock.sleep)
    assert clock.begins == pytest.approx([100.0, 100.25, 100.26, 100.3, 100.4])
    assert latencies == pytest.approx([250, 10, 10, 10, 10])

"""Timestamps that are not increasing seconds are reported once, in one line that names the unit."""

import json
import logging
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.bench.speed.workloads import simulate_sensor
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.body.time_check import TimeMonitor, as_seconds, check_times
from motionrt.runtime.cli import main
from motionrt.runtime.errors import InputError
from motionrt.runtime.recognition.recognizer import Recognizer

SAMPLES = sorted((Path(__file__).parents[3] / "runtime" / "samples").glob("*.npz"))
FRAMES = np.arange(60)
SECONDS = FRAMES / 30
UNITS = {
    "milliseconds": SECONDS * 1e3,
    "microseconds": SECONDS * 1e6,
    "ticks of 100 ns": SECONDS * 1e7,
    "nanoseconds": SECONDS * 1e9,
    "frame numbers": FRAMES.astype(float),
    "seconds / 1000": SECONDS / 1e3,
    "whole seconds": np.floor((FRAMES + 10) / 30),
    "days": 739_000 + SECONDS / 86_400,
    "seconds in float32, whose resolution at 1.7e+09 is 128 s": (1.7e9 + SECONDS).astype(np.float32),
}
ODD = {f"which looks like {unit}, expected": times for unit, times in UNITS.items()} | {
    "timestamps repeat, expected increasing seconds": np.full(60, 12.5),
    "timestamps are earlier than the one before, expected increasing seconds": -SECONDS,
    "the frames are 1.02 s apart, expected 5 to 250 frames per second; recognition starts over after 0.5 s": 1.02
    * FRAMES,
    "the frames are 0.00125 s apart, expected 5 to 250 frames per second": FRAMES / 800,
}
RATES_HZ = (5, 10, 15, 24, 30, 60, 120, 240)


@pytest.fixture(scope="module")
def walk() -> Motion:
    return Motion.load(next(path for path in SAMPLES if path.stem == "cmu_walk"))


def problems(times: Any, people: int = 1) -> list[str]:
    """Problems of a stream in which people take turns."""
    monitor = TimeMonitor()
    found = (monitor.check_frame(float(t), [k % people]) for k, t in enumerate(times))
    return [problem for problem in found if problem is not None]


@pytest.mark.parametrize("problem", ODD)
def test_odd_times_are_reported_once(problem: str) -> None:
    [found] = problems(ODD[problem])
    assert problem in found and "\n" not in found
    assert problem in str(check_times(np.asarray(ODD[problem], np.float64)))


@pytest.mark.parametrize("rate_hz", [10, 30, 60])
@pytest.mark.parametrize(
    ("unit", "per_s"),
    [("milliseconds", 1e3), ("microseconds", 1e6), ("ticks of 100 ns", 1e7), ("nanoseconds", 1e9)],
)
def test_units_are_named_at_every_rate(unit: str, per_s: float, rate_hz: float) -> None:
    times = np.floor(FRAMES / rate_hz * per_s)
    [found] = problems(times)
    assert f"which looks like {unit}, expected seconds" in found


def test_a_unit_is_reported_within_five_frames_if_every_gap_is_long() -> None:
    assert len(problems(SECONDS[:6] * 1e3)) == 1
    assert problems(SECONDS[:5] * 1e3) == []


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_good_times_cause_no_report(rate_hz: float) -> None:
    rng = np.random.default_rng(0)
    times = FRAMES / rate_hz
    jitter = np.cumsum(rng.exponential(1 / rate_hz, 60))
    bursts = np.repeat(times[::6], 6) + 1e-5 * FRAMES  # delivered in packets
    pauses = times + 20.0 * (FRAMES > 20) + 7.0 * (FRAMES > 40)
    late = np.where(FRAMES % 15 == 7, times - 1.5 / rate_hz, times)
    set_back = np.where(FRAMES > 30, times - 3600, times)
    for good in (times, 1.7e9 + times, jitter, bursts, pauses, late, set_back, np.repeat(times, 4)):
        assert problems(good) == []
    for good in (times, jitter, pauses, late):
        assert check_times(good) is None


@pytest.mark.parametrize("people", [2, 5, 16])
def test_people_with_times_of_their_own_cause_no_report(people: int) -> None:
    assert problems(np.arange(40 * people) / (30 * people), people) == []


def test_people_who_are_numbered_anew_after_every_gap_are_checked() -> None:
    assert "milliseconds" in problems(SECONDS * 1e3, people=16)[0]
    assert problems(SECONDS, people=60) == []  # nobody stays: nothing to judge


def test_people_need_one_clock() -> None:
    times = np.arange(80) / 60
    times[1::2] += 1000
    assert problems(times, people=2) == [
        "the timestamps of different people are far apart, expected one clock for all of them"
    ]


@pytest.mark.parametrize("rate_hz", [10, 20, 30, 60, 120])
@pytest.mark.parametrize("seed", range(3))
def test_simulated_sensors_cause_no_report(rate_hz: float, seed: int) -> None:
    """People come and go, frames are late, and there are gaps, far more often than usual."""
    monitor = TimeMonitor()
    moments = simulate_sensor([Motion.load(path) for path in SAMPLES], rate_hz, seed, event_rate=10.0)
    for _, moment in zip(range(400), moments, strict=False):
        for pose in moment.poses:
            assert monitor.check_frame(moment.t, [pose.person]) is None
    assert monitor.is_done


def test_a_stream_is_checked_from_its_start_only() -> None:
    monitor = TimeMonitor()
    for t in SECONDS:
        assert monitor.check_frame(float(t), [0]) is None
    assert monitor.is_done and monitor.check_frame(1e9, [0]) is None


def stream(recognizer: Recognizer, motion: Motion) -> None:
    for t, joints in zip(motion.times, motion.joints, strict=True):
        recognizer.step(joints, t, layout=motion.layout)


def in_milliseconds(motion: Motion) -> Motion:
    return replace(motion, timestamps=motion.times * 1e3)


def test_a_recognizer_logs_it_once(walk: Motion, caplog: pytest.LogCaptureFixture) -> None:
    recognizer = Recognizer.load("live")
    stream(recognizer, in_milliseconds(walk))
    recognizer.recognize(in_milliseconds(walk))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message == "the frames are 50 s apart, which looks like milliseconds, expected seconds"
    assert recognizer.warnings == (record.message,)
    recognizer.reset()
    stream(recognizer, in_milliseconds(walk))  # the viewer repeats a recording
    assert len(caplog.records) == 1


def test_several_people_and_clips_are_checked(walk: Motion, caplog: pytest.LogCaptureFixture) -> None:
    recognizer = Recognizer.load("live")
    for t, joints in zip(walk.times * 1e6, walk.joints, strict=True):
        recognizer.step_people(joints[None], t, layout=walk.layout)
    Recognizer.load("live").recognize(replace(walk, fps=1 / walk.fps))  # the frame time
    assert "microseconds" in caplog.messages[0] and "the frames are 20 s apart" in caplog.messages[1]


@pytest.mark.parametrize("suffix", [".npz", ".jsonl"])
def test_files_with_timestamps_are_checked(
    suffix: str, walk: Motion, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"ms{suffix}"
    if suffix == ".npz":
        in_milliseconds(walk).save(path)
    else:
        lines = [
            json.dumps({"t": 1e3 * t, "layout": walk.layout, "joints": joints.tolist()})
            for t, joints in zip(walk.times, walk.joints, strict=True)
        ]
        path.write_text("\n".join(lines))
    assert main(["recognize", str(path), "--json"]) == 0
    assert caplog.messages == ["the frames are 50 s apart, which looks like milliseconds, expected seconds"]


def test_timestamps_are_numbers_of_seconds() -> None:
    for value in (3, 3.0, np.float32(3), np.int64(3), np.array(3.0), Fraction(3)):
        assert as_seconds(value) == 3.0 and type(as_seconds(value)) is float


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.7e12, "the timestamp is 1.7e+12, which looks like milliseconds, expected seconds"),
        (1.7e15, "which looks like microseconds, expected seconds"),
        (1.7e18, "which looks like nanoseconds, expected seconds"),
        (1.34e17, "which looks like ticks of 100 ns since 1601, expected seconds"),
        (6.39e17, "which looks like ticks of 100 ns since the year 1, expected seconds"),
        (4e13, "which looks like a unit finer than seconds"),
        (float("nan"), "the timestamp is nan, expected seconds"),
        (10**5000, "the timestamp is too large, expected seconds"),
        ("12.5", "the timestamp is '12.5', expected seconds"),
        (True, "the timestamp is True, expected seconds"),
        (np.datetime64("2026-01-01"), r"the timestamp is np.datetime64.*, expected seconds"),
        ([1.0, 2.0], r"the timestamp is \[1.0, 2.0\], expected seconds"),
    ],
    ids=lambda value: str(value)[:20] if not isinstance(value, int) else "int",
)
def test_other_timestamps_are_refused(value: Any, expected: str, walk: Motion) -> None:
    recognizer = Recognizer.load("live")
    for refused in (
        lambda: recognizer.step(walk.joints[0], value, layout=walk.layout),
        lambda: recognizer.step_people(walk.joints[:1], value, layout=walk.layout),
        lambda: recognizer.evict(value),
    ):
        with pytest.raises(InputError) as caught:
            refused()
        assert "\n" not in str(caught.value)
        assert caught.match(expected.replace("+", r"\+") if "\\" not in expected else expected)

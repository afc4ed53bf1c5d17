"""`motionrt bench soak`: what it hands in, and what it tells."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.bench.speed.soak import soak
from motionrt.bench.speed.workloads import GAP_S, MOST_PEOPLE, samples, some_clips, traffic
from motionrt.runtime.cli import main
from motionrt.runtime.errors import InputError


def test_the_report_has_the_promised_fields(bundle: Path, capfd: Any) -> None:
    assert main(["bench", "soak", "--frames", "3000", "--model", str(bundle), "--json"]) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert report["frames"] == report["counters"]["frames"] == 3000, "the warm-up does not count"
    assert report["growth_mb"] == pytest.approx(report["rss_end_mb"] - report["rss_start_mb"])
    assert report["rss_start_mb"] > 10, "a process that has loaded numpy and ONNX Runtime"
    for tenth in ("first_tenth", "last_tenth"):
        assert report[tenth]["n"] == 300 and 0 < report[tenth]["p50_ms"] <= report[tenth]["p99_ms"]
    said = report["said"]
    assert said["ok"] > 2500 and said["dropped"] > 0 and said["people"] > 5
    assert report["counters"]["dropped"] == said["dropped"]


def test_the_report_is_shown_as_tables(bundle: Path, capfd: Any) -> None:
    assert main(["bench", "soak", "--frames", "100", "--model", str(bundle)]) == 0
    out = capfd.readouterr().out
    assert "first tenth" in out and "last tenth" in out and "growth" in out


def test_too_few_frames_are_refused(bundle: Path) -> None:
    with pytest.raises(InputError, match="99 frames, expected at least 100"):
        soak(str(bundle), 99)


def test_traffic_is_everything_that_a_sensor_does() -> None:
    moments = list(islice(traffic(samples(), 20.0), 10_000))
    times = np.array([moment.t for moment in moments])
    present = [{pose.person for pose in moment.poses} for moment in moments]
    poses = [pose for moment in moments for pose in moment.poses]
    missing = np.array([np.isnan(pose.joints).mean() for pose in poses])
    assert {len(people) for people in present} == set(range(1, MOST_PEOPLE + 1))
    assert len(set.union(*present)) > 100, "people come and go"
    assert sum(moment.reset is not None for moment in moments) > 3
    assert (np.diff(times) < 0).sum() > 20, "late"
    assert (np.diff(times) > GAP_S - 0.1).sum() > 5, "gaps"
    assert (missing == 1).sum() > 50 and ((missing > 0) & (missing < 1)).sum() > 300
    assert (missing == 0).mean() > 0.9


def test_traffic_is_the_same_for_the_same_seed() -> None:
    def told(seed: int) -> list[Any]:
        return [
            (moment.t, [(pose.person, np.nansum(pose.joints)) for pose in moment.poses])
            for moment in islice(traffic(samples(), 20.0, seed), 200)
        ]

    assert told(1) == told(1) != told(2)


def test_traffic_leaves_the_recordings_as_they_are() -> None:
    recordings = samples()
    before = [motion.joints.copy() for motion in recordings]
    for _ in islice(traffic(recordings, 20.0), 2_000):
        pass
    assert all(np.array_equal(a.joints, b) for a, b in zip(recordings, before, strict=True))


def test_some_clips_of_every_set_are_taken(data: Path) -> None:
    assert len(some_clips(data, 1)) < len(some_clips(data, 3)) <= len(some_clips(data, 10_000))
    assert {clip.layout for clip in some_clips(data, 1)} >= {"smpl22", "kinect20"}

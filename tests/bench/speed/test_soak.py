"""`motionrt bench soak`: its workload and its report."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.bench.speed.soak import soak
from motionrt.bench.speed.workloads import GAP_S, MAX_PEOPLE, sample_clips, samples, simulate_sensor
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
    events = report["events"]
    assert events["ok"] > 2500 and events["dropped"] > 0 and events["people"] > 5
    assert report["counters"]["dropped"] == events["dropped"]


def test_the_report_is_printed_as_tables(bundle: Path, capfd: Any) -> None:
    assert main(["bench", "soak", "--frames", "100", "--model", str(bundle)]) == 0
    out = capfd.readouterr().out
    assert "first tenth" in out and "last tenth" in out and "growth" in out


def test_too_few_frames_are_refused(bundle: Path) -> None:
    with pytest.raises(InputError, match="99 frames, expected at least 100"):
        soak(str(bundle), 99)


def test_the_workload_covers_everything_that_a_sensor_does() -> None:
    moments = list(islice(simulate_sensor(samples(), 20.0), 10_000))
    times = np.array([moment.t for moment in moments])
    present = [{pose.person for pose in moment.poses} for moment in moments]
    poses = [pose for moment in moments for pose in moment.poses]
    missing = np.array([np.isnan(pose.joints).mean() for pose in poses])
    assert {len(people) for people in present} == set(range(1, MAX_PEOPLE + 1))
    assert len(set.union(*present)) > 100, "people come and go"
    assert sum(moment.reset is not None for moment in moments) > 3
    assert (np.diff(times) < 0).sum() > 20, "late"
    assert (np.diff(times) > GAP_S - 0.1).sum() > 5, "gaps"
    assert (missing == 1).sum() > 50 and ((missing > 0) & (missing < 1)).sum() > 300
    assert (missing == 0).mean() > 0.9


def test_the_workload_is_deterministic_for_a_seed() -> None:
    def moments(seed: int) -> list[Any]:
        return [
            (moment.t, [(pose.person, np.nansum(pose.joints)) for pose in moment.poses])
            for moment in islice(simulate_sensor(samples(), 20.0, seed), 200)
        ]

    assert moments(1) == moments(1) != moments(2)


def test_the_workload_does_not_modify_the_recordings() -> None:
    recordings = samples()
    before = [motion.joints.copy() for motion in recordings]
    for _ in islice(simulate_sensor(recordings, 20.0), 2_000):
        pass
    assert all(np.array_equal(a.joints, b) for a, b in zip(recordings, before, strict=True))


def test_clips_of_every_set_are_sampled(data: Path) -> None:
    assert len(sample_clips(data, 1)) < len(sample_clips(data, 3)) <= len(sample_clips(data, 10_000))
    assert {clip.layout for clip in sample_clips(data, 1)} >= {"smpl22", "kinect20"}

"""CoAMD's networks on the named benchmarks, and pictures of what they make."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from motionrt.bench.accuracy import coamd
from motionrt.bench.accuracy.scoring import Measuring
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.cli import main
from motionrt.runtime.generation.schedule import Sampling

FEW = Sampling(steps=2, evaluations=1)


@pytest.fixture(scope="module")
def runs(coamd_runs: Path) -> Path:
    return coamd_runs


def test_retrieval_is_measured_from_the_command_line(runs: Path, motion_data: Path, capfd: Any) -> None:
    assert main(["eval", "retrieval", "--model", str(runs), "--data", str(motion_data), "--json"]) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert report["benchmark"] == "retrieval" and report["counts"]["clips"] == 6
    for who in ("model", "bag_of_joints", "chance"):
        for direction in ("text_to_motion", "motion_to_text"):
            assert 0 <= report[who][direction]["all"]["R@1"]["mean"] <= 100


def test_generation_is_measured_beside_real_motion(
    runs: Path, motion_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coamd.benchmarks, "OURS", Measuring(repeats=2, generations=1, batch=4, pairs=4, pca_dims=2))
    monkeypatch.setattr(coamd.benchmarks, "GENERATED", {"test": ("test", "mocap")})
    report = coamd.evaluate("generation", str(runs), motion_data, FEW)
    figures = report["test"]
    assert figures["counts"]["clips"] == 6
    assert {"fid", "r_precision_1", "jitter", "nearest_training_piece_mm"} <= set(figures["generated"])
    assert figures["generated"]["jitter"]["mean"] > 0


def test_what_guidance_changes_is_measured_and_drawn(
    runs: Path, motion_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coamd, "STEPS", (1.0,))
    monkeypatch.setattr(coamd, "SCHEDULES", (None, 1))
    report = coamd.guidance(str(runs), motion_data, generations=1)
    assert [(row["step"], row["last"]) for row in report["rows"]] == [(1.0, None), (1.0, 1)]
    assert report["rows"][0]["before"] == report["rows"][1]["before"]
    coamd.draw_guidance(report, tmp_path / "guidance.png")
    assert (tmp_path / "guidance.png").stat().st_size > 1000


def test_a_strip_of_poses_is_drawn(runs: Path, motion_data: Path, tmp_path: Path) -> None:
    coamd.strip(str(runs), motion_data, tmp_path / "strip.png", FEW, frames=40)
    assert (tmp_path / "strip.png").stat().st_size > 10_000


def test_left_is_blue_right_is_red_and_upright_is_up(samples: list[Motion]) -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    coamd.draw_strip(axes, samples[2].joints, poses=1)
    lines = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert {line.get_color() for line in lines} >= {"tab:blue", "tab:red"}
    assert max(np.max(line.get_ydata()) for line in lines) > 1.2

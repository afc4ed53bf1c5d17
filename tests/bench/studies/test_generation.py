"""The study of guidance, and pictures of generated motion."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from motionrt.bench.studies import generation
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.generation.schedule import Sampling

FEW = Sampling(steps=2, evaluations=1)


def test_the_effect_of_guidance_is_measured_and_plotted(
    coamd_runs: Path, motion_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "STEPS", (1.0,))
    monkeypatch.setattr(generation, "SCHEDULES", (None, 1))
    report = generation.guidance(str(coamd_runs), motion_data, generations=1)
    assert [(row["step"], row["last"]) for row in report["rows"]] == [(1.0, None), (1.0, 1)]
    assert report["rows"][0]["before"] == report["rows"][1]["before"]
    generation.draw_guidance(report, tmp_path / "guidance.png")
    assert (tmp_path / "guidance.png").stat().st_size > 1000


def test_a_strip_of_poses_is_drawn(coamd_runs: Path, motion_data: Path, tmp_path: Path) -> None:
    generation.strip(str(coamd_runs), motion_data, tmp_path / "strip.png", FEW, frames=40)
    assert (tmp_path / "strip.png").stat().st_size > 10_000


def test_left_is_blue_right_is_red_and_upright_is_up(samples: list[Motion]) -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    generation.draw_strip(axes, samples[2].joints, poses=1)
    lines = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert {line.get_color() for line in lines} >= {"tab:blue", "tab:red"}
    assert max(np.max(line.get_ydata()) for line in lines) > 1.2

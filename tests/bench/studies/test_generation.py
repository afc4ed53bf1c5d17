"""The studies of guidance and of shorter sampling."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from motionrt.bench.studies import generation


def test_the_effect_of_guidance_is_measured_and_plotted(
    coamd_runs: Path, motion_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "STEPS", (1.0,))
    monkeypatch.setattr(generation, "SCHEDULES", (None, 1))
    report = generation.guidance(str(coamd_runs), motion_data)
    assert [(row["step"], row["last"]) for row in report["rows"]] == [(1.0, None), (1.0, 1)]
    assert report["rows"][0]["before"] == report["rows"][1]["before"]
    generation.draw_guidance(report, tmp_path / "guidance.png")
    assert (tmp_path / "guidance.png").stat().st_size > 1000


def test_a_shorter_sampler_is_compared_with_the_models_own(
    coamd_runs: Path, motion_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "SAMPLERS", ({"steps": 12}, {"steps": 2, "evaluations": 1}))
    same, shorter = generation.sampling(str(coamd_runs), motion_data)["rows"]
    assert shorter["steps"] == 2 and same["before"] == same["after"] == shorter["before"] != shorter["after"]
    assert same["difference"]["jitter"]["mean"] == 0 != shorter["difference"]["jitter"]["mean"]

"""Accuracy against latency: the counts, and the plot."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from motionrt.bench.accuracy.registry import Options, evaluate
from motionrt.bench.speed.accuracy import accuracy_by_time, draw

RESULTS = Path(__file__).parents[3] / "bench" / "results"


def test_whole_clips_score_as_in_the_benchmark(data: Path) -> None:
    rows = accuracy_by_time("live", data)
    whole = rows[-1]
    assert (whole["seconds"], whole["whole"]) == (None, 1.0)
    assert whole["top1"] == evaluate("live", Options(model="live", data=data))["top1"]
    assert len({row["top1"] for row in rows}) > 1 and all(row["n"] == whole["n"] for row in rows)


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    draw(json.loads((RESULTS / "accuracy.json").read_text()), RESULTS, tmp_path / "accuracy.png")
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000

"""CoAMD's networks on the motion benchmarks."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from motionrt.bench.accuracy import coamd_model
from motionrt.bench.accuracy import motion_data as benchmarks
from motionrt.bench.accuracy.protocols.scoring import ScoringConfig
from motionrt.bench.accuracy.registry import find, run_motion_benchmark
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
    for name in ("model", "bag_of_joints", "chance"):
        for direction in ("text_to_motion", "motion_to_text"):
            assert 0 <= report[name][direction]["all"]["R@1"]["mean"] <= 100


@pytest.mark.parametrize("name", ["generation", "generation-all"])
def test_generation_is_compared_with_real_motion(
    runs: Path, motion_data: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = ScoringConfig(repeats=2, generations=1, batch=4, diversity_pairs=4, pca_dims=2)
    monkeypatch.setattr(benchmarks, "OWN_CONFIG", config)
    monkeypatch.setattr(benchmarks, "GENERATION_SPLITS", {"test": ("test", "mocap")})
    model, scorer = coamd_model.load(str(runs), evaluator=find(name).evaluator, sampling=FEW)
    report = run_motion_benchmark(name, motion_data, model, scorer)
    figures = report["test"]
    assert figures["counts"]["clips"] == {"generation": 6, "generation-all": 7}[name]
    assert {"fid", "r_precision_1", "jitter", "nearest_training_piece_mm"} <= set(figures["generated"])
    assert figures["generated"]["jitter"]["mean"] > 0

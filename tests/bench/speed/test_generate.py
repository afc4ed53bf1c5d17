"""`motionrt bench generate`: no measurement without parity, and consistent figures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.bench.speed import generate
from motionrt.runtime.cli import main
from motionrt.runtime.errors import MotionError
from motionrt.runtime.generation.generator import Generator
from motionrt.runtime.generation.schedule import Sampling

SMALL = replace(generate.full(), rounds=1, round_s=0.001, chunks=2)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "quick", lambda: SMALL)
    monkeypatch.setattr(generate, "LENGTHS", (1.0, 2.0))
    monkeypatch.setattr(generate, "EVALUATIONS", (1, 2))
    monkeypatch.setattr(generate, "BATCHES", (1, 2))


def test_the_command_measures_after_parity(
    small: None,
    coamd_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    plot, out = tmp_path / "scaling.png", tmp_path / "generate.json"
    arguments = ["bench", "generate", "--quick", "--json", "--model", str(coamd_bundle)]
    assert main([*arguments, "--plot", str(plot), "-o", str(out)]) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert report == json.loads(out.read_text()) and plot.stat().st_size > 10_000
    assert 0 <= report["parity_max_m"] < 1e-3
    assert report["clip_ms"] == report["baselines"]["unguided"]["p50_ms"] > 0 < report["first_chunk_ms"]
    assert report["evaluations"] == {"steps": 8, "head_calls": 32, "cfg": 2, "head_rows": 2 * 4 * 49}
    assert {"fp32", "fp32_longer", "torch", "torch_eliminated", "guided"} < set(report["baselines"])
    assert sum(report["shares"].values()) == pytest.approx(1)
    assert min(report["shares"].values()) > 0
    monkeypatch.setattr(generate, "bench_generate", lambda *_: report)
    assert main(arguments[:-3] + arguments[-2:]) == 0, "as tables"
    assert "times real time" in capfd.readouterr().out


def test_without_parity_nothing_is_measured(
    small: None, coamd_bundle: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    generate_motion = Generator.generate

    def generate_off(self: Generator, *args: Any, **kwargs: Any) -> Any:
        motion = generate_motion(self, *args, **kwargs)
        return replace(motion, joints=motion.joints + np.float32(0.002))

    monkeypatch.setattr(Generator, "generate", generate_off)
    with pytest.raises(MotionError, match="parity: joints differ by 0.002 m from torch's, expected at most 0.001"):
        generate.bench_generate(str(coamd_bundle), SMALL)


def test_the_bundled_generator_has_parity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "sampling_variants", lambda settings: {"unguided": settings})
    exact = Generator.load("default", precision="fp32")
    assert generate.parity(exact, generate._load_pipeline("default", 1)) < 1e-3


def test_the_evaluations_of_a_motion_are_counted() -> None:
    whole = generate.evaluations(Sampling(eliminate=False, cfg=1, evaluations=4))
    assert whole["steps"] == 12 and whole["head_calls"] == 48 and whole["cfg"] == 1
    assert generate.evaluations(Sampling(steps=1, evaluations=1), tokens=7)["head_rows"] == 14

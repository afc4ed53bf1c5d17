"""The benchmark of batches: nothing without parity, and consistent figures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.bench.speed.generate_batch import bench_generate_batch
from motionrt.runtime.errors import MotionError
from motionrt.runtime.generation.generator import Generator


def test_every_size_is_measured_after_parity(coamd_bundle: Path) -> None:
    report = bench_generate_batch(str(coamd_bundle), sizes=(1, 3), rounds=1, seconds=1)
    assert 0 <= report["parity_max_m"] <= 1e-5
    assert [row["motions"] for row in report["batches"]] == [1, 3]
    for row in (*report["batches"], report["one_by_one"]):
        assert row["motions_per_s"] == pytest.approx(1e3 * row["motions"] / row["ms"])
    assert report["times_faster"] == pytest.approx(report["one_by_one"]["ms"] / report["batches"][1]["ms"])


def test_without_parity_nothing_is_measured(coamd_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = Generator.generate

    def off(self: Generator, text: Any, *args: Any, **kwargs: Any) -> Any:
        found = generate(self, text, *args, **kwargs)
        return found if isinstance(text, list) else replace(found, joints=found.joints + np.float32(2e-5))

    monkeypatch.setattr(Generator, "generate", off)
    with pytest.raises(MotionError, match="parity: joints of a batch differ by 2e-05 m, expected at most 1e-05"):
        bench_generate_batch(str(coamd_bundle), sizes=(2,), rounds=1, seconds=1)

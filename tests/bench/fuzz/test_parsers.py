"""The fuzzer detects misbehaving parsers, and finds no problem in ours."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.bench.fuzz import parsers as fuzz
from motionrt.runtime.body import layout
from motionrt.runtime.errors import InputError

pytestmark = pytest.mark.timeout(300, method="thread")  # parsers are interrupted by the same signal as tests


@pytest.mark.slow
def test_damaged_input_is_accepted_or_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SLOW_S", math.inf)  # depends on the machine
    monkeypatch.setattr(layout, "_REGISTERED", {})  # what it reads stays here
    found = fuzz.fuzz(600.0, seed=1, inputs=150)
    assert found["findings"] == []
    for name, count in found["parsers"].items():
        least = 0.05 if name == "jsonl" else 0.3  # of JSON lines, only those without any whole message
        assert least * count["inputs"] < count["refused"] < count["inputs"], (
            f"{name}: the damage is too small or too large"
        )


def raises(error: BaseException) -> Any:
    def parse(data: bytes) -> None:
        raise error

    return parse


@pytest.mark.parametrize(
    ("parse", "problem"),
    [
        (raises(ValueError("no")), "ValueError: no"),
        (raises(InputError("")), "an error message with several lines or none: ''"),
        (lambda data: time.sleep(0.3), "more than 0 s"),
    ],
    ids=["another error", "no message", "a hang"],
)
def test_a_misbehaving_parser_is_found(
    parse: Any, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "HUNG_S", 0.1)
    monkeypatch.setattr(fuzz, "targets", lambda folder: {"mine": fuzz.Target(parse, (b"12 [3]",))})
    found = fuzz.fuzz(60, keep=tmp_path, inputs=1)["findings"]
    assert found and {finding["problem"] for finding in found} == {problem}
    assert (tmp_path / f"mine-{found[0]['input']}").is_file()


def test_damage_changes_the_input_and_is_deterministic() -> None:
    data = b'{"joints": [[0.5, 1.25, -3]], "t": 17}' * 20
    outputs = [[fuzz.damage(data, np.random.default_rng(seed)) for seed in range(50)] for _ in range(2)]
    assert outputs[0] == outputs[1] and sum(output != data for output in outputs[0]) > 45 and len(set(outputs[0])) > 45

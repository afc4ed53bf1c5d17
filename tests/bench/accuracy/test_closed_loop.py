"""What is said of generated clips and streams is counted as it was said."""

import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from motionrt.bench.accuracy import closed_loop as generated
from motionrt.runtime.errors import InputError
from motionrt.runtime.generation.generator import Generator
from motionrt.runtime.recognition.recognizer import Recognizer


@pytest.fixture(scope="module")
def both() -> tuple[Generator, Recognizer]:
    return Generator.load("default"), Recognizer.load("live")


def test_prompts_are_ten_different_ones_an_action(both: tuple[Generator, Recognizer]) -> None:
    written = json.loads(generated.PROMPTS.read_text())["actions"]
    assert all(len(set(texts)) == 10 for texts in written.values())
    known = generated.known_prompts(*both)
    assert known == written and sum(generated.enough(both[0], action) for action in known) >= 8
    stranger = SimpleNamespace(name="stranger", actions={"swim": {"mocap": 200, "kinect": 0}})
    with pytest.raises(InputError, match="stranger knows no action that the prompts are written for"):
        generated.known_prompts(stranger, both[1])  # type: ignore[arg-type]


def test_clips_are_counted_by_what_is_said_of_them(both: tuple[Generator, Recognizer]) -> None:
    prompts = {"run": ["a person runs"] * 2, "sit down": ["a person sits down"]}
    found = generated.recognised(*both, prompts)
    own, other = found["per_class"]["run"], found["per_class"]["sit down"]
    assert (own["quality"], other["quality"]) == ("mocap", "kinect")
    said = Counter(both[1].recognize(both[0].generate("a person runs", seed=seed)).label for seed in (0, 1))
    assert own["said"] == said and own["top1"] == 50 * said["run"] == found["macro_top1"]
    assert found["n"] == 2 and found["kinect"]["macro_top1"] == other["top1"]


def test_changes_are_seen_after_they_were_asked_for(
    both: tuple[Generator, Recognizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated, "PAIRS", 3)
    monkeypatch.setattr(generated, "SMOOTH_S", 5)
    asked: list[Any] = []

    def changed(generator: Generator, texts: tuple[str, str], seed: int) -> np.ndarray:
        asked.append(texts)
        return np.zeros((120, 22, 3), np.float32)

    def stepped(recognizer: Recognizer, joints: np.ndarray, generator: Generator) -> list[str]:
        new = "run" if asked[-1][1].startswith("running") else "walk"
        return ["none"] * 85 + [new if len(asked) > 1 else "none"] * 35

    monkeypatch.setattr(generated, "changed", changed)
    monkeypatch.setattr(generated, "stepped", stepped)
    prompts = {"run": [f"running {i}" for i in range(10)], "walk": [f"walking {i}" for i in range(10)]}
    found = generated.streaming(*both, prompts)
    assert found["n"] == 3 and found["seen"] == pytest.approx(200 / 3) and found["seen_by_chance"] == 0
    assert found["median_s"] == 0.25
    assert len(set(asked)) == 3
    assert found["velocity_jump_m_per_s"]["changes"] == {"n": 3, "median": 0, "p99": 0}
    assert found["velocity_jump_m_per_s"]["seams"]["n"] == 2


def test_a_jump_is_where_velocity_changes() -> None:
    joints = np.zeros((6, 2, 3), np.float32)
    joints[3:, :, 0] = 0.1  # all at once, from frame 2 to 3
    assert generated.jumps(joints).tolist() == pytest.approx([0, 2, 2, 0])

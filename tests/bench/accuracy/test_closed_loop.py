"""Counting of the labels predicted for generated clips and streams."""

import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from motionrt.bench.accuracy.protocols import closed_loop
from motionrt.runtime.errors import InputError
from motionrt.runtime.generation.generator import Generator
from motionrt.runtime.recognition.recognizer import Recognizer


@pytest.fixture(scope="module")
def models() -> tuple[Generator, Recognizer]:
    return Generator.load("default"), Recognizer.load("live")


def test_every_action_has_ten_different_prompts(models: tuple[Generator, Recognizer]) -> None:
    prompts = json.loads(closed_loop.PROMPTS.read_text())["actions"]
    assert all(len(set(texts)) == 10 for texts in prompts.values())
    known = closed_loop.known_prompts(*models)
    assert known == prompts and sum(closed_loop.has_enough_clips(models[0], action) for action in known) >= 8
    stranger = SimpleNamespace(name="stranger", actions={"swim": {"mocap": 200, "kinect": 0}})
    with pytest.raises(InputError, match="stranger knows none of the actions that have prompts, expected one of"):
        closed_loop.known_prompts(stranger, models[1])  # type: ignore[arg-type]


def test_clips_are_counted_by_their_predicted_labels(models: tuple[Generator, Recognizer]) -> None:
    prompts = {"run": ["a person runs"] * 2, "sit down": ["a person sits down"]}
    found = closed_loop.recognized(*models, prompts)
    own, other = found["per_class"]["run"], found["per_class"]["sit down"]
    assert (own["quality"], other["quality"]) == ("mocap", "kinect")
    labels = Counter(models[1].recognize(models[0].generate("a person runs", seed=seed)).label for seed in (0, 1))
    assert own["predictions"] == labels and own["top1"] == 50 * labels["run"] == found["macro_top1"]
    assert found["n"] == 2 and found["kinect"]["macro_top1"] == other["top1"]


def test_a_new_action_counts_only_after_the_prompt_has_changed(
    models: tuple[Generator, Recognizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed_loop, "PAIRS", 3)
    monkeypatch.setattr(closed_loop, "SMOOTH_S", 5)
    prompted: list[Any] = []

    def stream_with_change(generator: Generator, texts: tuple[str, str], seed: int) -> np.ndarray:
        prompted.append(texts)
        return np.zeros((120, 22, 3), np.float32)

    def frame_labels(recognizer: Recognizer, joints: np.ndarray, generator: Generator) -> list[str]:
        new = "run" if prompted[-1][1].startswith("running") else "walk"
        return ["none"] * 85 + [new if len(prompted) > 1 else "none"] * 35

    monkeypatch.setattr(closed_loop, "stream_with_change", stream_with_change)
    monkeypatch.setattr(closed_loop, "frame_labels", frame_labels)
    prompts = {"run": [f"running {i}" for i in range(10)], "walk": [f"walking {i}" for i in range(10)]}
    found = closed_loop.streaming(*models, prompts)
    assert found["n"] == 3 and found["seen"] == pytest.approx(200 / 3) and found["seen_by_chance"] == 0
    assert found["median_s"] == 0.25
    assert len(set(prompted)) == 3
    assert found["velocity_jump_m_per_s"]["changes"] == {"n": 3, "median": 0, "p99": 0}
    assert found["velocity_jump_m_per_s"]["seams"]["n"] == 2


def test_a_jump_is_a_change_of_velocity() -> None:
    joints = np.zeros((6, 2, 3), np.float32)
    joints[3:, :, 0] = 0.1  # from frame 2 to 3
    assert closed_loop.velocity_jumps(joints).tolist() == pytest.approx([0, 2, 2, 0])

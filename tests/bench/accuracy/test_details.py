"""Rules that tell whether counts, standing still and turns are as described."""

import json

import numpy as np
import pytest

from motionrt.bench.accuracy.protocols import best_of, details
from motionrt.runtime.body.canonical import FEET, rotate_y
from motionrt.runtime.body.motion import Motion


def still(samples: list[Motion], frames: int = 80) -> np.ndarray:
    joints = samples[2].joints[:1] - [0, samples[2].joints[0, FEET, 1].min(), 0]
    return np.repeat(joints, frames, 0).astype(np.float32)


def test_every_prompt_names_an_action_and_a_side_that_have_rules() -> None:
    prompts = json.loads(details.PROMPTS.read_text())
    assert {action for _, action, _ in prompts["counts"]} <= details.EVENTS.keys()
    assert {side for *_, side in prompts["turns"]} == {"left", "right", "either"}
    texts = [prompt if isinstance(prompt, str) else prompt[0] for kind in ("counts", "still", "turns")
             for prompt in prompts[kind]]  # fmt: skip
    assert len(texts) == len(set(texts)) >= 60


@pytest.mark.parametrize("times", [1, 2, 3])
def test_events_are_counted(samples: list[Motion], times: int) -> None:
    wave = np.maximum(0, np.sin(np.linspace(0, 2 * np.pi * times, 80))).astype(np.float32)
    jumps, raised = still(samples), still(samples)
    jumps[..., 1] += 0.3 * wave[:, None]
    raised[:, details.JOINT["left_wrist"], 1] += 1.5 * wave
    assert details.count("jump", jumps) == details.count("raise left hand", raised) == times
    assert details.count("raise right hand", raised) == details.count("jump", raised) == 0


def test_a_person_who_sinks_or_drifts_does_not_stand_still(samples: list[Motion]) -> None:
    stands = still(samples)
    crouches, drifts = stands.copy(), stands.copy()
    rest = [joint for name, joint in details.JOINT.items() if not name.endswith(("knee", "ankle", "foot"))]
    crouches[60:, rest] -= [0, 0.2, 0]
    drifts += np.linspace(0, 0.2, 80)[:, None, None] * np.array([1, 0, 0], np.float32)
    found = [details.is_still(Motion(joints=one, fps=20, layout="smpl22")) for one in (stands, crouches, drifts)]
    assert found == [True, False, False]


def test_turns_have_a_side(samples: list[Motion]) -> None:
    turns = rotate_y(still(samples), np.radians(np.linspace(0, 90, 80))[:, None])  # the left hand moves backward
    assert details.left_turn(turns) == pytest.approx(90, abs=1)
    assert details.is_turned(80, 90, "left") and not details.is_turned(-80, 90, "left")
    assert details.is_turned(-170, 180, "either") and not details.is_turned(100, 180, "either")


def test_what_the_best_of_several_gains_is_counted() -> None:
    found = best_of.summary([[False, True], [False, True], [True, False], [True, True]])
    assert found == {"n": 4, "one": 50, "best": 75, "gained": 2, "lost": 1}

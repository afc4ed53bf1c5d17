"""Motions that reach joints which are given for some frames."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.runtime.body.canonical import FEET, SMPL
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError
from motionrt.runtime.generation.generator import Generator
from motionrt.runtime.generation.keyframes import reach

WRIST, HEAD, FOOT = (SMPL.joints.index(name) for name in ("right_wrist", "head", "left_foot"))
PARENTS = SMPL.parents


def only(joint: int, at: np.ndarray) -> np.ndarray:
    found = np.full((22, 3), np.nan)
    found[joint] = at
    return found


def bones(joints: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(joints[:, 1:] - joints[:, PARENTS[1:]], axis=-1)
    return lengths


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator.load("default")


@pytest.fixture(scope="module")
def walk(generator: Generator) -> np.ndarray:
    return generator.generate("a person walks forward", seconds=4, seed=1).joints


@pytest.mark.parametrize(
    ("joint", "move"),
    [
        (WRIST, [0, 0.3, 0.2]),
        (WRIST, [0.1, 0, 1.0]),
        (HEAD, [0, -0.2, 0.2]),
        (0, [0.2, -0.15, 0.2]),
        (FOOT, [0, 0.2, 0]),
    ],
)
def test_a_joint_is_reached_by_a_whole_body_on_the_floor(walk: np.ndarray, joint: int, move: list[float]) -> None:
    target = walk[30, joint] + move
    found = reach(walk, {30: only(joint, target)})
    np.testing.assert_allclose(found[30, joint], target, atol=0.002)
    assert np.abs(bones(found) - np.median(bones(walk), 0)).max() < 0.005
    assert walk[:, FEET, 1].min() - 0.005 < found[:, FEET, 1].min() < walk[:, FEET, 1].min() + 0.02
    np.testing.assert_allclose(found[:10, :, 1], walk[:10, :, 1], atol=0.005)
    np.testing.assert_allclose(found[50:, :, 1], walk[50:, :, 1], atol=0.005)


def test_several_keyframes_and_the_place_on_the_floor(walk: np.ndarray) -> None:
    at = {20: walk[20] + np.array([0.3, 0, 0.2]), 60: walk[60] + np.array([0, 0, -0.2])}
    found = reach(walk, at)
    for frame, target in at.items():
        assert np.linalg.norm(found[frame] - target, axis=1).max() < 0.005
    np.testing.assert_allclose((found - walk)[-1, 0], [0, 0, -0.2], atol=0.02)


@pytest.mark.parametrize(
    ("keyframes", "message"),
    [
        ({}, r"keyframes is \{\}, expected joints by frame"),
        ({80: np.zeros((22, 3))}, "keyframes has frame 80, expected 0 to 79"),
        ({"a": np.zeros((22, 3))}, "keyframes has frame 'a', expected 0 to 79"),
        ({5: np.zeros((3, 3))}, r"keyframes has shape \[3, 3\] in frame 5, expected \[22, 3\]"),
        ({5: np.full((22, 3), np.nan)}, "no joint in frame 5 or part of one"),
        ({5: only(WRIST, np.array([0, 1, np.nan]))}, "no joint in frame 5 or part of one"),
        ({30: only(WRIST, np.array([0, 3, 2]))}, "joints in frame 30 that the body does not reach"),
        ({10: only(WRIST, np.array([9, 1, 2]))}, "frame 10 .* m from where the body would be, expected at most 1.5 m"),
        (
            {30: np.fmin(only(WRIST, np.array([0, 1, 0])), only(17, np.array([0, 1, 2])))},
            "right_wrist 2.00 m from right_shoulder in frame 30, expected at most ARM m, as far as the body reaches",
        ),
    ],
)
def test_keyframes_that_cannot_be_reached_are_refused_in_one_line(
    walk: np.ndarray, keyframes: Any, message: str
) -> None:
    arm = np.median(bones(walk), 0)[[WRIST - 1, PARENTS[WRIST] - 1]].sum()
    with pytest.raises(InputError, match=message.replace("ARM", f"{arm:.2f}")):
        reach(walk, keyframes)


def test_generate_takes_keyframes_alone_and_of_a_file(
    generator: Generator, walk: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from motionrt.runtime.cli import main

    target = walk[40, WRIST].astype(float) + [0, 0.3, 0.2]
    motion = generator.generate("a person walks forward", seconds=4, seed=1, keyframes={40: only(WRIST, target)})
    np.testing.assert_allclose(motion.joints[40, WRIST], target, atol=0.002)
    with pytest.raises(InputError, match="keyframes is for one text"):
        generator.generate(["a person walks"], keyframes={40: only(WRIST, target)})  # type: ignore[call-overload]

    file = tmp_path / "reach.json"
    command = ["generate", "a person walks forward", "--seconds", "4", "--seed", "1", "--keyframes", str(file)]
    file.write_text(json.dumps({"40": {"right_wrist": target.tolist()}}))
    assert main([*command, "-o", str(tmp_path / "a.npz")]) == 0
    np.testing.assert_allclose(Motion.load(tmp_path / "a.npz").joints, motion.joints, atol=1e-5)
    file.write_text('{"40": {"tail": [0, 0, 0]}}')
    assert main([*command, "-o", str(tmp_path / "a.npz")]) == 2
    assert "reach.json: expected joints by frame" in capfd.readouterr().err

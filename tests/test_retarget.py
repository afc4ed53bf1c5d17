"""examples/retarget.py: a person's motion on a small robot."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt import Generator, Motion
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.rotations import Rotations, solve

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "retarget.py"
retarget = runpy.run_path(str(SCRIPT))
CORE = Layout.load("core15")
PARTS = ("elbow", "wrist", "knee", "ankle")


@pytest.fixture(scope="module", params=["a person waves with both hands", "a person kicks", "a person walks forward"])
def retargeted(request: pytest.FixtureRequest) -> tuple[Motion, Rotations, Any]:
    person = Generator.load().generate(request.param, seconds=4)
    rotations = solve(person)
    return person, rotations, retarget["target_angles"](rotations)


def bones(motion: Motion) -> np.ndarray:
    """The parts of arms and legs [T, 8, 3] of a motion."""
    joints = CORE.map_from(Layout.load(motion.layout)) @ motion.joints
    chosen = [i for i, name in enumerate(CORE.joints) if name.split("_")[-1] in PARTS]
    return joints[:, chosen] - joints[:, [CORE.parents[i] for i in chosen]]


def lengths(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_without_limits_the_limbs_have_the_directions_of_the_persons(retargeted: tuple[Motion, Rotations, Any]) -> None:
    person, rotations, target = retargeted
    robot = retarget["robot_motion"](target, rotations, person.fps)
    ours, theirs = bones(robot), bones(person)
    degrees = np.degrees(np.arccos(np.clip((ours / lengths(ours) * theirs / lengths(theirs)).sum(-1), -1, 1)))
    assert np.percentile(degrees, 95) < 3  # what is left: an angle that is held where a limb is straight
    assert degrees.max() < 15


def test_the_robot_keeps_its_proportions(retargeted: tuple[Motion, Rotations, Any]) -> None:
    person, rotations, target = retargeted
    arm, leg = retarget["ARM"], retarget["LEG"]
    expected = 2 * [arm.upper_m, arm.lower_m] + 2 * [leg.upper_m, leg.lower_m]
    robot = retarget["robot_motion"](retarget["limit"](target, person.fps), rotations, person.fps)
    np.testing.assert_allclose(lengths(bones(robot))[..., 0], np.tile(expected, (person.frames, 1)), atol=1e-5)


def test_motors_keep_their_range_and_speed(retargeted: tuple[Motion, Rotations, Any]) -> None:
    person, _, target = retargeted
    for key, angles in retarget["limit"](target, person.fps).items():
        limb = retarget["LIMBS"][key]
        assert (angles >= limb.low).all() and (angles <= limb.high).all()
        assert np.abs(np.diff(angles, axis=0)).max() * person.fps <= retarget["MAX_SPEED_DEG_S"] + 1e-6


def test_it_writes_angles_and_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    out, picture = tmp_path / "robot.npz", tmp_path / "robot.png"
    arguments = ["retarget.py", "a person waves", "-o", str(out), "--picture", str(picture), "--seconds", "2"]
    monkeypatch.setattr(sys, "argv", arguments)
    retarget["main"]()
    with np.load(out) as saved:
        assert saved["angles"].shape == (40, 16) and saved["fps"] == 20
        assert list(saved["names"][:2]) == ["left_arm_pitch", "left_arm_roll"]
    assert picture.stat().st_size > 10_000

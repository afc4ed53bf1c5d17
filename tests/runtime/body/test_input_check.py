"""Joints that are not in meters, y up, in the order of the layout are reported once, in one line."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.cli import main
from motionrt.runtime.errors import InputError
from motionrt.runtime.recognition.recognizer import Recognizer

SAMPLES = sorted((Path(__file__).parents[3] / "runtime" / "samples").glob("*.npz"))
UNITS = [(1e3, "millimeters"), (100, "centimeters")]
SHUFFLED = np.random.default_rng(0).permutation(22)
ODD: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("the body stands along z, y is expected to be up", lambda joints: joints[..., [2, 0, 1]]),
    ("the body stands along x, y is expected to be up", lambda joints: joints[..., [1, 2, 0]]),
    ("the body stands along -y, y is expected to be up", lambda joints: joints * np.float32([1, -1, -1])),
    ("the joints do not look like those of layout smpl22", lambda joints: joints[:, SHUFFLED]),
]


@pytest.fixture(scope="module")
def walk() -> Motion:
    return Motion.load(next(path for path in SAMPLES if path.stem == "cmu_walk"))


def stream(recognizer: Recognizer, motion: Motion) -> None:
    for t, joints in zip(motion.times, motion.joints, strict=True):
        recognizer.step(joints, t, layout=motion.layout)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_people_cause_no_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recognizer, motion = Recognizer.load("live"), Motion.load(path)
    stream(recognizer, motion)
    recognizer.recognize(motion)
    assert caplog.messages == []


@pytest.mark.parametrize("problem, change", ODD)
def test_a_problem_is_logged_once(
    problem: str, change: Callable[[np.ndarray], np.ndarray], walk: Motion, caplog: pytest.LogCaptureFixture
) -> None:
    recognizer, motion = Recognizer.load("live"), replace(walk, joints=change(walk.joints))
    stream(recognizer, motion)
    recognizer.recognize(motion)
    [record] = caplog.records
    assert record.levelno == logging.WARNING and problem in record.message
    recognizer.reset()
    stream(recognizer, motion)  # the viewer repeats a recording
    assert len(caplog.records) == 1


def test_every_stream_is_checked(walk: Motion, caplog: pytest.LogCaptureFixture) -> None:
    recognizer = Recognizer.load("live")
    stream(recognizer, walk)
    recognizer.reset()
    stream(recognizer, replace(walk, joints=walk.joints[..., [2, 0, 1]]))
    assert caplog.messages == ["the body stands along z, y is expected to be up"]


@pytest.mark.parametrize("scale, unit", UNITS)
def test_other_units_are_refused(scale: float, unit: str, walk: Motion) -> None:
    recognizer, motion = Recognizer.load("live"), replace(walk, joints=walk.joints * np.float32(scale))
    for recognize in (recognizer.recognize, lambda motion: stream(recognizer, motion)):
        with pytest.raises(InputError, match=f"looks like {unit}, expected meters"):
            recognize(motion)


def test_frames_in_other_units_are_refused_until_they_are_in_meters(walk: Motion) -> None:
    recognizer, statuses = Recognizer.load("live"), []
    for k, joints in enumerate(np.concatenate([walk.joints * np.float32(1e3), walk.joints])):
        try:
            statuses.append(recognizer.step(joints, k / walk.fps, layout=walk.layout).status)
        except InputError:
            statuses.append("refused")
    assert statuses[29 : walk.frames] == ["refused"] * (walk.frames - 29)
    assert statuses[walk.frames + 15 :] == ["ok"] * (walk.frames - 15)


def test_one_person_in_other_units_does_not_affect_the_others(walk: Motion) -> None:
    recognizer, alone = Recognizer.load("live"), Recognizer.load("live")
    for t, joints in zip(walk.times, walk.joints, strict=True):
        with suppress(InputError):
            recognizer.step(joints * np.float32(1e3), t, person=5, layout=walk.layout)
        decision = recognizer.step(joints, t, person=6, layout=walk.layout)
        np.testing.assert_array_equal(decision.probs, alone.step(joints, t, person=6, layout=walk.layout).probs)
    with pytest.raises(InputError, match="looks like millimeters"):  # a latecomer
        for k, joints in enumerate(walk.joints * np.float32(1e3)):
            recognizer.step(joints, walk.times[-1] + k / 30, person=7, layout=walk.layout)


@pytest.mark.parametrize("people", [70, 10_000])
def test_people_who_never_stay_are_checked_together(people: int, walk: Motion) -> None:
    recognizer = Recognizer.load("live")
    with pytest.raises(InputError, match="looks like millimeters"):
        for k in range(30 * 70):
            joints = walk.joints[k % walk.frames] * np.float32(1e3)
            recognizer.step(joints, k / walk.fps, person=k % people, layout=walk.layout)


def test_extreme_numbers_cause_no_other_warning(walk: Motion, recwarn: pytest.WarningsRecorder) -> None:
    for scale in (1e37, 1e-37, 0):
        joints = walk.joints * np.float32(scale)
        with suppress(InputError):
            Recognizer.load("live").recognize(replace(walk, joints=joints))
    assert [str(warning.message) for warning in recwarn] == []


def test_the_command_line_names_the_file(walk: Motion, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    replace(walk, joints=walk.joints * np.float32(1e3)).save(tmp_path / "mm.npz")
    assert main(["recognize", str(tmp_path / "mm.npz")]) == 2
    _, err = capfd.readouterr()
    assert "mm.npz: the joints are" in err and "looks like millimeters" in err and err.count("\n") == 1


def test_poses_with_missing_joints_are_not_checked(walk: Motion, caplog: pytest.LogCaptureFixture) -> None:
    joints = walk.joints[..., [2, 0, 1]].copy()
    joints[:, 3] = np.nan
    recognizer = Recognizer.load("live")
    stream(recognizer, replace(walk, joints=joints))
    confidence = np.ones(joints.shape[:-1], np.float32)
    confidence[:, 3] = 0
    recognizer.recognize(replace(walk, joints=walk.joints[..., [2, 0, 1]], confidence=confidence))
    assert caplog.messages == []

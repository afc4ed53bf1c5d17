"""Joints that are not in meters, y up, in the order of the layout are reported once, in one line."""

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import motionrt
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.body.units import turn
from motionrt.runtime.cli import main
from motionrt.runtime.errors import InputError
from motionrt.runtime.generation.generator import Generator
from motionrt.runtime.recognition.recognizer import Recognizer
from motionrt.runtime.retrieval.retriever import Retriever

SAMPLES = sorted((Path(__file__).parents[3] / "runtime" / "samples").glob("*.npz"))
UNITS = [(1e3, "millimeters"), (100, "centimeters"), (10, "decimeters"), (1 / 0.0254, "inches"), (1 / 0.3048, "feet")]
SHUFFLED = np.random.default_rng(0).permutation(22)
ODD: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("the body stands along z, y is expected to be up", lambda joints: joints[..., [2, 0, 1]]),
    ("the body stands along x, y is expected to be up", lambda joints: joints[..., [1, 2, 0]]),
    ("the body stands along -y, y is expected to be up", lambda joints: joints * np.float32([1, -1, -1])),
    ("the toes point backward", lambda joints: joints * np.float32([-1, 1, 1])),
    ("the toes point backward", lambda joints: joints[:, Layout.load("smpl22").mirror]),
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
    assert caplog.messages == [
        'the body stands along z, y is expected to be up (--up z, or up="z" of Motion.load)',
    ]


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


@pytest.mark.parametrize("far", [1e30, 1e36, 3e38])
def test_one_joint_that_is_far_away_does_not_matter(walk: Motion, far: float, recwarn: pytest.WarningsRecorder) -> None:
    joints, live = walk.joints.copy(), Recognizer.load("live")
    joints[10, 20] = far
    labels = [[segment.label for segment in motionrt.recognize(replace(walk, joints=j))] for j in (joints, walk.joints)]
    assert labels[0] == labels[1]
    assert live.recognize(replace(walk, joints=joints)).label == live.recognize(walk).label
    assert [str(warning.message) for warning in recwarn] == []


def test_extreme_times_are_one_warning(
    walk: Motion, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    with suppress(InputError):
        Recognizer.load("live").recognize(replace(walk, timestamps=walk.times * 1e300))
    assert [str(warning.message) for warning in recwarn] == []
    assert "s apart, expected 5 to 250 frames per second" in caplog.text and len(caplog.records) == 1


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


Z_UP = 'the body stands along z, y is expected to be up (--up z, or up="z" of Motion.load)'


@pytest.mark.parametrize("ending", [".npz", ".npy", ".jsonl", ".bvh"])
def test_a_file_with_another_axis_up_is_reported_when_it_is_read_and_not_again(
    ending: str, walk: Motion, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"lying{ending}"
    save(replace(walk, joints=turn(turn(turn(walk.joints, "z"), "z"), "z")), path)
    motion = Motion.load(path)
    assert caplog.messages == [f"{path}: {Z_UP}"]
    recognizer = Recognizer.load("live")
    recognizer.recognize(motion)
    assert recognizer.warnings == (Z_UP,)
    Recognizer.load("zero-shot").enroll("walking", [motion])
    assert len(caplog.messages) == 1
    upright = Motion.load(path, up="z")
    assert len(caplog.messages) == 1
    index = [Layout.load(upright.layout).joints.index(joint) for joint in ("head", "left_ankle")]
    head, ankle = np.moveaxis(upright.joints[:, index], 1, 0)
    assert (head[:, 1] - ankle[:, 1] > 1).all()


def save(motion: Motion, path: Path) -> None:
    match path.suffix:
        case ".npy":
            np.save(path, motion.joints)
        case ".jsonl":
            lines = [
                json.dumps({"t": t, "layout": motion.layout, "joints": joints.tolist()})
                for t, joints in zip(motion.times, motion.joints, strict=True)
            ]
            path.write_text("\n".join(lines))
        case _:
            motion.save(path)


def test_every_axis_is_turned_to_y_up_and_right_handed_stays_right_handed(walk: Motion, tmp_path: Path) -> None:
    for up, turned in (("z", turn(turn(turn(walk.joints, "z"), "z"), "z")), ("-y", turn(walk.joints, "-y"))):
        replace(walk, joints=turned).save(tmp_path / "turned.npz")
        np.testing.assert_allclose(Motion.load(tmp_path / "turned.npz", up=up).joints, walk.joints, atol=1e-6)
    walk.save(tmp_path / "clip.npz")
    with pytest.raises(InputError, match="clip.npz: up is 'x', expected y, z, -y"):
        Motion.load(tmp_path / "clip.npz", up="x")
    Motion(np.arange(3.0 * 17 * 2).reshape(3, 17, 2), 20, "coco17").save(tmp_path / "flat.npz")
    with pytest.raises(InputError, match="flat.npz: up is 'z', but the joints are in 2-D"):
        Motion.load(tmp_path / "flat.npz", up="z")
    with pytest.raises(InputError, match="scale is -1, expected meters per unit, above 0"):
        Motion.load(tmp_path / "clip.npz", scale=-1)


def test_a_person_who_lies_on_the_floor_causes_no_warning(walk: Motion, caplog: pytest.LogCaptureFixture) -> None:
    lying = turn(walk.joints - walk.joints[:, :1], "z") + np.float32([0.4, 0, 3])
    lying[..., 1] -= lying[..., 1].min(axis=1, keepdims=True) - 0.05
    stream(Recognizer.load("live"), replace(walk, joints=lying))
    assert caplog.messages == []


def test_editing_and_retrieval_check_what_recognition_checks(walk: Motion, caplog: pytest.LogCaptureFixture) -> None:
    clip = replace(walk, joints=walk.joints[:60])
    z_up = replace(clip, joints=turn(turn(turn(clip.joints, "z"), "z"), "z"))
    in_feet = replace(clip, joints=clip.joints / np.float32(0.3048))
    generator, retriever = Generator.load("default"), Retriever.load("default")
    for use in (lambda motion: generator.edit(motion, "a person waves", slice(20, 40)), retriever.add):
        caplog.clear()
        use(clip)
        assert caplog.messages == []
        use(z_up)
        assert caplog.messages == [Z_UP]
        with pytest.raises(InputError, match="looks like feet, expected meters"):
            use(in_feet)


@pytest.mark.parametrize("command", ["enroll", "edit", "search", "recognize", "record"])
def test_commands_take_the_axis_and_the_unit(
    command: str, walk: Motion, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    clip, out = folder / "clip.npz", tmp_path / "out"
    centimeters = turn(turn(turn(walk.joints[:60], "z"), "z"), "z") * np.float32(100)
    np.savez(clip, joints=centimeters, layout="smpl22")
    arguments = {
        "enroll": ["enroll", clip, "--as", "walking", "-o", f"{out}.npz"],
        "edit": ["edit", clip, "a person waves", "--regenerate", "1:2", "-o", f"{out}.npz"],
        "search": ["search", "a person walks", "--library", folder],
        "recognize": ["recognize", clip],
        "record": ["record", clip, "--label", "walking", "-o", out],
    }[command]
    options = ["--up", "z", "--scale", "0.01", "--fps", "20"]
    assert main([str(argument) for argument in [*arguments, *options]]) == 0
    assert "expected" not in capfd.readouterr().err
    if command == "record":
        (recorded,) = out.glob("*.npz")
        np.testing.assert_allclose(Motion.load(recorded).joints, walk.joints[:60], atol=1e-4)
    if command == "edit":
        np.testing.assert_allclose(Motion.load(f"{out}.npz").joints[:10], walk.joints[:10], atol=1e-4)


def test_recording_a_body_that_lies_is_reported(walk: Motion, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    replace(walk, joints=turn(turn(turn(walk.joints, "z"), "z"), "z")).save(tmp_path / "lying.npz")
    assert main(["record", str(tmp_path / "lying.npz"), "--label", "a", "-o", str(tmp_path / "out")]) == 0
    assert caplog.messages == [Z_UP]

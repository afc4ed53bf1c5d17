"""2-D keypoints, through a small network that takes them and sees which wrist is raised."""

import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import motionrt
from motionrt import BundleError, InputError, LayoutError, Motion, Recognizer
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.cli.app import app
from motionrt.runtime.io.source import open_source
from motionrt.runtime.recognition.frames import step_frames, step_source

from .. import tiny

LEFT, RIGHT = tiny.LABELS[1:]
FLAT = [name for name in Layout.names() if Layout.load(name).dims == 2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frontend = {**tiny.manifest()["frontend"], "flat": True}
    return tiny.tiny_bundle(tmp_path_factory.mktemp("models") / "flat", frontend=frontend)


@pytest.fixture
def recognizer(bundle: Path) -> Recognizer:
    return Recognizer.load(bundle)


def in_pixels(joints: np.ndarray) -> np.ndarray:
    """An image, 180 pixels a meter, of somebody who faces the camera."""
    return joints[..., :2] * [180, -180] + [600, 500]


def upward(joints: np.ndarray) -> np.ndarray:
    """Relative to the height of an image, y up."""
    return joints[..., :2] * 0.3 + [0.2, 0.1]


def keypoints(raised: str | None = "left", layout: str = "coco17", view: Callable = in_pixels) -> np.ndarray:
    """Joints [50, V, 2]: a second with the hands down, then with one hand up."""
    joints = np.concatenate([tiny.poses(20), tiny.poses(30, raised)])
    return view(Layout.load(layout).map_from(Layout.load(tiny.LAYOUT)) @ joints).astype(np.float32)


def onsets(recognizer: Recognizer, joints: np.ndarray, layout: str = "coco17") -> list[str | None]:
    decisions = [recognizer.step(pose, k / tiny.FPS, layout=layout) for k, pose in enumerate(joints)]
    return [out.event_label for out in decisions if out.event == "onset"]


def without(joints: np.ndarray, *parts: str, layout: str = "coco17") -> np.ndarray:
    joints = joints.copy()
    joints[:, [any(part in name for part in parts) for name in Layout.load(layout).joints]] = np.nan
    return joints


@pytest.mark.parametrize("view", [in_pixels, upward])
@pytest.mark.parametrize("layout", FLAT)
def test_every_2d_layout_is_taken_in_any_unit(recognizer: Recognizer, layout: str, view: Callable) -> None:
    assert onsets(recognizer, keypoints("left", layout, view), layout) == [LEFT]
    recognizer.reset()
    assert onsets(recognizer, keypoints("right", layout, view), layout) == [RIGHT]
    assert recognizer.warnings == ()


def test_the_size_in_the_image_does_not_matter(recognizer: Recognizer) -> None:
    near, far = ([recognizer.step(pose, person=m, layout="coco17").probs for pose in scale * keypoints()]
                 for m, scale in enumerate((1, 0.1)))  # fmt: skip
    np.testing.assert_allclose(near, far, atol=1e-3)


def test_a_half_body_at_a_desk_is_enough(recognizer: Recognizer) -> None:
    assert onsets(recognizer, without(keypoints("right"), "hip", "knee", "ankle")) == [RIGHT]


def test_zeros_are_nobody(recognizer: Recognizer) -> None:
    for t in range(5):
        assert recognizer.step(np.zeros((17, 2)), t / 20, layout="coco17").status == "missing"
    [out] = recognizer.step_people(np.zeros((1, 17, 2)), 1.0, layout="coco17")
    assert (out.status, out.person) == ("missing", -1)


def test_people_in_an_image_are_tracked_by_position(recognizer: Recognizer) -> None:
    left, right = keypoints("left") - np.float32([300, 0]), 0.4 * keypoints("right") + np.float32([600, 200])
    for k in range(50):
        poses = [left[k], right[k]] if k % 2 else [right[k], left[k]]
        decisions = recognizer.step_people(poses, k / tiny.FPS, layout="coco17")
        assert sorted(out.person for out in decisions) == [0, 1]
    assert {out.person: out.label for out in decisions} == {0: RIGHT, 1: LEFT}


def test_a_clip_and_a_file_are_recognized(recognizer: Recognizer, tmp_path: Path) -> None:
    joints = keypoints("left")[20:]
    assert recognizer.recognize(joints, "coco17").label == LEFT
    assert recognizer.recognize(Motion(joints, tiny.FPS, "coco17")).label == LEFT
    Motion(keypoints("right"), tiny.FPS, "coco17").save(tmp_path / "clip.npz")
    assert [one.label for one in motionrt.recognize(tmp_path / "clip.npz", recognizer)][-1] == RIGHT


def test_of_several_people_the_one_who_moves_is_recognized(recognizer: Recognizer) -> None:
    rng = np.random.default_rng(0)
    joints = np.stack([keypoints(None), 0.2 * keypoints("right")], axis=1)  # a poster with noise, and somebody far away
    joints[:, 0] += rng.normal(0, 2, joints[:, 0].shape)
    assert recognizer.recognize(Motion(joints[15:], tiny.FPS, "coco17")).label == RIGHT


def test_the_command_line_takes_arrays_of_keypoints(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "keypoints.npy"
    np.save(file, keypoints("left"))
    command = ["recognize", str(file), "--layout", "coco17", "--fps", "20", "--model", str(bundle)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0 and LEFT in result.stdout, result.output


def test_messages_are_recognized(recognizer: Recognizer, tmp_path: Path) -> None:
    lines = [
        {"t": k / tiny.FPS, "layout": "coco17", "joints": pose.tolist(), "confidence": [0.9] * 17}
        for k, pose in enumerate(keypoints("left"))
    ]
    file = tmp_path / "stream.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with open_source(file) as source:
        events = [out.event_label for _, out, _ in step_source(recognizer, source) if out.event == "onset"]
    assert events == [LEFT]


@pytest.mark.parametrize("scheme", ["udp", "ws"])
def test_streams_are_recognized(recognizer: Recognizer, scheme: str) -> None:
    client = pytest.importorskip("websockets.sync.client")
    events = []
    with open_source(f"{scheme}://127.0.0.1:0", layout="coco17") as source, ExitStack() as stack:
        if scheme == "udp":
            sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sender.connect(source.address)
        else:
            sender = stack.enter_context(client.connect(source.name))
        for k, pose in enumerate(keypoints("right")):
            sender.send(json.dumps({"t": k / tiny.FPS, "joints": pose.tolist()}).encode())
            _, people = next(update for update in source.snapshots() if update[1])
            events += [out.event_label for _, out in step_frames(recognizer, people) if out.event == "onset"]
    assert events == [RIGHT]


def test_keypoints_have_two_coordinates(recognizer: Recognizer) -> None:
    with pytest.raises(LayoutError, match=r"shape \[17, 3\], expected \[17, 2\] for layout coco17"):
        recognizer.step(np.zeros((17, 3)), layout="coco17")


def test_joints_in_meters_are_recognized_as_before(recognizer: Recognizer, tmp_path: Path) -> None:
    solid = Recognizer.load(tiny.tiny_bundle(tmp_path / "solid"))
    for pose in np.concatenate([tiny.poses(20), tiny.poses(20, "left")]):
        np.testing.assert_array_equal(recognizer.step(pose).probs, solid.step(pose).probs)
    with pytest.raises(InputError, match="layout 'coco17' is 2-D, model 'tiny' takes 3-D joints in meters"):
        solid.step(np.zeros((17, 2)), layout="coco17")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model that takes 3-D poses, and beside it the one that it names for 2-D poses, which is slow to decide."""
    frontend = {**tiny.manifest()["frontend"], "flat": True}
    decision = {**tiny.manifest()["decision"], "on": 0.99}
    tiny.tiny_bundle(tmp_path / "image", name="image", frontend=frontend, decision=decision)
    tiny.tiny_bundle(tmp_path / "solid", flat_model="image")
    return tmp_path


def test_a_model_for_2d_poses_beside_it_runs_those(models: Path) -> None:
    both, image = Recognizer.load(models / "solid"), Recognizer.load(models / "image")
    alone = Recognizer.load(tiny.tiny_bundle(models / "elsewhere" / "solid"))
    assert both.takes_2d and both.clone().takes_2d and not alone.takes_2d
    for recognizer in (both, both.clone()):
        for k, pose in enumerate(keypoints()):
            found, expected = (one.step(pose, k / tiny.FPS, layout="coco17") for one in (recognizer, image))
            assert (found.label, found.event, found.score) == (expected.label, expected.event, expected.score)
        image.reset()
    assert both.step(tiny.poses(1)[0], 2.5).event == "offset"
    both.reset()
    for k, pose in enumerate(np.concatenate([tiny.poses(20), tiny.poses(20, "left")])):
        found, expected = (one.step(pose, k / tiny.FPS) for one in (both, alone))
        assert (found.label, found.event, found.score) == (expected.label, expected.event, expected.score)
    assert both.recognize(Motion(keypoints(), tiny.FPS, "coco17")).label == LEFT


def test_a_model_for_2d_poses_that_is_not_there_is_named(models: Path) -> None:
    (models / "image").rename(models / "elsewhere")
    with pytest.raises(InputError, match="a 2-D layout needs image beside it"):
        Recognizer.load(models / "solid").step(np.zeros((17, 2)), layout="coco17")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"labels": ["none", RIGHT, LEFT]}, "image: does not have the labels of tiny"),
        ({"frontend": tiny.manifest()["frontend"]}, "image: does not treat 2-D poses as tiny"),
    ],
)
def test_a_model_for_2d_poses_must_fit(models: Path, changes: dict, why: str) -> None:
    tiny.tiny_bundle(models / "image", **{"frontend": {**tiny.manifest()["frontend"], "flat": True}, **changes})
    with pytest.raises(BundleError, match=why):
        Recognizer.load(models / "solid")


def test_a_model_for_2d_poses_has_a_plain_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="flat_model: .*expected a plain name"):
        tiny.tiny_bundle(tmp_path / "solid", flat_model="../elsewhere")

"""OpenPose's folders of frames: BODY_25 and COCO, people without ids, gaps, and damage."""

import json

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.files import read

FEET = 6  # the last joints of BODY_25


@pytest.fixture(scope="module")
def poses(wave):
    """[20, 18, 2] pixels, y down."""
    joints = Layout.load("openpose18").map_from(Layout.load("smpl22")) @ wave.joints
    return (joints[:20, :, :2] * [300, -300] + [320, 700]).round(2)


def body25(pose, score=0.8):
    """One person as OpenPose writes it: the mid hip after the right wrist and left arm, feet last."""
    mid_hip = (pose[8] + pose[11]) / 2
    points = np.concatenate([pose[:8], [mid_hip], pose[8:], pose[[13] * FEET]])
    return {"person_id": [-1], "pose_keypoints_2d": np.c_[points, np.full(25, score)].ravel().tolist()}


def coco(pose, score=0.8):
    return {"pose_keypoints_2d": np.c_[pose, np.full(18, score)].ravel().tolist()}


def write(folder, frames, first=0, mark=b""):
    folder.mkdir(exist_ok=True)
    for number, people in enumerate(frames, first):
        if people is not None:
            data = json.dumps({"version": 1.3, "people": people}).encode()
            (folder / f"clip_{number:012}_keypoints.json").write_bytes(mark + data)
    return folder


@pytest.mark.parametrize("person", [body25, coco])
def test_a_folder_is_a_clip(tmp_path, poses, person):
    folder = write(tmp_path / "json", [[person(pose)] for pose in poses], first=7, mark=b"\xef\xbb\xbf")
    motion = read(folder, fps=25.0)
    assert (motion.layout, motion.fps, motion.joints.shape) == ("openpose18", 25, (20, 18, 2))
    np.testing.assert_allclose(motion.joints, poses, atol=1e-3)
    assert motion.confidence == pytest.approx(0.8)


def test_people_keep_their_place_when_the_order_changes_and_frames_are_missing(tmp_path, poses):
    other = poses + [400, 0]
    frames = [
        [body25(a), body25(b)] if t % 2 else [body25(b), body25(a)]
        for t, (a, b) in enumerate(zip(poses, other, strict=True))
    ]
    frames[9] = None
    motion = read(write(tmp_path / "json", frames), fps=25.0)
    assert motion.joints.shape == (20, 2, 18, 2) and np.isnan(motion.joints[9]).all()
    seen = np.delete(np.arange(20), 9)
    np.testing.assert_allclose(motion.joints[seen, 0], other[seen], atol=1e-3)
    np.testing.assert_allclose(motion.joints[seen, 1], poses[seen], atol=1e-3)


def test_joints_without_a_score_are_missing(tmp_path, poses):
    person = body25(poses[0])
    person["pose_keypoints_2d"][3 * 4 : 3 * 5] = [0, 0, 0]
    motion = read(write(tmp_path / "json", [[person]] * 3), fps=25.0)
    assert np.isnan(motion.joints[:, 4]).all() and np.isnan(motion.joints).sum() == 6
    assert (motion.confidence[:, 4] == 0).all()


def test_damage_is_one_line(tmp_path, poses):
    good = [[body25(pose)] for pose in poses]

    def refused(folder, message, fps=25.0):
        with pytest.raises(InputError, match=message) as caught:
            read(folder, fps=fps)
        assert str(caught.value).startswith(f"{folder}") and "\n" not in str(caught.value)

    refused(write(tmp_path / "a", good), r"does not store the frame rate of the video: pass fps \(--fps\)", None)
    refused(write(tmp_path / "b", [[]] * 3), "has nobody in any frame")
    short = [[{"pose_keypoints_2d": [1, 2, 3]}]]
    refused(write(tmp_path / "c", short), r"clip_000000000000_keypoints.json: has 3 numbers a person, expected 75")
    refused(write(tmp_path / "d", [[{"pose": []}]]), "clip_000000000000_keypoints.json: is not a frame of OpenPose")
    refused(write(tmp_path / "e", [[body25(poses[0] / 1000)]]), "expected pixels: run OpenPose with --keypoint_scale 0")
    one = write(tmp_path / "f", good) / "clip_000000000003_keypoints.json"
    refused(one, "is one frame of OpenPose: name the folder of its frames")
    cut = one.read_bytes()
    one.write_bytes(cut[:50])
    refused(tmp_path / "f", "clip_000000000003_keypoints.json: is not a frame of OpenPose")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "a folder, expected files")

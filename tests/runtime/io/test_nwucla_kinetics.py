import json

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError, LayoutError
from motionrt.runtime.io.files import read


@pytest.fixture(scope="module")
def kinect(wave):
    """The sample in NW-UCLA's format: [T, 20, 3], facing the sensor."""
    joints = Layout.load("kinect20").map_from(Layout.load("smpl22")) @ wave.joints
    return (joints * [-1, 1, -1] + [0, -0.9, 2.5])[:30]


@pytest.fixture(scope="module")
def flat(wave):
    """The sample in OpenPose's format: [T, 18, 2], relative to the image size, y down."""
    joints = Layout.load("openpose18").map_from(Layout.load("smpl22")) @ wave.joints
    return (joints[:30, :, :2] * [0.25, -0.4] + [0.5, 0.9]).round(3)


def kinetics(poses, score=0.8):
    frames = [
        {
            "frame_index": t,
            "skeleton": [{"pose": pose.ravel().tolist(), "score": [score] * 18} for pose in people],
        }
        for t, people in enumerate(poses, start=1)
    ]
    return {"data": frames, "label": "waving hand", "label_index": 378}


def load(tmp_path, clip, **options):
    (tmp_path / "clip.json").write_text(json.dumps(clip))
    return read(tmp_path / "clip.json", **options)


def test_nw_ucla(tmp_path, kinect):
    motion = load(tmp_path, {"file_name": "a09_s01_e00_v01", "skeletons": kinect.tolist(), "label": 9})
    assert (motion.layout, motion.fps, motion.meta) == (
        "kinect20",
        30.0,
        {"file_name": "a09_s01_e00_v01", "label": 9},
    )
    np.testing.assert_allclose(motion.joints, kinect, atol=1e-5)


def test_kinetics_skeleton(tmp_path, flat):
    motion = load(tmp_path, kinetics([[pose] for pose in flat]))
    assert (motion.layout, motion.fps, motion.meta) == ("openpose18", 30.0, {"label": "waving hand"})
    np.testing.assert_allclose(motion.joints, flat * [340, 256], atol=1e-3)
    assert motion.confidence == pytest.approx(0.8)


def test_kinetics_skeleton_may_count_from_0(tmp_path, flat):
    clip = kinetics([[pose] for pose in flat])
    for frame in clip["data"]:
        frame["frame_index"] -= 1
    motion = load(tmp_path, clip)
    assert motion.frames == 30
    np.testing.assert_allclose(motion.joints, flat * [340, 256], atol=1e-3)
    clip["data"][0]["frame_index"] = -1
    with pytest.raises(InputError, match="has a 'frame_index' below 0"):
        load(tmp_path, clip)


def test_kinetics_skeleton_with_people_and_joints_that_appear_and_disappear(tmp_path, flat):
    clip = kinetics([[pose] if t < 10 else [pose, pose] for t, pose in enumerate(flat)])
    clip["data"][3]["skeleton"][0]["score"][4] = 0.0
    del clip["data"][5]  # a frame in which nobody was found
    motion = load(tmp_path, clip)
    assert motion.joints.shape == (30, 2, 18, 2)
    assert np.isnan(motion.joints[3, 0, 4]).all() and motion.confidence[3, 0, 4] == 0
    assert np.isnan(motion.joints[5]).all() and np.isnan(motion.joints[:10, 1]).all()
    assert np.isfinite(motion.joints[10:]).all()


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ({"frames": []}, r"has neither 'skeletons' \(NW-UCLA\) nor 'data' \(Kinetics-Skeleton\)"),
        ([1, 2], "has neither 'skeletons'"),
        ({"skeletons": []}, r"'skeletons' have shape \[0\], expected \[T, 20, 3\]"),
        (
            {"skeletons": [[[1, 2, 3]] * 20, [[1, 2, 3]] * 19]},
            "skeletons is ragged, expected rows of equal length",
        ),
        ({"skeletons": [[["a", "b", "c"]] * 20]}, "skeletons holds str.*, expected numbers"),
        ({"skeletons": [[[1, 2, 3]] * 19]}, r"shape \[19, 3\], expected \[20, 3\] for layout kinect20"),
        ({"data": []}, "has 0 frames, expected 1 to"),
        ({"data": [{"frame_index": 10**9, "skeleton": []}]}, "has 1000000000 frames, expected 1 to"),
        ({"data": [{"frame_index": float("inf"), "skeleton": []}]}, "does not have the structure of its format"),
        ({"data": [{"frame_index": 1, "skeleton": []}]}, "0 people, expected 1 to 16"),
        ({"data": [{"frame_index": 1, "skeleton": [{}] * 17}]}, "17 people, expected 1 to 16"),
        (
            {"data": [{"frame_index": 1, "skeleton": [{"pose": [1, 2]}]}]},
            "does not have the structure of its format",
        ),
        ({"data": [{"frame_index": 1, "skeleton": [{"pose": [1, 2], "score": [1]}]}]}, "does not have the structure"),
        ({"data": 7}, "does not have the structure of its format"),
        (kinetics([[np.zeros((18, 2))]] * 3, score=0.0), "no joint is finite in any frame"),
    ],
)
def test_malformed_clip(tmp_path, clip, message):
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, clip)
    assert str(caught.value).startswith(f"{tmp_path / 'clip.json'}: ")
    assert "\n" not in str(caught.value)


def test_truncated_json(tmp_path, kinect):
    (tmp_path / "cut.json").write_text(json.dumps({"skeletons": kinect.tolist()})[:-40])
    with pytest.raises(InputError, match=r"cut\.json: is not valid JSON"):
        read(tmp_path / "cut.json")


def test_another_layout_must_fit(tmp_path, kinect):
    with pytest.raises(LayoutError, match=r"shape \[20, 3\], expected \[25, 3\] for layout ntu25"):
        load(tmp_path, {"skeletons": kinect.tolist()}, layout="ntu25")

"""Bags of ROS 2, written by an independent implementation of their format."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt import InputError, Motion
from motionrt.runtime.cli import main
from motionrt.runtime.io.source import open_source

rosbag2 = pytest.importorskip("rosbags.rosbag2")
from rosbags.typesys import Stores, get_typestore  # noqa: E402

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPE = "geometry_msgs/msg/PoseArray"


def pose_array(t: float, positions: np.ndarray) -> Any:
    types = STORE.types
    poses = [
        types["geometry_msgs/msg/Pose"](
            types["geometry_msgs/msg/Point"](*map(float, point)), types["geometry_msgs/msg/Quaternion"](0, 0, 0, 1)
        )
        for point in positions.reshape(-1, 3)
    ]
    stamp = types["builtin_interfaces/msg/Time"](int(t), round(1e9 * (t % 1)))
    return types[TYPE](types["std_msgs/msg/Header"](stamp, "map"), poses)


def write_bag(path: Path, clip: Motion, topics: tuple[str, ...] = ("skeletons",), mcap: bool = True) -> Path:
    """A bag with a clip turned to z up, beside a topic of another type."""
    kind = rosbag2.StoragePlugin.MCAP if mcap else rosbag2.StoragePlugin.SQLITE3
    with rosbag2.Writer(path, version=9, storage_plugin=kind) as bag:
        text = bag.add_connection("/actions", "std_msgs/msg/String", typestore=STORE)
        data = STORE.serialize_cdr(STORE.types["std_msgs/msg/String"]("{}"), text.msgtype)
        for topic in topics:
            connection = bag.add_connection(f"/tracker/{topic}", TYPE, typestore=STORE)
            for t, joints in zip(clip.times + 100.0, clip.joints, strict=True):
                message = pose_array(t, joints[..., [0, 2, 1]] * [1, -1, 1])  # z up
                bag.write(connection, int(1e9 * t), STORE.serialize_cdr(message, TYPE))
                bag.write(text, int(1e9 * t), data)
    return path


@pytest.fixture
def wave(samples: list[Motion]) -> Motion:
    return next(clip for clip in samples if clip.layout == "smpl22")


@pytest.mark.parametrize("mcap", [True, False], ids=["mcap", "db3"])
def test_a_bag_is_the_motion_that_was_written(tmp_path: Path, wave: Motion, mcap: bool) -> None:
    folder = write_bag(tmp_path / "bag", wave, mcap=mcap)
    (file,) = folder.glob("*.mcap" if mcap else "*.db3")
    for path in (folder, file):
        found = Motion.load(path, "smpl22", up="z")
        np.testing.assert_allclose(found.joints, wave.joints, atol=1e-6)
        np.testing.assert_allclose(found.times - 100, wave.times, atol=1e-6)
        assert found.fps == pytest.approx(wave.fps, rel=1e-3)
    with open_source(folder, layout="smpl22", up="z") as source:
        assert source.recorded and len(list(source)) == wave.frames


def test_people_are_in_the_order_of_their_joints(tmp_path: Path, wave: Motion) -> None:
    pair = np.stack([wave.joints, wave.joints + np.float32([1, 0, 0])], axis=1)
    folder = write_bag(tmp_path / "bag", Motion(pair, wave.fps, "smpl22"))
    np.testing.assert_allclose(Motion.load(folder, "smpl22", up="z").joints, pair, atol=1e-6)


def test_a_bag_is_recognized(tmp_path: Path, wave: Motion, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_bag(tmp_path / "bag", wave)
    assert main(["recognize", str(folder), "--layout", "smpl22", "--up", "z"]) == 0
    assert f"{wave.frames} frames, 0 dropped" in capsys.readouterr().out


def test_what_cannot_be_read_is_told(tmp_path: Path, wave: Motion) -> None:
    short = Motion(wave.joints[:3], wave.fps, "smpl22")
    bag = write_bag(tmp_path / "bag", short)
    with pytest.raises(InputError, match=r"bag: has no layout; pass layout \(--layout\)"):
        Motion.load(bag)
    with pytest.raises(InputError, match="message 0 has 22 positions, expected 20 for each"):
        Motion.load(bag, "kinect20")
    with pytest.raises(InputError, match="has the topics /tracker/a, /tracker/b of geometry_msgs"):
        Motion.load(write_bag(tmp_path / "two", short, ("a", "b")), "smpl22")
    assert Motion.load(write_bag(tmp_path / "named", short, ("a", "skeletons")), "smpl22").frames == 3
    with pytest.raises(InputError, match="has the topics none of geometry_msgs"):
        Motion.load(write_bag(tmp_path / "none", short, ()), "smpl22")
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match="is damaged or no bag of ROS 2"):
        Motion.load(file, "smpl22")

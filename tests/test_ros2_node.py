"""examples/ros2_node.py, all but its few lines for ROS."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt import InputError, Motion, Recognizer

NODE = Path(__file__).resolve().parents[1] / "examples" / "ros2_node.py"
node = runpy.run_path(str(NODE))


@pytest.mark.parametrize(
    ("axes", "seen"),  # a step left, up and forward, as each frame has it
    [("ros", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]), ("motionrt", [[1, 0, 0], [0, 1, 0], [0, 0, 1]])],
)
def test_positions_become_joints_with_y_up(axes: str, seen: list[list[float]]) -> None:
    np.testing.assert_array_equal(node["to_people"](seen, 3, axes)[0], np.eye(3))


def test_all_axes_are_rotations() -> None:
    for matrix in node["AXES"].values():
        assert np.linalg.det(matrix) == pytest.approx(1)
    np.testing.assert_array_equal(node["to_people"]([[0, 1, 0]], 1, "optical")[0], [[0, -1, 0]])  # down is down


def test_people_are_split_and_nan_is_kept() -> None:
    positions = np.arange(4 * 3.0).reshape(4, 3)
    positions[3] = np.nan
    people = node["to_people"](positions.tolist(), 2, "motionrt")
    np.testing.assert_array_equal(people, positions.reshape(2, 2, 3).astype(np.float32))
    assert node["to_people"]([], 20, "ros").shape == (0, 20, 3)


def test_invalid_input_is_an_error() -> None:
    with pytest.raises(InputError, match="41 positions, expected 20 for each person"):
        node["to_people"]([[0, 0, 0]] * 41, 20, "ros")
    with pytest.raises(InputError, match="axes is 'enu', expected ros, optical, motionrt"):
        node["to_people"]([], 20, "enu")


def test_a_recording_is_recognized_as_by_the_package_and_leaving_is_published() -> None:
    wave = Motion.load(
        Path(node["Recognizer"].load.__globals__["__file__"]).parents[1] / "samples/bandai_wave_right_hand.npz"
    )
    wave = Motion(wave.joints[:100], wave.fps, wave.layout)  # ends while waving
    messages: list[dict[str, Any]] = []
    listener = node["Listener"]("live", wave.layout, "ros", lambda text: messages.append(json.loads(text)))
    recognizer = Recognizer.load("live")
    for t, joints in zip(wave.times, wave.joints, strict=True):
        listener.receive((joints @ np.array(node["AXES"]["ros"])).tolist(), t)
        out = recognizer.step(joints, t, layout=wave.layout)
        assert (messages[-1]["label"], messages[-1]["event"], messages[-1]["event_label"]) == (
            out.label,
            out.event,
            out.event_label,
        )
    assert (messages[-1]["label"], messages[-1]["event"]) == ("wave", None)
    listener.evict()
    assert len(messages) == wave.frames  # nobody has been away for long
    listener.clock_offset += 1.0
    listener.evict()
    assert (messages[-1]["event"], messages[-1]["event_label"]) == ("offset", "wave")
    listener.receive([], wave.times[-1] + 2)  # nobody in sight is no error
    assert len(messages) == wave.frames + 1


def test_messages_without_a_stamp_take_the_time_of_arrival(caplog: pytest.LogCaptureFixture) -> None:
    wave = Motion.load(
        Path(node["Recognizer"].load.__globals__["__file__"]).parents[1] / "samples/bandai_wave_right_hand.npz"
    )
    messages: list[dict[str, Any]] = []
    listener = node["Listener"]("live", wave.layout, "motionrt", lambda text: messages.append(json.loads(text)))
    for joints in wave.joints[:20]:
        listener.receive(joints.tolist(), None)
    times = [message["t"] for message in messages]
    assert times == sorted(set(times)) and len(times) == 20 and listener.recognizer.counters["dropped"] == 0
    assert caplog.messages == ["messages have no stamp, the time of arrival is used"]


def test_times_in_another_unit_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    listener = node["Listener"]("live", "core15", "motionrt", lambda text: None)
    poses = np.random.default_rng(0).normal(size=(15, 3)) * 0.3
    for k in range(40):
        listener.receive(poses.tolist(), 1e3 + k * 1e3 / 30)
    assert "looks like milliseconds, expected seconds" in caplog.text


def test_the_node_is_short() -> None:
    assert len(NODE.read_text().splitlines()) < 130

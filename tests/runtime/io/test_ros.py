"""Messages of ROS 2, read back by an independent implementation of its formats."""

import numpy as np
import pytest

from motionrt import Retargeter
from motionrt.runtime.io.ros import joint_state

typesys = pytest.importorskip("rosbags.typesys")


@pytest.mark.parametrize("names", [Retargeter("g1").joints, ("a",), ()])
@pytest.mark.parametrize("frame", ["", "world"])
def test_joint_states_are_those_of_ros(names: tuple[str, ...], frame: str) -> None:
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    angles, velocities = np.linspace(-1, 1, len(names)), np.linspace(3, 5, len(names))
    message = joint_state(1_700_000_000.25, names, angles, velocities, frame)
    found = store.deserialize_cdr(message, "sensor_msgs/msg/JointState")
    assert (found.header.stamp.sec, found.header.stamp.nanosec) == (1_700_000_000, 250_000_000)
    assert found.header.frame_id == frame and tuple(found.name) == names and len(found.effort) == 0
    np.testing.assert_array_equal(found.position, angles)
    np.testing.assert_array_equal(found.velocity, velocities)
    assert bytes(store.serialize_cdr(found, "sensor_msgs/msg/JointState")) == message

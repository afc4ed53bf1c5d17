"""A ROS 2 node that recognizes the actions of the people in front of a sensor.

    python3 ros2_node.py --ros-args -p layout:=kinect20 -p axes:=ros -r skeletons:=/tracker/skeletons

Subscribes to `skeletons`, geometry_msgs/PoseArray: the joints of all people, person by person, in the order of
`layout`. Only positions are used, in meters, NaN where a joint is missing; the header's stamp is the time of the frame,
or without a stamp, its arrival. People are tracked by position.
Publishes `actions`, std_msgs/String: a JSON object for each person and frame, with the keys of `recognize --json`.

Parameters: model ("live"), layout ("kinect20"), axes ("ros": x forward, y left, z up; "optical": x right, y down,
z forward; "motionrt": y up).
"""

import json
import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from motionrt import Decision, InputError, Layout, Recognizer

AXES = {  # rotations from a ROS frame (REP 103) to y up
    "ros": [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    "optical": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
    "motionrt": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}
CHECK_S = 0.25  # interval between checks for people who left


def to_people(positions: Sequence[Sequence[float]], joints: int, axes: str) -> np.ndarray:
    """Convert positions [M * joints, 3] of M people to joints [M, joints, 3] with y up.

    Raises InputError for unknown axes, or a number of positions that is not a multiple of `joints`.
    """
    if axes not in AXES:
        raise InputError(f"axes is {axes!r}, expected {', '.join(AXES)}")
    if len(positions) % joints:
        raise InputError(f"{len(positions)} positions, expected {joints} for each person")
    points = np.asarray(positions, dtype=np.float32).reshape(-1, joints, 3)
    return points @ np.array(AXES[axes], dtype=np.float32).T


def as_json(t: float, out: Decision) -> str:
    message = {"t": t, "person": out.person, "label": out.label, "score": out.score, "top": out.top(3)}
    return json.dumps(message | {"event": out.event, "event_label": out.event_label, "latency_ms": out.latency_ms})


class Listener:
    """The node without ROS: takes joints and publishes JSON."""

    def __init__(self, model: str, layout: str, axes: str, publish: Callable[[str], None]) -> None:
        self.recognizer = Recognizer.load(model)
        self.layout, self.axes, self.publish = layout, axes, publish
        self.joints = len(Layout.load(layout).joints)
        self.clock_offset: float | None = None  # sensor clock minus local clock, s
        self.has_stamps = True

    def receive(self, positions: Sequence[Sequence[float]], t: float | None) -> None:
        """Process the people at `t` seconds on the sensor's clock, None: now. Raises InputError like `to_people`."""
        people = to_people(positions, self.joints, self.axes)
        if t is None:
            if self.has_stamps:
                self.has_stamps = False
                logging.warning("messages have no stamp, the time of arrival is used")
            t = time.monotonic()
        self.clock_offset = t - time.monotonic()
        for out in self.recognizer.step_people(people, t, layout=self.layout):
            if out.status != "missing":  # an empty slot of the sensor
                self.publish(as_json(t, out))

    def evict(self) -> None:
        """Publish the end of the actions of people who left, even if no more messages arrive."""
        if self.clock_offset is not None:
            now = self.clock_offset + time.monotonic()
            for out in self.recognizer.evict(now):
                self.publish(as_json(now, out))


def main() -> None:
    import rclpy
    from geometry_msgs.msg import PoseArray
    from rclpy.executors import ExternalShutdownException
    from rclpy.qos import qos_profile_sensor_data
    from std_msgs.msg import String

    rclpy.init()
    node = rclpy.create_node("motionrt")
    settings = {"model": "live", "layout": "kinect20", "axes": "ros"}
    settings = {name: node.declare_parameter(name, value).value for name, value in settings.items()}
    publisher = node.create_publisher(String, "actions", 10)
    listener = Listener(**settings, publish=lambda text: publisher.publish(String(data=text)))

    def on_message(message: PoseArray) -> None:
        positions = [(pose.position.x, pose.position.y, pose.position.z) for pose in message.poses]
        stamp = message.header.stamp
        try:
            listener.receive(positions, stamp.sec + 1e-9 * stamp.nanosec or None)
        except InputError as error:
            node.get_logger().warning(str(error), throttle_duration_sec=1.0)

    node.create_subscription(PoseArray, "skeletons", on_message, qos_profile_sensor_data)
    node.create_timer(CHECK_S, listener.evict)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()

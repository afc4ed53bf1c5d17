"""A ROS 2 lifecycle node that recognizes the actions of the people in front of a sensor.

    ros2 launch motionrt.launch.py layout:=kinect20 axes:=ros skeletons:=/tracker/skeletons

Subscribes to `skeletons`, geometry_msgs/PoseArray: the joints of all people, person by person, in the order of
`layout`. Only positions are used, in meters, NaN where a joint is missing; the header's stamp is the time of the frame,
or without a stamp, its arrival. People are tracked by position.
Publishes `actions`, std_msgs/String: a JSON object for each person and frame, with the keys of `recognize --json` and
`since`; `markers`, visualization_msgs/MarkerArray: skeletons and labels for RViz; and, with the parameter `hri`, the
topics of ROS4HRI (REP 155): `/humans/bodies/tracked` and `/humans/bodies/ID/gesture`.

Parameters: model ("live"), layout ("kinect20"), axes ("ros": x forward, y left, z up; "optical": x right, y down,
z forward; "motionrt": y up), hri (false).
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from motionrt import Decision, InputError, Layout, Recognizer

AXES = {  # rotations from a ROS frame (REP 103) to y up
    "ros": [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    "optical": [[1, 0, 0], [0, -1, 0], [0, 0, -1]],
    "motionrt": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
}
CHECK_S = 0.25  # interval between checks for people who left
LINE_LIST, TEXT_VIEW_FACING = 5, 9  # of visualization_msgs/Marker
SHOWN = {"sec": 0, "nanosec": 500_000_000}  # markers of people who left stay that long
COLORS = [(0.2, 0.5, 0.9), (0.9, 0.5, 0.1), (0.2, 0.7, 0.4), (0.8, 0.3, 0.5)]
GESTURES = {  # of hri_msgs/Gesture, whose 0 is any other one
    "raise left hand": 3,
    "raise right hand": 4,
    "raise both hands": 5,
    **dict.fromkeys(("wave", "wave both hands", "wave sideways"), 6),
}
TYPES = {  # of what is published, by the end of its topic
    "actions": "std_msgs/String",
    "markers": "visualization_msgs/MarkerArray",
    "tracked": "hri_msgs/IdsList",
    "gesture": "hri_msgs/Gesture",
}


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
    message |= {"event": out.event, "event_label": out.event_label, "since": out.since}
    return json.dumps(message | {"latency_ms": out.latency_ms})


def body(person: int) -> str:
    """A person's id in ROS4HRI."""
    return f"body{person}"


def xyz(point: Sequence[float]) -> dict[str, float]:
    return dict(zip("xyz", map(float, point), strict=True))


def markers(header: dict, out: Decision, joints: np.ndarray, parents: Sequence[int], axes: str) -> list[dict]:
    """Markers of a person's bones and label; joints [V, 3] with y up."""
    points = joints @ np.array(AXES[axes])  # the inverse rotation
    seen = np.isfinite(points).all(1)
    if not seen.any():
        return []
    bones = [
        i
        for joint, parent in enumerate(parents)
        if parent >= 0 and seen[[joint, parent]].all()
        for i in (joint, parent)
    ]
    top = joints[seen][joints[seen, 1].argmax()] + [0, 0.25, 0]
    color = {**dict(zip("rgb", COLORS[out.person % len(COLORS)], strict=True)), "a": 1.0}
    common = {"header": header, "id": out.person, "color": color, "lifetime": SHOWN}
    upright = {"w": 1.0}
    return [
        common
        | {"ns": "skeletons", "type": LINE_LIST, "scale": {"x": 0.03}, "pose": {"orientation": upright}}
        | {"points": [xyz(points[i]) for i in bones]},
        common
        | {"ns": "actions", "type": TEXT_VIEW_FACING, "scale": {"z": 0.2}, "text": f"{out.label} {out.score:.0%}"}
        | {"pose": {"position": xyz(top @ np.array(AXES[axes])), "orientation": upright}},
    ]


class Listener:
    """The node without ROS: takes joints and publishes a topic's messages as dicts of their fields."""

    def __init__(
        self, model: str, layout: str, axes: str, publish: Callable[[str, dict[str, Any]], None], hri: bool = False
    ) -> None:
        self.recognizer = Recognizer.load(model)
        self.layout, self.axes, self.publish, self.hri = layout, axes, publish, hri
        source = Layout.load(layout)
        self.joints, self.parents = len(source.joints), source.parents
        self.clock_offset: float | None = None  # sensor clock minus local clock, s
        self.has_stamps = True
        self.frame_id = ""

    def receive(self, positions: Sequence[Sequence[float]], t: float | None, frame_id: str = "") -> None:
        """Process the people at `t` seconds on the sensor's clock, None: now. Raises InputError like `to_people`."""
        people = to_people(positions, self.joints, self.axes)
        if t is None:
            if self.has_stamps:
                self.has_stamps = False
                logging.warning("messages have no stamp, the time of arrival is used")
            t = time.monotonic()
        self.clock_offset, self.frame_id = t - time.monotonic(), frame_id
        outs = self.recognizer.step_people(people, t, layout=self.layout)
        header, present = self.header(t), [m for m, out in enumerate(outs) if out.status != "missing"]
        self.tell(t, [outs[m] for m in present])  # others are empty slots of the sensor
        shown = [markers(header, outs[m], people[m], self.parents, self.axes) for m in present]
        self.publish("markers", {"markers": sum(shown, [])})
        if self.hri:
            ids = [body(outs[m].person) for m in present]
            self.publish("/humans/bodies/tracked", {"header": header, "ids": ids})

    def evict(self) -> None:
        """Publish the end of the actions of people who left, even if no more messages arrive."""
        if self.clock_offset is not None:
            now = self.clock_offset + time.monotonic()
            self.tell(now, self.recognizer.evict(now))

    def tell(self, t: float, outs: Sequence[Decision]) -> None:
        for out in outs:
            self.publish("actions", {"data": as_json(t, out)})
            if self.hri and out.event == "onset":
                gesture = {"header": self.header(t), "gesture": GESTURES.get(out.event_label, 0)}
                self.publish(f"/humans/bodies/{body(out.person)}/gesture", gesture)

    def header(self, t: float) -> dict[str, Any]:
        sec, nanosec = divmod(round(t * 1e9), 10**9)
        return {"stamp": {"sec": sec, "nanosec": nanosec}, "frame_id": self.frame_id}


def main() -> None:
    import rclpy
    from geometry_msgs.msg import PoseArray
    from rclpy.executors import ExternalShutdownException
    from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
    from rclpy.qos import qos_profile_sensor_data
    from rosidl_runtime_py import set_message_fields
    from rosidl_runtime_py.utilities import get_message

    class Node(LifecycleNode):
        def __init__(self) -> None:
            super().__init__("motionrt")
            settings = {"model": "live", "layout": "kinect20", "axes": "ros", "hri": False}
            for name, value in settings.items():
                self.declare_parameter(name, value)
            self.settings, self.topics, self.running = tuple(settings), {}, []

        def on_configure(self, state):
            settings = {name: self.get_parameter(name).value for name in self.settings}
            try:
                self.listener = Listener(**settings, publish=self.publish)
            except Exception as error:  # a bundle, a layout, or a package that is not there
                self.get_logger().error(str(error))
                return TransitionCallbackReturn.FAILURE
            return TransitionCallbackReturn.SUCCESS

        def on_activate(self, state):
            subscribed = self.create_subscription(PoseArray, "skeletons", self.receive, qos_profile_sensor_data)
            self.running = [subscribed, self.create_timer(CHECK_S, self.listener.evict)]
            return super().on_activate(state)

        def on_deactivate(self, state):
            subscribed, timer = self.running
            self.destroy_subscription(subscribed)
            self.destroy_timer(timer)
            self.listener.recognizer.reset()
            return super().on_deactivate(state)

        def publish(self, topic, fields):
            if topic not in self.topics:  # reliable, the last 10 messages
                kind = get_message(TYPES[topic.rpartition("/")[2]].replace("/", "/msg/"))
                self.topics[topic] = kind, self.create_publisher(kind, topic, 10)
            kind, publisher = self.topics[topic]
            message = kind()
            set_message_fields(message, fields)
            publisher.publish(message)

        def receive(self, message):
            positions = [(pose.position.x, pose.position.y, pose.position.z) for pose in message.poses]
            stamp = message.header.stamp
            t = stamp.sec + 1e-9 * stamp.nanosec or None
            try:
                self.listener.receive(positions, t, message.header.frame_id)
            except InputError as error:
                self.get_logger().warning(str(error), throttle_duration_sec=1.0)

    rclpy.init()
    node = Node()
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()

"""Bags of ROS 2 (a folder, `.mcap` or `.db3`) with the `geometry_msgs/PoseArray` messages of examples/ros2.

A message has the joints of one person after another, in the layout's order; ROS has z up, so read them with `up="z"`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..body.layout import Layout
from ..body.motion_data import MAX_PEOPLE, MotionData
from ..errors import InputError
from ..extras import require
from .jsonl import DEFAULT_FPS
from .text import check_bytes

MAX_BYTES = 1 << 30
TYPE = "geometry_msgs/msg/PoseArray"
TOPIC = "skeletons"


def is_bag_folder(path: Path) -> bool:
    return (path / "metadata.yaml").is_file()


def read_bag(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """The messages of the topic `skeletons`, or of the only one of their type, at the time of their headers."""
    rosbags: Any = require("rosbags.highlevel", "bag", "reading bags of ROS 2")
    typesys: Any = require("rosbags.typesys", "bag", "reading bags of ROS 2")
    if layout is None:
        raise InputError(f"has no layout; pass layout (--layout), one of {', '.join(Layout.names())}")
    joints = len(Layout.load(layout).joints)
    for file in path.iterdir() if path.is_dir() else [path]:
        check_bytes(file, MAX_BYTES)
    times: list[float] = []
    frames: list[np.ndarray] = []
    try:
        with rosbags.AnyReader([path], default_typestore=typesys.get_typestore(typesys.Stores.ROS2_JAZZY)) as bag:
            connections = _connections(bag)
            for connection, received_ns, data in bag.messages(connections):
                message = bag.deserialize(data, connection.msgtype)
                stamp = message.header.stamp
                times.append(stamp.sec + 1e-9 * stamp.nanosec or 1e-9 * received_ns)
                frames.append(_people(message.poses, joints, len(frames)))
    except InputError:
        raise
    except Exception as error:  # the package raises whatever damaged bytes lead to
        raise InputError(f"is damaged or no bag of ROS 2 ({type(error).__name__}: {error})") from None
    clip = np.full((len(frames), max(map(len, frames), default=0), joints, 3), np.nan, np.float32)
    if not clip.size:
        raise InputError(f"has no people in its messages of {TYPE}")
    for t, people in enumerate(frames):
        clip[t, : len(people)] = people
    steps = np.diff(times)
    fps = fps or (1 / float(np.median(steps)) if len(steps) and np.median(steps) > 0 else DEFAULT_FPS)
    motion = MotionData(clip, fps, layout, timestamps=np.array(times))
    return motion if motion.people > 1 else motion.person(0)


def _connections(bag: Any) -> list[Any]:
    """Those of the topic to read."""
    found = [one for one in bag.connections if one.msgtype == TYPE]
    topics = sorted({one.topic for one in found})
    named = [topic for topic in topics if topic.rpartition("/")[2] == TOPIC]
    chosen = named if len(named) == 1 else topics
    if len(chosen) != 1:
        raise InputError(
            f"has the topics {', '.join(topics) or 'none'} of {TYPE}, expected one, or one that is called {TOPIC}"
        )
    return [one for one in found if one.topic == chosen[0]]


def _people(poses: Any, joints: int, number: int) -> np.ndarray:
    """Positions [M, joints, 3] of a message."""
    if len(poses) % joints or len(poses) > MAX_PEOPLE * joints:
        raise InputError(
            f"message {number} has {len(poses)} positions, expected {joints} for each of up to {MAX_PEOPLE} people"
        )
    points = [(pose.position.x, pose.position.y, pose.position.z) for pose in poses]
    return np.array(points, np.float32).reshape(-1, joints, 3)

"""ROS 2 messages as bytes (CDR, little-endian), made without ROS."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

ENCAPSULATION = b"\0\1\0\0"


def time_of_day(at_s: float) -> float:
    """The time that messages are stamped with, seconds since 1970, of a time of `time.monotonic`."""
    return time.time() + at_s - time.monotonic()


def joint_state(
    stamp_s: float, names: Sequence[str], positions: ArrayLike, velocities: ArrayLike, frame: str = ""
) -> bytes:
    """Return a `sensor_msgs/msg/JointState`, which `rclpy` publishes as it is.

    Args:
        stamp_s: time of its header, seconds since 1970.
        names, positions, velocities: [J] of the joints, in rad and rad/s.
        frame: `frame_id` of its header.
    """
    seconds, part = divmod(stamp_s, 1)
    body = bytearray(struct.pack("<iI", int(seconds), int(1e9 * part)))
    _add_text(body, frame)
    _add_count(body, len(names))
    for name in names:
        _add_text(body, name)
    for numbers in (positions, velocities, ()):  # no efforts
        found = np.asarray(numbers, "<f8")
        _add_count(body, len(found))
        if len(found):
            _align(body, 8)
        body += found.tobytes()
    return ENCAPSULATION + bytes(body)


def _add_text(body: bytearray, text: str) -> None:
    data = text.encode() + b"\0"
    _add_count(body, len(data))
    body += data


def _add_count(body: bytearray, count: int) -> None:
    _align(body, 4)
    body += struct.pack("<I", count)


def _align(body: bytearray, size: int) -> None:
    body += bytes(-len(body) % size)

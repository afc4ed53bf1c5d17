"""BVH: a hierarchy of joints with offsets and Euler channels, and one line of channel values per frame.

Shapes: T time, B joints and end sites of the file, V joints of the layout, J nodes of the rig.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout
from ..body.motion_data import MAX_JOINTS, MotionData
from ..body.rotations import Rig, solve
from ..body.time_check import UNITS_S, unit_of
from ..errors import InputError
from .rigs import rig_of
from .text import check_size, read_text

COMMON_RATES_HZ = (5, 10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 72, 75, 90, 100, 120, 144, 150, 180, 200, 240, 250)
CHANNELS = tuple(f"{axis}{kind}" for kind in ("position", "rotation") for axis in "XYZ")
END_M = 0.05  # distance of an end site from its joint


@dataclass(slots=True)
class Joint:
    name: str
    parent: int
    offset: NDArray[np.float64]  # [3]
    channels: list[str] = field(default_factory=list)


def read_bvh(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read world positions, in the file's units, of the joints of `layout`, by default the one that fits the names."""
    tokens = _Tokens(read_text(path))
    joints = _hierarchy(tokens)
    values, seconds = _motion(tokens, joints)
    if fps is None:
        check_frame_time(seconds)
    known, order = Layout.match([joint.name for joint in joints], layout, dims=3)
    positions = _forward_kinematics(joints, values)[:, order]  # [T, V, 3]
    return MotionData(positions.astype(np.float32), 1 / seconds if fps is None else fps, known.name)


def write_bvh(motion: MotionData, file: BinaryIO, rig_name: str | None = None) -> None:
    """Write one person in meters, y up, with the layout's joint names; Blender imports it without scaling.

    Rotations are in the order Z, X, Y. Only the root has position channels, as not every program reads more; the helper
    nodes of `Rig.from_motion` make up for that. (The layout bandai has two roots.) Timestamps are not written. With
    `rig_name`, one of `rigs.RIGS`, joints have the names of another program.

    Raises InputError for several people, a 2-D layout or a missing joint.
    """
    rotations = solve(*rig_of(motion, rig_name))
    rig = rotations.rig
    angles = _euler_zxy(rotations.matrices)  # [T, J, 3] degrees
    columns = []
    for node in rig.order:
        columns += [rotations.translations[:, node], angles[:, node]] if node in rig.moving else [angles[:, node]]
    lines = ["HIERARCHY", *_block(rig, rig.order[0], ""), "MOTION", f"Frames: {motion.frames}"]
    file.write("\n".join([*lines, f"Frame Time: {1 / motion.fps:.9g}", ""]).encode())
    np.savetxt(file, np.concatenate(columns, axis=1), fmt="%.6f")


def check_frame_time(seconds: float) -> None:
    """Raise InputError if a frame time looks like a rate, or like a unit other than seconds."""
    unit = unit_of(seconds)
    if unit is None:
        return
    rate_hz = 1 / (seconds * UNITS_S[unit])
    if unit == "milliseconds" and seconds in COMMON_RATES_HZ:
        unit, rate_hz = "a rate", seconds
    raise InputError(
        f"has a frame time of {seconds:g}, which looks like {unit}, expected seconds: pass fps={rate_hz:.4g} "
        f"(--fps {rate_hz:.4g})"
    )


class _Tokens:
    """The words of a file in order."""

    def __init__(self, text: str) -> None:
        self.words = text.split()
        self.at = 0

    def next(self) -> str:
        if self.at >= len(self.words):
            raise InputError("ends too early")
        self.at += 1
        return self.words[self.at - 1]

    def expect(self, *words: str) -> str:
        found = self.next()
        if found not in words:
            raise InputError(f"has {found!r} where {' or '.join(words)} was expected")
        return found

    def floats(self, n: int) -> NDArray[np.float64]:
        words = self.words[self.at : self.at + n]
        if len(words) < n:
            raise InputError(f"ends too early: {len(words)} numbers where {n} were expected")
        self.at += n
        try:
            return np.array(words, dtype=np.float64)
        except ValueError:
            raise InputError("has a word where a number was expected") from None

    def integer(self, least: int) -> int:
        word = self.next()
        if not word.isdecimal() or len(word) > 9 or int(word) < least:
            raise InputError(f"has {word!r} where a count was expected")
        return int(word)


def _hierarchy(tokens: _Tokens) -> list[Joint]:
    tokens.expect("HIERARCHY")
    tokens.expect("ROOT")
    joints: list[Joint] = []
    open_joints: list[int] = []
    name = tokens.next()
    while True:
        tokens.expect("{")
        parent = open_joints[-1] if open_joints else -1
        tokens.expect("OFFSET")
        joints.append(Joint(name, parent, tokens.floats(3)))
        open_joints.append(len(joints) - 1)
        if len(joints) > 2 * MAX_JOINTS:
            raise InputError(f"has more than {MAX_JOINTS} joints")
        while (word := tokens.expect("CHANNELS", "JOINT", "End", "}")) in ("CHANNELS", "}"):
            if word == "CHANNELS":
                count = tokens.integer(0)
                joints[open_joints[-1]].channels = [tokens.expect(*CHANNELS) for _ in range(count)]
                continue
            open_joints.pop()
            if not open_joints:
                return joints
        name = tokens.next()
        if word == "End":
            name = f"{joints[open_joints[-1]].name}_end"


def _motion(tokens: _Tokens, joints: list[Joint]) -> tuple[NDArray[np.float64], float]:
    channels = sum(len(joint.channels) for joint in joints)
    if channels == 0:
        raise InputError("has no channels, expected rotations of its joints")
    tokens.expect("MOTION")
    tokens.expect("Frames:")
    frames = tokens.integer(1)
    check_size(frames, len(joints))
    tokens.expect("Frame")
    tokens.expect("Time:")
    seconds = float(tokens.floats(1)[0])
    if not seconds > 0:
        raise InputError(f"has a frame time of {seconds}, expected seconds")
    values = tokens.floats(frames * channels)
    if tokens.at < len(tokens.words):
        raise InputError(f"has more numbers than {frames} frames of {channels} channels")
    return values.reshape(frames, channels), seconds


def _forward_kinematics(joints: list[Joint], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """World positions [T, B, 3]: position channels replace offsets, rotations apply in the file's order."""
    position = np.empty((len(values), len(joints), 3))
    rotation = np.empty((len(values), len(joints), 3, 3))
    column = 0
    for b, joint in enumerate(joints):
        local = np.tile(joint.offset, (len(values), 1))  # [T, 3]
        local_rotation = np.broadcast_to(np.eye(3), (len(values), 3, 3))
        for channel in joint.channels:
            axis = "XYZ".index(channel[0])
            if channel.endswith("position"):
                local[:, axis] = values[:, column]
            else:
                local_rotation = local_rotation @ rotation_about(axis, np.radians(values[:, column]))
            column += 1
        if joint.parent < 0:
            position[:, b], rotation[:, b] = local, local_rotation
        else:
            parent = rotation[:, joint.parent]
            position[:, b] = position[:, joint.parent] + (parent @ local[..., None])[..., 0]
            rotation[:, b] = parent @ local_rotation
    return position


def rotation_about(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrices [T, 3, 3] by `angle` [T] radians about one axis."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1
    matrix[:, i, i] = matrix[:, j, j] = np.cos(angle)
    matrix[:, j, i] = np.sin(angle)
    matrix[:, i, j] = -matrix[:, j, i]
    return matrix


def _block(rig: Rig, node: int, indent: str) -> list[str]:
    """The lines of one joint and its descendants."""
    children, offset = rig.children(node), rig.offsets[node]
    channels = "Zrotation Xrotation Yrotation"
    channels = f"6 Xposition Yposition Zposition {channels}" if node in rig.moving else f"3 {channels}"
    lines = [
        f"{indent}{'ROOT' if rig.parents[node] < 0 else 'JOINT'} {rig.nodes[node]}",
        f"{indent}{{",
        f"{indent}  OFFSET {_numbers(offset)}",
        f"{indent}  CHANNELS {channels}",
    ]
    for child in children:
        lines += _block(rig, child, indent + "  ")
    if not children:
        direction = offset / np.linalg.norm(offset) if offset.any() else np.array([0.0, 1.0, 0.0])
        lines += [f"{indent}  {line}" for line in ("End Site", "{", f"  OFFSET {_numbers(END_M * direction)}", "}")]
    return [*lines, f"{indent}}}"]


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.6f}" for value in values)


def _euler_zxy(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees [T, J, 3] about z, x and y, of rotations z x y [T, J, 3, 3]; continuous over time."""
    x = np.arcsin(np.clip(matrices[..., 2, 1], -1, 1))
    locked = np.abs(matrices[..., 2, 1]) > 1 - 1e-9  # gimbal lock: y is set to 0
    z = np.where(
        locked,
        np.arctan2(matrices[..., 1, 0], matrices[..., 0, 0]),
        np.arctan2(-matrices[..., 0, 1], matrices[..., 1, 1]),
    )
    y = np.where(locked, 0, np.arctan2(-matrices[..., 2, 0], matrices[..., 2, 2]))
    return np.degrees(np.unwrap(np.stack([z, x, y], axis=-1), axis=0))

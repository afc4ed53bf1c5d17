"""ASF/AMC (Acclaim): a skeleton `.asf` and motions `.amc` for it, as CMU's and HDM05's data sets have them.

A joint is the far end of a bone and has its name. Lengths are inches times the number at `length` in `:units`; y is up.
Shapes: T time, B bones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..body.motion_data import MAX_JOINTS, MotionData
from ..errors import InputError
from .bvh import rotation_about
from .named_joints import joints_by_name
from .text import check_size, read_text

INCH_M = 0.0254
DOF = {"rx": 0, "ry": 1, "rz": 2}
ROOT_ORDER = ("TX", "TY", "TZ", "RX", "RY", "RZ")


@dataclass(slots=True)
class Bone:
    name: str
    parent: int
    offset: NDArray[np.float64]  # [3] from the parent's end to its own, at rest, in the axes of the world
    frame: NDArray[np.float64]  # [3, 3] its own axes at rest
    channels: list[str]


def read_amc(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read the joints in meters; needs `fps`, and the `.asf` of the same name or the only one in the folder."""
    if fps is None:
        raise InputError("an .amc file does not store its frame rate: pass fps (--fps), 120 for most of CMU's")
    skeleton = _skeleton_of(path)
    try:
        bones, meters, degrees = _read_asf(read_text(skeleton))
    except InputError as error:
        raise InputError(f"its skeleton {skeleton.name} {error}") from None
    values = _read_amc(read_text(path), bones)
    scale = np.pi / 180 if degrees else 1.0
    positions = _forward_kinematics(bones, values, scale) * meters
    joints, known = joints_by_name([bone.name for bone in bones], positions, layout)
    return MotionData(joints, fps, known)


def _skeleton_of(path: Path) -> Path:
    """The .asf for a motion: of the same name, of the name's beginning (07.asf for 07_01.amc), or the only one."""
    found = [file for file in sorted(path.parent.iterdir()) if file.suffix.lower() == ".asf"]
    for stem in (path.stem, path.stem.rsplit("_", 1)[0]):
        for file in found:
            if file.stem == stem:
                return file
    if len(found) != 1:
        raise InputError(f"needs its skeleton {path.stem.rsplit('_', 1)[0]}.asf in the same folder")
    return found[0]


def _read_asf(text: str) -> tuple[list[Bone], float, bool]:
    """Bones with the root first, meters per unit, and whether angles are degrees."""
    sections: dict[str, list[list[str]]] = {}
    lines: list[list[str]] = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words and words[0].startswith(":"):
            lines = sections.setdefault(words[0].lower(), [])
        elif words:
            lines.append(words)
    for name in (":root", ":bonedata", ":hierarchy"):
        if name not in sections:
            raise InputError(f"has no section {name}")
    units = {line[0]: line[-1] for line in sections.get(":units", [])}
    meters = INCH_M / float(_floats([units.get("length", "1")], "length", 1)[0])
    degrees = units.get("angle", "deg").lower().startswith("deg")
    root = {line[0].lower(): line[1:] for line in sections[":root"]}
    channels = [word.upper() for word in root.get("order", ROOT_ORDER)]
    if sorted(channels) != sorted(ROOT_ORDER):
        raise InputError(f"has the order {' '.join(channels)} of the root, expected {' '.join(ROOT_ORDER)}")
    start = _floats(root.get("position", ["0"] * 3), "position", 3)
    frame = _frame([*root.get("orientation", ["0"] * 3), *root.get("axis", ["XYZ"])[:1]], degrees)
    bones = [Bone("root", -1, start, frame, channels)]
    parents = _parents(sections[":hierarchy"])
    data = _bone_data(sections[":bonedata"])
    if len(data) > MAX_JOINTS:
        raise InputError(f"has {len(data)} bones, the limit is {MAX_JOINTS}")
    index = {"root": 0}
    pending = [name for name in parents if parents[name] == "root"]
    while pending:
        name = pending.pop(0)
        if name not in data or name in index:
            raise InputError(f"has a bone {name!r} in its hierarchy twice or without data")
        about = data[name]
        direction = _floats(about.get("direction", []), f"direction of {name}", 3)
        length = float(_floats(about.get("length", []), f"length of {name}", 1)[0])
        offset = direction / max(float(np.linalg.norm(direction)), 1e-12) * length
        bone = Bone(name, index[parents[name]], offset, _frame(about.get("axis", ["0", "0", "0", "XYZ"]), degrees), [])
        bone.channels = [word.lower() for word in about.get("dof", [])]
        if not set(bone.channels) <= {*DOF, "l"}:
            raise InputError(f"has the dof {' '.join(bone.channels)} of {name}, expected rx, ry and rz")
        index[name] = len(bones)
        bones.append(bone)
        pending += [child for child in parents if parents[child] == name]
    return bones, meters, degrees


def _parents(lines: list[list[str]]) -> dict[str, str]:
    return {child: line[0] for line in lines if line[0] not in ("begin", "end") for child in line[1:]}


def _bone_data(lines: list[list[str]]) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    bone: dict[str, list[str]] = {}
    for line in lines:
        if line[0] == "begin":
            bone = {}
        elif line[0] == "end":
            found[bone.get("name", [""])[0] if bone.get("name") else ""] = bone
        else:
            bone.setdefault(line[0].lower(), line[1:])
    return found


def _floats(words: list[str], what: str, count: int) -> NDArray[np.float64]:
    try:
        values = np.array(words[:count], np.float64)
    except ValueError:
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all() or (what == "length" and values[0] <= 0):
        raise InputError(f"has {' '.join(words) or 'nothing'} as {what}, expected {count} number(s)")
    return values


def _frame(words: list[str], degrees: bool) -> NDArray[np.float64]:
    """Matrix of `x y z ORDER`: the first axis of the order is turned about first."""
    angles, order = _floats(words, "axis", 3), (words[3] if len(words) > 3 else "XYZ").upper()
    if sorted(order) != list("XYZ"):
        raise InputError(f"has the axis order {order!r}, expected one such as XYZ")
    turns = dict(zip(order, np.radians(angles) if degrees else angles, strict=True))
    return _turned([(axis, np.array([turns[axis]])) for axis in order])[0]


def _turned(turns: list[tuple[str, NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Matrices [T, 3, 3] that turn about the axes, the first one first."""
    matrix = np.eye(3)[None]
    for axis, angle in turns:
        matrix = rotation_about("XYZ".index(axis), angle) @ matrix
    return matrix


def _read_amc(text: str, bones: list[Bone]) -> list[NDArray[np.float64]]:
    """Values [T, channels] of each bone."""
    index = {bone.name: number for number, bone in enumerate(bones)}
    frames = 0
    rows: list[list[str]] = [[] for _ in bones]
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words or words[0].startswith(":"):
            continue
        if len(words) == 1 and words[0].isdecimal():
            _check_frame(rows, bones, frames)
            frames += 1
            continue
        if words[0] not in index or not frames:
            raise InputError(f"has {words[0]!r} in line {number}, expected a bone of the skeleton")
        bone = index[words[0]]
        if len(words) - 1 != len(bones[bone].channels):
            raise InputError(
                f"has {len(words) - 1} values of {words[0]} in line {number}, expected {len(bones[bone].channels)}"
            )
        rows[bone] += words[1:]
    _check_frame(rows, bones, frames)
    check_size(frames, len(bones))
    try:
        return [np.array(row, np.float64).reshape(frames, -1) for row in rows]
    except ValueError:
        raise InputError("has a word where a number was expected") from None


def _check_frame(rows: list[list[str]], bones: list[Bone], frames: int) -> None:
    for row, bone in zip(rows, bones, strict=True):
        if len(row) != frames * len(bone.channels):
            raise InputError(f"has no values of {bone.name} in frame {frames}")


def _forward_kinematics(bones: list[Bone], values: list[NDArray[np.float64]], scale: float) -> NDArray[np.float64]:
    """Ends of the bones [T, B, 3]; angles times `scale` are radians."""
    frames = len(values[0])
    ends, turns = np.empty((frames, len(bones), 3)), np.empty((frames, len(bones), 3, 3))
    for number, (bone, row) in enumerate(zip(bones, values, strict=True)):
        spins = [
            (channel[1].upper(), row[:, column] * scale)
            for column, channel in enumerate(bone.channels)
            if channel[0] in "rR"
        ]
        turn = bone.frame @ (_turned(spins) if spins else np.eye(3)[None]) @ bone.frame.T
        if bone.parent < 0:
            move = np.stack([row[:, bone.channels.index(f"T{axis}")] for axis in "XYZ"], axis=-1)
            turns[:, number], ends[:, number] = turn, bone.offset + move
            continue
        turns[:, number] = turns[:, bone.parent] @ turn
        ends[:, number] = ends[:, bone.parent] + turns[:, number] @ bone.offset
    return ends

"""MVNX: XML of Xsens MVN, with the positions of 23 segments a frame in meters, x forward, y left, z up.

A segment starts at a joint: the right upper arm at the right shoulder. Shapes: T time, S segments.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..body.motion_data import MAX_JOINTS, MotionData
from ..body.units import turn
from ..errors import InputError
from .named_joints import joints_by_name
from .text import MAX_BYTES, check_bytes, check_size

JOINTS = {  # segments -> MotionBuilder's names of the joints at which they start
    "Pelvis": "Hips",
    "L5": "Spine",
    "L3": "Spine1",
    "T12": "Spine2",
    "T8": "Spine3",
    "Neck": "Neck",
    "Head": "Head",
} | {
    f"{side}{segment}": f"{side}{joint}"
    for side in ("Left", "Right")
    for segment, joint in {
        "Shoulder": "Shoulder",
        "UpperArm": "Arm",
        "ForeArm": "ForeArm",
        "Hand": "Hand",
        "UpperLeg": "UpLeg",
        "LowerLeg": "Leg",
        "Foot": "Foot",
        "Toe": "ToeBase",
    }.items()
}


def read_mvnx(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read the frames of the recording, y up; the calibration poses before them are skipped."""
    check_bytes(path, MAX_BYTES)
    segments: list[str] = []
    frames: list[str] = []
    rate = ""
    try:
        for tag, attributes, text in _elements(path):
            if tag == "subject":
                rate = attributes.get("frameRate", rate)
            elif tag == "segment":
                segments.append(attributes.get("label", ""))
            elif tag == "position":
                frames.append(text)
    except ElementTree.ParseError as error:
        raise InputError(f"is not valid XML ({error})") from None
    if not segments or len(segments) > MAX_JOINTS:
        raise InputError(f"is not MVNX: has {len(segments)} segments")
    check_size(len(frames), len(segments))
    try:
        words = [frame.split() for frame in frames]
        positions = np.array(words, np.float32).reshape(len(frames), len(segments), 3)
    except ValueError:
        short = next((n for n, row in enumerate(words) if len(row) != 3 * len(segments)), None)
        where = "" if short is None else f" in frame {short + 1} of {len(frames)}"
        raise InputError(f"does not have 3 numbers for each of {len(segments)} segments{where}") from None
    try:
        known_rate = float(rate) if fps is None else fps
    except ValueError:
        raise InputError(f"has the frameRate {rate!r}: pass fps (--fps)") from None
    joints, known = joints_by_name([JOINTS.get(name, name) for name in segments], turn(positions, "z"), layout)
    return MotionData(joints, known_rate, known)


def _elements(path: Path) -> Iterator[tuple[str, dict[str, str], str]]:
    """Subjects, segments, and the positions in frames of the recording: tag, attributes, text."""
    recorded, subjects = False, 0
    for event, element in ElementTree.iterparse(path, events=("start", "end")):
        tag = element.tag.rpartition("}")[2]
        if event == "start":
            if tag == "subject":
                subjects += 1
                if subjects > 1:
                    return  # the first person
                yield tag, element.attrib, ""
            recorded = element.get("type", "normal") == "normal" if tag == "frame" else recorded
        elif tag == "segment":
            yield tag, element.attrib, ""
        elif tag == "position" and recorded:
            yield tag, element.attrib, element.text or ""
        elif tag == "frame":
            element.clear()

"""JSON lines: `{"t": s, "person": id, "layout": name, "joints": [[x, y, z], …], "confidence": […]}`.

`person` defaults to 0, `confidence` is optional, a coordinate may be null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from .. import nvtx
from ..body.motion_data import MAX_PEOPLE, MotionData, check_joints
from ..errors import InputError
from .frame import Frame

if TYPE_CHECKING:
    from ..recognition.decision import Decision

MAX_LINE = 1 << 20  # characters
MAX_SECONDS = 1e12
MAX_PERSON = 1 << 31
TOP_K = 5  # labels per decision message
DEFAULT_FPS = 30.0  # of a clip of one frame


def parse_message(text: str, layout: str | None = None) -> Frame:
    """Parse one JSON message; `layout` is for messages that do not name theirs. Raises InputError."""
    return parse_frame(parse_json(text), layout)


def parse_json(text: str | bytes) -> Any:
    """Decode JSON. Raises InputError."""
    try:
        with nvtx.annotate("decode"):
            return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not a whole JSON message ({error})") from None


def parse_frame(message: Any, layout: str | None = None) -> Frame:
    """Parse one decoded JSON message. Raises InputError."""
    if not isinstance(message, dict):
        raise InputError(f"is a JSON {type(message).__name__}, expected an object with 't', 'layout', 'joints'")
    t, person = message.get("t"), message.get("person", 0)
    if not isinstance(t, int | float) or not abs(t) < MAX_SECONDS:
        raise InputError(f"'t' is {t!r}, expected seconds")
    if not isinstance(person, int) or abs(person) > MAX_PERSON:
        raise InputError(f"'person' is {person!r}, expected an integer")
    name = message.get("layout", layout)
    if not isinstance(name, str):
        raise InputError("has no 'layout'")
    joints = parse_array("joints", message.get("joints"))
    if joints.ndim != 2:
        raise InputError(f"'joints' have shape {list(joints.shape)}, expected [V, 3]")
    check_joints(joints.shape, name)
    confidence = None
    if message.get("confidence") is not None:
        confidence = parse_array("confidence", message["confidence"])
        if confidence.shape != joints.shape[:1]:
            raise InputError(f"'confidence' has shape {list(confidence.shape)}, expected [{len(joints)}]")
    return Frame(t=float(t), person=person, joints=joints, layout=name, confidence=confidence)


def stream_jsonl(file: TextIO, layout: str | None = None) -> Iterator[Frame]:
    """Yield the frames of a text stream as the lines arrive. Raises InputError that names the line."""
    for number in count(1):
        line = file.readline(MAX_LINE + 1)
        if not line:
            return
        if len(line) > MAX_LINE:
            raise InputError(f"line {number} is longer than {MAX_LINE} characters")
        if line.strip():
            try:
                yield parse_message(line, layout)
            except InputError as error:
                raise type(error)(f"line {number} {error}") from error


def read_jsonl(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read all messages as one clip; people in the order of their ids, which are in `meta["people"]`."""
    with path.open(encoding="utf-8") as file:
        frames = list(stream_jsonl(file, layout))
    if not frames:
        raise InputError("has no messages")
    names = sorted({frame.layout for frame in frames})
    if len(names) > 1:
        raise InputError(f"mixes the layouts {', '.join(names)}, expected one")
    times, row = np.unique([frame.t for frame in frames], return_inverse=True)
    people = sorted({frame.person for frame in frames})
    if len(people) > MAX_PEOPLE:
        raise InputError(f"{len(people)} people, expected 1 to {MAX_PEOPLE}")
    joints = np.full((len(times), len(people), *frames[0].joints.shape), np.nan, np.float32)
    confidence = np.zeros(joints.shape[:-1], np.float32)
    for t, frame in zip(row, frames, strict=True):
        m = people.index(frame.person)
        joints[t, m] = frame.joints
        confidence[t, m] = 1 if frame.confidence is None else frame.confidence
    if fps is None:
        fps = 1 / float(np.median(np.diff(times))) if len(times) > 1 else DEFAULT_FPS
    has_confidence = any(frame.confidence is not None for frame in frames)
    clip = MotionData(joints, fps, names[0], confidence if has_confidence else None, times, {"people": people})
    return clip if len(people) > 1 else clip.person(0)


def decision_message(t: float, decision: Decision) -> dict[str, Any]:
    """The JSON message of a decision at `t` seconds."""
    message = {
        "t": round(t, 6),
        "person": decision.person,
        "label": decision.label,
        "score": round(decision.score, 4),
        "top": [[label, round(score, 4)] for label, score in decision.top(TOP_K)],
        "event": decision.event,
    }
    if decision.event is not None:
        message["event_label"] = decision.event_label
    if decision.since is not None:
        message["since"] = round(decision.since, 6)
    return message | {"latency_ms": round(decision.latency_ms, 4)}


def parse_array(name: str, value: Any) -> np.ndarray:
    """Convert nested lists of numbers to float32; null becomes NaN. Raises InputError."""
    if not isinstance(value, list):
        raise InputError(f"has no list {name!r}")
    try:
        with np.errstate(over="ignore"):  # overflow becomes infinite: a missing joint
            return np.array(value, dtype=np.float32)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{name!r} is not an array of numbers") from None

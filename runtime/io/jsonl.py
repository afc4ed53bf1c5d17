"""JSON lines: `{"t": s, "person": id, "layout": name, "joints": [[x, y, z], …], "confidence": […]}`.

`person` defaults to 0, `confidence` is optional, a coordinate may be null. A line may be a list of messages, of several
people at one time. In a live stream, messages without `t` take the time of arrival.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from .. import nvtx
from ..body.motion_data import MAX_PEOPLE, MotionData, check_joints, check_person
from ..body.time_check import as_seconds
from ..errors import InputError
from .frame import Frame
from .malformed import Malformed

if TYPE_CHECKING:
    from ..recognition.decision import Decision

MAX_LINE = 1 << 20  # characters
MAX_MALFORMED = 100  # lines in a row that are not messages
TOP_K = 5  # labels per decision message
DEFAULT_FPS = 30.0  # of a clip of one frame

logger = logging.getLogger(__name__)


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


def parse_frames(value: Any, layout: str | None = None, arrival_s: float | None = None) -> list[Frame]:
    """Parse a decoded message or list of messages; arguments and errors are those of `parse_frame`."""
    messages = value if isinstance(value, list) else [value]
    if not 1 <= len(messages) <= MAX_PEOPLE:
        raise InputError(f"contains {len(messages)} messages, expected 1 to {MAX_PEOPLE}")
    frames = [parse_frame(message, layout, arrival_s) for message in messages]
    if len({(frame.t, frame.person) for frame in frames}) < len(frames):
        raise InputError("contains a person twice, expected one message per person")
    return frames


def parse_frame(message: Any, layout: str | None = None, arrival_s: float | None = None) -> Frame:
    """Parse one decoded JSON message.

    Args:
        layout: for messages that do not name theirs.
        arrival_s: time of the frame instead of the message's own, seconds.
    Raises:
        InputError: not a message, or a part of it is missing or wrong.
    """
    if not isinstance(message, dict):
        raise InputError(f"is a JSON {type(message).__name__}, expected an object with 't', 'layout', 'joints'")
    t = as_seconds(message.get("t") if arrival_s is None else arrival_s, "'t'")
    person = check_person(message.get("person", 0), "'person'")
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
    return Frame(t=t, person=person, joints=joints, layout=name, confidence=confidence)


class JsonLines:
    """Iterator over the lines of a text stream as they arrive: the people of each, as a list of frames.

    Lines that are not messages are counted and skipped. At the end of the stream, or after `MAX_MALFORMED` of them in a
    row, the first one is an InputError if there was no message; later ones end the stream after `MAX_MALFORMED` in a
    row.

    Args:
        file: closed by `close`, unless it is standard input.
        name: of the source, for the log.
        layout: for messages that do not name theirs.
        is_live: whether messages without a time take that of their arrival.
    Raises:
        InputError: too many lines that are not messages; names the line.
    """

    def __init__(self, file: TextIO, name: str, layout: str | None = None, *, is_live: bool = False) -> None:
        self._file, self._name, self._layout = file, name, layout
        self._clock = ArrivalClock(partial(logger.warning, "%s: %s", name)) if is_live else None
        self._problems = Malformed(name)

    @property
    def malformed(self) -> int:
        """Number of lines that were skipped."""
        return self._problems.count

    def __iter__(self) -> Iterator[list[Frame]]:
        found, skipped = False, list[InputError]()  # since the last message
        for number in count(1):
            line = self._read_line()
            if line is None:
                break
            if not line.strip():
                continue
            try:
                frames = self._parse(line)
            except InputError as error:
                skipped.append(type(error)(f"line {number} {error}"))
                self._problems.add(f"{error} (line {number})", is_logged=found)
                if len(skipped) == MAX_MALFORMED:
                    raise skipped[0] from None
                continue
            if skipped and not found:
                logger.warning(
                    "%s: ignored %d lines before the first message: %s", self._name, len(skipped), skipped[0]
                )
            found, skipped = True, []
            yield frames
        if skipped and not found:
            raise skipped[0]

    def close(self) -> None:
        if self._file is not sys.stdin:
            self._file.close()

    def _parse(self, line: str) -> list[Frame]:
        if len(line) > MAX_LINE:
            raise InputError(f"is longer than {MAX_LINE} characters")
        value = parse_json(line)
        return parse_frames(value, self._layout, None if self._clock is None else self._clock.arrival(value))

    def _read_line(self) -> str | None:
        """The next line, None at the end; of one that is too long, only the first `MAX_LINE` + 1 characters."""
        line = rest = self._file.readline(MAX_LINE + 1)
        for _ in range(MAX_MALFORMED):
            if len(rest) <= MAX_LINE or rest.endswith("\n"):
                return line.lstrip("\ufeff") or None
            rest = self._file.readline(MAX_LINE + 1)
        raise InputError(f"a line is longer than {MAX_MALFORMED * MAX_LINE} characters")


class ArrivalClock:
    """Times of arrival for the messages of a live stream without times of its own.

    The first message decides: if it has no time, all messages take that of their arrival; otherwise all need one.

    Args:
        report: is called with a warning when times of arrival are used.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._in_use: bool | None = None

    def arrival(self, value: Any) -> float | None:
        """Time of a message or list of messages that arrives now, seconds; None: its own."""
        if self._in_use is None:
            messages = value if isinstance(value, list) else [value]
            stamped = [one.get("t") is not None for one in messages if isinstance(one, dict) and "joints" in one]
            if stamped:
                self._in_use = not any(stamped)
                if self._in_use:
                    self._report("messages have no time 't', the time of arrival is used")
        return time.monotonic() if self._in_use else None


def read_jsonl(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read all messages as one clip; people in the order of their ids, which are in `meta["people"]`."""
    with path.open(encoding="utf-8", errors="replace") as file:
        frames = [frame for people in JsonLines(file, str(path), layout) for frame in people]
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

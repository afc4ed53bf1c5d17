"""Reports of decisions: JSON lines, or a timeline of labels."""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..errors import printable
from ..io.jsonl import decision_message
from ..io.source import Source
from ..recognition.decision import Decision
from ..recognition.segments import Segment
from .live_status import LiveStatus

PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "max": 100}


@dataclass(slots=True)
class Summary:
    """Totals over all sources.

    Attributes:
        frames: frames received.
        dropped: frames that were not used.
        malformed: messages that could not be parsed.
        rejected: messages without the token.
        published, unpublished: events that an MQTT broker has confirmed, and those that it did not get; None without
            a broker.
        latencies_ms: latency of every decision.
        pose_latencies_ms: time of the pose estimator for every image.
        video_s: time that sources with images took, from one end to the other.
    """

    frames: int = 0
    dropped: int = 0
    malformed: int = 0
    rejected: int = 0
    published: int | None = None
    unpublished: int = 0
    latencies_ms: array[float] = field(default_factory=lambda: array("d"))
    pose_latencies_ms: array[float] = field(default_factory=lambda: array("d"))
    video_s: float = 0.0

    @property
    def video_fps(self) -> float | None:
        """Images per second from the file or camera to the decision; None without images."""
        return len(self.pose_latencies_ms) / self.video_s if self.pose_latencies_ms and self.video_s else None

    def as_dict(self) -> dict[str, Any]:
        """Counts and latency percentiles, None without decisions.

        Counts of bad messages are included only if there were any, of events only with a broker; the latency of the
        pose estimator and the images per second only if there were images.
        """
        bad = {"malformed": self.malformed, "rejected": self.rejected}
        nonzero = {name: count for name, count in bad.items() if count}
        if self.published is not None:
            nonzero |= {"published": self.published, "unpublished": self.unpublished}
        latency = {f"{name}_ms": value for name, value in _percentiles(self.latencies_ms).items()}
        video: dict[str, Any] = {}
        if self.video_fps is not None:
            video = {f"pose_{name}_ms": value for name, value in _percentiles(self.pose_latencies_ms).items()}
            video["frames_per_second"] = round(self.video_fps, 2)
        return {"frames": self.frames, "dropped": self.dropped, **nonzero, **latency, **video}

    def as_line(self) -> str:
        """The same in one line of text."""
        totals = self.as_dict()
        names = ("frames", "dropped", "malformed", "rejected", "published", "unpublished")
        counts = ", ".join(f"{totals[name]} {name}" for name in names if name in totals)
        latency = _percentile_text(self.latencies_ms)
        if self.video_fps is None:
            return f"{counts}; latency in ms: {latency}"
        pose = _percentile_text(self.pose_latencies_ms)
        rate = f"{self.video_fps:.1f} frames per second from end to end"
        return f"{counts}; latency in ms: pose {pose}; recognition {latency}; {rate}"


class Report(Protocol):
    """Output of decisions; `begin` and `end` enclose one source."""

    def begin(self, source: Source) -> None: ...
    def decide(self, t: float, decision: Decision) -> None: ...
    def add(self, segment: Segment) -> None:
        """A segment that ended, in seconds since the start of the source."""

    def end(self) -> None: ...
    def summarize(self, summary: Summary) -> None: ...


class JsonReport:
    """One JSON object per decision, then the summary; of several sources, each decision names its own."""

    def __init__(self, name_sources: bool) -> None:
        self._name_sources = name_sources
        self._source: dict[str, str] = {}
        self._status = LiveStatus(sys.stdout)

    def begin(self, source: Source) -> None:
        self._source = {"source": source.name} if self._name_sources else {}
        self._status.start(source)

    def decide(self, t: float, decision: Decision) -> None:
        _write_line({**self._source, **decision_message(t, decision)})

    def add(self, segment: Segment) -> None:
        pass

    def end(self) -> None:
        self._status.stop()

    def summarize(self, summary: Summary) -> None:
        _write_line({"summary": summary.as_dict()})


class TextReport:
    """One line per segment of a label, in seconds since the start of its source; on a terminal, also the labels now."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False, soft_wrap=True)
        self._status = LiveStatus(sys.stdout, self._console)
        self._now: dict[int, str] = {}
        self._people: set[int] = set()

    def begin(self, source: Source) -> None:
        from rich.text import Text

        self._people.clear()
        self._console.print(Text(printable(source.name), style="bold"))
        self._status.start(source, self._labels_now)

    def decide(self, t: float, decision: Decision) -> None:
        self._people.add(decision.person)
        if decision.status == "lost":
            self._now.pop(decision.person, None)
        else:
            self._now[decision.person] = f"{printable(decision.label)} {decision.score:.2f}"

    def add(self, segment: Segment) -> None:
        from rich.text import Text

        person = f"person {segment.person}  " if len(self._people) > 1 else ""
        line = (
            f"  {segment.start:7.2f} - {segment.end:7.2f} s  {person}{printable(segment.label):22} {segment.score:.2f}"
        )
        self._console.print(Text(line, style="dim" if segment.label == "none" else ""))

    def end(self) -> None:
        self._status.stop()
        self._now.clear()

    def summarize(self, summary: Summary) -> None:
        self._console.print(summary.as_line())

    def _labels_now(self) -> str:
        return "  now: " + ", ".join(list(self._now.values()))


def _percentiles(values_ms: Sequence[float]) -> dict[str, float | None]:
    if not values_ms:
        return dict.fromkeys(PERCENTILES)
    found = np.percentile(np.asarray(values_ms), list(PERCENTILES.values())).tolist()
    return {name: round(value, 4) for name, value in zip(PERCENTILES, found, strict=True)}


def _percentile_text(values_ms: Sequence[float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in _percentiles(values_ms).items() if value) or "none"


def _write_line(value: dict[str, Any]) -> None:
    sys.stdout.write(printable(json.dumps(value, ensure_ascii=False, allow_nan=False)) + "\n")
    sys.stdout.flush()

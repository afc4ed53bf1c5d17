"""Reports of decisions: JSON lines, or a timeline of labels."""

import json
import sys
from array import array
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..io.jsonl import decision_message
from ..recognition.decision import Decision
from ..recognition.segments import Segment, Segmenter


@dataclass(slots=True)
class Summary:
    """Totals over all sources.

    Attributes:
        frames: frames received.
        dropped: frames that were not used.
        malformed: messages that could not be parsed.
        rejected: messages without the token.
        latencies_ms: latency of every decision.
    """

    frames: int = 0
    dropped: int = 0
    malformed: int = 0
    rejected: int = 0
    latencies_ms: "array[float]" = field(default_factory=lambda: array("d"))

    def as_dict(self) -> dict[str, Any]:
        """Counts and latency percentiles, None without decisions; counts of bad messages only if there were any."""
        names = ("p50_ms", "p90_ms", "p99_ms", "max_ms")
        values = [None] * 4 if not self.latencies_ms else np.percentile(self.latencies_ms, (50, 90, 99, 100)).tolist()
        latency = {name: value and round(value, 4) for name, value in zip(names, values, strict=True)}
        bad = {"malformed": self.malformed, "rejected": self.rejected}
        nonzero = {name: count for name, count in bad.items() if count}
        return {"frames": self.frames, "dropped": self.dropped, **nonzero, **latency}


class Report(Protocol):
    """Output of decisions; `begin` and `end` enclose one source."""

    def begin(self, source: str) -> None: ...
    def decide(self, t: float, decision: Decision) -> None: ...
    def end(self) -> None: ...
    def summarize(self, summary: Summary) -> None: ...


class JsonReport:
    """One JSON object per decision, then the summary; of several sources, each decision names its own."""

    def __init__(self, name_sources: bool) -> None:
        self._name_sources = name_sources
        self._source: dict[str, str] = {}

    def begin(self, source: str) -> None:
        self._source = {"source": source} if self._name_sources else {}

    def decide(self, t: float, decision: Decision) -> None:
        _write_line({**self._source, **decision_message(t, decision)})

    def end(self) -> None:
        pass

    def summarize(self, summary: Summary) -> None:
        _write_line({"summary": summary.as_dict()})


class TextReport:
    """One line per segment of a label, in seconds since the first decision; on a terminal, also the current labels."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False, soft_wrap=True)
        self._live = Live(console=self._console, transient=True, refresh_per_second=10)
        self._start_s: float | None = None  # of the source
        self._segmenter = Segmenter()
        self._now: dict[int, str] = {}

    def begin(self, source: str) -> None:
        from rich.text import Text

        self._console.print(Text(source, style="bold"))
        if self._console.is_terminal:
            self._live.start()

    def decide(self, t: float, decision: Decision) -> None:
        self._start_s = t if self._start_s is None else self._start_s
        if segment := self._segmenter.add(t - self._start_s, decision):
            self._show(segment)
        if decision.status == "lost":
            self._now.pop(decision.person, None)
        else:
            self._now[decision.person] = f"{decision.label} {decision.score:.2f}"
        if self._live.is_started:
            self._live.update("  now: " + ", ".join(self._now.values()))

    def end(self) -> None:
        for segment in self._segmenter.finish():
            self._show(segment)
        self._live.stop()
        self._start_s = None
        self._segmenter = Segmenter()
        self._now.clear()

    def summarize(self, summary: Summary) -> None:
        totals = summary.as_dict()
        latency = ", ".join(
            f"{name.removesuffix('_ms')} {totals[name]:.2f}"
            for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms")
            if totals[name]
        )
        counts = ", ".join(
            f"{totals[name]} {name}" for name in ("frames", "dropped", "malformed", "rejected") if name in totals
        )
        self._console.print(f"{counts}; latency in ms: {latency or 'none'}")

    def _show(self, segment: Segment) -> None:
        from rich.text import Text

        person = f"person {segment.person}  " if self._segmenter.people > 1 else ""
        line = f"  {segment.start:7.2f} - {segment.end:7.2f} s  {person}{segment.label:22} {segment.score:.2f}"
        self._console.print(Text(line, style="dim" if segment.label == "none" else ""))


def _write_line(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()

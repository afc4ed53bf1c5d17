"""Segments of one label, without flicker, from the decisions of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from .decision import Decision


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A time span in which a person has one label.

    Attributes:
        start, end: seconds, on the clock of the source.
        label: the action, or "none".
        score: mean probability of the label, 0 to 1.
        person: id of the person.
    """

    start: float
    end: float
    label: str
    score: float
    person: int = 0


def label_line(segment: Segment, several: bool) -> str:
    """The label and score of a segment as people read them, with the person if there are several."""
    person = f"person {segment.person}  " if several else ""
    return f"{person}{segment.label} {segment.score:.2f}"


class Segmenter:
    """Merges decisions into segments, for each person.

    Args:
        min_s: a run of one label that is shorter is merged into the previous one.
        max_gap_s: a longer gap between two decisions ends a segment.
    """

    def __init__(self, min_s: float = 0.3, max_gap_s: float = 0.5) -> None:
        self._min_s, self._max_gap_s = min_s, max_gap_s
        self._timelines: dict[int, _Timeline] = {}

    @property
    def people(self) -> int:
        """Number of people so far."""
        return len(self._timelines)

    def add(self, t: float, decision: Decision) -> Segment | None:
        """Add a decision at `t` seconds; returns the segment that it ends, if any."""
        person = decision.person
        if person not in self._timelines:
            self._timelines[person] = _Timeline(person, self._min_s, self._max_gap_s)
        timeline = self._timelines[person]
        return timeline.finish() if decision.status == "lost" else timeline.add(t, decision.label, decision.score)

    def finish(self) -> list[Segment]:
        """End and return the open segments."""
        return [segment for timeline in self._timelines.values() if (segment := timeline.finish())]


class _Timeline:
    """The decisions on one person."""

    def __init__(self, person: int, min_s: float, max_gap_s: float) -> None:
        self._person, self._min_s, self._max_gap_s = person, min_s, max_gap_s
        self._current: _Run | None = None
        self._next: _Run | None = None
        self._latest_s = 0.0

    def add(self, t: float, label: str, score: float) -> Segment | None:
        done = self.finish() if t - self._latest_s > self._max_gap_s else None
        self._latest_s = t
        if self._current is None:
            self._current = _Run(label, t, t, score, 1)
            return done
        if label == self._current.label:
            self._absorb()
            self._current.extend(t, score)
            return None
        if self._next is None or label != self._next.label:
            self._absorb()
            self._next = _Run(label, t, t, score, 1)
        else:
            self._next.extend(t, score)
        if t - self._next.start_s < self._min_s:
            return None
        previous, self._current, self._next = self._current, self._next, None
        return previous.segment(self._current.start_s, self._person)

    def finish(self) -> Segment | None:
        self._absorb()
        done, self._current = self._current, None
        return done.segment(done.end_s, self._person) if done else None

    def _absorb(self) -> None:
        """Merge a run that was too short into the current one: its time, not its score."""
        if self._current and self._next:
            self._current.end_s = self._next.end_s
        self._next = None


@dataclass(slots=True)
class _Run:
    label: str
    start_s: float
    end_s: float
    total: float
    count: int

    def extend(self, t: float, score: float) -> None:
        self.end_s = t
        self.total += score
        self.count += 1

    def segment(self, end_s: float, person: int) -> Segment:
        return Segment(start=self.start_s, end=end_s, label=self.label, score=self.total / self.count, person=person)

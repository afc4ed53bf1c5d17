"""Segments of one label, without flicker."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A time span with one label: start and end in seconds, mean score."""

    label: str
    start_s: float
    end_s: float
    score: float


class Timeline:
    """Merges one person's decisions into segments of one label.

    A run shorter than `min_s` is merged into the previous one; a gap longer than `max_gap_s` ends a run.
    """

    def __init__(self, min_s: float = 0.3, max_gap_s: float = 0.5) -> None:
        self._min_s, self._max_gap_s = min_s, max_gap_s
        self._current: _Run | None = None
        self._next: _Run | None = None
        self._latest_s = 0.0

    def add(self, t: float, label: str, score: float) -> Segment | None:
        """Add a decision at `t` seconds; returns the segment that it ends, if any."""
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
        return previous.segment(end_s=self._current.start_s)

    def finish(self) -> Segment | None:
        """End and return the open segment."""
        self._absorb()
        done, self._current = self._current, None
        return done.segment(end_s=done.end_s) if done else None

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

    def segment(self, end_s: float) -> Segment:
        return Segment(label=self.label, start_s=self.start_s, end_s=end_s, score=self.total / self.count)

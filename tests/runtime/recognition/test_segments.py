"""Decisions merged into segments of one label."""

import numpy as np

from motionrt import Decision
from motionrt.runtime.recognition.decision import Status
from motionrt.runtime.recognition.segments import Segmenter

STEP_S = 0.1


def decision(label: str, person: int = 0, status: Status = "ok", score: float = 0.5) -> Decision:
    return Decision(
        person=person,
        label=label,
        score=score,
        event=None,
        event_label=None,
        since=None,
        latency_ms=0.0,
        probs=np.zeros(1, np.float32),
        labels=("",),
        status=status,
    )


def segments(labels: str) -> list[tuple[str, float, float]]:
    """Segments of one person's decisions, one letter each; a blank is a time without a decision."""
    segmenter = Segmenter(min_s=0.3, max_gap_s=0.5)
    ended = [segmenter.add(k * STEP_S, decision(label)) for k, label in enumerate(labels) if label != " "]
    return [(s.label, round(s.start, 3), round(s.end, 3)) for s in [*ended, *segmenter.finish()] if s]


def test_equal_labels_are_one_segment() -> None:
    assert segments("aaaa") == [("a", 0, 0.3)]
    assert segments("aaaabbbb") == [("a", 0, 0.4), ("b", 0.4, 0.7)]


def test_flicker_is_absorbed() -> None:
    assert segments("aaaabbaaaa") == [("a", 0, 0.9)]
    assert segments("aaaabcbccaa") == [("a", 0, 1.0)]
    assert segments("aaaabb") == [("a", 0, 0.5)]
    assert segments("aaaabccccc") == [("a", 0, 0.5), ("c", 0.5, 0.9)]


def test_a_gap_ends_a_segment() -> None:
    assert segments("aaaa      aaaa") == [("a", 0, 0.3), ("a", 1.0, 1.3)]
    assert segments("aaaa    aaaa") == [("a", 0, 1.1)]


def test_people_have_their_own_segments() -> None:
    segmenter = Segmenter()
    for k in range(5):
        assert segmenter.add(k * STEP_S, decision("a", person=3, score=k / 10)) is None
        assert segmenter.add(k * STEP_S, decision("b", person=7)) is None
    lost = segmenter.add(0.5, decision("none", person=3, status="lost"))
    assert lost is not None and (lost.person, lost.label, lost.start, lost.end) == (3, "a", 0.0, 0.4)
    assert abs(lost.score - 0.2) < 1e-9 and segmenter.people == 2
    assert [(segment.person, segment.label) for segment in segmenter.finish()] == [(7, "b")]
    assert segmenter.finish() == []

"""`Decision`: the action of one person in one frame, or in a whole clip."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

Status = Literal["ok", "dropped", "missing", "lost"]
Descriptions = Mapping[str, str | Mapping[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The action of one person.

    Attributes:
        person: id of the person.
        label: the most probable label; "" before the first model frame of a model without a "none" label.
        score: its probability, 0 to 1.
        event: "onset" or "offset" if an action starts or ends with this frame, else None.
        event_label: the action that starts or ends.
        since: for an onset, the time of the first frame of the action, seconds.
        latency_ms: time from the call to this decision.
        probs: [C] float32, probabilities in the order of `labels`.
        labels: the C labels.
        status: "ok"; "dropped": not later than the previous frame, ignored; "missing": not visible so far; "lost":
            not visible for too long, the person's state was reset.
    """

    person: int
    label: str
    score: float
    event: Literal["onset", "offset"] | None
    event_label: str | None
    since: float | None
    latency_ms: float
    probs: np.ndarray
    labels: tuple[str, ...]
    status: Status = "ok"

    def __repr__(self) -> str:
        event = f", {self.event} of {self.event_label!r}" if self.event else ""
        status = "" if self.status == "ok" else f", {self.status}"
        return (
            f"Decision(person {self.person}: {self.label!r} {self.score:.2f}{event}{status}, {self.latency_ms:.2f} ms)"
        )

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable labels with their probabilities, best first."""
        order = np.argsort(-self.probs, kind="stable")[: max(k, 0)]
        return [(self.labels[index], float(self.probs[index])) for index in order]


def clip_decision(started: float, label: int, probs: np.ndarray, labels: tuple[str, ...]) -> Decision:
    return Decision(
        person=0,
        label=labels[label] if label >= 0 else "",
        score=float(probs[label]),
        event=None,
        event_label=None,
        since=None,
        latency_ms=(time.perf_counter() - started) * 1e3,
        probs=probs,
        labels=labels,
    )

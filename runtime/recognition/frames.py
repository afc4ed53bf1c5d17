"""Frames of a source, through a recognizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np

from ..errors import BundleError, InputError
from ..io.frame import Frame
from ..io.source import Source
from .decision import Decision
from .engine import MIN_CLIP_FRAMES
from .recognizer import Recognizer

MAX_REFUSED = 100  # frames in a row, of a source with one sender


class Refusals:
    """Frames of a source that a recognizer refuses.

    They end a recording. Frames of a live source are counted as malformed: one sender in other units or with an unknown
    layout does not end the stream for the others. If there is only one sender, `MAX_REFUSED` frames in a row do.

    Attributes:
        first: the first refusal.
    """

    def __init__(self, source: Source) -> None:
        self.first: InputError | None = None
        self._source, self._in_a_row = source, 0

    def refuse(self, frame: Frame, error: InputError) -> None:
        """Raises InputError that names the source."""
        located = type(error)(f"{self._source.name}: {error}")
        self.first = self.first or located
        self._in_a_row += 1
        if self._source.recorded or (self._source.address is None and self._in_a_row == MAX_REFUSED):
            raise located from error
        self._source.count_malformed(str(error), f"person {frame.person}")

    def accept(self) -> None:
        self._in_a_row = 0


def step_frames(
    recognizer: Recognizer, frames: Sequence[Frame], refusals: Refusals | None = None
) -> Iterator[tuple[Frame, Decision]]:
    """Step frames; those with the same time and layout go through the network as one batch.

    Args:
        refusals: receives frames that the recognizer refuses, if it accepts them; None: they are errors.
    Raises:
        InputError, LayoutError: as `Recognizer.step_people`.
    """
    for _, group in groupby(frames, lambda frame: (frame.t, frame.layout, frame.confidence is None)):
        batch = list(group)
        try:
            decisions = _step_batch(recognizer, batch)
        except InputError as error:
            if refusals is None or isinstance(error, BundleError):
                raise
            if len(batch) == 1:
                refusals.refuse(batch[0], error)
            else:  # one of several people may be the reason
                for frame in batch:
                    yield from step_frames(recognizer, [frame], refusals)
            continue
        if refusals is not None:
            refusals.accept()
        yield from zip(batch, decisions, strict=True)


def _step_batch(recognizer: Recognizer, batch: Sequence[Frame]) -> list[Decision]:
    """Step people with the same time and layout."""
    confidence = None if batch[0].confidence is None else np.array([frame.confidence for frame in batch])
    poses, ids = np.array([frame.joints for frame in batch]), [frame.person for frame in batch]
    return recognizer.step_people(poses, batch[0].t, ids, confidence, batch[0].layout)


def step_source(
    recognizer: Recognizer,
    source: Source,
    seconds: float | None = None,
    observe: Callable[[float, Sequence[Frame]], None] | None = None,
) -> Iterator[tuple[float, Decision, Frame | None]]:
    """Decisions on everyone in a source: (seconds, decision, frame); no frame for people who have left.

    Args:
        source: a single frame of a recording is an error, so the first one has to wait.
        seconds: stop after this much of the source; None: at its end.
        observe: called with each snapshot, before the decisions on it.
    Raises:
        InputError, LayoutError: see `Refusals`; also if nobody is visible in any frame.
    """
    decided, start = False, None
    pending: list[tuple[Frame, Decision]] = []
    refusals = Refusals(source)
    for t, people in source.snapshots():
        start = t if start is None else start
        if seconds is not None and t - start > seconds:
            break
        if observe is not None:
            observe(t, people)
        stepped = list(step_frames(recognizer, people, refusals))
        pending += [(frame, decision) for frame, decision in stepped if decision.status not in ("dropped", "missing")]
        decided = decided or bool(pending)
        if not (source.recorded and source.frames_in < MIN_CLIP_FRAMES):
            for frame, decision in pending:
                yield frame.t, decision, frame
            pending.clear()
        for decision in recognizer.evict(t):
            yield t, decision, None
    frames = source.frames_in
    if source.recorded and frames < MIN_CLIP_FRAMES:
        raise InputError(f"{source.name}: {frames} frame(s), expected at least {MIN_CLIP_FRAMES}")
    if not decided:
        malformed = f", {source.malformed} message(s) were malformed" if source.malformed else ""
        nobody = InputError(f"{source.name}: nobody is visible in any of its {frames} frame(s){malformed}")
        raise refusals.first or nobody

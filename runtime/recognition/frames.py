"""Frames of a source, through a recognizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from ..errors import InputError
from ..io.frame import Frame
from ..io.source import Source
from .decision import Decision
from .engine import MIN_CLIP_FRAMES
from .recognizer import Recognizer


def step_frames(recognizer: Recognizer, frames: Sequence[Frame]) -> Iterator[tuple[Frame, Decision]]:
    """Step frames; those with the same time and layout go through the network as one batch.

    Raises InputError, LayoutError: as `Recognizer.step_people`.
    """
    for (t, layout, _), group in groupby(frames, lambda frame: (frame.t, frame.layout, frame.confidence is None)):
        batch = list(group)
        confidence = None if batch[0].confidence is None else np.array([frame.confidence for frame in batch])
        poses, ids = np.array([frame.joints for frame in batch]), [frame.person for frame in batch]
        yield from zip(batch, recognizer.step_people(poses, t, ids, confidence, layout), strict=True)


def step_source(
    recognizer: Recognizer, source: Source, recorded: bool, seconds: float | None = None
) -> Iterator[tuple[float, Decision, Frame | None]]:
    """Decisions on everyone in a source: (seconds, decision, frame); no frame for people who have left.

    Args:
        recorded: whether the source is a file. A single frame is then an error, so the first one has to wait.
        seconds: stop after this much of the source; None: at its end.
    Raises:
        InputError, LayoutError: as `Recognizer.step_people`; also if nobody is visible in any frame.
    """
    decided, start = False, None
    pending: list[tuple[Frame, Decision]] = []
    for t, people in source.snapshots():
        start = t if start is None else start
        if seconds is not None and t - start > seconds:
            break
        try:
            stepped = list(step_frames(recognizer, people))
        except InputError as error:
            raise type(error)(f"{source.name}: {error}") from error
        pending += [(frame, decision) for frame, decision in stepped if decision.status not in ("dropped", "missing")]
        decided = decided or bool(pending)
        if not (recorded and source.frames_in < MIN_CLIP_FRAMES):
            for frame, decision in pending:
                yield frame.t, decision, frame
            pending.clear()
        for decision in recognizer.evict(t):
            yield t, decision, None
    frames = source.frames_in
    if recorded and frames < MIN_CLIP_FRAMES:
        raise InputError(f"{source.name}: {frames} frame(s), expected at least {MIN_CLIP_FRAMES}")
    if not decided:
        raise InputError(f"{source.name}: nobody is visible in any of its {frames} frame(s)")

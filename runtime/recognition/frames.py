"""The people that a source saw at one moment, through a recogniser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from ..io.frame import Frame
from .decision import Decision
from .recognizer import Recognizer


def step_frames(recognizer: Recognizer, frames: Sequence[Frame]) -> Iterator[tuple[Frame, Decision]]:
    """Those who were seen at one time by one sensor go through the network together.

    Raises InputError, LayoutError: as `Recognizer.step_people`.
    """
    for (t, layout, _), group in groupby(frames, lambda frame: (frame.t, frame.layout, frame.confidence is None)):
        seen = list(group)
        confidence = None if seen[0].confidence is None else np.array([frame.confidence for frame in seen])
        poses, ids = np.array([frame.joints for frame in seen]), [frame.person for frame in seen]
        yield from zip(seen, recognizer.step_people(poses, t, ids, confidence, layout), strict=True)

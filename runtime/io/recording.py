"""`Recording`: frames of several people as motions, one per person."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..body.motion import Motion
from ..body.motion_data import MAX_PEOPLE
from ..body.people import is_nobody, is_phantom, mask_unseen
from .frame import Frame

MIN_FRAMES = 2


class Recording:
    """Collects the frames of every person, with times relative to the first frame.

    Attributes:
        bytes: size of the stored joints.
        late: frames ignored because they are not later than the person's previous frame.
        over_limit: ignored frames of people beyond the first `MAX_PEOPLE`.
        phantoms: people left out by `motions`, who did not move or were not of a person's size while others were.
    """

    def __init__(self) -> None:
        self.bytes = self.late = self.over_limit = self.phantoms = 0
        self._tracks: dict[tuple[int, str], _Track] = {}  # (person, layout)
        self._start: float | None = None

    @property
    def is_empty(self) -> bool:
        return not any(len(track.times) >= MIN_FRAMES for track in self._tracks.values())

    def add(self, frame: Frame) -> None:
        """Add a frame; one without extent, such as the zeros of a sensor's unused slot, is nobody's and left out."""
        if is_nobody(frame.joints):
            return
        self._start = frame.t if self._start is None else self._start
        t, key = frame.t - self._start, (frame.person, frame.layout)
        if key not in self._tracks:
            if len(self._tracks) == MAX_PEOPLE:
                self.over_limit += 1
                return
            self._tracks[key] = _Track()
        track = self._tracks[key]
        if track.times and t <= track.times[-1]:
            self.late += 1
            return
        track.joints.append(frame.joints)
        track.confidence.append(frame.confidence)
        track.times.append(t)  # last: a signal may end the recording in between
        self.bytes += frame.joints.nbytes

    def motions(self, label: str, source: str, subject: str | None = None) -> Iterator[Motion]:
        """Clips of all people with at least two frames; label, source, id and subject, if any, are in `meta`."""
        meta: dict[str, str | int] = {"label": label, "source": source}
        meta |= {} if subject is None else {"subject": subject}
        clips = [
            track.motion(layout, meta | {"person": person})
            for (person, layout), track in self._tracks.items()
            if len(track.times) >= MIN_FRAMES
        ]
        people = [clip for clip in clips if not is_phantom(mask_unseen(clip.joints, clip.confidence))] or clips
        self.phantoms = len(clips) - len(people)
        yield from people


@dataclass(slots=True)
class _Track:
    times: array[float] = field(default_factory=lambda: array("d"))
    joints: list[NDArray[np.float32]] = field(default_factory=list)
    confidence: list[NDArray[np.float32] | None] = field(default_factory=list)

    def motion(self, layout: str, meta: dict[str, str | int]) -> Motion:
        times = np.array(self.times)
        joints = np.stack(self.joints[: len(times)])
        confidence = None
        if any(one is not None for one in self.confidence):
            sure = np.ones(joints.shape[1], np.float32)
            confidence = np.stack([sure if one is None else one for one in self.confidence[: len(times)]])
        return Motion(joints, 1 / float(np.median(np.diff(times))), layout, confidence, times, meta)

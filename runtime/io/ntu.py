"""NTU RGB+D `.skeleton` text (Kinect v2, 25 joints, 30 frames a second, camera frame in meters).

The file lists its frames, the bodies in each frame and the joints of each body. The sensor also tracks phantoms, and
assigns a new id to a person that reappears, so bodies are filtered and joined as is usual for this dataset.
Shapes: T time, V joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..body.motion_data import MotionData
from ..errors import InputError
from .text import read_text

FPS = 30.0
MAX_BODIES = 2
MAX_JOINTS = 25
MIN_FRAMES = 12  # shorter tracks are noise
MAX_WIDTH = 0.8  # of the height, in a good frame
MIN_GOOD_SHARE = 1 - 0.69754  # of good frames; tracks below are noise
BODY_FIELDS, JOINT_FIELDS = 10, 12


@dataclass(slots=True, eq=False)
class Track:
    """One body id: `joints` [T, V, 3], NaN where the body is absent, and `confidence` [T, V]."""

    joints: NDArray[np.float32]
    confidence: NDArray[np.float32]

    @property
    def seen(self) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(self.joints).any(axis=(1, 2)))  # [T]

    @property
    def motion(self) -> float:
        joints = self.joints[self.seen]
        ever_seen = np.isfinite(joints).any(axis=(0, 2))  # [V]
        return float(np.nanvar(joints[:, ever_seen], axis=0).sum())

    @property
    def good_share(self) -> float:
        low, high = np.nanmin(self.joints[self.seen], axis=1), np.nanmax(self.joints[self.seen], axis=1)
        width, height = (high - low)[:, 0], (high - low)[:, 1]
        return float(np.mean(width <= MAX_WIDTH * height))


def read_ntu(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read one person [T, V, 3], or two [T, 2, V, 3] with NaN while absent; the one with the most motion is first."""
    tracks = parse_tracks(read_text(path))
    if not tracks:
        raise InputError("has no body in any frame")
    people = _people(tracks)
    joints = np.stack([person.joints for person in people], axis=1)
    confidence = np.stack([person.confidence for person in people], axis=1)
    clip = MotionData(joints, FPS if fps is None else fps, layout or "ntu25", confidence)
    return clip if len(people) > 1 else clip.person(0)


def _people(tracks: list[Track]) -> list[Track]:
    """At most two people: without noise, tracks that do not overlap in time joined, most motion first."""
    kept = [track for track in tracks if track.seen.sum() >= MIN_FRAMES] or tracks
    kept = [track for track in kept if track.good_share >= MIN_GOOD_SHARE] or kept
    people: list[Track] = []
    for track in sorted(kept, key=lambda track: -track.motion):
        seen = track.seen
        owner = next((person for person in people if not (person.seen & seen).any()), None)
        if owner is not None:
            owner.joints[seen], owner.confidence[seen] = track.joints[seen], track.confidence[seen]
        elif len(people) < MAX_BODIES:
            people.append(track)
    return people


def parse_tracks(text: str) -> list[Track]:
    """Tracks by body id, in order of appearance."""
    lines = iter(text.splitlines())

    def fields(count: int, where: str) -> list[str]:
        found = next(lines, "").split()
        if len(found) != count:
            raise InputError(f"is cut short or damaged at {where}: {len(found)} values, expected {count}")
        return found

    def number(where: str, most: int) -> int:
        word = fields(1, where)[0]
        if not word.isdecimal() or len(word) > 9 or int(word) > most:
            raise InputError(f"has {word!r} at {where}, expected a count of at most {most}")
        return int(word)

    total = number("the number of frames", 100_000)
    tracks: dict[str, Track] = {}
    for t in range(total):
        where = f"frame {t + 1} of {total}"
        for _ in range(number(where, 16)):
            body = fields(BODY_FIELDS, where)[0]
            joints = number(where, MAX_JOINTS)
            if joints != MAX_JOINTS:
                raise InputError(f"has {joints} joints at {where}, expected {MAX_JOINTS}")
            try:
                rows = np.array([fields(JOINT_FIELDS, where) for _ in range(joints)], np.float32)
            except ValueError:
                raise InputError(f"is cut short or damaged at {where}: expected numbers") from None
            track = tracks.setdefault(body, _empty(total))
            absent = np.all(rows[:, :3] == 0, axis=1, keepdims=True)  # the sensor stores missing joints as zeros
            track.joints[t] = np.where(absent, np.nan, rows[:, :3])
            track.confidence[t] = np.where(absent[:, 0], 0, rows[:, -1] / 2)  # 0 not tracked, 1 inferred, 2 tracked
    return [track for track in tracks.values() if track.seen.any()]


def _empty(total: int) -> Track:
    return Track(
        np.full((total, MAX_JOINTS, 3), np.nan, np.float32),
        np.zeros((total, MAX_JOINTS), np.float32),
    )

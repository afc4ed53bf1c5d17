"""Recordings of one's own: labeled clip sets and motion files of a folder. Needs no torch.

Shapes: T time, V joints.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.body.layout import Layout
from ...runtime.body.motion import Motion
from ...runtime.body.people import mask_unseen
from ...runtime.errors import InputError
from ...runtime.io.dataset import ClipSet
from ...runtime.io.files import is_motion_file
from . import vocabulary
from .clips import LabeledClip, fingerprint, replace_outliers

SETTINGS = "train.json"
FACTS = ("label", "subject", "split")  # of a clip: in its record, its file, or SETTINGS
SPLITS = ("train", "validation", "test")
MIN_SECONDS = 0.5
MIN_SHARE = 0.5  # of the frames with the root, and of the joints that are visible at all


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """One clip of one person.

    Attributes:
        label: None if it shows none of the actions.
        split: one of SPLITS, or None.
        where: file, and number of the clip if the file has several.
        fingerprint: identifies the clip by its content.
    """

    motion: Motion
    label: str | None
    subject: str | None
    split: str | None
    where: str
    fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """The recordings that can be used, copies once; a line about each that cannot; `labels` of SETTINGS, if any."""

    recordings: list[Recording]
    problems: list[str]
    labels: tuple[str, ...] | None


def load_recordings(data: str | Path) -> Folder:
    """Recordings of a folder and its sub-folders, or of several folders and files, separated by commas.

    Raises:
        InputError: there are none, or SETTINGS is invalid.
    """
    recordings: dict[str, Recording] = {}
    problems: list[str] = []
    labels: list[str] = []
    for place in map(Path, str(data).split(",")):
        paths = [place] if place.is_file() else sorted(place.rglob("*"))
        paths = [path for path in paths if is_motion_file(path) and path.suffix != ".json"]
        if not paths:
            raise InputError(
                f"{place}: no recordings here; expected files of `motionrt record` or other motion files, or clip sets "
                "NAME.npz with NAME.json (docs/extend.md, A data set)"
            )
        settings = Settings.read(place)
        labels += settings.labels
        for path in paths:
            try:
                clips = list(read_clips(path))
            except InputError as error:
                problems.append(str(error))
                continue
            for where, motion, name in clips:
                facts = dict(motion.meta) | settings.facts(path)
                try:
                    recording = Recording(motion=motion, where=where, fingerprint=name, **checked_facts(facts))
                    check_motion(motion)
                except InputError as error:
                    problems.append(f"{where}: {error}")
                    continue
                recordings.setdefault(name, recording)
        settings.check_used()
    return Folder(recordings=list(recordings.values()), problems=problems, labels=tuple(dict.fromkeys(labels)) or None)


def read_clips(path: Path) -> Iterator[tuple[str, Motion, str]]:
    """The clips of a motion file or clip set: where each is, the clip, and its fingerprint."""
    if path.suffix == ".npz" and path.with_suffix(".json").is_file():
        clip_set = ClipSet.load(path)
        for i in range(len(clip_set)):
            yield f"{path}: clip {i}", clip_set[i], fingerprint(clip_set, i)
        return
    motion = Motion.load(path)
    try:
        motion = motion.only_person()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    content = np.ascontiguousarray(motion.joints, "<f4").tobytes()
    yield str(path), motion, sha256(content).hexdigest()[:12]


class Settings:
    """SETTINGS of a folder: `labels` to train, and facts of `clips` by the pattern of their file's path."""

    def __init__(self, path: Path, labels: tuple[str, ...], clips: dict[str, dict[str, Any]]):
        self.path, self.labels, self.clips = path, labels, clips
        self._used: set[str] = set()

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """Read those of a folder, if it has some. Raises InputError if they are invalid."""
        path = folder / SETTINGS
        if not path.is_file() or path.with_suffix(".npz").is_file():  # a clip set of that name
            return cls(path, (), {})
        expected = '{"labels": ["wave", …], "clips": {"wave-*.npz": {"label": "wave", "subject": "ann"}, …}}'
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            labels, clips = content.pop("labels", []), content.pop("clips", {})
            valid = not content and all(isinstance(label, str) for label in labels)
            valid = valid and all(set(facts) <= set(FACTS) for facts in clips.values())
        except (ValueError, AttributeError, TypeError):
            valid = False
        if not valid:
            raise InputError(f"{path}: expected an object such as {expected}, or a part of it")
        return cls(path, tuple(labels), clips)

    def facts(self, path: Path) -> dict[str, Any]:
        """Facts of a file's clips; a later pattern replaces those of an earlier one."""
        found: dict[str, Any] = {}
        for pattern, facts in self.clips.items():
            if path.is_relative_to(self.path.parent) and fnmatch(
                path.relative_to(self.path.parent).as_posix(), pattern
            ):
                self._used.add(pattern)
                found |= facts
        return found

    def check_used(self) -> None:
        """Raises InputError: a pattern matches no file."""
        for pattern in self.clips:
            if pattern not in self._used:
                raise InputError(f"{self.path}: no recording matches {pattern!r}")


def checked_facts(facts: dict[str, Any]) -> dict[str, str | None]:
    """Label, subject and split as text; None for those that are missing, and for the label `none`."""
    texts = {name: str(value).strip() if (value := facts.get(name)) is not None else "" for name in FACTS}
    found = {name: text or None for name, text in texts.items()}
    if found["label"] and found["label"].lower() == vocabulary.NONE:
        found["label"] = None
    if found["split"] not in (None, *SPLITS):
        raise InputError(f"split is {found['split']!r}, expected {', '.join(SPLITS)}")
    return found


def check_motion(motion: Motion) -> None:
    """Raises InputError: too short, flat, or a person who is rarely visible."""
    layout = Layout.load(motion.layout)
    if layout.dims != 3:
        raise InputError(f"layout {layout.name} is flat, expected joints in 3-D")
    if motion.seconds < MIN_SECONDS:
        raise InputError(f"lasts {motion.seconds:.2f} s, expected at least {MIN_SECONDS} s")
    root = mask_unseen(motion.joints, motion.confidence)[:, layout.root, 0]
    if (share := float(np.isfinite(root).mean())) < MIN_SHARE:
        name = layout.joints[layout.root]
        raise InputError(f"{name} is visible in {100 * share:.0f} % of the frames, expected at least half")


def to_clip(recording: Recording, layout: Layout) -> LabeledClip:
    """A recording in `layout`, at a constant rate and without gaps; `record` has subject, split and fingerprint.

    Raises:
        InputError: its layout has not the joints, or most of them are never visible.
    """
    motion = recording.motion
    source = Layout.load(motion.layout)
    try:
        map_VS = layout.map_from(source)
    except InputError as error:
        raise type(error)(f"{recording.where}: {error}") from None
    joints = mask_unseen(motion.joints, motion.confidence)
    used = np.flatnonzero(map_VS.any(0))
    if np.isfinite(joints[:, used]).any((0, 2)).mean() < MIN_SHARE:
        raise InputError(f"{recording.where}: most joints are never visible")
    joints = fill_gaps(joints, motion.times, motion.fps, source.root)
    return LabeledClip(
        joints=np.einsum("vs,tsc->tvc", map_VS, replace_outliers(joints, source.root)).astype(np.float32),
        fps=motion.fps,
        label=recording.label,
        source="recordings",
        record={"subject": recording.subject, "split": recording.split, "fingerprint": recording.fingerprint},
    )


def fill_gaps(joints: np.ndarray, times: np.ndarray, fps: float, root: int) -> np.ndarray:
    """Joints [T, V, 3], NaN where missing, at `times` -> at a constant rate, missing ones interpolated.

    As in the core, a joint that is never visible is at the root.
    """
    grid = times[0] + np.arange(round((times[-1] - times[0]) * fps) + 1) / fps
    seen = np.isfinite(joints).all(2)
    filled = np.empty((len(grid), *joints.shape[1:]), np.float32)
    for v in [root, *range(joints.shape[1])]:
        at = seen[:, v]
        for axis in range(3):
            filled[:, v, axis] = np.interp(grid, times[at], joints[at, v, axis]) if at.any() else filled[:, root, axis]
    return filled

"""NTU RGB+D 60 and 120: classes, splits, and clips in layout smpl22. Needs no torch.

Source of the splits: Shahroudy et al., CVPR 2016, section 3.2; Liu et al., TPAMI 2019, section 3.3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...runtime.body.canonical import to_canonical
from ...runtime.body.layout import Layout
from ...runtime.body.motion import Motion
from ...runtime.errors import InputError

ACTIONS: tuple[str, ...] = tuple(json.loads(Path(__file__).with_name("ntu120.json").read_text())["actions"])
TRAINING_SUBJECTS = frozenset(
    (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
    + (45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93)
    + (94, 95, 97, 98, 100, 103)
)
MISSING_LISTS = ("NTU_RGBD120_samples_with_missing_skeletons.txt", "NTU_RGBD_samples_with_missing_skeletons.txt")
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")


@dataclass(frozen=True, kw_only=True, slots=True)
class NtuRecording:
    """A recording, identified by its file name SsssCcccPpppRrrrAaaa."""

    path: Path
    setup: int
    camera: int
    subject: int
    action: int  # from 1

    @property
    def label(self) -> str:
        return ACTIONS[self.action - 1]


TEST_SPLITS = {
    "ntu60-xsub": lambda s: s.action <= 60 and s.subject not in TRAINING_SUBJECTS,
    "ntu60-xview": lambda s: s.action <= 60 and s.camera == 1,
    "ntu120-xsub": lambda s: s.subject not in TRAINING_SUBJECTS,
    "ntu120-xset": lambda s: s.setup % 2 == 1,
}


def labels(split: str) -> tuple[str, ...]:
    return ACTIONS[:60] if split.startswith("ntu60") else ACTIONS


def recordings(root: Path, split: str, tested: bool) -> tuple[list[NtuRecording], int]:
    """The test or training recordings of a split, and the number of those on the lists of missing skeletons.

    Args:
        root: folder with the recordings and, if wanted, the lists.
    Raises:
        InputError: no such recording in the folder.
    """
    missing: set[str] = set()
    for name in MISSING_LISTS:
        if (root / name).is_file():
            missing |= {
                "".join(found) for found in re.findall(r"(S\d{3}C\d{3}P\d{3}R\d{3}A\d{3})", (root / name).read_text())
            }
    found = [
        s for path in sorted(root.rglob("*.skeleton")) if (s := parse_name(path)) and s.action <= len(labels(split))
    ]
    chosen = [s for s in found if TEST_SPLITS[split](s) == tested]
    kept = [s for s in chosen if s.path.stem not in missing]
    if not kept:
        side = "test" if tested else "training"
        raise InputError(f"{root}: no {side} sample of {split} among its files SsssCcccPpppRrrrAaaa.skeleton")
    return kept, len(chosen) - len(kept)


def test_recordings(root: Path, split: str) -> tuple[list[NtuRecording], int]:
    """`recordings` to test on."""
    return recordings(root, split, True)


def parse_name(path: Path) -> NtuRecording | None:
    """Parse a file name; None if it is not that of a recording."""
    match = NAME.fullmatch(path.stem)
    if not match or not 1 <= int(match[5]) <= len(ACTIONS):
        return None
    setup, camera, subject, _, action = map(int, match.groups())
    return NtuRecording(path=path, setup=setup, camera=camera, subject=subject, action=action)


def lift_recordings(
    recordings: Sequence[NtuRecording], rate_hz: float = 20.0
) -> tuple[list[np.ndarray], list[NtuRecording], int]:
    """Canonical joints [T, 22, 3] at `rate_hz` of the person who moves most in each recording.

    Kinect joints are lifted to smpl22 like the training data of generators (`training.data.lift`).

    Returns:
        The clips, their recordings, and the number of recordings without a person.
    """
    from .lift import KINECT, lift

    clips, kept = [], []
    for recording in recordings:
        joints = load_person(recording.path)
        if joints is not None:
            kept.append(recording)
            clips.append(to_canonical(lift(map_layout(joints, Layout.load("ntu25"), KINECT), 30.0, rate_hz)))
    return clips, kept, len(recordings) - len(kept)


def load_person(path: Path) -> np.ndarray | None:
    """Joints [T, 25, 3] of the person who moves most, from first to last visible frame; None without a person."""
    try:
        person = Motion.load(path).person(0).joints
    except InputError as error:
        if "no body" in str(error):
            return None
        raise
    frames = np.flatnonzero(np.isfinite(person).all((1, 2)))
    return person[frames[0] : frames[-1] + 1] if len(frames) > 1 else None


def map_layout(joints: np.ndarray, source: Layout, layout: Layout) -> np.ndarray:
    """Map joints to another layout; NaN only where a required joint is NaN."""
    weights = layout.map_from(source)
    return np.stack([np.tensordot(joints[:, row > 0], row[row > 0], (1, 0)) for row in weights], axis=1)

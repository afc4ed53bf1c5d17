"""Clips of one or two people in the published folders of NTU RGB+D and Kinetics-Skeleton, for networks of whole clips.

NTU's bodies are filtered, ordered and joined as in the released preparation (Zhang et al., SGN, used by CTR-GCN):
tracks of up to 11 frames and those that are mostly wider than high are noise, the others fill two places, the liveliest
first. Of Kinetics' people, the two with the highest scores of each frame are kept, as in ST-GCN's. Needs no torch.

Shapes: T frames, M = 2 people, V joints, C channels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...runtime.body.motion import Motion
from ...runtime.errors import InputError
from ...runtime.io.atomic_write import atomic_write
from ...runtime.io.ntu import parse_tracks
from ...runtime.io.text import read_text
from ...runtime.recognition.clips import center_clip, center_picture
from . import ntu

PEOPLE = 2
MAX_NOISE_FRAMES = 11
MAX_WIDTH, NOISE_SHARE = 0.8, 0.69754  # of the height; of frames that are wider
CACHE = ".prepared"  # folder next to the recordings
KINETICS = "kinetics"
KINETICS_SIDES = {True: "val", False: "train"}


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeClip:
    """A recording with its label; `subject` is 0 if unknown."""

    path: Path
    label: str
    subject: int = 0

    def motion(self) -> Motion:
        """The two people, NaN while one is absent. Raises InputError: nobody is visible."""
        return (ntu_motion if self.path.suffix == ".skeleton" else kinetics_motion)(self.path)

    def frames(self) -> np.ndarray:
        """Network input [T, M, V, 3] at the rate of the recording, which is kept in the folder `CACHE`.

        Raises:
            InputError: the file is damaged, or nobody is visible in it.
        """
        cached = self.path.parent / CACHE / f"{self.path.stem}.npy"
        try:
            return np.asarray(np.load(cached, allow_pickle=False))
        except (OSError, ValueError, EOFError):
            pass
        joints = self.motion().joints
        joints = joints[:, None] if joints.ndim == 3 else joints
        try:
            x = (center_picture if joints.shape[-1] == 2 else center_clip)(joints, PEOPLE)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None
        try:
            cached.parent.mkdir(exist_ok=True)
            with atomic_write(cached) as file:
                np.save(file, x)
        except OSError:  # the folder is read-only
            pass
        return x


def load_split(root: Path, split: str, tested: bool) -> tuple[list[WholeClip], tuple[str, ...]]:
    """The clips of one side of a split, and its labels.

    Args:
        root: folder with NTU's `.skeleton` files, or with `kinetics_train`, `kinetics_val` and their label files.
        split: of `ntu.TEST_SPLITS`, or "kinetics".
    Raises:
        InputError: there are none.
    """
    if split == KINETICS:
        return kinetics_clips(root, tested), kinetics_labels(root)
    recordings, _ = ntu.recordings(root, split, tested)
    return [WholeClip(path=one.path, label=one.label, subject=one.subject) for one in recordings], ntu.labels(split)


# ---- NTU RGB+D


@dataclass(slots=True, eq=False)
class Body:
    """A tracked body: joints [N, V, 3] from frame `first` on, and how much it moves."""

    first: int
    joints: np.ndarray
    motion: float

    @property
    def last(self) -> int:
        return self.first + len(self.joints) - 1

    def overlaps(self, first: int, last: int) -> bool:
        return min(self.last, last) - max(self.first, first) > 0


def ntu_motion(path: Path) -> Motion:
    """The people of a `.skeleton` file. Raises InputError: it is damaged, or has no body."""
    try:
        tracks = parse_tracks(read_text(path))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not tracks:
        raise InputError(f"{path}: has no body in any frame, expected its name in {ntu.MISSING_LISTS[0]}")
    used = np.any([track.seen for track in tracks], 0)  # frames without a body do not count
    bodies = []
    for track in tracks:
        joints = np.nan_to_num(track.joints[track.seen])
        bodies.append(Body(int(track.seen[used].argmax()), joints, spread(joints)))
    places = two_places(denoise(bodies), int(used.sum()))
    absent = ~np.asarray(places.any((2, 3)))
    places[absent] = np.nan
    return Motion(places if len(bodies) > 1 and not absent[:, 1].all() else places[:, 0], 30.0, "ntu25")


def spread(joints_TV3: np.ndarray) -> float:
    """Sum of the variances of all coordinates."""
    return float(joints_TV3.reshape(-1, 3).var(0).sum())


def denoise(bodies: Sequence[Body]) -> list[Body]:
    """The bodies that are not noise, the liveliest first."""
    kept = list(bodies)
    if len(kept) > 1:
        kept = [body for body in kept if len(body.joints) > MAX_NOISE_FRAMES] or kept
    for body in list(kept):
        if len(kept) == 1:
            break
        width, height = np.ptp(body.joints[..., 0], axis=1), np.ptp(body.joints[..., 1], axis=1)
        good = width <= MAX_WIDTH * height
        if (~good).mean() >= NOISE_SHARE:
            kept.remove(body)
        elif not good.all():
            body.motion = min(body.motion, spread(body.joints[good]))
    return sorted(kept, key=lambda body: -body.motion)


def two_places(bodies: Sequence[Body], frames: int) -> np.ndarray:
    """Joints [T, M, V, 3], zeros where nobody is: each body goes to the first place that is free at its time."""
    x = np.zeros((frames, PEOPLE, *bodies[0].joints.shape[1:]), np.float32)
    taken: list[tuple[int, int] | None] = [None, (0, 0)]  # frames of each place, as released
    for body in bodies:
        for place, span in enumerate(taken):
            if span is None or not body.overlaps(*span):
                x[body.first : body.last + 1, place] = body.joints[: frames - body.first]
                taken[place] = (
                    (body.first, body.last) if span is None else (min(body.first, span[0]), max(body.last, span[1]))
                )
                break
    return x[x.any((1, 2, 3))]


# ---- Kinetics-Skeleton


def kinetics_motion(path: Path) -> Motion:
    """The two people with the highest scores of each frame. Raises InputError: the file is damaged."""
    motion = Motion.load(path)
    if motion.people == 1 or motion.confidence is None:
        return motion
    order_TM = np.argsort(-motion.confidence.sum(2), 1, kind="stable")[:, :PEOPLE]
    joints = np.take_along_axis(motion.joints, order_TM[:, :, None, None], 1)
    return Motion(joints, motion.fps, motion.layout)


def kinetics_index(root: Path, side: str) -> dict[str, dict[str, object]]:
    """Contents of a label file: name of a clip -> has_skeleton, label and label_index. Raises InputError."""
    path = root / f"kinetics_{side}_label.json"
    try:
        index: dict[str, dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))
        for about in index.values():
            int(str(about["label_index"])), str(about["label"]), about["has_skeleton"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: expected the labels of Kinetics-Skeleton ({error})") from None
    return index


def kinetics_labels(root: Path) -> tuple[str, ...]:
    """All labels, in the order of their indices."""
    found = {about["label_index"]: str(about["label"]) for about in kinetics_index(root, "train").values()}
    return tuple(found[index] for index in sorted(found, key=lambda index: int(str(index))))


def kinetics_clips(root: Path, tested: bool) -> list[WholeClip]:
    """The clips with a skeleton of the training or the validation side. Raises InputError: there are none."""
    side = KINETICS_SIDES[tested]
    index = kinetics_index(root, side)
    clips = [
        WholeClip(path=root / f"kinetics_{side}" / f"{name}.json", label=str(about["label"]))
        for name, about in sorted(index.items())
        if about["has_skeleton"]
    ]
    if not clips or not clips[0].path.is_file():
        raise InputError(f"{root / f'kinetics_{side}'}: no clip of kinetics_{side}_label.json")
    return clips

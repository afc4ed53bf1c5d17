"""Training data of generators: captioned clips at 20 frames per second in layout smpl22. Needs no torch.

Shapes: T time, V = 22 joints. Meters, y up.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.random import Generator

from ...runtime.body.canonical import SMPL, heading, to_canonical
from ...runtime.io.dataset import ClipSet
from . import augment, captions, rests, vocabulary
from .clips import clip_sets, resample
from .lift import leveling_rotation, lift, tracking_ok

RATE_HZ = 20.0
MIN_FRAMES = 16  # four tokens of the networks
MAX_FRAMES = 196
UNIT = 4  # lengths are multiples

# Frame rates at which people in these sets walk, sit down and stand up at normal speed; their records say 30.
TRUE_RATE_HZ = {"nw-ucla": 12.0, "florence3d": 12.0}

# Splits: mocap collections by recording, "pairs" of Bandai by content and style, Kinect sets by subject.
PAIRS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (  # closed under swapping left and right
    (("raise-up-both-hands",), ("exhausted",)),
    (("wave-left-hand", "wave-right-hand"), ("masculine",)),
    (("wave-both-hands",), ("feminine",)),
    (("walk-turn-left", "walk-turn-right"), ("elderly",)),
    (("run", "dash"), ("elderly", "old")),
    (("walk",), ("active",)),
    (("walk-left", "walk-right"), ("happy",)),
    (("walk-back",), ("giant",)),
    (("bow",), ("proud",)),
    (("bye", "byebye", "guide"), ("tired",)),
)
SIMILAR = ("bye", "byebye", "guide")  # contents of Bandai's first set that are nearly the same movement
MIN_CLIPS = 12  # of a content of Bandai that is not only trained on
VALIDATION_SUBJECTS = {
    "nw-ucla": 2,
    "msr-action3d": 3,
    "utkinect": 2,
    "florence3d": 2,
    "utd-mhad": 4,
    "kinder-gator": 921,
}
TEST_SUBJECTS = {"nw-ucla": 9, "msr-action3d": 6, "utkinect": 8, "florence3d": 8, "utd-mhad": 8, "kinder-gator": 970}
TEST_RECORDINGS = (  # HumanML3D tests windows of the first five
    "01_05", "05_01", "131_07", "135_05", "135_06",
    "05_19", "06_10", "07_08", "09_11", "12_01", "49_02", "deepmimic_long_walk2", "13_31",
    "lafan1_walk2_subject4", "lafan1_run1_subject5", "lafan1_dance1_subject3", "lafan1_fight1_subject5",
    "lafan1_fallAndGetUp3_subject1", "style_t_limp_sad_t_walk_sad", "style_t_limp_slow_t_walk_slow",
    "g1moves_B_DadDance", "g1moves_B_ChopsKarate", "g1moves_J_Dance2_Salsa", "g1moves_J_Dance11_Gnarly",
    "g1moves_M_Move4", "g1moves_M_Move10", "asap_jump_forward_level4", "asap_kick_level2", "asap_squat_level2",
    "asap_single_foot_balance_level2", "asap_walk_level3", "ase_Atk_2xCombo03", "ase_Atk_4xCombo02",
    "ase_Counter_Atk03", "ase_Sword_ParryBackward02", "ase_WalkForward02",
)  # fmt: skip
VALIDATION_RECORDINGS = (
    "01_13", "02_02", "02_08", "05_05", "05_16", "06_15", "07_10", "11_01", "131_06", "39_xx", "cmu8_test_running",
    "lafan1_walk4_subject1", "lafan1_dance1_subject2", "lafan1_fallAndGetUp1_subject5", "style_t_run_fast_t_run_slow",
    "HDM_tr_squat1Reps", "HDM_tr_kickLFront1Reps", "HDM_tr_lieDownFloor",
    "g1moves_B_LongKarate", "g1moves_J_Dance8_WestCoast", "g1moves_J_ShortDance14_Disco", "g1moves_M_Move2",
    "asap_side_jump_level2", "asap_step_forward_forward_level2", "ase_Atk_3xCombo04", "ase_Idle_Ready(0)",
    "ase_Kill_3xCombo02",
)  # fmt: skip

# Net turns in degrees from which a clip is said to turn slightly, to a side, around, and in a circle; a clip that turns
# less in the end but more than WINDING in between winds.
SLIGHTLY, ASIDE, AROUND, CIRCLE, WINDING = 30, 45, 135, 240, 100

SEQUENCES = "sequences"  # the source of clips joined from others
RESTS = "rests"  # the source of clips of standing still, cut from those of all sets

log = logging.getLogger(__name__)

WITHOUT_CAPTIONS = frozenset(
    ("gestures20", "irds25", "irigesture_mp33", "jhmdb15", "yoga_mp33")
)  # data sets for recognition only


@dataclass(frozen=True, kw_only=True, slots=True)
class MotionClip:
    """One captioned motion: joints [T, 22, 3] at 20 frames a second, in the canonical frame."""

    joints: np.ndarray
    captions: tuple[str, ...]
    action: str
    style: str | None
    quality: str  # "mocap" or "kinect"
    split: str  # "train", "validation", "test" or "pairs"
    source: str
    name: str


def load_motions(data: Path) -> list[MotionClip]:
    """The clips of every set in a folder, except those under 16 frames, without an action, or with failed tracking.

    Where people stand still in one of them, that part is a clip of its own, too.

    The numbers of skipped clips are logged.

    Raises:
        InputError: there is no clip set, or one is damaged.
    """
    clips, skipped = [], Counter[str]()
    for clip_set in clip_sets(data):
        if clip_set.name in WITHOUT_CAPTIONS:
            continue
        for record, joints, split in zip(
            clip_set.clips, _motions(clip_set), assign_splits(clip_set.clips), strict=True
        ):
            action = captions.action(clip_set.name, record)
            if reason := _unusable(record, joints, action):
                skipped[f"{clip_set.name}: {reason}"] += 1
                continue
            assert action is not None
            clips.append(
                MotionClip(
                    joints=to_canonical(joints),
                    captions=captions.captions(clip_set.name, record, turn_of(joints)),
                    action=action,
                    style=record.get("style"),
                    quality="kinect" if record.get("ds") in TEST_SUBJECTS else "mocap",
                    split=split,
                    source=clip_set.name,
                    name=_name(record),
                )
            )
    still = [rest for clip in clips if (rest := stand_still(clip))]
    log.info("%d motions of %s, %d of standing still; skipped %s", len(clips), data, len(still), dict(skipped))
    return clips + still


def stand_still(clip: MotionClip) -> MotionClip | None:
    """Return the longest part of a clip in which a person stands still, played on to 3 s or more; None: none."""
    part = rests.rest_of(clip.joints)
    if part is None or clip.split == "pairs":
        return None
    record, name = {"action": "stand still"}, f"{clip.name} still {part.start}:{part.stop}"
    rng = np.random.default_rng(crc32(name.encode()))
    return replace(
        clip,
        joints=to_canonical(rests.extend(clip.joints[part], rng)),
        captions=captions.captions(RESTS, record),
        action=record["action"],
        style=None,
        source=RESTS,
        name=name,
    )


def mirror(clip: MotionClip) -> MotionClip:
    """Swap left and right, also in the captions; twice restores the clip."""
    name = clip.name.removesuffix(" mirrored")
    return replace(
        clip,
        joints=augment.mirror(clip.joints, SMPL),
        captions=tuple(map(captions.mirror_text, clip.captions)),
        action=captions.mirror_text(clip.action),
        name=name if name != clip.name else f"{name} mirrored",
    )


def windows(clip: MotionClip, longest: int = MAX_FRAMES, shortest: int = 40) -> list[slice]:
    """Consecutive windows of at most `longest` frames that cover a clip.

    The last window has at least `shortest` frames, so it may overlap the previous one; a remainder of fewer than four
    frames is dropped, as in HumanML3D.
    """
    T = len(clip.joints)
    first = [slice(begin, begin + longest) for begin in range(0, T - longest + 1, longest)]
    rest = T - len(first) * longest
    if first and rest < UNIT:
        return first
    return [*first, slice(max(0, min(T - rest, T - shortest)), T)]


def cut(clip: MotionClip, window: slice) -> MotionClip:
    """A window of a clip as a new clip, in its own canonical frame."""
    begin, end, _ = window.indices(len(clip.joints))
    if (begin, end) == (0, len(clip.joints)):
        return clip
    return replace(clip, joints=to_canonical(clip.joints[begin:end]), name=f"{clip.name} {begin}:{end}")


@dataclass(frozen=True, kw_only=True)
class BalancedSampler:
    """Endless, reproducible sampling of training clips, cropped and randomly mirrored.

    Within a capture quality, actions are weighted by the square root of their number of windows, and so are styles
    within an action; windows of a style are equally likely. Clips of quality "mocap" are a share `mocap` of all. Clips
    of several actions, which are equally likely, are a share `sequences` of all if there are some.
    """

    clips: Sequence[MotionClip]
    seed: int
    mocap: float = 0.7
    longest: int = MAX_FRAMES
    sequences: float = 0.0
    weights: np.ndarray = field(init=False)  # [N], probability of every clip

    def __post_init__(self) -> None:
        amount = np.array([len(windows(clip)) for clip in self.clips], float)
        weights = np.zeros(len(self.clips))
        composed = np.array([clip.source == SEQUENCES for clip in self.clips])
        for quality, chosen in _groups(np.flatnonzero(~composed), lambda i: self.clips[i].quality):
            share = {"mocap": self.mocap, "kinect": 1 - self.mocap}[quality]
            actions = _groups(chosen, lambda i: self.clips[i].action)
            for _, same_action in actions:
                for _, same_style in _groups(same_action, lambda i: self.clips[i].style):
                    n = amount[same_style]
                    weights[same_style] = np.sqrt(n.sum()) * n / n.sum()
                weights[same_action] *= np.sqrt(amount[same_action].sum()) / weights[same_action].sum()
            weights[chosen] *= share / weights[chosen].sum()
        weights *= (1 - self.sequences * composed.any()) / weights.sum()
        weights[composed] = self.sequences / max(1, composed.sum())
        object.__setattr__(self, "weights", weights)

    def batch(self, step: int, size: int) -> list[MotionClip]:
        """Clips of 4 n <= `longest` frames; sample i depends on seed, step and i only."""
        return [self.sample(np.random.default_rng((self.seed, step, i))) for i in range(size)]

    def sample(self, rng: Generator) -> MotionClip:
        clip = self.clips[int(rng.choice(len(self.clips), p=self.weights))]
        length = min(len(clip.joints), self.longest) // UNIT * UNIT
        if rng.random() < 1 / 3 and length > MIN_FRAMES:  # varies lengths, as in HumanML3D's loaders
            length -= UNIT
        begin = int(rng.integers(len(clip.joints) - length + 1))
        clip = cut(clip, slice(begin, begin + length))
        return mirror(clip) if rng.random() < 0.5 else clip


def assign_splits(records: Sequence[dict[str, Any]]) -> list[str]:
    """The split of every record of a clip set, decided by whole recordings, takes or subjects.

    Bandai's takes of a content and style are consecutive parts of one recording, and neighbors are the most similar:
    the first 8 % are for validation, the last 8 % for testing. Its first set has one take of each; there, styles are
    ordered by a hash.
    """
    assigned = ["train"] * len(records)
    takes: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    size = Counter(record["content"] for record in records if "content" in record)
    for i, record in enumerate(records):
        if record.get("ds") in TEST_SUBJECTS:
            subjects = {"validation": VALIDATION_SUBJECTS, "test": TEST_SUBJECTS}
            named = [split for split, held in subjects.items() if held.get(record["ds"]) == record["subject"]]
            assigned[i] = named[0] if named else "train"
        elif "content" not in record:
            assigned[i] = _recording_split(record)
        elif any(record["content"] in contents and record["style"] in styles for contents, styles in PAIRS):
            assigned[i] = "pairs"
        elif record["set"] == 1 and size[record["content"]] >= MIN_CLIPS:
            takes[SIMILAR[0] if record["content"] in SIMILAR else record["content"], None].append(i)
        elif record["set"] != 1:
            takes[record["content"], record["style"]].append(i)
    for (content, style), members in takes.items():
        if style is None:
            groups = _groups(members, lambda i: records[i]["style"])
            groups.sort(key=lambda group, content=content: crc32(f"{content} {group[0]}".encode()))  # type: ignore[misc]
        else:
            groups = sorted(_groups(members, lambda i: records[i]["take"]))
        held = round(0.08 * len(groups))
        for split, part in (("validation", groups[:held]), ("test", groups[len(groups) - held :])):
            for i in (i for _, group in part for i in group):
                assigned[i] = split
    return assigned


def turn_of(joints: np.ndarray) -> str:
    """Return how a person turns in a clip [T, 22, 3]: one of `captions.turns()`."""
    degrees = -np.degrees(np.unwrap(heading(joints, SMPL)))  # to the left
    net = float(degrees[-1] - degrees[0])
    if abs(net) < ASIDE and np.ptp(degrees) >= WINDING:
        return "winding"
    side = "left" if net > 0 else "right"
    for least, turn in ((CIRCLE, f"circle {side}"), (AROUND, f"around {side}"), (ASIDE, side)):
        if abs(net) >= least:
            return turn
    return f"slightly {side}" if abs(net) >= SLIGHTLY else ""


def recording(record: dict[str, Any]) -> str:
    """The recording a mocap clip was cut from: CMU's trial or, if unknown, the action of CMU's eight."""
    name = vocabulary.recording(record)
    match record.get("ds"):
        case "lafan1-g1":  # a take of some minutes
            return name.rpartition("_")[0]
        case "aalto-styles":  # mixtures of the same walks
            return name.rstrip("_0123456789")
        case "hdm05":  # the repetitions of one person
            return name.rsplit("_", 2)[0]
    return name.rstrip("0123456789").rstrip("_") if name.startswith("cmu8_") else name


def _recording_split(record: dict[str, Any]) -> str:
    name = recording(record)
    if name.startswith("HDM_mm_"):
        return "test"
    return "test" if name in TEST_RECORDINGS else "validation" if name in VALIDATION_RECORDINGS else "train"


def _unusable(record: dict[str, Any], joints: np.ndarray, action: str | None) -> str | None:
    if action is None:
        return "without an action"
    if _is_child(record):
        return "of children"
    if len(joints) < MIN_FRAMES:
        return f"under {MIN_FRAMES} frames"
    return "tracking failed" if record.get("ds") in TEST_SUBJECTS and not tracking_ok(joints, RATE_HZ) else None


def _is_child(record: dict[str, Any]) -> bool:
    return record.get("group") == "child"  # whose proportions are not those of `lift`


def _motions(clip_set: ClipSet) -> Iterator[np.ndarray]:
    """Joints [T, 22, 3] at 20 frames per second of every clip in order; Kinect clips are leveled and lifted.

    Clips of children have no frames.
    """
    level: dict[tuple[Any, ...], np.ndarray] = {}
    if clip_set.layout.name == "kinect20":
        for sensor, members in _groups(range(len(clip_set)), lambda i: _sensor(clip_set.clips[i])):
            level[sensor] = leveling_rotation([clip_set[i].joints for i in members])
    for motion, record in zip(clip_set, clip_set.clips, strict=True):
        if _is_child(record):
            yield np.zeros((0, len(SMPL.joints), 3), np.float32)
        elif level:
            fps = TRUE_RATE_HZ.get(_sensor(record)[0], motion.fps)
            joints = _extend(motion.joints, int(np.ceil((MIN_FRAMES - 1) * fps / RATE_HZ)) + 1)
            yield lift(joints @ level[_sensor(record)].T, fps, RATE_HZ)
        else:
            joints = SMPL.map_from(clip_set.layout) @ motion.joints
            frames = round((len(joints) - 1) * RATE_HZ / motion.fps) + 1
            yield joints if motion.fps == RATE_HZ else resample(joints, frames)


def _extend(joints: np.ndarray, frames: int) -> np.ndarray:
    """Extend to at least `frames` frames by holding the first and last pose: some Kinect clips last half a second."""
    missing = max(0, frames - len(joints))
    return np.pad(joints, ((missing // 2, missing - missing // 2), (0, 0), (0, 0)), "edge")


def _sensor(record: dict[str, Any]) -> tuple[Any, ...]:
    return record.get("ds"), record.get("view")


def _name(record: dict[str, Any]) -> str:
    if record.get("ds") in TEST_SUBJECTS:
        parts = (
            record["ds"],
            record["action"],
            f"s{record['subject']}",
            f"r{record.get('rep')}",
            f"v{record.get('view')}",
        )
        return " ".join(parts)
    if "trial" in record and "ds" not in record:
        return f"cmu {record['trial']} {record['kind']} {record['f0']}:{record['f1']}"
    return str(record["id"])


def _groups(members: Any, key: Any) -> list[tuple[Any, list[int]]]:
    """Members grouped by key, in order of first occurrence."""
    groups: dict[Any, list[int]] = {}
    for i in members:
        groups.setdefault(key(i), []).append(i)
    return list(groups.items())

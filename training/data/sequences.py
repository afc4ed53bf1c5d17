"""Clips of several actions in turn, or of one done two or three times, joined from single ones. Needs no torch.

Shapes: T time, V = 22 joints. Meters, y up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator

from ...runtime.body.canonical import FEET, SMPL, heading, rotate_y, to_canonical
from ...runtime.generation.postprocess import fix_bone_lengths
from .motions import MAX_FRAMES, RATE_HZ, SEQUENCES, BalancedSampler, MotionClip, turn_of

COUNTED = 0.35  # share of the clips that repeat an action
THREE = 0.25  # share of three parts, or of an action done three times
REPEATABLE = frozenset(
    ("bow", "kick", "side kick", "jump", "hop", "squat", "lunge", "throw", "push", "catch", "touch toes", "raise knee")
    + ("raise right hand", "raise left hand", "raise both hands", "wave", "wave both hands", "pick up", "reach up")
    + ("put down", "swipe left", "swipe right", "draw circle", "push button", "golf swing", "tennis serve")
)  # whose clips show them once
LASTING = frozenset(
    (
        "walk",
        "run",
        "walk backward",
        "limp",
        "sneak",
        "stand still",
        "dance",
        "walk in place",
        "run in place",
        "zombie walk",
    )
)  # any part of which shows them
PART_FRAMES = (40, 88)  # of a lasting action; no other is longer than the second
APART_M = 0.25  # most that a joint is from where it goes on
SPEED = 1.0  # m/s, of the joint farthest from where it goes on, when poses are bridged
BRIDGE_FRAMES = (4, 8)  # at least, at most
TRIES = 50
NUMBERS = {2: ("twice", "two times"), 3: ("three times", "three times in a row")}
JOINTS_OF_TWO = (
    "{a}, then {b}",
    "{a} and then {b}",
    "{a}, and then {b}",
    "first {a}, then {b}",
    "{a}, and after that {b}",
)
JOINTS_OF_THREE = ("{a}, {b} and then {c}", "{a}, then {b}, then {c}", "{a}, then {b} and then {c}")
CAPTIONS = 4  # of a clip
GROUND = np.array([1, 0, 1], np.float32)  # x and z

_SUBJECT = re.compile(r"((?:a|the) (?:person|man|woman|figure)|someone|somebody) (?=(?!is |his |its )\w+s )")
_UNFIT = re.compile(r"[,;]|\b(?:then|once|twice|times|again|he|she|they|his|her|its|their|as|before|after|several)\b")


def compose(clips: Sequence[MotionClip], count: int, seed: int) -> list[MotionClip]:
    """Join clips to `count` new ones, "a person walks, then bows", "someone waves twice"; they depend on the seed only.

    Parts are drawn as for training. A part goes on where the one before it ends, in a similar pose and with the body of
    the first. All have the source `SEQUENCES`.
    """
    found: list[MotionClip] = []
    clips = [clip for clip in clips if any(map(_predicate, clip.captions))]
    sampler = BalancedSampler(clips=clips, seed=seed)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        for _ in range(TRIES):
            parts = _repeat(sampler, rng) if rng.random() < COUNTED else _follow(sampler, rng)
            if parts and (texts := tuple(dict.fromkeys(_describe(parts, rng)))):
                found.append(_join(parts, texts, f"sequence {i}"))
                break
    return found


def _follow(sampler: BalancedSampler, rng: Generator) -> list[MotionClip]:
    """Two or three parts of one capture quality, each of which begins as the one before it ends; empty: not found."""
    count = 3 if rng.random() < THREE else 2
    parts: list[MotionClip] = []
    for _ in range(TRIES):
        part = _part(sampler.sample(rng), rng)
        if part is None or (parts and (part.quality != parts[0].quality or part.action == parts[-1].action)):
            continue
        if parts and _apart(parts[-1].joints[-1], part.joints[0]) > APART_M:
            continue
        parts.append(part)
        if sum(len(one.joints) for one in parts) > MAX_FRAMES - 8 * count:
            return []
        if len(parts) == count:
            return parts
    return []


def _repeat(sampler: BalancedSampler, rng: Generator) -> list[MotionClip]:
    """An action two or three times; empty: not found."""
    clip = sampler.sample(rng)
    count = 3 if rng.random() < THREE else 2
    fits = len(clip.joints) <= min(PART_FRAMES[1], MAX_FRAMES // count - 8)
    if clip.action not in REPEATABLE or not fits or _apart(clip.joints[-1], clip.joints[0]) > APART_M:
        return []
    return [clip] * count


def _part(clip: MotionClip, rng: Generator) -> MotionClip | None:
    """A clip, or a part of a lasting action that goes straight; None: too long."""
    T = len(clip.joints)
    if clip.action not in LASTING:
        return clip if PART_FRAMES[1] >= T else None
    length = min(T, int(rng.integers(*PART_FRAMES)))
    begin = int(rng.integers(T - length + 1))
    joints = clip.joints[begin : begin + length]
    if clip.action != "dance" and (turn_of(clip.joints) or turn_of(joints)):
        return None
    return MotionClip(
        joints=joints, captions=clip.captions, action=clip.action, style=clip.style, quality=clip.quality,
        split=clip.split, source=clip.source, name=clip.name,
    )  # fmt: skip


def _apart(last: np.ndarray, first: np.ndarray) -> float:
    """Largest distance between the joints of two poses [V, 3] that stand at one place and face one way."""
    a, b = (_face(pose) for pose in (last, first))
    return float(np.linalg.norm(a - b, axis=1).max())


def _face(pose: np.ndarray) -> np.ndarray:
    pose = pose[None] - pose[:1] * GROUND
    return rotate_y(pose, heading(pose, SMPL)[0])[0]


def _join(parts: Sequence[MotionClip], texts: tuple[str, ...], name: str) -> MotionClip:
    joints = parts[0].joints
    for part in parts[1:]:
        joints = _append(joints, part.joints)
    joints = fix_bone_lengths(joints, parts[0].joints)  # a bridge shortens bones a little
    same = parts[0] is parts[1]
    action = f"{parts[0].action} {NUMBERS[len(parts)][0]}" if same else ", then ".join(part.action for part in parts)
    return MotionClip(
        joints=to_canonical(joints[:MAX_FRAMES]), captions=texts, action=action, style=None, quality=parts[0].quality,
        split=parts[0].split, source=SEQUENCES, name=name,
    )  # fmt: skip


def _append(past: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Joints of a motion and of another with its body, which goes on where it ends, after a bridge of a few frames."""
    frames = int(np.clip(np.ceil(_apart(past[-1], new[0]) / SPEED * RATE_HZ), *BRIDGE_FRAMES))
    new = fix_bone_lengths(new, past)
    new[..., 1] += past[:, FEET, 1].min() - new[:, FEET, 1].min()
    new = rotate_y(new - new[:1, :1] * GROUND, float(heading(new[:1], SMPL)[0] - heading(past[-1:], SMPL)[0]))
    before, after = past[-1] - past[-2], new[1] - new[0]
    new += (past[-1, 0] + (frames + 1) * (before[0] + after[0]) / 2) * GROUND
    t = (np.arange(1, frames + 1) / (frames + 1))[:, None, None]
    bridge = (  # Hermite's cubic: position and velocity go on at both ends
        (2 * t**3 - 3 * t**2 + 1) * past[-1]
        + (t**3 - 2 * t**2 + t) * (frames + 1) * before
        + (3 * t**2 - 2 * t**3) * new[0]
        + (t**3 - t**2) * (frames + 1) * after
    )
    return np.concatenate([past, bridge, new]).astype(np.float32)


def _describe(parts: Sequence[MotionClip], rng: Generator) -> Iterator[str]:
    """Sentences on the parts in turn; none if one of the parts has no sentence that fits."""
    predicates = [[text for text in map(_predicate, part.captions) if text] for part in parts]
    subjects = ("a person", "someone", "a man", "the person", "a woman", "a figure")
    for subject in ("a person", *(str(one) for one in rng.choice(subjects, CAPTIONS - 1))):
        chosen = [texts[int(rng.integers(len(texts)))] for texts in predicates]
        if parts[0] is parts[1]:
            numbers = NUMBERS[len(parts)]
            yield f"{subject} {chosen[0]} {numbers[int(rng.integers(len(numbers)))]}"
        else:
            forms = JOINTS_OF_TWO if len(parts) == 2 else JOINTS_OF_THREE
            form = forms[int(rng.integers(len(forms)))]
            yield f"{subject} {form.format(**dict(zip('abc', chosen, strict=False)))}"


def _predicate(caption: str) -> str:
    """The caption without its subject, "walks forward"; empty if that cannot follow another subject."""
    begin = _SUBJECT.match(caption + " ")
    text = caption[begin.end() :] if begin else ""
    return "" if _UNFIT.search(text) or len(text.split()) > 9 else text

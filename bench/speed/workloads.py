"""Real recordings as a sensor hands them in over hours: people come and go, frames are late, joints and people missing.

The same for the same seed. Shapes: M people, V joints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from ...runtime.body.motion import Motion
from ...training.data.clips import clip_sets

SAMPLES = Path(__file__).parents[2] / "runtime" / "samples"
MOST_PEOPLE = 4
STAY_S = (2.0, 20.0)
GAP_S = 0.7  # longer than what a recogniser fills
# chance a moment
ARRIVAL, GAP, LATE, RESET = 0.02, 0.002, 0.005, 0.001
# chance a frame
SOME_MISSING, ALL_MISSING = 0.03, 0.005


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """One person at one moment: joints [V, 3] in metres, NaN where missing."""

    person: int
    joints: np.ndarray
    layout: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Everybody in sight at time `t`, seconds. Before it, `reset` is to be forgotten."""

    t: float
    poses: list[Pose]
    reset: int | None = None


@dataclass(slots=True)
class Actor:
    """Somebody who plays a recording again and again until it is time to leave."""

    motion: Motion
    frame: int
    leaves: float


def samples() -> list[Motion]:
    """The recordings that ship with the package."""
    return [Motion.load(path) for path in sorted(SAMPLES.glob("*.npz"))]


def some_clips(data: Path, of_each: int) -> list[Motion]:
    """Clips of every set in a folder, evenly over the set.

    Raises:
        InputError: the folder holds no clip set.
    """
    chosen = []
    for clip_set in clip_sets(data):
        picks = np.linspace(0, len(clip_set) - 1, min(of_each, len(clip_set))).round().astype(int)
        chosen += [clip_set[int(i)] for i in picks]
    return chosen


def traffic(motions: Sequence[Motion], rate_hz: float, seed: int = 0, haste: float = 1.0) -> Iterator[Moment]:
    """Moments without end, 1 / rate_hz apart; one person to begin with, at most `MOST_PEOPLE` at once.

    With haste, whatever may happen happens that many times as often.
    """
    rng, ids, here, t = np.random.default_rng(seed), count(), dict[int, Actor](), 0.0
    while True:
        t += GAP_S if rng.random() < haste * GAP else 1 / rate_hz
        here = {person: actor for person, actor in here.items() if actor.leaves > t}
        if not here or (len(here) < MOST_PEOPLE and rng.random() < haste * ARRIVAL):
            motion = motions[int(rng.integers(len(motions)))].person(0)
            here[next(ids)] = Actor(motion, int(rng.integers(motion.frames)), t + rng.uniform(*STAY_S) / haste)
        poses = []
        for person, actor in here.items():
            joints = actor.motion.joints[actor.frame % actor.motion.frames]
            poses.append(Pose(person=person, joints=_spoilt(joints, rng), layout=actor.motion.layout))
            actor.frame += 1
        reset = int(rng.choice(list(here))) if rng.random() < haste * RESET else None
        yield Moment(t=t - 1.5 / rate_hz if rng.random() < haste * LATE else t, poses=poses, reset=reset)


def _spoilt(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The pose, now and then without some or all of its joints."""
    chance = rng.random()
    if chance < ALL_MISSING:
        return np.full_like(joints, np.nan)
    if chance < ALL_MISSING + SOME_MISSING:
        joints = joints.copy()
        joints[rng.random(len(joints)) < 0.3] = np.nan
    return joints

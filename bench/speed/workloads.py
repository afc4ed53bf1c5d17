"""Hours of simulated sensor input from real recordings: people come and go, frames are late, joints are missing.

Deterministic for a seed. Shapes: M people, V joints.
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
MAX_PEOPLE = 4
STAY_S = (2.0, 20.0)
GAP_S = 0.7  # longer than the gap that a recognizer fills
# probability per moment
ARRIVAL, GAP, LATE, RESET = 0.02, 0.002, 0.005, 0.001
# probability per frame
SOME_MISSING, ALL_MISSING = 0.03, 0.005


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """One person at one moment: joints [V, 3] in meters, NaN where missing."""

    person: int
    joints: np.ndarray
    layout: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """All visible people at time `t`, seconds. Person `reset` is reset beforehand."""

    t: float
    poses: list[Pose]
    reset: int | None = None


@dataclass(slots=True)
class Actor:
    """A person who loops a recording until it is time to leave."""

    motion: Motion
    frame: int
    leaves: float


def samples() -> list[Motion]:
    """The recordings that ship with the package."""
    return [Motion.load(path) for path in sorted(SAMPLES.glob("*.npz"))]


def sample_clips(data: Path, per_set: int) -> list[Motion]:
    """Evenly spaced clips of every set in a folder.

    Raises:
        InputError: the folder holds no clip set.
    """
    chosen = []
    for clip_set in clip_sets(data):
        picks = np.linspace(0, len(clip_set) - 1, min(per_set, len(clip_set))).round().astype(int)
        chosen += [clip_set[int(i)] for i in picks]
    return chosen


def simulate_sensor(
    motions: Sequence[Motion], rate_hz: float, seed: int = 0, event_rate: float = 1.0
) -> Iterator[Moment]:
    """Endless moments, 1 / rate_hz apart; one person at first, at most `MAX_PEOPLE` at the same time.

    `event_rate` multiplies the rate of all random events.
    """
    rng, ids, present, t = np.random.default_rng(seed), count(), dict[int, Actor](), 0.0
    while True:
        t += GAP_S if rng.random() < event_rate * GAP else 1 / rate_hz
        present = {person: actor for person, actor in present.items() if actor.leaves > t}
        if not present or (len(present) < MAX_PEOPLE and rng.random() < event_rate * ARRIVAL):
            motion = motions[int(rng.integers(len(motions)))].person(0)
            present[next(ids)] = Actor(motion, int(rng.integers(motion.frames)), t + rng.uniform(*STAY_S) / event_rate)
        poses = []
        for person, actor in present.items():
            joints = actor.motion.joints[actor.frame % actor.motion.frames]
            poses.append(Pose(person=person, joints=_drop_joints(joints, rng), layout=actor.motion.layout))
            actor.frame += 1
        reset = int(rng.choice(list(present))) if rng.random() < event_rate * RESET else None
        yield Moment(t=t - 1.5 / rate_hz if rng.random() < event_rate * LATE else t, poses=poses, reset=reset)


def _drop_joints(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The pose, occasionally without some or all of its joints."""
    draw = rng.random()
    if draw < ALL_MISSING:
        return np.full_like(joints, np.nan)
    if draw < ALL_MISSING + SOME_MISSING:
        joints = joints.copy()
        joints[rng.random(len(joints)) < 0.3] = np.nan
    return joints

"""Made-up motion for the tests of protocols: a skeleton whose head tells what it does, and who can read it."""

from collections.abc import Sequence

import numpy as np

from motionrt.bench.accuracy.scoring import Example
from motionrt.runtime.body.layout import Layout

SMPL = Layout.load("smpl22")
HEAD, NECK = SMPL.joints.index("head"), SMPL.joints.index("neck")


def code(action: int) -> np.ndarray:
    """Where the head is, relative to the neck, when somebody does this: a point that tells actions apart."""
    return np.array([0, 0.2, 0]) + 0.1 * np.random.default_rng((7, action)).normal(size=3)


def clip(action: int, frames: int = 40, seed: int = 0) -> np.ndarray:
    """Somebody does this, a little differently for every seed, walking."""
    rng, t = np.random.default_rng((action, seed)), np.arange(frames)[:, None]
    pose = np.zeros((22, 3))
    for joint, parent in SMPL.edges:
        up = -0.2 if any(part in SMPL.joints[joint] for part in ("hip", "knee", "ankle", "foot")) else 0.1
        pose[joint] = pose[parent] + [0.01 * joint, up, 0.02]
    pose[:, 1] -= pose[:, 1].min()
    joints = np.repeat(pose[None], frames, 0)
    joints[:, HEAD] = joints[:, NECK] + code(action) + 0.002 * rng.normal(size=3)
    return joints + np.stack([0 * t, 0 * t, 0.02 * t], 2) + 0.03 * rng.normal() * np.sin(0.3 * t)[..., None]


def example(action: int, frames: int = 40, seed: int = 0) -> Example:
    return Example(
        joints=clip(action, frames, seed),
        captions=(f"somebody does {action}", f"a person does {action}"),
        description=action,
        group=(action, seed),
    )


def named(text: str) -> int:
    return int(text.split()[-1])


class Reader:
    """Reads the action from where the head is, and from the last word of a text."""

    def motions(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([(joints[:, HEAD] - joints[:, NECK]).mean(0) for joints in clips])

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([code(named(text)) for text in texts])


def obeys(texts: Sequence[str], lengths: Sequence[int], seed: int) -> list[np.ndarray]:
    """A generator that does what it is told."""
    return [
        clip(named(text), frames, 100 + seed + i) for i, (text, frames) in enumerate(zip(texts, lengths, strict=True))
    ]


def stands(texts: Sequence[str], lengths: Sequence[int], seed: int) -> list[np.ndarray]:
    """A generator that does the same whatever it is told."""
    return [clip(0, frames, 100 + seed + i) for i, frames in enumerate(lengths)]

"""Synthetic motion for the tests of protocols: the head's position encodes the action, and a reader decodes it."""

from collections.abc import Sequence

import numpy as np

from motionrt.bench.accuracy.protocols.scoring import Example
from motionrt.runtime.body.layout import Layout

SMPL = Layout.load("smpl22")
HEAD, NECK = SMPL.joints.index("head"), SMPL.joints.index("neck")


def code(action: int) -> np.ndarray:
    """Position of the head relative to the neck during an action; different for every action."""
    return np.array([0, 0.2, 0]) + 0.1 * np.random.default_rng((7, action)).normal(size=3)


def clip(action: int, frames: int = 40, seed: int = 0) -> np.ndarray:
    """A person performs the action while walking, with small variations per seed."""
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
        captions=(f"someone does {action}", f"a person does {action}"),
        description=action,
        group=(action, seed),
    )


def action_of(text: str) -> int:
    return int(text.split()[-1])


class Reader:
    """Decodes the action from the position of the head, and from the last word of a text."""

    def motions(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([(joints[:, HEAD] - joints[:, NECK]).mean(0) for joints in clips])

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([code(action_of(text)) for text in texts])


def follows_prompt(texts: Sequence[str], lengths: Sequence[int], seed: int) -> list[np.ndarray]:
    """A generator that follows the prompt."""
    return [
        clip(action_of(text), frames, 100 + seed + i)
        for i, (text, frames) in enumerate(zip(texts, lengths, strict=True))
    ]


def ignores_prompt(texts: Sequence[str], lengths: Sequence[int], seed: int) -> list[np.ndarray]:
    """A generator that ignores the prompt."""
    return [clip(0, frames, 100 + seed + i) for i, frames in enumerate(lengths)]

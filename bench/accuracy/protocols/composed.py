"""Two actions in one description: `motionrt eval composed --model default`.

Rules on joints, and for sequences also `live`, tell in which frames an action is seen. Prompts, in `composed.json`, and
rules were written before any was tried. Needs no torch.

Shapes: T frames, V joints of smpl22, meters, y up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....runtime.body.canonical import FEET, SMPL, heading
from ....runtime.generation.generator import Generator
from ....runtime.progress import progress
from ....runtime.recognition.recognizer import Recognizer
from .closed_loop import frame_labels

PROMPTS = Path(__file__).parents[1] / "composed.json"
FPS = 20
TURN = np.pi / 4  # at least, in two seconds
BRIEF_S, LONG_S = 0.3, 1.0  # for which legs and arms must be seen at once
BRIEF = ("clap", "punch")
JOINT = {name: i for i, name in enumerate(SMPL.joints)}

Rule = Callable[[np.ndarray], np.ndarray]
"""joints [T, V, 3] -> [T] bool, whether the action is seen."""


def above(joints: np.ndarray, side: str) -> np.ndarray:
    """Whether a wrist is above its shoulder."""
    seen: np.ndarray = joints[:, JOINT[f"{side}_wrist"], 1] > joints[:, JOINT[f"{side}_shoulder"], 1]
    return seen


def speed(joints: np.ndarray, frames: int = FPS) -> np.ndarray:
    """Speed of the pelvis in the ground plane over some frames, [T] m/s."""
    frames = min(frames, len(joints) - 1)
    at = joints[:, 0, [0, 2]]
    moves = np.linalg.norm(at[frames:] - at[:-frames], axis=1) * FPS / frames
    return np.pad(moves, (frames // 2, frames - frames // 2), "edge")


def turned(joints: np.ndarray, sign: int) -> np.ndarray:
    """Whether the heading changes to one side within two seconds."""
    angle, frames = sign * heading(joints, SMPL), min(2 * FPS, len(joints) - 1)
    change = angle[frames:] - angle[:-frames]
    return np.pad(change > TURN, (frames // 2, frames - frames // 2), "edge")


def height(joints: np.ndarray, joint: str) -> np.ndarray:
    """Height of a joint, relative to its highest in the clip."""
    level = joints[:, JOINT[joint], 1] - joints[:, FEET, 1].min()
    ratio: np.ndarray = level / np.quantile(level, 0.95)
    return ratio


def fist_speed(joints: np.ndarray) -> np.ndarray:
    """Speed of the faster wrist relative to the neck, [T] m/s."""
    wrists = joints[:, [JOINT["left_wrist"], JOINT["right_wrist"]]] - joints[:, [JOINT["neck"]]]
    return np.pad(FPS * np.linalg.norm(np.diff(wrists, axis=0), axis=2).max(1), (0, 1), "edge")


RULES: dict[str, Rule] = {
    "walk": lambda x: (speed(x) > 0.4) & (speed(x) < 2),
    "run": lambda x: speed(x) > 1.5,
    "turn left": lambda x: turned(x, -1),
    "turn right": lambda x: turned(x, 1),
    "wave": lambda x: above(x, "left") | above(x, "right"),
    "wave both hands": lambda x: above(x, "left") & above(x, "right"),
    "raise left hand": lambda x: above(x, "left"),
    "raise right hand": lambda x: above(x, "right"),
    "raise both hands": lambda x: above(x, "left") & above(x, "right"),
    "clap": lambda x: np.linalg.norm(x[:, JOINT["left_wrist"]] - x[:, JOINT["right_wrist"]], axis=1) < 0.25,
    "punch": lambda x: fist_speed(x) > 2,
    "jump": lambda x: x[:, FEET, 1].min(1) - x[:, FEET, 1].min() > 0.08,
    "bow": lambda x: (height(x, "head") < 0.85) & (height(x, "pelvis") > 0.8),
    "sit down": lambda x: height(x, "pelvis") < 0.75,
    "kick": lambda x: x[:, FEET, 1].max(1) - x[:, FEET, 1].min() > 0.35,
}


def seen_together(joints: np.ndarray, legs: str, arms: str) -> bool:
    """Whether both are seen at once, for a second in all, or a third of one for brief actions."""
    together = RULES[legs](joints) & RULES[arms](joints)
    return bool(together.sum() >= FPS * (BRIEF_S if arms in BRIEF else LONG_S))


def seen_in_order(joints: np.ndarray, labels: list[str], first: str, second: str) -> bool:
    """Whether both are seen, by their rules or as labels, and half of the first before half of the second."""
    frames = [np.flatnonzero(RULES[name](joints) | (np.array(labels) == name)) for name in (first, second)]
    return all(map(len, frames)) and bool(np.median(frames[0]) < np.median(frames[1]))


def composed(generator: Generator, recognizer: Recognizer, prompts: Mapping[str, Any]) -> dict[str, Any]:
    """Generate every prompt as it is, and split into its actions."""
    described = json.loads(PROMPTS.read_text())
    report: dict[str, Any] = {}
    rows = []
    for kind in ("together", "sequences"):
        for seed, (text, one, other) in enumerate(progress(described[kind], kind)):
            row: dict[str, Any] = {"kind": kind, "text": text}
            for name, split in (("plain", False), ("split", True)):
                joints = generator.generate(text, seed=seed, split=split).joints
                if kind == "together":
                    row[name] = seen_together(joints, one, other)
                else:
                    row[name] = seen_in_order(joints, frame_labels(recognizer, joints, generator), one, other)
            rows.append(row)
        own = [row for row in rows if row["kind"] == kind]
        report[kind] = {"n": len(own)} | {
            name: 100 * float(np.mean([row[name] for row in own])) for name in ("plain", "split")
        }
    return {
        "protocol": "prompts of two actions, both seen at once by rules on joints, or one after the other by rules or "
        "`live`; generated as they are, and split into their actions",
        **report,
        "rows": rows,
    }

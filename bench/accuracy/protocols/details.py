"""Counts, standing still and turns, as descriptions say: `motionrt eval details --model default`.

Prompts, in `details.json`, and rules on joints were written before any was tried. Needs no torch.

Shapes: T frames, V joints of smpl22, meters, y up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....runtime.body.canonical import FEET, SMPL, heading
from ....runtime.body.motion import Motion
from ....runtime.body.rotations import Rig
from ....runtime.generation.generator import Generator
from ....runtime.progress import progress
from ....runtime.recognition.recognizer import Recognizer
from .composed import JOINT, height

PROMPTS = Path(__file__).parents[1] / "details.json"
STANDING = 0.9  # of the height of the pelvis in the rest pose, at least, in every frame
DRIFT_M = 0.1  # of the pelvis in the ground plane, from where it was first
NEAR_DEG = 45  # between the net turn and the one described
LEFT, RIGHT = "left", "right"


def lift(joints: np.ndarray, side: str) -> np.ndarray:
    """Height of a wrist above its shoulder, [T]."""
    rise: np.ndarray = joints[:, JOINT[f"{side}_wrist"], 1] - joints[:, JOINT[f"{side}_shoulder"], 1]
    return rise


def reach(joints: np.ndarray, side: str) -> np.ndarray:
    """Distance of a wrist from its shoulder in the ground plane, [T], of the arm's length."""
    shoulder, elbow, wrist = (joints[:, JOINT[f"{side}_{part}"]] for part in ("shoulder", "elbow", "wrist"))
    arm = np.median(np.linalg.norm(elbow - shoulder, axis=1) + np.linalg.norm(wrist - elbow, axis=1))
    extent: np.ndarray = np.linalg.norm((wrist - shoulder)[:, [0, 2]], axis=1) / arm
    return extent


def feet(joints: np.ndarray) -> np.ndarray:
    """Height of the feet above the lowest in the clip, [T, 2]."""
    level: np.ndarray = joints[:, FEET, 1] - joints[:, FEET, 1].min()
    return level


# action -> signals [T] of a motion, and the levels that each exceeds in an event and falls below between two
EVENTS: dict[str, tuple[Callable[[np.ndarray], list[np.ndarray]], float, float]] = {
    "jump": (lambda x: [feet(x).min(1)], 0.08, 0.04),
    "kick": (lambda x: [feet(x).max(1)], 0.35, 0.2),
    "squat": (lambda x: [-height(x, "pelvis")], -0.75, -0.9),
    "bow": (lambda x: [-height(x, "head")], -0.85, -0.93),
    "clap": (lambda x: [-np.linalg.norm(x[:, JOINT["left_wrist"]] - x[:, JOINT["right_wrist"]], axis=1)], -0.25, -0.3),
    "punch": (lambda x: [reach(x, LEFT), reach(x, RIGHT)], 0.75, 0.55),
    "raise left hand": (lambda x: [lift(x, LEFT)], 0.0, -0.1),
    "raise right hand": (lambda x: [lift(x, RIGHT)], 0.0, -0.1),
    "raise both hands": (lambda x: [np.minimum(lift(x, LEFT), lift(x, RIGHT))], 0.0, -0.1),
}


def count(action: str, joints: np.ndarray) -> int:
    """Number of times that an action is seen in joints [T, V, 3]."""
    signals, high, low = EVENTS[action]
    return sum(rises(signal, high, low) for signal in signals(joints))


def rises(signal: np.ndarray, high: float, low: float) -> int:
    """Number of times that a signal [T] exceeds one level, at first or after it was below a lower one."""
    total, is_over = 0, False
    for value in signal:
        if not is_over and value > high:
            total, is_over = total + 1, True
        elif value < low:
            is_over = False
    return total


def is_still(motion: Motion) -> bool:
    """Whether a person stands upright in one place in all frames."""
    joints, rig = motion.joints, Rig.from_motion(motion)
    legs = sum(-rig.offsets[SMPL.joints.index(f"left_{part}"), 1] for part in ("hip", "knee", "ankle", "foot"))
    pelvis = joints[:, 0]
    drift = np.linalg.norm((pelvis - pelvis[0])[:, [0, 2]], axis=1).max()
    is_up = pelvis[:, 1] - joints[:, FEET, 1].min() >= STANDING * legs
    return bool(is_up.all() and drift < DRIFT_M)


def left_turn(joints: np.ndarray) -> float:
    """Net turn to the left, in degrees."""
    facing = heading(joints, SMPL)
    return float(np.degrees(facing[0] - facing[-1]))


def is_turned(turn_deg: float, expected_deg: float, side: str) -> bool:
    """Whether a net turn to the left is about what was said."""
    signed = abs(turn_deg) if side == "either" else turn_deg if side == LEFT else -turn_deg
    return abs(signed - expected_deg) <= NEAR_DEG


def details(generator: Generator, recognizer: Recognizer, prompts: Mapping[str, Any]) -> dict[str, Any]:
    """Generate every prompt as it is, and split into its actions."""
    described = json.loads(PROMPTS.read_text())
    rows: list[dict[str, Any]] = []
    for kind, title in (("counts", "counts"), ("still", "standing still"), ("turns", "turns")):
        for seed, prompt in enumerate(progress(described[kind], title)):
            text, *expected = [prompt] if kind == "still" else prompt
            row: dict[str, Any] = {"kind": kind, "text": text, "said": expected}
            for name, split in (("plain", False), ("split", True)):
                row[name], row[f"{name}_seen"] = check(kind, expected, generator.generate(text, seed=seed, split=split))
            rows.append(row)

    def summary(kind: str) -> dict[str, Any]:
        own = [row for row in rows if row["kind"] == kind]
        return {"n": len(own)} | {name: 100 * float(np.mean([row[name] for row in own])) for name in ("plain", "split")}

    return {
        "protocol": "one clip of default length a prompt, generated as it is, and split into its actions; by rules on "
        f"joints, the action is seen as often as was said, the pelvis stays at {STANDING} x its height and within "
        f"{DRIFT_M} m, or the net turn is within {NEAR_DEG} degrees",
        **{kind: summary(kind) for kind in ("counts", "still", "turns")},
        "rows": rows,
    }


def check(kind: str, expected: list[Any], motion: Motion) -> tuple[bool, float]:
    """Whether a motion is as was said, and what is seen: the count, whether it stands still, or the turn in degrees."""
    if kind == "counts":
        seen = count(expected[0], motion.joints)
        return seen == expected[1], seen
    if kind == "still":
        return is_still(motion), is_still(motion)
    turn = left_turn(motion.joints)
    return is_turned(turn, expected[0], expected[1]), turn

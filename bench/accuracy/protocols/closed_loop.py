"""Generated motion recognized by `live`: `motionrt eval {recognized,streaming} --model default`.

`recognized` generates clips; `streaming` generates streams whose prompt changes midway, and measures how smooth motion
is where windows meet. Scores cover the labels of `live` for which the generator was trained on at least `MIN_CLIPS`
motion-capture clips. The prompts in `prompts.json` were written before any of them was tried. Needs no torch.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from ....runtime.errors import InputError
from ....runtime.generation.generator import CHUNK_TOKENS, FIRST_WINDOW_CHUNKS, WINDOW_CHUNKS, Generator
from ....runtime.generation.schedule import STRIDE
from ....runtime.progress import progress
from ....runtime.recognition.recognizer import Recognizer

PROMPTS = Path(__file__).parents[1] / "prompts.json"
PAIRS = 100
MIN_CLIPS = 100
BEFORE_S, AFTER_S = 4, 2  # chunks before the prompt changes, and chunks in which the new action must be recognized
SMOOTH_S = 20  # length of streams whose prompt stays
FRAMES = CHUNK_TOKENS * STRIDE  # per chunk


def known_prompts(generator: Generator, recognizer: Recognizer) -> dict[str, list[str]]:
    """Ten prompts for each action that both models know. Raises InputError if they share no action."""
    prompts: dict[str, list[str]] = json.loads(PROMPTS.read_text())["actions"]
    shared = {a: texts for a, texts in prompts.items() if a in generator.actions and a in recognizer.labels}
    if not shared:
        raise InputError(f"{generator.name} knows none of the actions that have prompts, expected one of: "
                         f"{', '.join(prompts)}")  # fmt: skip
    return shared


def has_enough_clips(generator: Generator, action: str) -> bool:
    """True if the generator was trained on at least `MIN_CLIPS` motion-capture clips of an action."""
    return generator.actions[action]["mocap"] >= MIN_CLIPS


def recognized(generator: Generator, recognizer: Recognizer, prompts: dict[str, list[str]]) -> dict[str, Any]:
    """Generate a clip of default length per prompt; actions known only from Kinect clips are reported separately."""
    rows: dict[str, Any] = {}
    for action, texts in progress(list(prompts.items()), "actions"):
        quality = "mocap" if has_enough_clips(generator, action) else "kinect"
        labels = Counter(
            recognizer.recognize(generator.generate(text, seed=seed, quality=quality)).label
            for seed, text in enumerate(texts)
        )
        rows[action] = {
            "quality": quality,
            "n": len(texts),
            "top1": 100 * labels[action] / len(texts),
            "predictions": labels,
        }

    def macro(quality: str) -> dict[str, Any]:
        selected = [row for row in rows.values() if row["quality"] == quality]
        return {
            "n": sum(row["n"] for row in selected),
            "macro_top1": float(np.mean([row["top1"] for row in selected])),
        }

    return {
        "protocol": "one generated clip for each of ten prompts per action",
        **macro("mocap"),
        "kinect": macro("kinect"),
        "per_class": rows,
    }


def streaming(generator: Generator, recognizer: Recognizer, prompts: dict[str, list[str]]) -> dict[str, Any]:
    """Generate streams that change from one action to another, and streams that do not change."""
    prompts = {action: texts for action, texts in prompts.items() if has_enough_clips(generator, action)}
    pairs = list(np.random.default_rng(0).permutation(list(permutations(prompts, 2))))
    rows, change_jumps = [], []
    for i in progress(range(PAIRS), "changes"):
        old, new = pairs[i % len(pairs)]
        texts = prompts[old][i % 10], prompts[new][i // 10]
        joints = stream_with_change(generator, texts, seed=i)
        labels = frame_labels(recognizer, joints, generator)
        change = BEFORE_S * FRAMES
        after, before = labels[change : change + AFTER_S * FRAMES], labels[change - AFTER_S * FRAMES : change]
        seen = after.index(new) / generator.fps if new in after else None
        rows.append({"old": old, "new": new, "seen_s": seen, "before": new in before})
        change_jumps.append(velocity_jumps(joints)[change - 1])
    inside, seams = steady_jumps(generator, prompts)
    delays = [row["seen_s"] for row in rows if row["seen_s"] is not None]
    return {
        "protocol": f"{len(rows)} changes between {len(prompts)} actions, {len(pairs)} pairs, after {BEFORE_S} s: "
        f"`live`, stepped, must report the new action within {AFTER_S} s; smoothness from streams of {SMOOTH_S} s",
        "n": len(rows),
        "seen": 100 * len(delays) / len(rows),
        "seen_by_chance": 100 * float(np.mean([row["before"] for row in rows])),
        "median_s": float(np.median(delays)) if delays else None,
        "per_class": {
            new: {"n": len(hits), "seen": 100 * float(np.mean(hits))}
            for new in prompts
            if (hits := [row["seen_s"] is not None for row in rows if row["new"] == new])
        },
        "velocity_jump_m_per_s": {
            name: {"n": len(values), "median": float(np.median(values)), "p99": float(np.quantile(values, 0.99))}
            for name, values in (("inside", inside), ("seams", seams), ("changes", np.array(change_jumps)))
        },
    }


def steady_jumps(generator: Generator, prompts: dict[str, list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Velocity jumps of streams whose prompt stays: inside windows, and where windows meet."""
    inside, seams = [], []
    for i, same in enumerate(progress(list(prompts.values()), "streams")):
        with generator.stream(same[0], SMOOTH_S, seed=i) as stream:
            jumps = velocity_jumps(np.concatenate([chunk.joints for chunk in stream]))
        ends = np.arange(FIRST_WINDOW_CHUNKS, SMOOTH_S, WINDOW_CHUNKS) * FRAMES
        seams.append(jumps[ends - 1])
        inside.append(np.delete(jumps, [*(ends - 2), *(ends - 1), *ends]))
    return np.concatenate(inside), np.concatenate(seams)


def stream_with_change(generator: Generator, texts: tuple[str, str], seed: int) -> np.ndarray:
    """Joints of a stream whose prompt changes."""
    with generator.stream(texts[0], seed=seed) as stream:
        chunks = [next(stream) for _ in range(BEFORE_S)]
        stream.prompt = texts[1]
        chunks += [next(stream) for _ in range(AFTER_S)]
    return np.concatenate([chunk.joints for chunk in chunks])


def frame_labels(recognizer: Recognizer, joints: np.ndarray, generator: Generator) -> list[str]:
    """The label that the recognizer reports for each frame."""
    recognizer.reset()
    return [recognizer.step(x, i / generator.fps, layout=generator.layout).label for i, x in enumerate(joints)]


def velocity_jumps(joints: np.ndarray, fps: float = 20.0) -> np.ndarray:
    """Change of joint velocity between consecutive steps, mean over joints, m/s.

    [T - 2]; entry i covers frames i, i + 1 and i + 2.
    """
    velocity = np.diff(joints, axis=0) * fps
    change: np.ndarray = np.linalg.norm(np.diff(velocity, axis=0), axis=2).mean(1)
    return change

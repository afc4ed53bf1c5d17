"""What `live` makes of motion that a generator makes: `motionrt eval {recognised,streaming} --model default`.

Of `recognised`, clips; of `streaming`, streams whose prompt changes on the way, and how smooth they are where windows
meet. Counted are the labels of `live` of which the generator saw at least `ENOUGH` clips of motion capture. The
prompts, `prompts.json`, were written before any of them was tried. Needs no torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import InputError
from ...runtime.generation.generator import CHUNK_TOKENS, FIRST_WINDOW_CHUNKS, WINDOW_CHUNKS, Generator
from ...runtime.generation.schedule import STRIDE
from ...runtime.progress import progress
from ...runtime.recognition.recognizer import Recognizer

PROMPTS = Path(__file__).with_name("prompts.json")
PAIRS = 100
ENOUGH = 100
BEFORE_S, AFTER_S = 4, 2  # chunks before the prompt changes, and those in which the new action must be seen
SMOOTH_S = 20  # of streams whose prompt stays
FRAMES = CHUNK_TOKENS * STRIDE  # of a chunk


def evaluate(benchmark: str, model: str) -> dict[str, Any]:
    """Run `recognised` or `streaming` on a generation bundle. Returns a JSON object, shares in percent."""
    generator, recognizer = Generator.load(model), Recognizer.load("live")
    prompts = known_prompts(generator, recognizer)
    return {"benchmark": benchmark, "model": model, **BENCHMARKS[benchmark](generator, recognizer, prompts)}


def known_prompts(generator: Generator, recognizer: Recognizer) -> dict[str, list[str]]:
    """Ten prompts of each action that both know. Raises InputError: they share no action."""
    written: dict[str, list[str]] = json.loads(PROMPTS.read_text())["actions"]
    both = {a: texts for a, texts in written.items() if a in generator.actions and a in recognizer.labels}
    if not both:
        raise InputError(f"{generator.name} knows no action that the prompts are written for")
    return both


def enough(generator: Generator, action: str) -> bool:
    """Whether the generator saw motion capture of an action often enough to know it."""
    return generator.actions[action]["mocap"] >= ENOUGH


def recognised(generator: Generator, recognizer: Recognizer, prompts: dict[str, list[str]]) -> dict[str, Any]:
    """A clip of each prompt, as long as the generator makes it; actions that a Kinect saw as Kinect clips, apart."""
    rows: dict[str, Any] = {}
    for action, texts in progress(list(prompts.items()), "actions"):
        quality = "mocap" if enough(generator, action) else "kinect"
        said = Counter(
            recognizer.recognize(generator.generate(text, seed=seed, quality=quality)).label
            for seed, text in enumerate(texts)
        )
        rows[action] = {"quality": quality, "n": len(texts), "top1": 100 * said[action] / len(texts), "said": said}

    def macro(quality: str) -> dict[str, Any]:
        own = [row for row in rows.values() if row["quality"] == quality]
        return {"n": sum(row["n"] for row in own), "macro_top1": float(np.mean([row["top1"] for row in own]))}

    return {
        "protocol": "a clip for each of ten prompts an action",
        **macro("mocap"),
        "kinect": macro("kinect"),
        "per_class": rows,
    }


def streaming(generator: Generator, recognizer: Recognizer, prompts: dict[str, list[str]]) -> dict[str, Any]:
    """Streams that change from one action to another, and streams that do not change."""
    prompts = {action: texts for action, texts in prompts.items() if enough(generator, action)}
    pairs = list(np.random.default_rng(0).permutation(list(permutations(prompts, 2))))
    rows, steered, inside = [], [], []
    for i in progress(range(PAIRS), "changes"):
        old, new = pairs[i % len(pairs)]
        texts = prompts[old][i % 10], prompts[new][i // 10]
        joints = changed(generator, texts, seed=i)
        labels = stepped(recognizer, joints, generator)
        at = BEFORE_S * FRAMES
        after, before = labels[at : at + AFTER_S * FRAMES], labels[at - AFTER_S * FRAMES : at]
        seen = after.index(new) / generator.fps if new in after else None
        rows.append({"old": old, "new": new, "seen_s": seen, "before": new in before})
        steered.append(jumps(joints)[at - 1])
    seams = []
    for i, same in enumerate(progress(list(prompts.values()), "streams")):
        with generator.stream(same[0], SMOOTH_S, seed=i) as stream:
            jump = jumps(np.concatenate([chunk.joints for chunk in stream]))
        ends = np.arange(FIRST_WINDOW_CHUNKS, SMOOTH_S, WINDOW_CHUNKS) * FRAMES
        seams.append(jump[ends - 1])
        inside.append(np.delete(jump, [*(ends - 2), *(ends - 1), *ends]))
    found = [row["seen_s"] for row in rows if row["seen_s"] is not None]
    return {
        "protocol": f"{len(rows)} changes from one of {len(prompts)} actions to another, {len(pairs)} pairs, after "
        f"{BEFORE_S} s: `live`, stepped, must name the new action within {AFTER_S} s; streams of {SMOOTH_S} s besides",
        "n": len(rows),
        "seen": 100 * len(found) / len(rows),
        "seen_by_chance": 100 * float(np.mean([row["before"] for row in rows])),
        "median_s": float(np.median(found)) if found else None,
        "per_class": {
            new: {"n": len(own), "seen": 100 * float(np.mean(own))}
            for new in prompts
            if (own := [row["seen_s"] is not None for row in rows if row["new"] == new])
        },
        "velocity_jump_m_per_s": {
            name: {"n": len(values), "median": float(np.median(values)), "p99": float(np.quantile(values, 0.99))}
            for name, values in (
                ("inside", np.concatenate(inside)),
                ("seams", np.concatenate(seams)),
                ("changes", np.array(steered)),
            )
        },
    }


BENCHMARKS: dict[str, Callable[[Generator, Recognizer, dict[str, list[str]]], dict[str, Any]]] = {
    "recognised": recognised,
    "streaming": streaming,
}


def changed(generator: Generator, texts: tuple[str, str], seed: int) -> np.ndarray:
    """Joints of a stream whose prompt changes."""
    with generator.stream(texts[0], seed=seed) as stream:
        chunks = [next(stream) for _ in range(BEFORE_S)]
        stream.prompt = texts[1]
        chunks += [next(stream) for _ in range(AFTER_S)]
    return np.concatenate([chunk.joints for chunk in chunks])


def stepped(recognizer: Recognizer, joints: np.ndarray, generator: Generator) -> list[str]:
    """What is said of every frame."""
    recognizer.reset()
    return [recognizer.step(x, i / generator.fps, layout=generator.layout).label for i, x in enumerate(joints)]


def jumps(joints: np.ndarray, fps: float = 20.0) -> np.ndarray:
    """How much a joint's velocity changes from one step between frames to the next, the mean of all joints, m/s.

    [T - 2]; number i is of the frames i, i + 1 and i + 2.
    """
    velocity = np.diff(joints, axis=0) * fps
    change: np.ndarray = np.linalg.norm(np.diff(velocity, axis=0), axis=2).mean(1)
    return change

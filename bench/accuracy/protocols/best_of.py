"""Motions chosen among several: `motionrt eval best-of --model default`.

Every prompt of `recognized` and `composed` is generated once, and as the best of four, of which the generator's own
recognizer chooses; `live` and rules, which it does not see, tell which is right. Needs no torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ....runtime.generation.generator import Generator
from ....runtime.progress import progress
from ....runtime.recognition.recognizer import Recognizer
from . import composed
from .closed_loop import frame_labels, has_enough_clips

KINDS = ("recognized", "together", "sequences")
BEST_OF = 4
TIMED, TIMED_S = 20, 4.0  # motions, and their length


def best_of(generator: Generator, recognizer: Recognizer, prompts: Mapping[str, list[str]]) -> dict[str, Any]:
    """Generate every prompt once and as the best of several; seeds are those of `recognized` and `composed`."""
    rows: list[dict[str, Any]] = []
    known = [(action, *prompt) for action, texts in prompts.items() if has_enough_clips(generator, action)
             for prompt in enumerate(texts)]  # fmt: skip
    for action, seed, text in progress(known, "prompts of one action"):
        labels = [recognizer.recognize(motion).label for motion in both(generator, text, seed)]
        rows.append({"kind": "recognized", "text": text, "right": [label == action for label in labels]})
    described = json.loads(composed.PROMPTS.read_text())
    for seed, (text, legs, arms) in enumerate(progress(described["together"], "together")):
        seen = [composed.seen_together(motion.joints, legs, arms) for motion in both(generator, text, seed)]
        rows.append({"kind": "together", "text": text, "right": seen})
    for seed, (text, first, second) in enumerate(progress(described["sequences"], "sequences")):
        found = [motion.joints for motion in both(generator, text, seed)]
        seen = [composed.seen_in_order(one, frame_labels(recognizer, one, generator), first, second) for one in found]
        rows.append({"kind": "sequences", "text": text, "right": seen})
    return {
        "protocol": f"each prompt of recognized (as motion capture) and composed, generated once and as the best of "
        f"{BEST_OF}; right by live and rules",
        "best_of": BEST_OF,
        **{kind: summary([row["right"] for row in rows if row["kind"] == kind]) for kind in KINDS},
        "time": cost(generator),
        "rows": rows,
    }


def both(generator: Generator, text: str, seed: int) -> list[Any]:
    return [generator.generate(text, seed=seed, best_of=tries) for tries in (1, BEST_OF)]


def summary(right: list[list[bool]]) -> dict[str, Any]:
    """Percentages of right motions; prompts that only the best or only the single one gets right."""
    one, best = np.array(right).reshape(-1, 2).T
    shares = {"one": 100 * float(one.mean()), "best": 100 * float(best.mean())} if len(one) else {}
    return {"n": len(one), **shares, "gained": int((best & ~one).sum()), "lost": int((one & ~best).sum())}


def cost(generator: Generator) -> dict[str, float]:
    """CPU time of a best of four, in that of one motion."""
    generator.generate("a person walks", TIMED_S, best_of=BEST_OF)
    spent = []
    for tries in (1, BEST_OF):
        start = time.process_time()
        for seed in range(TIMED):
            generator.generate("a person walks", TIMED_S, seed=seed, best_of=tries)
        spent.append(time.process_time() - start)
    return {"times_one": spent[1] / spent[0]}

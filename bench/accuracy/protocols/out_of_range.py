"""Descriptions told to be known or not: `motionrt eval out-of-range --model default`.

The descriptions, in `range.json`, were written before any was tried; the threshold was chosen on others of the same
file. A description that is refused, such as one in another script, counts as told to be unknown. Needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....runtime.errors import InputError
from ....runtime.generation.generator import OUT_OF_RANGE, Generator
from ....runtime.recognition.recognizer import Recognizer

PROMPTS = Path(__file__).parents[1] / "range.json"


def out_of_range(generator: Generator, recognizer: Recognizer, prompts: Mapping[str, Any]) -> dict[str, Any]:
    """Tell which descriptions are unlike the training."""
    report: dict[str, Any] = {
        "protocol": f"known: a similarity of at least {OUT_OF_RANGE} to the nearest action of the training"
    }
    for part, described in json.loads(PROMPTS.read_text(encoding="utf-8")).items():
        if part == "about":
            continue
        right = {
            kind: [is_known(generator, text) == (kind == "known") for text in described[kind]] for kind in described
        }
        every = [one for kind in right for one in right[kind]]
        report[part] = {
            "n": len(every),
            "right": 100 * sum(every) / len(every),
            **{kind: {"n": len(one), "right": 100 * sum(one) / len(one)} for kind, one in right.items()},
            "wrong": [
                text for kind in right for text, one in zip(described[kind], right[kind], strict=True) if not one
            ],
        }
    return report


def is_known(generator: Generator, text: str) -> bool:
    """Whether the generator takes a description for one that it was trained for."""
    try:
        return generator.confidence([text]) >= OUT_OF_RANGE
    except InputError:
        return False

"""Edits of generated clips: `motionrt eval edits --model default`.

Ten texts replace two seconds in the middle of five clips, and the last two seconds. The rest must stay as it is, and
the edited body must neither rush nor slide. Texts and clips were written before any was tried. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ....runtime.body.canonical import FEET, SMPL
from ....runtime.generation.generator import Generator
from ....runtime.generation.parts import PARTS
from ....runtime.progress import progress
from ....runtime.recognition.recognizer import Recognizer

CLIPS = (
    "a person walks forward",
    "a person runs forward",
    "a person walks and turns left",
    "a person waves with the right hand",
    "a person jumps",
)
TEXTS = (
    "a person bows",
    "a person waves with the right hand",
    "a person kicks",
    "a person claps",
    "a person punches",
    "a person raises both hands",
    "a person walks forward",
    "a person turns right",
    "a person jumps",
    "a person sits down",
)
SECONDS = 6.0
EDITS = {"middle": slice(40, 80), "end": slice(80, None)}
FASTER, SLIDES_MORE = 1.2, 1.5  # allowed ratios to the clip before the edit
LEAST_SPEED = 0.5  # m/s; the root of a slower clip counts as this fast
LOW_M = 0.05  # feet below this height, above the lowest one, can slide
LEGS = sorted(set(range(len(SMPL.joints))) - PARTS["upper_body"])


def edits(generator: Generator, recognizer: Recognizer, prompts: Mapping[str, Any]) -> dict[str, Any]:
    """Edit clips, and compare each with itself before."""
    clips = [generator.generate(text, SECONDS, seed=i) for i, text in enumerate(CLIPS)]
    rows = []
    for name, part in EDITS.items():
        for i, clip in enumerate(progress(clips, f"clips edited in the {name}")):
            outside = np.ones(clip.frames, bool)
            outside[part] = False
            for seed, text in enumerate(TEXTS):
                joints = generator.edit(clip, text, part, seed=seed).joints
                before, after = root_peak(clip.joints, clip.fps), root_peak(joints, clip.fps)
                change_T = np.abs(joints - clip.joints).max((1, 2))
                legs_kept = np.abs(joints - clip.joints)[part][:, LEGS].max() <= 1e-6
                rows.append(
                    {
                        "edit": name,
                        "clip": CLIPS[i],
                        "text": text,
                        "root_peak": [before, after],
                        "root_ratio": after / max(before, LEAST_SPEED),
                        "slide_ratio": slide(joints, clip.fps) / slide(clip.joints, clip.fps),
                        "kept_max_m": float(change_T[outside].max()),
                        "legs_kept": bool(legs_kept),
                    }
                )
    return {
        "protocol": f"{len(CLIPS)} generated clips of {SECONDS:g} s x {len(TEXTS)} texts, two seconds replaced; peak "
        f"speed of the root at most {FASTER} x the clip's own, or {FASTER * LEAST_SPEED:g} m/s, and feet below {LOW_M} "
        f"m that slide at most {SLIDES_MORE} x as much",
        **{name: summary([row for row in rows if row["edit"] == name]) for name in EDITS},
        "rows": rows,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    root, slides = (np.array([row[key] for row in rows]) for key in ("root_ratio", "slide_ratio"))
    return {
        "n": len(rows),
        "root_ok": 100 * float((root <= FASTER).mean()),
        "slide_ok": 100 * float((slides <= SLIDES_MORE).mean()),
        "both_ok": 100 * float(((root <= FASTER) & (slides <= SLIDES_MORE)).mean()),
        "root_ratio_max": float(root.max()),
        "slide_ratio_max": float(slides.max()),
        "kept_max_m": max(row["kept_max_m"] for row in rows),
        "legs_kept": sum(row["legs_kept"] for row in rows),
    }


def root_peak(joints: np.ndarray, fps: float) -> float:
    """Highest speed of the pelvis in the ground plane, m/s."""
    return fps * float(np.linalg.norm(np.diff(joints[:, 0, [0, 2]], axis=0), axis=1).max())


def slide(joints: np.ndarray, fps: float) -> float:
    """Mean over frames of the speed of feet near the floor, summed over both, m/s."""
    feet = joints[:, FEET]
    low = np.maximum(feet[1:, :, 1], feet[:-1, :, 1]) - feet[..., 1].min() < LOW_M
    speed = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1) * fps
    return float((speed * low).sum(1).mean())

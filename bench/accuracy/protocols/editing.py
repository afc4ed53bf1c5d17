"""Motion editing: part of a real clip is regenerated for its caption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....runtime.errors import InputError
from ....training.metrics import motion
from ....training.metrics.statistics import bootstrap
from .scoring import STEP, Embedder, Example, GenerationSet, ScoringConfig, compare_sets, describe, generation_set

EDITS = {
    "prefix": "the first half is kept",
    "suffix": "the second half is kept",
    "inpaint": "the first and the last quarter are kept",
    "outpaint": "the middle half is kept",
}
BLEND = 8  # frames next to a seam that an edit may change

Edit = Callable[[Sequence[np.ndarray], Sequence[str], Sequence[np.ndarray], int], Sequence[np.ndarray]]
"""clips [T, V, 3], texts, masks [T] bool of the frames to regenerate, seed -> clips as long."""


def editing(
    evaluator: Embedder,
    real: Sequence[Example],
    edit: Edit,
    kind: str,
    config: ScoringConfig | None = None,
) -> dict[str, Any]:
    """Regenerate a part of real clips for their captions, and score the whole clips as in `text_to_motion`.

    Also `kept_mpjpe_mm`, the error in kept frames more than 8 frames from a seam; `new_mpjpe_mm`, the distance from the
    original in regenerated frames; `seam_jitter`, m/s^3 in the 8 frames around the seams.

    Args:
        kind: a key of `EDITS`.
    """
    config = config or ScoringConfig()
    masks = [edit_mask(kind, len(example.joints)) for example in real]
    clips = [example.joints for example in real]

    def generate(texts: Sequence[str], lengths: Sequence[int], seed: int) -> Sequence[np.ndarray]:
        return edit(clips, texts, masks, seed)

    sets = [generation_set(evaluator, real, generate, config, i) for i in range(config.generations)]
    report = compare_sets(evaluator, real, sets, config, ())
    groups = [example.group for example in real]
    for name, values in edit_errors(clips, sets, masks, config.fps).items():
        report["generated"][name] = bootstrap(values, groups).json()
    jitters = [seam_jitter(joints, mask, config.fps) for joints, mask in zip(clips, masks, strict=True)]
    report["real"]["seam_jitter"] = bootstrap(np.array(jitters), groups).json()
    return {"protocol": f"editing, {kind}: {EDITS[kind]}, " + describe(config)} | report


def edit_mask(kind: str, frames: int) -> np.ndarray:
    """The frames [T] bool to regenerate: halves and quarters of frames // 4 tokens, rounded down.

    Raises:
        InputError: an unknown kind, or a clip of fewer than 4 tokens.
    """
    tokens = frames // STEP
    if kind not in EDITS:
        raise InputError(f"unknown edit {kind!r}, expected one of {', '.join(EDITS)}")
    if tokens < 4:
        raise InputError(f"a clip of {frames} frames, expected at least {4 * STEP} to edit")
    half, quarter = tokens // 2, tokens // 4
    token = np.arange(tokens)
    middle = (token >= quarter) & (token < tokens - quarter)
    new = {"prefix": token >= half, "suffix": token < half, "inpaint": middle, "outpaint": ~middle}[kind]
    return np.pad(np.repeat(new, STEP), (0, frames - tokens * STEP), mode="edge")


def edit_errors(
    clips: Sequence[np.ndarray], sets: Sequence[GenerationSet], masks: Sequence[np.ndarray], fps: float
) -> dict[str, np.ndarray]:
    """Per clip, mean over sets: errors in kept and in regenerated frames, jitter at the seams."""
    errors: dict[str, list[list[float]]] = {"kept_mpjpe_mm": [], "new_mpjpe_mm": [], "seam_jitter": []}
    for generations in sets:
        rows: dict[str, list[float]] = {name: [] for name in errors}
        for generated, joints, new in zip(generations.clips, clips, masks, strict=True):
            kept = ~dilate(new)
            far = kept if kept.any() else ~new  # a short clip has no frame that far from a seam
            rows["kept_mpjpe_mm"].append(motion.mpjpe(generated[far], joints[far], root=None))
            rows["new_mpjpe_mm"].append(motion.mpjpe(generated[new], joints[new], root=None))
            rows["seam_jitter"].append(seam_jitter(generated, new, fps))
        for name, row in rows.items():
            errors[name].append(row)
    return {name: np.mean(rows, axis=0) for name, rows in errors.items()}


def dilate(new_T: np.ndarray, frames: int = BLEND) -> np.ndarray:
    """[T] bool: regenerated, or within this many frames of a regenerated one."""
    return np.asarray(np.lib.stride_tricks.sliding_window_view(np.pad(new_T, frames), 2 * frames + 1).any(1))


def seam_jitter(joints_TV3: np.ndarray, new_T: np.ndarray, fps: float) -> float:
    """Jitter in the 8 frames around every seam, m/s^3, mean over seams."""
    seams = np.flatnonzero(np.diff(new_T.astype(int))) + 1
    return float(np.mean([motion.jitter(joints_TV3[max(0, seam - 4) : seam + 4], fps) for seam in seams]))

"""Clips with labels of the open vocabulary. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.body.layout import Layout
from . import vocabulary
from .clips import LabeledClip, load_clips


def load_open_clips(data: str | Path, layout: Layout, keep: Callable[[dict[str, Any]], bool]) -> list[LabeledClip]:
    """Clips as from `load_clips`, with labels of the open vocabulary."""
    return [replace(clip, label=open_label(clip, layout)) for clip in load_clips(data, layout, keep)]


def open_label(clip: LabeledClip, layout: Layout) -> str | None:
    """The label of a clip in the open vocabulary; of a fall its part, of one hand or arm the side that goes higher."""
    label = vocabulary.open_label(clip.record)
    if label == vocabulary.ONE_ARM:
        wrists = [layout.joints.index(f"{side}_wrist") for side in ("left", "right")]
        left, right = np.nanpercentile(clip.joints[:, wrists, 1], 90, axis=0)
        return f"raise {'left' if left > right else 'right'} arm to the side"
    return clip.label if label in (vocabulary.FALL, vocabulary.ONE_HAND) else label

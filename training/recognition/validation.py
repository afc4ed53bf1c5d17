"""Accuracy of a network on whole clips, while it trains and when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...runtime.body.frontend import Frontend, prepare
from ...runtime.body.layout import Layout
from ..data import vocabulary
from ..data.clips import LabeledClip, resample
from ..plots import draw_confusion
from .tasks import pad_back_and_forth


class Validation:
    """Measures networks on `clips`; a clip's class is that of the highest mean logit over its frames, `none` aside.

    Attributes:
        confusion: [C, C] clips of the last measurement by their class (row) and the class said (column).
    """

    def __init__(self, clips: Sequence[LabeledClip], layout: Layout, frontend: Frontend, labels: Sequence[str]):
        rate = frontend.rate_hz
        self.labels = tuple(labels)
        self.asked = [i for i, label in enumerate(labels) if label != vocabulary.NONE]
        self.clips = [
            (
                prepare(resample(clip.joints, max(2, round(clip.seconds * rate))), frontend, layout),
                self.labels.index(clip.label or ""),
            )
            for clip in sorted(clips, key=lambda clip: clip.seconds)
        ]
        self.confusion = np.zeros((len(labels), len(labels)), int)

    @torch.no_grad()
    def __call__(self, model: nn.Module, batch: int = 32) -> dict[str, float]:
        """Top-1 in percent, over all clips and as the mean over their classes; nothing where there are no clips."""
        model.eval()
        device = next((p.device for p in model.parameters()), None)
        self.confusion[:] = 0
        for begin in range(0, len(self.clips), batch):
            part = self.clips[begin : begin + batch]
            T = max(len(frames) for frames, _ in part)
            frames_NTV3 = torch.from_numpy(np.stack([pad_back_and_forth(frames, T) for frames, _ in part]))
            logits = model(frames_NTV3.to(device))[0].cpu().numpy()
            for (frames, target), row in zip(part, logits, strict=True):
                said = self.asked[int(row[: len(frames)].mean(0)[self.asked].argmax())]
                self.confusion[target, said] += 1
        counts = self.confusion.sum(1)
        if not counts.any():
            return {}
        right, seen = self.confusion.diagonal(), counts > 0
        return {
            "top1": 100 * float(right.sum() / counts.sum()),
            "macro_top1": 100 * float((right[seen] / counts[seen]).mean()),
        }

    def picture(self, path: Path) -> None:
        """Draw the confusion matrix, rows normalised, of the classes that the clips have."""
        draw_confusion(path, self.confusion, self.labels)

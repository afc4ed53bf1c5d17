"""Accuracy of a recognizer on whole clips, during and after training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ...runtime.body.frontend import Frontend, prepare
from ...runtime.body.layout import Layout
from ..data import vocabulary
from ..data.clips import LabeledClip, back_and_forth, resample
from ..plots import draw_confusion


class Validation:
    """Accuracy on `clips`; the prediction is the action with the highest mean over frames of the probability, or of the
    logit if there is no label `none`, as the runtime decides.

    Attributes:
        confusion: [C, C] clips of the last evaluation by true class (row) and predicted class (column).
    """

    def __init__(self, clips: Sequence[LabeledClip], layout: Layout, frontend: Frontend, labels: Sequence[str]):
        rate = frontend.rate_hz
        self.labels = tuple(labels)
        self.candidates = [i for i, label in enumerate(labels) if label != vocabulary.NONE]
        self.clips = [
            (
                prepare(resample(clip.joints, max(2, round(clip.seconds * rate))), frontend, layout, clip.flat),
                self.labels.index(clip.label or ""),
            )
            for clip in sorted(clips, key=lambda clip: clip.seconds)
        ]
        self.confusion = np.zeros((len(labels), len(labels)), int)

    @torch.no_grad()
    def __call__(self, model: nn.Module, batch: int = 32) -> dict[str, float]:
        """Top-1 accuracy in percent, over all clips and as the mean over classes; empty without clips."""
        model.eval()
        device = next((p.device for p in model.parameters()), None)
        self.confusion[:] = 0
        for begin in range(0, len(self.clips), batch):
            part = self.clips[begin : begin + batch]
            T = max(len(frames) for frames, _ in part)
            frames_NTV3 = torch.from_numpy(np.stack([back_and_forth(frames, T) for frames, _ in part]))
            logits = model(frames_NTV3.to(device))[0]
            evidence = (logits.softmax(2) if vocabulary.NONE in self.labels else logits).cpu().numpy()
            for (frames, target), row in zip(part, evidence, strict=True):
                mean = row[: len(frames)].mean(0)
                predicted = self.candidates[int(mean[self.candidates].argmax())]
                self.confusion[target, predicted] += 1
        counts = self.confusion.sum(1)
        if not counts.any():
            return {}
        correct, used = self.confusion.diagonal(), counts > 0
        return {
            "top1": 100 * float(correct.sum() / counts.sum()),
            "macro_top1": 100 * float((correct[used] / counts[used]).mean()),
        }

    def plot(self, path: Path) -> None:
        """Plot the confusion matrix of the last evaluation."""
        draw_confusion(path, self.confusion, self.labels)

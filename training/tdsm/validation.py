"""Validation of the matcher, and the files that a finished run leaves.

Shapes: N samples, D encoder features, F discriminants, K classes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ...runtime.text_encoder import TextEncoder
from ..data.unseen_labels import BACKGROUND
from ..models.tdsm import ZeroShot
from ..plots import draw_similarity
from .calibration import calibrate_logits, calibrate_prototypes
from .matching import Matcher, fixed_noises
from .sentences import LabelSentences, class_texts
from .tasks import MatchingData

NOISES = 10  # per match; the published three are too few for features this small


def validate(model: nn.Module, data: MatchingData, text: TextEncoder) -> dict[str, float]:
    """Top-1 accuracy in percent among `data.candidates`, over all validation clips and as the mean over classes."""
    chosen = [i for i, label in enumerate(data.held_out.labels) if label in data.candidates]
    if not chosen:
        return {}
    assert isinstance(model, ZeroShot)
    sentences = LabelSentences.encode([data.texts[name] for name in data.candidates], text)
    predicted_N = scores(model, project_features(model, data.held_out.features_ND[chosen]), sentences).argmin(1)
    target_N = np.array([data.candidates.index(data.held_out.labels[i]) for i in chosen])
    return {"top1": 100 * float((predicted_N == target_N).mean()), "macro_top1": macro_accuracy(predicted_N, target_N)}


def write_calibration(model: nn.Module, data: MatchingData, text: TextEncoder, run: Path) -> None:
    """Write run/matching.json and run/similarity.png, for seen labels and the background, if there are such clips."""
    names = [*(name for name in data.seen if name != BACKGROUND), BACKGROUND]
    chosen = [i for i, label in enumerate(data.held_out.labels) if label in names]
    if BACKGROUND not in data.seen or not chosen:
        return
    assert isinstance(model, ZeroShot)
    z_NF = project_features(model, data.held_out.features_ND[chosen])
    target_N = np.array([names.index(data.held_out.labels[i]) for i in chosen])
    errors_NK = scores(model, z_NF, LabelSentences.encode([data.texts[name] for name in names], text))
    settings = {**calibrate_logits(errors_NK, target_N), **calibrate_prototypes(z_NF.cpu().numpy(), target_N)}
    (run / "matching.json").write_text(json.dumps(settings, indent=1) + "\n")
    present = [k for k in range(len(names)) if k in target_N]
    means_KK = np.stack([errors_NK[target_N == k].mean(0) for k in present])
    draw_similarity(run / "similarity.png", -means_KK, [names[k] for k in present], names)


@torch.no_grad()
def scores(model: ZeroShot, z_NF: Tensor, sentences: LabelSentences) -> np.ndarray:
    """Distance [N, K] of features from each class; `model` is in evaluation mode."""
    device = z_NF.device
    classes = class_texts(*model.embed_sentences(sentences.features.to(device), sentences.present.to(device)))
    matcher = Matcher(model, classes, fixed_noises(NOISES, model.config.feature).to(device))
    return torch.cat([matcher.scores(part) for part in z_NF.split(256)]).cpu().numpy()


def project_features(model: ZeroShot, features_ND: np.ndarray) -> Tensor:
    """Encoder features in the matcher's space [N, F], on its device."""
    return model.project(torch.from_numpy(features_ND).to(model.mean.device))


def macro_accuracy(predicted_N: np.ndarray, target_N: np.ndarray) -> float:
    """Accuracy in percent, the mean over the classes in `target_N`."""
    return 100 * float(np.mean([(predicted_N[target_N == k] == k).mean() for k in np.unique(target_N)]))

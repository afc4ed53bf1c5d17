"""Training loss of recognizers that label every frame."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..distributed import mean_over_ranks
from ..loop import LoopConfig
from .tasks import StreamSample, collate

MASKED = -30.0  # logit of a label that a clip is not compared with


def recognizer_loss(config: LoopConfig, model: nn.Module, samples: list[StreamSample], device: torch.device) -> Tensor:
    """`segment_and_frame_loss` of a StreamGCN."""
    batch = {name: torch.from_numpy(array).to(device) for name, array in collate(samples).items()}
    logits, *_ = model(batch["frames"])
    return segment_and_frame_loss(logits.float(), batch, config)


def segment_and_frame_loss(logits_NTC: Tensor, batch: dict[str, Tensor], config: LoopConfig) -> Tensor:
    """Cross-entropy of each segment's mean logits, plus the weighted cross-entropy of its frames.

    With `config.own_labels`, that share of the loss compares a segment only with the labels of its own data set, so
    that nothing is gained by recognizing the data set.
    """
    loss = all_labels_loss(logits_NTC, batch, config)
    if not config.own_labels or "own_classes" not in batch:
        return loss
    own = torch.cat([batch["own_classes"], torch.ones_like(batch["own_classes"][:1])])  # the last: between segments
    masked = logits_NTC.masked_fill(~own[batch["segments"]], MASKED)
    return torch.lerp(loss, all_labels_loss(masked, batch, replace(config, smoothing=0.0)), config.own_labels)


def all_labels_loss(logits_NTC: Tensor, batch: dict[str, Tensor], config: LoopConfig) -> Tensor:
    logits, targets, weights = logits_NTC.flatten(0, 1), batch["targets"].flatten(), batch["weights"].flatten()
    segments = batch["segments"].flatten()
    inside = segments >= 0
    count = torch.bincount(segments[inside], minlength=len(batch["classes"]))
    total = logits.new_zeros(len(count), logits.shape[1]).index_add(0, segments[inside], logits[inside])
    nonempty = count > 0
    mean, classes = total[nonempty] / count[nonempty, None], batch["classes"][nonempty]
    segment_loss = cross_entropy(mean, classes, reduction="sum", label_smoothing=config.smoothing)
    segment_loss = segment_loss / mean_over_ranks(nonempty.sum())
    frame_loss = cross_entropy(logits, targets.clamp(min=0), reduction="none", label_smoothing=config.smoothing)
    weights = weights * (targets >= 0)
    return segment_loss + config.frame_loss * (frame_loss * weights).sum() / mean_over_ranks(weights.sum())

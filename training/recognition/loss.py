"""Training loss of recognizers that label every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from ..distributed import mean_over_ranks
from ..loop import LoopConfig
from .tasks import StreamSample, collate

MASKED = -30.0  # logit of a label that a clip is not compared with
SMALLEST = 1e-4  # probability, so that one segment cannot dominate the loss


def recognizer_loss(
    config: LoopConfig,
    model: nn.Module,
    samples: list[StreamSample],
    device: torch.device,
    teachers: Sequence[nn.Module] = (),
    teaching: float = 0.0,
) -> Tensor:
    """`segment_and_frame_loss` of a StreamGCN, and, with the share `teaching`, its `distance_to` teachers, if any."""
    batch = {name: torch.from_numpy(array).to(device) for name, array in collate(samples).items()}
    logits, *_ = model(batch["frames"])
    loss = segment_and_frame_loss(logits.float(), batch, config)
    return torch.lerp(loss, distance_to(teachers, batch["frames"], logits.float()), teaching) if teachers else loss


def distance_to(teachers: Sequence[nn.Module], frames_NTV3: Tensor, logits_NTC: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of the frames' probabilities from the teachers' mean ones."""
    with torch.no_grad():
        probs_NTC = torch.stack([teacher(frames_NTV3)[0].float().softmax(-1) for teacher in teachers]).mean(0)
    log_probs_RC = logits_NTC.log_softmax(-1).flatten(0, 1)
    return kl_div(log_probs_RC, probs_NTC.flatten(0, 1), reduction="batchmean")


def segment_and_frame_loss(logits_NTC: Tensor, batch: dict[str, Tensor], config: LoopConfig) -> Tensor:
    """Cross-entropy of each segment, plus the weighted cross-entropy of its frames.

    A segment is judged as the runtime judges a clip: by its mean logits, or, with a label `none`, by its mean
    probabilities, those of an action relative to all actions.

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
    has_none = "own_classes" in batch  # the last label
    frames = logits.softmax(1) if has_none else logits
    count = torch.bincount(segments[inside], minlength=len(batch["classes"]))
    total = logits.new_zeros(len(count), logits.shape[1]).index_add(0, segments[inside], frames[inside])
    nonempty = count > 0
    mean, classes = total[nonempty] / count[nonempty, None], batch["classes"][nonempty]
    if has_none:
        segment_loss = -relative_log_probs(mean).gather(1, classes[:, None]).sum()
    else:
        segment_loss = cross_entropy(mean, classes, reduction="sum", label_smoothing=config.smoothing)
    segment_loss = segment_loss / mean_over_ranks(nonempty.sum())
    frame_loss = cross_entropy(logits, targets.clamp(min=0), reduction="none", label_smoothing=config.smoothing)
    weights = weights * (targets >= 0)
    return segment_loss + config.frame_loss * (frame_loss * weights).sum() / mean_over_ranks(weights.sum())


def relative_log_probs(probs_RC: Tensor) -> Tensor:
    """Logarithm of probabilities: of an action among the actions, of `none`, the last, among all labels."""
    log_probs = (probs_RC + SMALLEST).log()
    actions = log_probs[:, :-1] - (probs_RC[:, :-1].sum(1, keepdim=True) + SMALLEST).log()
    return torch.cat([actions, log_probs[:, -1:]], 1)

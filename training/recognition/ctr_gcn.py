"""CTR-GCN on NW-UCLA, views 1 and 2: network inputs, augmentation and loss of one of its four streams.

As published, each clip is rotated at random, resampled to 52 frames, and each axis scaled to -1..1, which makes
translation and scaling as augmentations unnecessary. Unlike the published code, half of the clips are mirrored, cameras
are tilted less, time is cropped and interpolated instead of sampled frame by frame, and the network is trained by the
common loop: in 28 passes over the clips, not in 325.

Source: Chen et al., ICCV 2021, section 4, and the released configuration for NW-UCLA.
Shapes: N batch, C channels, T time, V joints, M people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...runtime.body.layout import Layout
from ...runtime.recognition.clips import stream_of
from ..data import augment
from ..data.clips import LabeledClip, load_clips, resample
from ..models.ctr_gcn import NWUCLA_PARENTS

LAYOUT = "kinect20"
STREAMS = ("joint", "bone", "joint_motion", "bone_motion")
FRAMES = 52
MAX_TURN, MAX_TILT = np.radians(60), np.radians(20)  # of the camera
MIN_SHARE = 0.7  # of a clip, in a sample


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSample:
    """A clip as network input [C, T, V], and its class."""

    x: np.ndarray
    target: int


@dataclass(frozen=True, kw_only=True)
class CtrGcnTask:
    """One augmented clip per sample; an epoch has every clip once, except those that do not fill a batch."""

    clips: Sequence[LabeledClip]
    labels: tuple[str, ...]
    stream: str
    layout: Layout
    seed: int

    def batch(self, step: int, size: int) -> list[ClipSample]:
        batches = len(self.clips) // size
        order = np.random.default_rng((self.seed, step // batches)).permutation(len(self.clips))
        chosen = order[size * (step % batches) :][:size]
        return [self.sample(self.clips[i], np.random.default_rng((self.seed, step, k))) for k, i in enumerate(chosen)]

    def sample(self, clip: LabeledClip, rng: Generator) -> ClipSample:
        return ClipSample(x=self.augmented_input(clip, rng), target=self.labels.index(clip.label or ""))

    def augmented_input(self, clip: LabeledClip, rng: Generator) -> np.ndarray:
        """A random part of a clip from a random viewpoint."""
        joints = augment.mirror(clip.joints, self.layout) if rng.random() < 0.5 else clip.joints
        joints = normalize_axes(
            augment.rotate(joints, rng.uniform(-MAX_TURN, MAX_TURN), np.array([rng.uniform(-MAX_TILT, MAX_TILT), 0]))
        )
        frames = round(len(joints) * rng.uniform(MIN_SHARE, 1))
        begin = rng.integers(len(joints) - frames + 1)
        return stream_input(joints[begin : begin + frames], self.stream)


def whole_sample(clip: LabeledClip, stream: str, labels: Sequence[str]) -> ClipSample:
    """The whole clip without augmentation."""
    return ClipSample(x=stream_input(normalize_axes(clip.joints), stream), target=labels.index(clip.label or ""))


def normalize_axes(joints_TVC: np.ndarray) -> np.ndarray:
    """Scale each axis of a clip to -1..1."""
    low, high = joints_TVC.min((0, 1)), joints_TVC.max((0, 1))
    return ((joints_TVC - low) / np.maximum(high - low, 1e-6) * 2 - 1).astype(np.float32)


def stream_input(joints_TVC: np.ndarray, stream: str) -> np.ndarray:
    """Joints of `LAYOUT` [T, V, 3] -> the stream's input [3, FRAMES, V].

    A bone is a joint minus its parent, 0 for the root; motion is the difference to the next frame, 0 for the last.
    """
    parents = [joint if parent < 0 else parent for joint, parent in enumerate(NWUCLA_PARENTS)]
    x_TVC = stream_of(resample(joints_TVC, FRAMES)[:, None], stream, parents)[:, 0]
    return x_TVC.transpose(2, 0, 1).astype(np.float32)


def stack_samples(samples: Sequence[ClipSample]) -> Tensor:
    """Batch of clips [N, C, T, V, M=1]."""
    return torch.from_numpy(np.stack([sample.x for sample in samples])[..., None])


def clip_loss(smoothing: float, model: nn.Module, samples: list[ClipSample], device: torch.device) -> Tensor:
    targets = torch.tensor([sample.target for sample in samples], device=device)
    return cross_entropy(model(stack_samples(samples).to(device)).float(), targets, label_smoothing=smoothing)


def clip_loss_with_helper(
    smoothing: float, model: nn.Module, samples: list[ClipSample], device: torch.device
) -> Tensor:
    """`clip_loss` plus the loss of the helper, see `cocodiff`."""
    targets = torch.tensor([sample.target for sample in samples], device=device)
    logits_NK, helper_loss = model(stack_samples(samples).to(device), targets)
    return cross_entropy(logits_NK.float(), targets, label_smoothing=smoothing) + helper_loss


@torch.no_grad()
def compute_logits(model: nn.Module, samples: Sequence[ClipSample], batch: int = 32) -> np.ndarray:
    """Logits [N, classes] in evaluation mode."""
    model.eval()
    device = next(model.parameters()).device
    parts = [samples[i : i + batch] for i in range(0, len(samples), batch)]
    return np.concatenate([model(stack_samples(part).to(device)).float().cpu().numpy() for part in parts])


def top1(model: nn.Module, samples: Sequence[ClipSample]) -> dict[str, float]:
    """Top-1 accuracy in percent; empty without samples."""
    if not samples:
        return {}
    predicted = compute_logits(model, samples).argmax(1)
    return {"top1": 100 * float((predicted == [sample.target for sample in samples]).mean())}


def load_views(data: str | Path, *views: int) -> list[LabeledClip]:
    """NW-UCLA's clips of these views, labeled with its ten actions."""
    layout = Layout.load(LAYOUT)
    clips = load_clips(data, layout, lambda record: record.get("ds") == "nw-ucla" and record["view"] in views)
    return [replace(clip, label=clip.record["action"]) for clip in clips]

"""CTR-GCN on NW-UCLA, NTU RGB+D and Kinetics-Skeleton: network inputs, augmentation and loss of one of four streams.

As published, each clip of NW-UCLA is rotated at random, resampled to 52 frames, and each axis scaled to -1..1, which
makes translation and scaling as augmentations unnecessary. Unlike the published code, half of the clips are mirrored,
cameras are tilted less, time is cropped and interpolated instead of sampled frame by frame, and the network is trained
by the common loop: in 28 passes over the clips, not in 325. With `published=True` it is as released: turns and tilts of
whole degrees up to 60, frames by index, none mirrored.

Clips of NTU RGB+D are cropped to a random part, resampled to 64 frames and rotated as published; those of Kinetics,
for which no configuration is published, as in ST-GCN: turned, scaled and moved in the picture, linearly over time.

Source: Chen et al., ICCV 2021, section 4, and the released configurations; Yan et al., AAAI 2018 (ST-GCN).
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
from ...runtime.recognition.clips import KEPT, pick_frames, resample_linear, scale_axes, stream_of
from ..data import augment
from ..data.clips import LabeledClip, load_clips, resample
from ..data.whole_clips import WholeClip
from ..models.ctr_gcn import NWUCLA_PARENTS, OPENPOSE_PARENTS

LAYOUT = "kinect20"
STREAMS = ("joint", "bone", "joint_motion", "bone_motion")
FRAMES = 52
MAX_TURN, MAX_TILT = np.radians(60), np.radians(20)  # of the camera
MIN_SHARE = 0.7  # of a clip, in a sample
PUBLISHED_FRAMES, PUBLISHED_SHARE = 64, 0.5  # of NTU RGB+D: frames of the input, and the smallest share of a clip
MAX_ANGLE = 0.3  # of a rotation about each axis, rad
MOVES = {"angle": (-10, -5, 0, 5, 10), "scale": (0.9, 1.0, 1.1), "shift": (-0.2, -0.1, 0.0, 0.1, 0.2)}  # in a picture


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSample:
    """A clip as network input [C, T, V] or [C, T, V, M], and its class."""

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
    published: bool = False

    def batch(self, step: int, size: int) -> list[ClipSample]:
        chosen = epoch_batch(len(self.clips), self.seed, step, size)
        return [self.sample(self.clips[i], np.random.default_rng((self.seed, step, k))) for k, i in enumerate(chosen)]

    def sample(self, clip: LabeledClip, rng: Generator) -> ClipSample:
        return ClipSample(x=self.augmented_input(clip, rng), target=self.labels.index(clip.label or ""))

    def augmented_input(self, clip: LabeledClip, rng: Generator) -> np.ndarray:
        """A random part of a clip from a random viewpoint."""
        if self.published:
            turned = rotate_degrees(clip.joints, *rng.integers(-60, 61, 2))
            index = np.sort(rng.choice(np.repeat(np.arange(len(turned)), 100), FRAMES, replace=False))
            return to_stream(scale_axes(turned)[index], self.stream)
        joints = augment.mirror(clip.joints, self.layout) if rng.random() < 0.5 else clip.joints
        joints = scale_axes(
            augment.rotate(joints, rng.uniform(-MAX_TURN, MAX_TURN), np.array([rng.uniform(-MAX_TILT, MAX_TILT), 0]))
        )
        frames = round(len(joints) * rng.uniform(MIN_SHARE, 1))
        begin = rng.integers(len(joints) - frames + 1)
        return stream_input(joints[begin : begin + frames], self.stream)


@dataclass(frozen=True, kw_only=True)
class PeopleTask:
    """One augmented clip of one or two people per sample, in epochs as `CtrGcnTask`."""

    clips: Sequence[WholeClip]
    labels: tuple[str, ...]
    stream: str
    parents: tuple[int, ...]
    seed: int

    def batch(self, step: int, size: int) -> list[ClipSample]:
        chosen = epoch_batch(len(self.clips), self.seed, step, size)
        return [self.sample(self.clips[i], np.random.default_rng((self.seed, step, k))) for k, i in enumerate(chosen)]

    def sample(self, clip: WholeClip, rng: Generator) -> ClipSample:
        """A random part of a clip, rotated or moved at random."""
        x_TMVC = clip.frames()
        share = rng.uniform(PUBLISHED_SHARE, 1)
        frames = min(max(int(len(x_TMVC) * share), PUBLISHED_FRAMES), len(x_TMVC))
        begin = rng.integers(len(x_TMVC) - frames + 1)
        x_TMVC = resample_linear(x_TMVC[begin : begin + frames], PUBLISHED_FRAMES)
        x_TMVC = (move_picture if is_picture(self.parents) else rotate_randomly)(x_TMVC, rng)
        return people_sample(x_TMVC, clip.label, self)

    def whole_sample(self, clip: WholeClip) -> ClipSample:
        """The central part of a clip without augmentation, as it is tested."""
        x_TMVC = clip.frames()
        cut = int((1 - KEPT) * len(x_TMVC) / 2)
        return people_sample(resample_linear(x_TMVC[cut : len(x_TMVC) - cut], PUBLISHED_FRAMES), clip.label, self)


def people_sample(x_TMVC: np.ndarray, label: str, task: PeopleTask) -> ClipSample:
    parents = [joint if parent < 0 else parent for joint, parent in enumerate(task.parents)]
    x = stream_of(x_TMVC, task.stream, parents).transpose(3, 0, 2, 1)
    return ClipSample(x=np.ascontiguousarray(x, np.float32), target=task.labels.index(label))


def is_picture(parents: Sequence[int]) -> bool:
    """True for the skeleton of Kinetics, whose third channel is no coordinate."""
    return len(parents) == len(OPENPOSE_PARENTS)


def epoch_batch(clips: int, seed: int, step: int, size: int) -> np.ndarray:
    """Indices of the clips of a step: every epoch has each clip once, except those that do not fill a batch."""
    batches = clips // size
    order = np.random.default_rng((seed, step // batches)).permutation(clips)
    return order[size * (step % batches) :][:size]


def rotate_randomly(x_TMVC: np.ndarray, rng: Generator) -> np.ndarray:
    """Rotate a clip by one random angle about each axis, x first."""
    for axis, angle in enumerate(rng.uniform(-MAX_ANGLE, MAX_ANGLE, 3)):
        x_TMVC = x_TMVC @ rotation(axis, angle).T
    return x_TMVC


def rotation(axis: int, angle: float) -> np.ndarray:
    """Matrix [3, 3] that rotates by `angle` about an axis."""
    first, second = (other for other in range(3) if other != axis)
    matrix = np.eye(3, dtype=np.float32)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def rotate_degrees(joints_TVC: np.ndarray, x: int, y: int) -> np.ndarray:
    """Rotate joints by x and y degrees about the first two axes, y first."""
    return joints_TVC @ rotation(1, np.radians(y)).T @ rotation(0, np.radians(x)).T


def move_picture(x_TMVC: np.ndarray, rng: Generator) -> np.ndarray:
    """Turn, scale and shift the seen joints of a picture, from one random amount to another."""
    ends = [rng.choice(MOVES[name], 2) for name in ("angle", "scale", "shift", "shift")]
    angle_T, scale_T, *shift_T = (np.linspace(begin, end, len(x_TMVC)) for begin, end in ends)
    angle_T = np.radians(angle_T)
    turn_TCC = np.array([[np.cos(angle_T), -np.sin(angle_T)], [np.sin(angle_T), np.cos(angle_T)]]) * scale_T
    x = x_TMVC.copy()
    x[..., :2] = np.einsum("cdt,tmvd->tmvc", turn_TCC, x_TMVC[..., :2]) + np.stack(shift_T, 1)[:, None, None]
    x[x_TMVC[..., 2] == 0] = 0
    return x


def whole_sample(clip: LabeledClip, stream: str, labels: Sequence[str], published: bool = False) -> ClipSample:
    """The whole clip without augmentation."""
    joints, target = scale_axes(clip.joints), labels.index(clip.label or "")
    if not published:
        return ClipSample(x=stream_input(joints, stream), target=target)
    return ClipSample(x=to_stream(pick_frames(joints, FRAMES), stream), target=target)


def stream_input(joints_TVC: np.ndarray, stream: str) -> np.ndarray:
    """Joints of `LAYOUT` [T, V, 3] -> the stream's input [3, FRAMES, V]."""
    return to_stream(resample(joints_TVC, FRAMES), stream)


def to_stream(joints_TVC: np.ndarray, stream: str) -> np.ndarray:
    """Joints of `LAYOUT` [T, V, 3] -> the stream's input [3, T, V].

    A bone is a joint minus its parent, 0 for the root; motion is the difference to the next frame, 0 for the last.
    """
    parents = [joint if parent < 0 else parent for joint, parent in enumerate(NWUCLA_PARENTS)]
    return stream_of(joints_TVC[:, None], stream, parents)[:, 0].transpose(2, 0, 1).astype(np.float32)


def stack_samples(samples: Sequence[ClipSample]) -> Tensor:
    """Batch of clips [N, C, T, V, M], with M = 1 if they have no people."""
    x = torch.from_numpy(np.stack([sample.x for sample in samples]))
    return x if x.ndim == 5 else x[..., None]


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

"""CTR-GCN on NW-UCLA, views 1 and 2: what the network is shown, its loss, and the recipe of one of its four streams.

As published, each clip is turned at random and brought to 52 frames, and each of its axes to -1..1, which makes moving
or scaling it before needless. Unlike there, left and right are exchanged in half of the clips, cameras are tilted less,
time is cropped and interpolated instead of drawn frame by frame, and the loop's own optimiser trains the network: it
learns in 28 passes over the clips, not in 325.

Source: Chen et al., ICCV 2021, section 4, and the released configuration for NW-UCLA.
Shapes: N batch, C channels, T time, V joints, M people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...runtime.body.layout import Layout
from ...runtime.errors import InputError
from ..data import augment, vocabulary
from ..data.clips import LabeledClip, load_clips, resample
from ..data.unseen_labels import splits, unseen_labels
from ..loop import LoopConfig
from ..models.ctr_gcn import CHANNELS, CTRGCN, NWUCLA_PARENTS, CTRGCNConfig
from ..settings import Job, check_loop
from . import cocodiff
from .cocodiff import CoCoDiffConfig

LAYOUT = "kinect20"
STREAMS = ("joint", "bone", "joint_motion", "bone_motion")
FRAMES = 52
TURN, TILT = np.radians(60), np.radians(20)  # of the camera, at most
MIN_SHARE = 0.7  # share of a clip that is seen at least


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipSample:
    """A clip as the network sees it, [C, T, V], and its class."""

    x: np.ndarray
    target: int


@dataclass(frozen=True, kw_only=True)
class CtrGcnTask:
    """One augmented clip a sample; an epoch shows every clip once, but for those that do not fill a batch."""

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
        """A random part of a clip, seen by another camera."""
        joints = augment.mirror(clip.joints, self.layout) if rng.random() < 0.5 else clip.joints
        joints = normalize_axes(
            augment.rotate(joints, rng.uniform(-TURN, TURN), np.array([rng.uniform(-TILT, TILT), 0]))
        )
        frames = round(len(joints) * rng.uniform(MIN_SHARE, 1))
        begin = rng.integers(len(joints) - frames + 1)
        return stream_input(joints[begin : begin + frames], self.stream)


def whole_sample(clip: LabeledClip, stream: str, labels: Sequence[str]) -> ClipSample:
    """The whole clip, as it is."""
    return ClipSample(x=stream_input(normalize_axes(clip.joints), stream), target=labels.index(clip.label or ""))


def normalize_axes(joints_TVC: np.ndarray) -> np.ndarray:
    """Each axis of a clip stretched or shrunk so that it runs from -1 to 1."""
    low, high = joints_TVC.min((0, 1)), joints_TVC.max((0, 1))
    return ((joints_TVC - low) / np.maximum(high - low, 1e-6) * 2 - 1).astype(np.float32)


def stream_input(joints_TVC: np.ndarray, stream: str) -> np.ndarray:
    """Joints of `LAYOUT` [T, V, 3] -> the stream's input [3, FRAMES, V].

    A bone leads from a joint's parent to the joint, the root's is 0; motion leads to the next frame, the last is 0.
    """
    x_TVC = resample(joints_TVC, FRAMES)
    if stream.startswith("bone"):
        parents = [joint if parent < 0 else parent for joint, parent in enumerate(NWUCLA_PARENTS)]
        x_TVC = x_TVC - x_TVC[:, parents]
    if stream.endswith("motion"):
        x_TVC = np.diff(x_TVC, axis=0, append=x_TVC[-1:])
    return x_TVC.transpose(2, 0, 1).astype(np.float32)


def stack_samples(samples: Sequence[ClipSample]) -> Tensor:
    """Clips [N, C, T, V, M=1]."""
    return torch.from_numpy(np.stack([sample.x for sample in samples])[..., None])


def clip_loss(smoothing: float, model: nn.Module, samples: list[ClipSample], device: torch.device) -> Tensor:
    targets = torch.tensor([sample.target for sample in samples], device=device)
    return cross_entropy(model(stack_samples(samples).to(device)).float(), targets, label_smoothing=smoothing)


def clip_loss_with_helper(
    smoothing: float, model: nn.Module, samples: list[ClipSample], device: torch.device
) -> Tensor:
    """The same with that of the helper beside the network; see `cocodiff`."""
    targets = torch.tensor([sample.target for sample in samples], device=device)
    logits_NK, extra = model(stack_samples(samples).to(device), targets)
    return cross_entropy(logits_NK.float(), targets, label_smoothing=smoothing) + extra


@torch.no_grad()
def compute_logits(model: nn.Module, samples: Sequence[ClipSample], batch: int = 32) -> np.ndarray:
    """Logits [N, classes] of a network in evaluation."""
    model.eval()
    device = next(model.parameters()).device
    parts = [samples[i : i + batch] for i in range(0, len(samples), batch)]
    return np.concatenate([model(stack_samples(part).to(device)).float().cpu().numpy() for part in parts])


def top1(model: nn.Module, samples: Sequence[ClipSample]) -> dict[str, float]:
    """Percent of the samples whose class has the highest logit; nothing where there are none."""
    if not samples:
        return {}
    said = compute_logits(model, samples).argmax(1)
    return {"top1": 100 * float((said == [sample.target for sample in samples]).mean())}


def load_views(data: Path, *views: int) -> list[LabeledClip]:
    """NW-UCLA's clips of these views in a data folder, labelled with its own ten actions."""
    layout = Layout.load(LAYOUT)
    found = load_clips(data, layout, lambda record: record.get("ds") == "nw-ucla" and record["view"] in views)
    return [replace(clip, label=clip.record["action"]) for clip in found]


@dataclass(frozen=True, kw_only=True, slots=True)
class CtrGcnRecipe:
    """Everything that makes a run of one stream; stored as recipe.json in the run's folder."""

    name: str
    loop: LoopConfig
    licence: str = "research use: trained on NW-UCLA"
    stream: str = "joint"
    channels: tuple[int, ...] = CHANNELS
    dropout: float = 0.0
    data: str = "../shared/data"
    hold_out: int | None = None  # a training subject to validate on; None: train on all
    unseen: str | None = None  # a split of `zero_shot.splits()` whose unseen labels are not trained on
    subset: int | None = None  # train on this many clips only
    cocodiff: bool = False  # train with a helper, of which nothing remains
    helper: CoCoDiffConfig = CoCoDiffConfig()
    threads: int | None = None

    def check(self) -> None:
        """Refuse settings that no run can have. Raises InputError."""
        check_loop(self.loop, threads=self.threads, subset=self.subset)
        self.helper.check()
        if self.stream not in STREAMS:
            raise InputError(f"stream={self.stream}: expected {', '.join(STREAMS)}")
        if self.unseen not in (None, *splits()):
            raise InputError(f"unseen={self.unseen}: expected {', '.join(splits())}")
        if min(self.channels) < 8:  # one quarter a temporal branch, one eighth a relation
            raise InputError("channels: expected numbers of at least 8")

    def job(self, run: Path) -> Job:
        """The network and what it is shown. Raises InputError where data is missing."""
        hidden = unseen_labels(self.unseen)
        clips = [clip for clip in load_views(Path(self.data), 1, 2) if vocabulary.label(clip.record) not in hidden]
        labels = tuple(sorted({clip.label or "" for clip in clips}))
        held_out = [clip for clip in clips if clip.record["subject"] == self.hold_out]
        clips = [clip for clip in clips if clip.record["subject"] != self.hold_out]
        if self.subset is not None:
            clips = clips[:: max(1, len(clips) // self.subset)][: self.subset]
        if not clips:
            raise InputError(f"{self.data}: no clip that recipe {self.name} trains on")
        if self.hold_out is not None and not held_out:
            raise InputError(f"hold_out={self.hold_out}: no training subject of that number in {self.data}")
        if self.loop.batch > len(clips):
            raise InputError(f"batch={self.loop.batch}: more than the {len(clips)} clips to train on")
        config = CTRGCNConfig(
            classes=len(labels), parents=NWUCLA_PARENTS, people=1, channels=self.channels, dropout=self.dropout
        )
        task = CtrGcnTask(
            clips=clips, labels=labels, stream=self.stream, layout=Layout.load(LAYOUT), seed=self.loop.seed
        )
        checked = [whole_sample(clip, self.stream, labels) for clip in held_out]
        model = cocodiff.add_helper(config, labels, self.helper, self.loop) if self.cocodiff else CTRGCN(config)
        return Job(
            model=model,
            task=task,
            about={"labels": labels, "model": asdict(config)},
            validate=lambda model: top1(model, checked),
            loss=partial(clip_loss_with_helper if self.cocodiff else clip_loss, self.loop.smoothing),
        )


def nwucla_ctrgcn() -> CtrGcnRecipe:
    """NW-UCLA's cross-view protocol: views 1 and 2."""
    return CtrGcnRecipe(name="nwucla-ctrgcn", loop=LoopConfig(steps=870))

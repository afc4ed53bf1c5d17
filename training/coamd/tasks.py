"""Training of CoAMD: what each network is shown, and its loss.

Shapes: B batch, T frames, C = 3V coordinates, L tokens, D channels of a token, W width of the text features.
Source of the losses: CoAMD, released code; the recogniser's is the whole one that the release leaves out in part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, smooth_l1_loss

from ...runtime.generation.schedule import STRIDE
from ..data.caption_features import CaptionFeatures
from ..data.motions import BalancedSampler, MotionClip
from ..distributed import all_gather, mean_over_ranks
from ..models.clip_text import ClipText
from ..models.coamd import AutoEncoder, LengthEstimator, MotionGenerator, MotionRecognizer
from ..models.coamd.views import views
from .evaluator import info_nce
from .solvers import ddpm_schedule

QUALITIES = ("mocap", "kinect")
WINDOW = 64  # frames that the auto-encoder is shown
TOKEN_NOISE = 0.25  # at most, of a token's deviation: what is decoded of a generated token is a motion too
NO_TEXT = 0.1  # share of samples without a description
REPLACED, HIDDEN = 0.1, 0.88  # of the masked tokens: by noise; of the others, by the mask


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalization:
    """Mean and deviation [C] of every coordinate, metres."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, clips: Sequence[MotionClip]) -> Normalization:
        frames = np.concatenate([clip.joints.reshape(len(clip.joints), -1) for clip in clips]).astype(np.float64)
        return cls(mean=frames.mean(0).astype(np.float32), std=frames.std(0).astype(np.float32))

    def __call__(self, joints_TV3: np.ndarray) -> np.ndarray:
        """[T, V, 3] metres -> [T, C]."""
        return (joints_TV3.reshape(len(joints_TV3), -1) - self.mean) / self.std

    def back(self, x_TC: np.ndarray) -> np.ndarray:
        """[T, C] -> [T, V, 3] metres."""
        return (x_TC * self.std + self.mean).reshape(len(x_TC), -1, 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSample:
    """A motion [T, C], normalised, T a multiple of 4, and what it is called."""

    x: np.ndarray
    name: str  # no two motions that differ have the same
    caption: str
    action: str
    style: str | None
    quality: int
    seed: int  # of what else is random about it


@dataclass(frozen=True, kw_only=True)
class MotionTask:
    """Random stretches of clips, each with one of its captions; the same for the same step and place in the batch.

    Attributes:
        frames: so many of a stretch are shown, wherever they lie in it, as absolute as before; None: all.
    """

    clips: BalancedSampler
    normalization: Normalization
    frames: int | None = None

    def batch(self, step: int, size: int) -> list[TrainingSample]:
        drawn = self.clips.batch(step, size)
        return [self.show(clip, np.random.default_rng((self.clips.seed, step, k, 1))) for k, clip in enumerate(drawn)]

    def show(self, clip: MotionClip, rng: np.random.Generator) -> TrainingSample:
        joints, begin = clip.joints[: len(clip.joints) // STRIDE * STRIDE], 0
        if self.frames is not None and len(joints) > self.frames:
            begin = int(rng.integers(len(joints) - self.frames + 1))
            joints = joints[begin : begin + self.frames]
        return TrainingSample(
            x=self.normalization(joints),
            name=f"{clip.source} {clip.name} {begin}",
            caption=clip.captions[rng.integers(len(clip.captions))],
            action=clip.action,
            style=clip.style,
            quality=QUALITIES.index(clip.quality),
            seed=int(rng.integers(2**32)),
        )


def padded(motions: Sequence[np.ndarray], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Motions [T, C] -> [B, T, C], zeros beyond their lengths [B]."""
    lengths = torch.tensor([len(x) for x in motions], device=device)
    rows = [torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in motions]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device), lengths


def valid_mask(lengths_B: Tensor, size: int) -> Tensor:
    """Which of `size` places lie within a length, [B, size]."""
    return torch.arange(size, device=lengths_B.device) < lengths_B[:, None]


def name_ids(names: Sequence[object], device: torch.device) -> Tensor:
    """A number for each name, [B], the same in every process."""
    return torch.tensor([crc32(repr(name).encode()) for name in names], device=device)


def description_ids(samples: Sequence[TrainingSample], device: torch.device) -> Tensor:
    """A number for what each shows, [B]: the same for the same action in the same style."""
    return name_ids([(sample.action, sample.style) for sample in samples], device)


# the auto-encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewScales:
    """Joints, bones and motion, each divided by a scale [C]: what a reconstruction is judged by."""

    parents: tuple[int, ...]
    scales: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def plain(cls, parents: tuple[int, ...]) -> ViewScales:
        """As published: all by 1. Bones and motion are small then, and count little."""
        one = torch.ones(3 * len(parents))
        return cls(parents=parents, scales=(one, one, one))

    @classmethod
    def fitted(cls, model: AutoEncoder) -> ViewScales:
        """Each by its deviation: what makes a pose counts as much as where it is."""
        joint, *_ = cls.plain(model.config.parents).scales
        return cls(parents=model.config.parents, scales=(joint, model.scales.bone, model.scales.motion))

    def __call__(self, x_BTC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = zip(views(x_BTC, self.parents), self.scales, strict=True)
        joint, bone, moved = (view / scale.to(view.device) for view, scale in parts)
        return joint, bone, moved


def reconstruction_loss(
    judged: ViewScales, most: float, model: nn.Module, samples: Sequence[TrainingSample], device: torch.device
) -> Tensor:
    """Smooth L1 of joints, bones and motion, with noise of 0 to `most` deviations on the tokens of each sample."""
    x_BTC, lengths_B = padded([sample.x for sample in samples], device)
    noise_B = most * torch.rand(len(samples), device=device) if most else None
    made = model(x_BTC, lengths_B, noise_B).float()
    weight = valid_mask(lengths_B, x_BTC.shape[1])[:, :, None].float()
    moved = weight.clone()
    moved[:, 0] = 0
    total = x_BTC.new_zeros(())
    for found, wanted, counted in zip(judged(made), judged(x_BTC), (weight, weight, moved), strict=True):
        distance = smooth_l1_loss(found, wanted, reduction="none")
        total = total + (distance * counted).sum() / (mean_over_ranks(counted.sum()) * x_BTC.shape[2])
    return total


@torch.no_grad()
def reconstruction_mm(model: nn.Module, samples: Sequence[TrainingSample], normalization: Normalization) -> float:
    """Mean distance of a joint from where it was, both relative to the pelvis, millimetres."""
    device = next(model.parameters()).device
    x_BTC, lengths_B = padded([sample.x for sample in samples], device)
    made = model.eval()(x_BTC, lengths_B).cpu().numpy()
    errors = []
    for sample, row in zip(samples, made, strict=True):
        there, again = normalization.back(sample.x), normalization.back(row[: len(sample.x)])
        errors.append(np.linalg.norm((again - again[:, :1]) - (there - there[:, :1]), axis=2).mean(1))
    return 1e3 * float(np.concatenate(errors).mean())


def fit_view_scales(model: AutoEncoder | MotionRecognizer, motions: Sequence[np.ndarray]) -> None:
    """Fit the scales of a new model to motions [T, C]."""
    shown = [views(torch.from_numpy(x)[None], model.config.parents) for x in motions]
    model.scales.fit(*(torch.cat(view, 1)[0] for view in zip(*shown, strict=True)))


@torch.no_grad()
def fit_token_scale(model: AutoEncoder, motions: Sequence[np.ndarray]) -> None:
    """Choose the shift and scale that give the tokens of motions [T, C] mean 0 and deviation 1."""
    x_BTC, lengths_B = padded(motions, model.shift.device)
    z_BLD = model.eval().encode(x_BTC, lengths_B) * model.scale + model.shift
    tokens_ND = z_BLD[valid_mask(lengths_B // STRIDE, z_BLD.shape[1])]
    model.shift.copy_(tokens_ND.mean(0))
    model.scale.copy_(tokens_ND.std(0) + 1e-6)


# the generator


class TokenCache:
    """Tokens of motions by a trained auto-encoder, each encoded once.

    Args:
        most: bytes that are kept; beyond, motions are encoded anew.
    """

    def __init__(self, autoencoder: AutoEncoder, most: int = 2**30):
        self.autoencoder, self.left = autoencoder.eval(), most
        self.known: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, samples: Sequence[TrainingSample], device: torch.device) -> tuple[Tensor, Tensor]:
        """[B, L, D], zeros beyond their numbers [B]."""
        made = {sample.name: sample.x for sample in samples if sample.name not in self.known}
        fresh: dict[str, Tensor] = {}
        if made:
            x_BTC, lengths_B = padded(list(made.values()), device)
            with torch.autocast(device.type, enabled=False):  # tokens as they will be decoded
                tokens_BLD = self.autoencoder.to(device).encode(x_BTC, lengths_B).cpu()
            rows = zip(made.items(), tokens_BLD, strict=True)
            fresh = {name: row[: len(x) // STRIDE].clone() for (name, x), row in rows}
        for name, row in fresh.items():
            if row.nbytes <= self.left:
                self.known[name], self.left = row, self.left - row.nbytes
        found = [fresh[s.name] if s.name in fresh else self.known[s.name] for s in samples]
        counts_B = torch.tensor([len(row) for row in found], device=device)
        return nn.utils.rnn.pad_sequence(found, batch_first=True).to(device), counts_B


def flow_loss(
    tokens: TokenCache,
    texts: CaptionFeatures,
    repeats: int,
    model: nn.Module,
    samples: Sequence[TrainingSample],
    device: torch.device,
) -> Tensor:
    """Squared error of the head on masked tokens, each with `repeats` times and noises."""
    generator = getattr(model, "module", model)  # as it is, whether or not several processes train it
    assert isinstance(generator, MotionGenerator)
    steps = None if generator.config.objective == "flow" else len(ddpm_schedule())
    tokens_BLD, counts_B = tokens(samples, device)
    (_, L, D), valid_BL = tokens_BLD.shape, valid_mask(counts_B, tokens_BLD.shape[1])
    drawn = [
        NoiseDraw.for_sample(s.seed, n, L, D, repeats, steps) for s, n in zip(samples, counts_B.tolist(), strict=True)
    ]

    def on(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    told_B1 = np.array([[d.told] for d in drawn], np.float32)
    text_BW = torch.from_numpy(texts.pooled([sample.caption for sample in samples]) * told_B1).to(device)
    quality_B = (
        torch.tensor([sample.quality for sample in samples], device=device) if generator.config.qualities else None
    )
    seen_BLD = torch.where(on([d.noised for d in drawn])[:, :, None], on([d.noise for d in drawn]), tokens_BLD)
    seen_BLD = torch.where(on([d.hidden for d in drawn])[:, :, None], generator.mask, seen_BLD)

    wanted_BL = on([d.masked for d in drawn])
    target_ND = tokens_BLD[wanted_BL].repeat(repeats, 1)
    start_ND, t_N = (
        torch.from_numpy(np.concatenate(parts, 1)).to(device).flatten(0, 1)
        for parts in ([d.start for d in drawn], [d.t for d in drawn])
    )
    if steps is None:
        x_ND = t_N[:, None] * target_ND + (1 - t_N[:, None]) * start_ND
        goal_ND = target_ND - start_ND
    else:
        signal_N1 = torch.from_numpy(ddpm_schedule().astype(np.float32)).to(device)[t_N][:, None]
        x_ND = signal_N1.sqrt() * target_ND + (1 - signal_N1).sqrt() * start_ND
        goal_ND = start_ND
    error_ND = (model(seen_BLD, text_BW, valid_BL, quality_B, wanted_BL, x_ND, t_N).float() - goal_ND).pow(2)
    return error_ND.sum() / (mean_over_ranks(wanted_BL.sum()) * repeats * D)


class NoiseDraw(NamedTuple):
    """What is random about a sample of `flow_loss`, whatever else is in the batch: R repeats, n masked tokens.

    Attributes:
        told: whether it has its description. masked [L], and of these `noised` and `hidden`. noise: [L, D].
        start [R, n, D], t [R, n]: noise and time that a masked token is learnt from; times of `steps`, or from 0 to 1.
    """

    told: bool
    masked: np.ndarray
    noised: np.ndarray
    hidden: np.ndarray
    noise: np.ndarray
    start: np.ndarray
    t: np.ndarray

    @classmethod
    def for_sample(cls, seed: int, count: int, length: int, width: int, repeats: int, steps: int | None) -> NoiseDraw:
        """For a motion of `count` tokens, padded to `length`."""
        draw = np.random.default_rng(seed)
        told = draw.random() >= NO_TEXT
        n = max(1, round(count * np.cos(np.pi / 2 * draw.random())))
        masked, noise = np.zeros(length, bool), np.zeros((length, width), np.float32)
        masked[draw.permutation(count)[:n]] = True
        chance = np.pad(draw.random(count), (0, length - count))
        noise[:count] = draw.standard_normal((count, width), np.float32)
        start = draw.standard_normal((repeats, n, width), np.float32)
        t = draw.random((repeats, n), np.float32) if steps is None else draw.integers(steps, size=(repeats, n))
        noised = masked & (chance < REPLACED)
        hidden = masked & (chance >= REPLACED) & (chance < REPLACED + (1 - REPLACED) * HIDDEN)
        return cls(told, masked, noised, hidden, noise, start, t)


def length_estimator(
    generator: MotionGenerator, texts: CaptionFeatures, motions: MotionTask, steps: int, batch: int = 64
) -> LengthEstimator:
    """A network trained to tell how many tokens a description takes, from what the generator is told of it."""
    torch.manual_seed(0)
    estimator = LengthEstimator(texts.width, generator.config.qualities)
    optimizer = torch.optim.AdamW(estimator.parameters(), lr=1e-3)
    for step in range(steps):
        samples = motions.batch(step, batch)
        pooled = torch.from_numpy(texts.pooled([sample.caption for sample in samples])).to(generator.text_mean.device)
        quality_B = torch.tensor([sample.quality for sample in samples])
        logits = estimator(generator.standardize(pooled).cpu(), quality_B)
        counts = torch.tensor([len(sample.x) // STRIDE for sample in samples])
        optimizer.zero_grad()
        cross_entropy(logits, counts).backward()
        optimizer.step()
    return estimator.eval()


# the recogniser


def recognizer_loss(
    texts: CaptionFeatures,
    loss: str,
    same_caption: float,
    model: nn.Module,
    samples: Sequence[TrainingSample],
    device: torch.device,
) -> Tensor:
    """Descriptions by the text tower, and half of labels by the frozen text encoder; `released`: labels alone.

    Descriptions of one action in one style are no negatives of each other, nor are those whose frozen features have a
    cosine above `same_caption`: 0.8 as published. Left and right are closer than that, so ours are told apart by name.
    """
    x_BTC, lengths_B = padded([sample.x for sample in samples], device)
    captions, actions = [sample.caption for sample in samples], [sample.action for sample in samples]
    features, described = model(x_BTC, lengths_B, *text_inputs(texts, captions, device))
    features, described = [all_gather(feature.float()) for feature in features], all_gather(described.float())
    units = [normalize(feature, dim=1) for feature in features]
    frozen, labels = (
        normalize(all_gather(torch.from_numpy(texts.pooled(t)).to(device)), dim=1) for t in (captions, actions)
    )
    action_B, descriptions = all_gather(name_ids(actions, device)), all_gather(description_ids(samples, device))
    same = action_B[:, None] == action_B

    def told_apart(texts_BF: Tensor, alike_BB: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """InfoNCE of all streams together, and the mean of each."""
        fused, *streams = (info_nce(unit, texts_BF, alike_BB, temperature) for unit in units)
        return fused, torch.stack(streams).mean()

    fused, streams = told_apart(labels, same, 0.4)
    if loss == "released":
        return fused / 2
    recognised = fused + streams
    alike = (descriptions[:, None] == descriptions) | (frozen @ frozen.T > same_caption)
    fused, streams = told_apart(normalize(described, dim=1), alike, 0.1)
    near = torch.stack([smooth_l1_loss(feature, described) for feature in features]).mean()
    return fused + near + streams + recognised / 2


def text_inputs(texts: CaptionFeatures, captions: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """What the text tower is given: CLIP's ids [B, 77], or features of words [B, L, W] and where they are, [B, L]."""
    if isinstance(texts.encoder, ClipText):
        return torch.from_numpy(texts.encoder.ids(captions)).to(device), None
    words, mask = texts.words(captions)
    return torch.from_numpy(words).to(device), torch.from_numpy(mask).to(device)


@torch.no_grad()
def retrieval_accuracy(
    model: nn.Module, texts: CaptionFeatures, samples: Sequence[TrainingSample], batch: int = 32
) -> dict[str, float]:
    """Percent of descriptions that find a motion of their action first, in batches, and of motions that find their
    label; nothing without samples.
    """
    assert isinstance(model, MotionRecognizer)
    model.eval()
    device = next(model.parameters()).device
    labels = sorted({sample.action for sample in samples})
    names = normalize(torch.from_numpy(texts.pooled(labels)).to(device))
    first, right = [], []
    for begin in range(0, len(samples), batch):
        part = samples[begin : begin + batch]
        x_BTC, lengths_B = padded([sample.x for sample in part], device)
        captions = [sample.caption for sample in part]
        features, described = model(x_BTC, lengths_B, *text_inputs(texts, captions, device))
        nearest = (normalize(described) @ normalize(features.fused).T).argmax(1)
        first += [part[i].action == sample.action for i, sample in zip(nearest.tolist(), part, strict=True)]
        said = (normalize(features.fused) @ names.T).argmax(1).tolist()
        right += [labels[i] == sample.action for i, sample in zip(said, part, strict=True)]
    return {"action_r1": 100 * float(np.mean(first)), "label_top1": 100 * float(np.mean(right))} if samples else {}


# the evaluator


def evaluator_loss(
    texts: CaptionFeatures, model: nn.Module, samples: Sequence[TrainingSample], device: torch.device
) -> Tensor:
    x_BTC, lengths_B = padded([sample.x for sample in samples], device)
    captions = [sample.caption for sample in samples]
    words, mask = (torch.from_numpy(array).to(device) for array in texts.words(captions))
    pooled = torch.from_numpy(texts.pooled(captions)).to(device)
    batch = {"motion": x_BTC, "lengths": lengths_B, "tokens": words, "mask": mask, "pooled": pooled}
    batch["group"] = description_ids(samples, device)
    loss: Tensor = model(batch)
    return loss

"""Training of CoAMD: samples and losses of each network.

Shapes: B batch, T frames, C = 3V coordinates, L tokens, D channels of a token, W width of the text features.
Source of the losses: CoAMD, released code, but for parts of the recognizer's loss, which the release leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss, mse_loss, normalize, pad, smooth_l1_loss

from ...runtime.generation.schedule import MAX_TOKENS, STRIDE
from ...runtime.generation.solvers import classifier_free, ddpm_schedule
from ..data.caption_features import CaptionFeatures
from ..data.motions import BalancedSampler, MotionClip
from ..distributed import all_gather, mean_over_ranks
from ..models.coamd import AutoEncoder, LengthEstimator, MotionGenerator, MotionRecognizer
from ..models.coamd.views import views
from .evaluator import info_nce

QUALITIES = ("mocap", "kinect")
WINDOW = 64  # frames per training sample of the autoencoder
MAX_TOKEN_NOISE = 0.25  # relative to a token's deviation; makes the decoder robust to generated tokens
TEXT_DROPOUT = 0.1  # share of samples without a description
NOISE_SHARE, MASK_SHARE = 0.1, 0.88  # of the masked tokens, replaced by noise; of the others, by the mask token


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalization:
    """Mean and standard deviation [C] of every coordinate, meters."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, clips: Sequence[MotionClip]) -> Normalization:
        frames = np.concatenate([clip.joints.reshape(len(clip.joints), -1) for clip in clips]).astype(np.float64)
        return cls(mean=frames.mean(0).astype(np.float32), std=frames.std(0).astype(np.float32))

    def __call__(self, joints_TV3: np.ndarray) -> np.ndarray:
        """Normalize joints [T, V, 3] in meters: [T, C]."""
        return (joints_TV3.reshape(len(joints_TV3), -1) - self.mean) / self.std

    def denormalize(self, x_TC: np.ndarray) -> np.ndarray:
        """Undo the normalization of [T, C]: [T, V, 3], meters."""
        return (x_TC * self.std + self.mean).reshape(len(x_TC), -1, 3)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSample:
    """A normalized motion [T, C], T a multiple of 4, with its labels."""

    x: np.ndarray
    name: str  # unique to this motion
    caption: str
    action: str
    style: str | None
    quality: int
    seed: int  # of everything else that is random about the sample


@dataclass(frozen=True, kw_only=True)
class MotionTask:
    """Random windows of clips, each with one of its captions; a function of step and position in the batch.

    Attributes:
        frames: maximum length of a random crop, which keeps its absolute position; None: no crop.
    """

    clips: BalancedSampler
    normalization: Normalization
    frames: int | None = None

    def batch(self, step: int, size: int) -> list[TrainingSample]:
        clips = self.clips.batch(step, size)
        return [self.sample(clip, np.random.default_rng((self.clips.seed, step, k, 1))) for k, clip in enumerate(clips)]

    def sample(self, clip: MotionClip, rng: np.random.Generator) -> TrainingSample:
        joints, start = clip.joints[: len(clip.joints) // STRIDE * STRIDE], 0
        if self.frames is not None and len(joints) > self.frames:
            start = int(rng.integers(len(joints) - self.frames + 1))
            joints = joints[start : start + self.frames]
        return TrainingSample(
            x=self.normalization(joints),
            name=f"{clip.source} {clip.name} {start}",
            caption=clip.captions[rng.integers(len(clip.captions))],
            action=clip.action,
            style=clip.style,
            quality=QUALITIES.index(clip.quality),
            seed=int(rng.integers(2**32)),
        )


def pad_motions(motions: Sequence[np.ndarray], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Pad motions [T, C] with zeros: [B, T, C], and their lengths [B]."""
    lengths = torch.tensor([len(x) for x in motions], device=device)
    rows = [torch.from_numpy(np.ascontiguousarray(x, np.float32)) for x in motions]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device), lengths


def valid_mask(lengths_B: Tensor, size: int) -> Tensor:
    """True at positions within a length, [B, size] bool."""
    return torch.arange(size, device=lengths_B.device) < lengths_B[:, None]


def name_ids(names: Sequence[object], device: torch.device) -> Tensor:
    """A hash of each name, [B], equal in all processes."""
    return torch.tensor([crc32(repr(name).encode()) for name in names], device=device)


def description_ids(samples: Sequence[TrainingSample], device: torch.device) -> Tensor:
    """A hash of each sample's action and style, [B]."""
    return name_ids([(sample.action, sample.style) for sample in samples], device)


# the autoencoder


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewScales:
    """Joints, bones and motion, each divided by a scale [C]: the terms of the reconstruction loss."""

    parents: Tensor
    scales: tuple[Tensor, Tensor, Tensor]

    @classmethod
    def unit(cls, parents: tuple[int, ...]) -> ViewScales:
        """Scales of 1, as published; bones and motion are small then, and contribute little."""
        one = torch.ones(3 * len(parents))
        return cls(parents=torch.tensor(parents), scales=(one, one, one))

    @classmethod
    def fitted(cls, model: AutoEncoder) -> ViewScales:
        """The views' standard deviations, so that the pose matters as much as the position."""
        joint, *_ = cls.unit(model.config.parents).scales
        return cls(parents=model.scales.parents, scales=(joint, model.scales.bone, model.scales.motion))

    def __call__(self, x_BTC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = zip(views(x_BTC, self.parents), self.scales, strict=True)
        joint, bone, motion = (view / scale.to(view.device) for view, scale in parts)
        return joint, bone, motion


DISTANCES = {"l1_smooth": smooth_l1_loss, "l1": l1_loss, "l2": mse_loss}  # by the names of the released code


def reconstruction_loss(
    scales: ViewScales,
    max_noise: float,
    distance: str,
    model: nn.Module,
    samples: Sequence[TrainingSample],
    device: torch.device,
) -> Tensor:
    """A distance of joints, bones and motion; the tokens of each sample get noise of 0 to `max_noise` deviations."""
    x_BTC, lengths_B = pad_motions([sample.x for sample in samples], device)
    noise_B = max_noise * torch.rand(len(samples), device=device) if max_noise else None
    decoded = model(x_BTC, lengths_B, noise_B).float()
    weight = valid_mask(lengths_B, x_BTC.shape[1])[:, :, None].float()
    motion_weight = weight.clone()
    motion_weight[:, 0] = 0
    total = x_BTC.new_zeros(())
    weights = (weight, weight, motion_weight)
    for view, target, weight in zip(scales(decoded), scales(x_BTC), weights, strict=True):
        distances = DISTANCES[distance](view, target, reduction="none")
        total = total + (distances * weight).sum() / (mean_over_ranks(weight.sum()) * x_BTC.shape[2])
    return total


@torch.no_grad()
def reconstruction_mm(model: nn.Module, samples: Sequence[TrainingSample], normalization: Normalization) -> float:
    """Mean distance of decoded from original joints, both relative to the pelvis, millimeters."""
    device = next(model.parameters()).device
    x_BTC, lengths_B = pad_motions([sample.x for sample in samples], device)
    decoded_BTC = model.eval()(x_BTC, lengths_B).cpu().numpy()
    errors = []
    for sample, decoded_TC in zip(samples, decoded_BTC, strict=True):
        joints, decoded = normalization.denormalize(sample.x), normalization.denormalize(decoded_TC[: len(sample.x)])
        errors.append(np.linalg.norm((decoded - decoded[:, :1]) - (joints - joints[:, :1]), axis=2).mean(1))
    return 1e3 * float(np.concatenate(errors).mean())


def fit_view_scales(model: AutoEncoder | MotionRecognizer, motions: Sequence[np.ndarray]) -> None:
    """Fit the scales of a new model to motions [T, C]."""
    views_of_motions = [views(torch.from_numpy(x)[None], model.scales.parents) for x in motions]
    model.scales.fit(*(torch.cat(view, 1)[0] for view in zip(*views_of_motions, strict=True)))


@torch.no_grad()
def fit_token_scale(model: AutoEncoder, motions: Sequence[np.ndarray]) -> None:
    """Set the shift and scale that give the tokens of motions [T, C] mean 0 and deviation 1."""
    x_BTC, lengths_B = pad_motions(motions, model.shift.device)
    z_BLD = model.eval().encode(x_BTC, lengths_B) * model.scale + model.shift
    tokens_ND = z_BLD[valid_mask(lengths_B // STRIDE, z_BLD.shape[1])]
    model.shift.copy_(tokens_ND.mean(0))
    model.scale.copy_(tokens_ND.std(0) + 1e-6)


# the generator


class TokenCache:
    """Tokens of motions from a trained autoencoder, each encoded once.

    Args:
        max_bytes: size of the cache; motions beyond are encoded every time.
        padding: see `Sampling`.
    """

    def __init__(self, autoencoder: AutoEncoder, max_bytes: int = 2**30, padding: str = "motion"):
        self.autoencoder, self.free_bytes, self.padding = autoencoder.eval(), max_bytes, padding
        self.cache: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, samples: Sequence[TrainingSample], device: torch.device) -> tuple[Tensor, Tensor]:
        """Tokens [B, L, D], padded with zeros, and their numbers [B]."""
        missing = {sample.name: sample.x for sample in samples if sample.name not in self.cache}
        fresh: dict[str, Tensor] = {}
        if missing:
            x_BTC, lengths_B = pad_motions(list(missing.values()), device)
            encoded_B: Tensor | None = lengths_B
            if self.padding == "batch":
                x_BTC, encoded_B = pad(x_BTC, (0, 0, 0, STRIDE * MAX_TOKENS - x_BTC.shape[1])), None
            with torch.autocast(device.type, enabled=False):  # in the precision in which tokens are decoded
                tokens_BLD = self.autoencoder.to(device).encode(x_BTC, encoded_B).cpu()
            rows = zip(missing.items(), tokens_BLD, strict=True)
            fresh = {name: row[: len(x) // STRIDE].clone() for (name, x), row in rows}
        for name, row in fresh.items():
            if row.nbytes <= self.free_bytes:
                self.cache[name], self.free_bytes = row, self.free_bytes - row.nbytes
        tokens = [fresh[s.name] if s.name in fresh else self.cache[s.name] for s in samples]
        counts_B = torch.tensor([len(row) for row in tokens], device=device)
        return nn.utils.rnn.pad_sequence(tokens, batch_first=True).to(device), counts_B


class GuidedTeacher:
    """Predictions of a generator with classifier-free guidance, which another one learns to make in one evaluation.

    Source: Meng et al., "On distillation of guided diffusion models" (2023).

    Args:
        generator: the teacher; copied.
        cfg: its weight, see `Sampling`.
    """

    def __init__(self, generator: MotionGenerator, cfg: float):
        self.generator, self.cfg = deepcopy(generator).eval().requires_grad_(False), cfg

    @torch.no_grad()
    def __call__(self, tokens_BLD: Tensor, text_BW: Tensor, *inputs: Tensor | None) -> Tensor:
        """Prediction [N, D] for the inputs of the generator."""
        self.generator.to(tokens_BLD.device)
        texts = text_BW, torch.zeros_like(text_BW)
        prediction_ND: Tensor = classifier_free([self.generator(tokens_BLD, text, *inputs) for text in texts], self.cfg)
        return prediction_ND.float()


def flow_loss(
    tokens: TokenCache,
    texts: CaptionFeatures,
    repeats: int,
    model: nn.Module,
    samples: Sequence[TrainingSample],
    device: torch.device,
    *,
    teacher: GuidedTeacher | None = None,
    spans: float = 0.0,
) -> Tensor:
    """Squared error of the head on masked tokens, each with `repeats` times and noises; from the teacher, if any."""
    generator = getattr(model, "module", model)  # unwrapped, if several processes train it
    assert isinstance(generator, MotionGenerator)
    steps = None if generator.config.objective == "flow" else len(ddpm_schedule())
    tokens_BLD, counts_B = tokens(samples, device)
    (_, L, D), valid_BL = tokens_BLD.shape, valid_mask(counts_B, tokens_BLD.shape[1])
    draws = [
        NoiseDraw.for_sample(s.seed, n, L, D, repeats, steps, spans)
        for s, n in zip(samples, counts_B.tolist(), strict=True)
    ]

    def to_device(arrays: Sequence[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    with_text_B1 = np.array([[draw.with_text] for draw in draws], np.float32)
    text_BW = torch.from_numpy(texts.pooled([sample.caption for sample in samples]) * with_text_B1).to(device)
    quality_B = (
        torch.tensor([sample.quality for sample in samples], device=device) if generator.config.qualities else None
    )
    noise_BLD, noised_BL = to_device([draw.noise for draw in draws]), to_device([draw.noised for draw in draws])
    input_BLD = torch.where(noised_BL[:, :, None], noise_BLD, tokens_BLD)
    input_BLD = torch.where(to_device([draw.hidden for draw in draws])[:, :, None], generator.mask, input_BLD)

    masked_BL = to_device([draw.masked for draw in draws])
    target_ND = tokens_BLD[masked_BL].repeat(repeats, 1)
    start_ND, t_N = (
        torch.from_numpy(np.concatenate(parts, 1)).to(device).flatten(0, 1)
        for parts in ([draw.start for draw in draws], [draw.t for draw in draws])
    )
    if steps is None:
        x_ND = t_N[:, None] * target_ND + (1 - t_N[:, None]) * start_ND
        goal_ND = target_ND - start_ND
    else:
        alpha_bar_N1 = torch.from_numpy(ddpm_schedule().astype(np.float32)).to(device)[t_N][:, None]
        x_ND = alpha_bar_N1.sqrt() * target_ND + (1 - alpha_bar_N1).sqrt() * start_ND
        goal_ND = start_ND
    inputs = input_BLD, text_BW, valid_BL, quality_B, masked_BL, x_ND, t_N
    if teacher is not None:
        goal_ND = teacher(*inputs)
    error_ND = (model(*inputs).float() - goal_ND).pow(2)
    return error_ND.sum() / (mean_over_ranks(masked_BL.sum()) * repeats * D)


class NoiseDraw(NamedTuple):
    """Random part of a sample of `flow_loss`, independent of the batch: R repeats, n masked tokens.

    Attributes:
        with_text: False if the description is dropped.
        masked: [L] bool; of these, `noised` are replaced by noise and `hidden` by the mask token.
        noise: [L, D].
        start, t: [R, n, D] and [R, n], noise and time of each prediction; times are of `steps`, or from 0 to 1.
    """

    with_text: bool
    masked: np.ndarray
    noised: np.ndarray
    hidden: np.ndarray
    noise: np.ndarray
    start: np.ndarray
    t: np.ndarray

    @classmethod
    def for_sample(
        cls, seed: int, count: int, length: int, width: int, repeats: int, steps: int | None, spans: float = 0.0
    ) -> NoiseDraw:
        """Draw for a motion of `count` tokens, padded to `length`; `spans` is the share with masked neighbors."""
        draw = np.random.default_rng(seed)
        with_text = draw.random() >= TEXT_DROPOUT
        n = max(1, round(count * np.cos(np.pi / 2 * draw.random())))
        masked, noise = np.zeros(length, bool), np.zeros((length, width), np.float32)
        masked[draw.permutation(count)[:n]] = True
        if spans and draw.random() < spans:
            masked[:count] = np.roll(np.arange(count) < n, draw.integers(count))
        chance = np.pad(draw.random(count), (0, length - count))
        noise[:count] = draw.standard_normal((count, width), np.float32)
        start = draw.standard_normal((repeats, n, width), np.float32)
        t = draw.random((repeats, n), np.float32) if steps is None else draw.integers(steps, size=(repeats, n))
        noised = masked & (chance < NOISE_SHARE)
        hidden = masked & (chance >= NOISE_SHARE) & (chance < NOISE_SHARE + (1 - NOISE_SHARE) * MASK_SHARE)
        return cls(with_text, masked, noised, hidden, noise, start, t)


def train_length_estimator(
    generator: MotionGenerator, texts: CaptionFeatures, motions: MotionTask, steps: int, batch: int = 64
) -> LengthEstimator:
    """Train a network that estimates the number of tokens from the generator's text features."""
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


# the recognizer


def recognizer_loss(
    texts: CaptionFeatures,
    loss: str,
    same_caption: float,
    model: nn.Module,
    samples: Sequence[TrainingSample],
    device: torch.device,
) -> Tensor:
    """Contrastive loss with descriptions by the text tower, plus half of that with labels by the frozen text encoder.

    With `released` only the labels' part, with `descriptions` only the other one. Descriptions of one action in one
    style are not negatives of each other, nor are those whose frozen features have a cosine above `same_caption`: 0.8
    as published. Captions that differ in left and right are more similar than that; a `same_caption` of 1 separates
    them.
    """
    x_BTC, lengths_B = pad_motions([sample.x for sample in samples], device)
    captions, actions = [sample.caption for sample in samples], [sample.action for sample in samples]
    features, described = model(x_BTC, lengths_B, *text_inputs(texts, captions, device))
    features, described = [all_gather(feature.float()) for feature in features], all_gather(described.float())
    units = [normalize(feature, dim=1) for feature in features]
    frozen, labels = (
        normalize(all_gather(torch.from_numpy(texts.pooled(t)).to(device)), dim=1) for t in (captions, actions)
    )
    action_B, descriptions = all_gather(name_ids(actions, device)), all_gather(description_ids(samples, device))
    same = action_B[:, None] == action_B

    def contrastive(texts_BF: Tensor, alike_BB: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """InfoNCE of the fused features, and its mean over the streams."""
        fused, *streams = (info_nce(unit, texts_BF, alike_BB, temperature) for unit in units)
        return fused, torch.stack(streams).mean()

    fused, streams = contrastive(labels, same, 0.4)
    if loss == "released":
        return fused / 2
    label_loss = fused + streams
    alike = (descriptions[:, None] == descriptions) | (frozen @ frozen.T > same_caption)
    fused, streams = contrastive(normalize(described, dim=1), alike, 0.1)
    near = torch.stack([smooth_l1_loss(feature, described) for feature in features]).mean()
    description_loss = fused + near + streams
    return description_loss if loss == "descriptions" else description_loss + label_loss / 2


def text_inputs(texts: CaptionFeatures, captions: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Inputs of the text tower: CLIP's ids [B, 77], or word features [B, L, W] and their mask [B, L]."""
    if texts.encoder.clip:
        return torch.from_numpy(texts.encoder.ids(captions)).to(device), None
    words, mask = texts.words(captions)
    return torch.from_numpy(words).to(device), torch.from_numpy(mask).to(device)


@torch.no_grad()
def retrieval_accuracy(
    model: nn.Module, texts: CaptionFeatures, samples: Sequence[TrainingSample], batch: int = 32
) -> dict[str, float]:
    """R@1 from descriptions to motions of their action, within batches, and top-1 from motions to labels, percent.

    Empty without samples.
    """
    assert isinstance(model, MotionRecognizer)
    model.eval()
    device = next(model.parameters()).device
    labels = sorted({sample.action for sample in samples})
    names = normalize(torch.from_numpy(texts.pooled(labels)).to(device))
    retrieved, recognized = [], []
    for start in range(0, len(samples), batch):
        part = samples[start : start + batch]
        x_BTC, lengths_B = pad_motions([sample.x for sample in part], device)
        captions = [sample.caption for sample in part]
        features, described = model(x_BTC, lengths_B, *text_inputs(texts, captions, device))
        nearest = (normalize(described) @ normalize(features.fused).T).argmax(1)
        retrieved += [part[i].action == sample.action for i, sample in zip(nearest.tolist(), part, strict=True)]
        predicted = (normalize(features.fused) @ names.T).argmax(1).tolist()
        recognized += [labels[i] == sample.action for i, sample in zip(predicted, part, strict=True)]
    if not samples:
        return {}
    return {"action_r1": 100 * float(np.mean(retrieved)), "label_top1": 100 * float(np.mean(recognized))}


# the evaluator


def evaluator_loss(
    texts: CaptionFeatures, model: nn.Module, samples: Sequence[TrainingSample], device: torch.device
) -> Tensor:
    x_BTC, lengths_B = pad_motions([sample.x for sample in samples], device)
    captions = [sample.caption for sample in samples]
    words, mask = (torch.from_numpy(array).to(device) for array in texts.words(captions))
    pooled = torch.from_numpy(texts.pooled(captions)).to(device)
    batch = {"motion": x_BTC, "lengths": lengths_B, "tokens": words, "mask": mask, "pooled": pooled}
    batch["group"] = description_ids(samples, device)
    loss: Tensor = model(batch)
    return loss

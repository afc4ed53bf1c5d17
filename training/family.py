"""Trained CoAMD networks together: text to motion, editing, retrieval and recognition, in plain PyTorch.

What runs without torch is exported from the same networks; this is what it is measured against.
Shapes: B batch, T frames at 20 a second, V = 22 joints, metres, y up; F width of the recogniser's space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..runtime import noise
from ..runtime.errors import InputError
from . import augment
from .clips import heading
from .coamd import QUALITIES, Normalisation, padded, read
from .guidance import Reward, reward_of
from .models.coamd import (
    AutoEncoder,
    AutoEncoderConfig,
    Generator,
    GeneratorConfig,
    LengthEstimator,
    MotionRecognizer,
    MotionRecognizerConfig,
)
from .models.coamd.autoencoder import STRIDE
from .models.coamd.length import MAX_TOKENS
from .motions import LONGEST, SMPL, canonical
from .runs import read_network, read_weights, weights_sha256
from .sampling import Sampling, sample
from .texts import Encoder, Texts

BLEND = 8  # frames on the new side of a seam, over which it leans towards what was there


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """Networks that were trained on the same motions, and the encoder of their descriptions."""

    autoencoder: AutoEncoder
    generator: Generator
    recognizer: MotionRecognizer
    lengths: LengthEstimator
    normalisation: Normalisation
    text: Encoder

    @classmethod
    def load(cls, runs: Path, text: Encoder) -> Family:
        """The finished runs coamd-ae, coamd-generator and coamd-mar in a folder.

        Raises:
            InputError: one is missing, not finished or damaged, or they were not trained for each other or `text`.
        """
        autoencoder, about = read_network(runs / "coamd-ae", AutoEncoder, AutoEncoderConfig)
        generator, of_generator = read_network(runs / "coamd-generator", Generator, GeneratorConfig)
        recognizer, of_recognizer = read_network(runs / "coamd-mar", MotionRecognizer, MotionRecognizerConfig)
        for name, other in (("coamd-generator", of_generator), ("coamd-mar", of_recognizer)):
            if other.get("mean") != about.get("mean"):
                raise InputError(f"{runs / name}: trained on other motions than {runs / 'coamd-ae'}")
            if other.get("text_sha256") != text.sha256:
                raise InputError(f"{runs / name}: trained with another text encoder than this one")
        if of_generator.get("autoencoder_sha256") != weights_sha256(runs / "coamd-ae"):
            raise InputError(f"{runs / 'coamd-generator'}: trained on tokens of another auto-encoder")
        lengths = LengthEstimator(generator.config.text)
        lengths.load_state_dict(read_weights(runs / "coamd-generator", "length.safetensors"))
        arrays = (np.array(about[name], np.float32) for name in ("mean", "std"))
        family = cls(
            autoencoder=autoencoder,
            generator=generator,
            recognizer=recognizer,
            lengths=lengths.eval(),
            normalisation=Normalisation(**dict(zip(("mean", "std"), arrays, strict=True))),
            text=text,
        )
        return family.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def device(self) -> torch.device:
        return self.generator.mask.device

    @torch.no_grad()
    def generate(
        self,
        captions: Sequence[str],
        frames: Sequence[int] | None = None,
        settings: Sampling | None = None,
        *,
        seed: int = 0,
        samples: Sequence[int] | None = None,
        quality: str = "mocap",
    ) -> list[np.ndarray]:
        """A motion [T, V, 3] for each caption; T is `frames` less what is over a multiple of 4, or estimated."""
        settings = Sampling() if settings is None else settings
        samples = range(len(captions)) if samples is None else samples
        pooled = torch.from_numpy(self.text.encode(captions).pooled).to(self.device)
        if frames is None:
            chances = self.lengths(self.generator.standardised(pooled)).softmax(1).cumsum(1).cpu().numpy()
            drawn = [int((row < noise.uniform(seed, s)).sum()) for row, s in zip(chances, samples, strict=True)]
            frames = [STRIDE * min(max(count, 4), MAX_TOKENS) for count in drawn]
        check_frames(frames)
        counts = [n // STRIDE for n in frames]
        tokens = sample(
            self.generator,
            pooled,
            counts,
            settings,
            seed=seed,
            samples=samples,
            quality_B=self._quality(quality, len(captions)),
            reward=self.reward(captions, settings),
        )
        return self._decoded(tokens, counts)

    @torch.no_grad()
    def edit(
        self,
        joints: np.ndarray,
        caption: str,
        regenerate_T: np.ndarray,
        settings: Sampling | None = None,
        *,
        seed: int = 0,
        quality: str = "mocap",
    ) -> np.ndarray:
        """A motion [T, V, 3] with some frames made anew; all others are as they were.

        Args:
            regenerate_T: which frames; any of them. New frames next to a seam, `BLEND` at most, lean to the old.
        """
        settings = Sampling() if settings is None else settings
        T = len(joints)
        check_frames([T])
        whole = -(-T // STRIDE) * STRIDE
        known, back = placed(joints)
        held = np.concatenate([known, np.repeat(known[-1:], whole - T, 0)])
        wanted: np.ndarray = np.pad(regenerate_T, (0, whole - T), "edge").reshape(-1, STRIDE).max(1)
        x_BTC, lengths_B = padded([self.normalisation(held)], self.device)
        tokens = sample(
            self.generator,
            torch.from_numpy(self.text.encode([caption]).pooled).to(self.device),
            [len(wanted)],
            settings,
            seed=seed,
            quality_B=self._quality(quality, 1),
            reward=self.reward([caption], settings),
            known_BLD=self.autoencoder.encode(x_BTC, lengths_B),
            regenerate_BL=wanted[None],
        )
        return blended(joints, back(self._decoded(tokens, [len(wanted)])[0][:T]), regenerate_T)

    def reward(self, captions: Sequence[str], settings: Sampling) -> Reward | None:
        """What guidance climbs; None where there is none."""
        if settings.guidance is None:
            return None
        described = self._described(captions)
        return reward_of(self.autoencoder, self.recognizer, described, settings.guidance.lengths)

    @torch.no_grad()
    def motions(self, clips: Sequence[np.ndarray], batch: int = 64) -> np.ndarray:
        """Where motions [T, V, 3], or their first 196 frames, lie in the recogniser's space, [N, F], unit length."""
        found = []
        for begin in range(0, len(clips), batch):
            part = [clip[: min(len(clip) // STRIDE * STRIDE, LONGEST)] for clip in clips[begin : begin + batch]]
            check_frames([len(clip) for clip in part])
            part = [self.normalisation(canonical(clip)) for clip in part]
            x_BTC, lengths_B = padded(part, self.device)
            found.append(normalize(self.recognizer.encode(x_BTC, lengths_B).fused, dim=1).cpu().numpy())
        return np.concatenate(found)

    @torch.no_grad()
    def texts(self, captions: Sequence[str], batch: int = 64) -> np.ndarray:
        """Where descriptions lie in the recogniser's space, [N, F], unit length."""
        parts = [captions[begin : begin + batch] for begin in range(0, len(captions), batch)]
        return np.concatenate([normalize(self._described(part), dim=1).cpu().numpy() for part in parts])

    @torch.no_grad()
    def labels(self, names: Sequence[str]) -> np.ndarray:
        """What motions are compared with to be named, [N, F], unit length."""
        pooled = self.text.encode(names).pooled
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def _described(self, captions: Sequence[str]) -> Tensor:
        with torch.no_grad():
            return self.recognizer.describe(*read(Texts(captions, self.text), captions, self.device))

    def _quality(self, quality: str, count: int) -> Tensor | None:
        if not self.generator.config.qualities:
            return None
        return torch.full((count,), QUALITIES.index(quality), device=self.device)

    def _decoded(self, tokens_BLD: Tensor, counts: Sequence[int]) -> list[np.ndarray]:
        lengths_B = STRIDE * torch.tensor(list(counts), device=self.device)
        x_BTC = self.autoencoder.decode(tokens_BLD, lengths_B).cpu().numpy()
        return [self.normalisation.back(x[: STRIDE * n]) for x, n in zip(x_BTC, counts, strict=True)]

    def to(self, device: torch.device) -> Family:
        """The same on another device."""
        networks = ("autoencoder", "generator", "recognizer", "lengths")
        return replace(self, **{name: getattr(self, name).to(device) for name in networks})


def check_frames(frames: Sequence[int]) -> None:
    """Raises InputError for a length that the networks do not know."""
    for n in frames:
        if not STRIDE <= n <= LONGEST:
            raise InputError(f"a motion of {n} frames, expected {STRIDE} to {LONGEST}")


def placed(joints: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """A motion [T, V, 3] as the networks know motions, `canonical`, and what brings such a one back to its place."""
    known, yaw = canonical(joints), heading(joints[:1], SMPL)[0]

    def turned(made: np.ndarray) -> np.ndarray:
        return augment.turn(made, -yaw, np.zeros(2))

    offset = joints[0, 0] - turned(known[:1])[0, 0]
    return known, lambda made: turned(made) + offset


def blended(old_TV3: np.ndarray, new_TV3: np.ndarray, regenerate_T: np.ndarray) -> np.ndarray:
    """New frames where they are wanted, each stretch bent so that it meets the old frames on both sides."""
    found = np.where(regenerate_T[:, None, None], new_TV3, old_TV3).astype(np.float32)
    edges = np.flatnonzero(np.diff(regenerate_T.astype(int), prepend=0, append=0))
    for begin, end in edges.reshape(-1, 2):
        size = min(BLEND, end - begin)
        weight = (0.5 + 0.5 * np.cos(np.pi * (np.arange(size) + 1) / (size + 1)))[:, None, None]
        if begin > 0:
            found[begin : begin + size] += weight * (old_TV3[begin - 1] - new_TV3[begin - 1])
        if end < len(old_TV3):
            found[end - size : end] += weight[::-1] * (old_TV3[end] - new_TV3[end])
    return found

"""Trained CoAMD networks together: text to motion, editing, retrieval and recognition, in plain PyTorch.

What runs without torch is exported from the same networks; this is what it is measured against.
Shapes: B batch, T frames at 20 a second, V = 22 joints, metres, y up; F width of the recogniser's space.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...runtime.body.canonical import to_canonical, to_canonical_with_inverse
from ...runtime.bundles.bundle import Bundle
from ...runtime.bundles.int8 import network_weights
from ...runtime.bundles.schema import GenerationManifest
from ...runtime.errors import BundleError, InputError
from ...runtime.generation import rng as noise
from ...runtime.generation.postprocess import crossfade, extrapolate, fix_bone_lengths, postprocess, smooth_for_quality
from ...runtime.generation.schedule import MAX_TOKENS, STRIDE, Sampling
from ..data.caption_features import CaptionEncoder, CaptionFeatures
from ..data.motions import MAX_FRAMES
from ..models.coamd import (
    AutoEncoder,
    AutoEncoderConfig,
    GeneratorConfig,
    LengthEstimator,
    MotionGenerator,
    MotionRecognizer,
    MotionRecognizerConfig,
)
from ..runs import read_network, read_weights, weights_sha256
from .guidance import Reward, reward_of
from .sampling import sample
from .tasks import QUALITIES, Normalization, padded, text_inputs

NETWORKS = {"autoencoder": "coamd-ae", "generator": "coamd-generator", "recognizer": "coamd-mar"}  # and their runs
CLASSES: dict[str, tuple[Any, Any]] = {
    "autoencoder": (AutoEncoder, AutoEncoderConfig),
    "generator": (MotionGenerator, GeneratorConfig),
    "recognizer": (MotionRecognizer, MotionRecognizerConfig),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CoamdPipeline:
    """Networks that were trained on the same motions, and the encoder of their descriptions."""

    autoencoder: AutoEncoder
    generator: MotionGenerator
    recognizer: MotionRecognizer
    lengths: LengthEstimator
    normalization: Normalization
    text: CaptionEncoder
    sampler: Sampling = Sampling()  # settings where none are given

    @classmethod
    def load(cls, source: str | Path, text: CaptionEncoder) -> CoamdPipeline:
        """A generation bundle by its name or folder, or a folder of the finished runs coamd-ae, -generator and -mar.

        Raises:
            InputError: one is missing, not finished or damaged, or they were not trained for each other or `text`.
        """
        runs = Path(source)
        made = (
            cls._from_runs(runs, text)
            if (runs / NETWORKS["generator"]).is_dir()
            else cls.from_bundle(Bundle.load(source, GenerationManifest), text)
        )
        return made.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @classmethod
    def _from_runs(cls, runs: Path, text: CaptionEncoder) -> CoamdPipeline:
        read = {name: read_network(runs / NETWORKS[name], *CLASSES[name]) for name in NETWORKS}
        about = {name: written for name, (_, written) in read.items()}
        for name in ("generator", "recognizer"):
            if about[name].get("mean") != about["autoencoder"].get("mean"):
                raise InputError(f"{runs / NETWORKS[name]}: trained on other motions than {NETWORKS['autoencoder']}")
            if about[name].get("text_sha256") != text.sha256:
                raise InputError(f"{runs / NETWORKS[name]}: trained with another text encoder than this one")
        autoencoder = runs / NETWORKS["autoencoder"]
        if about["generator"].get("autoencoder_sha256") != weights_sha256(autoencoder):
            raise InputError(f"{runs / NETWORKS['generator']}: trained on tokens of another auto-encoder")
        lengths = LengthEstimator(text.width, read["generator"][0].config.qualities)
        lengths.load_state_dict(read_weights(runs / NETWORKS["generator"], "length.safetensors"))
        mean, std = (np.array(about["autoencoder"][name], np.float32) for name in ("mean", "std"))
        networks: dict[str, Any] = {name: network for name, (network, _) in read.items()}
        normalization = Normalization(mean=mean, std=std)
        return cls(**networks, lengths=lengths.eval(), normalization=normalization, text=text)

    @classmethod
    def from_bundle(cls, bundle: Bundle[GenerationManifest], text: CaptionEncoder) -> CoamdPipeline:
        """Raises BundleError: its weights are not those of its networks, or it was trained with another encoder."""
        if bundle.manifest.text_sha256 != text.sha256:
            raise BundleError(f"{bundle.path}: trained with another text encoder than this one")
        weights = {name: torch.from_numpy(array) for name, array in network_weights(bundle.weights).items()}
        networks: dict[str, Any] = {}
        try:
            for name, (kind, configuration) in CLASSES.items():
                settings = bundle.manifest.model[name].items()
                networks[name] = kind(configuration(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings}))
            networks["lengths"] = LengthEstimator(text.width, networks["generator"].config.qualities)
            for name, network in networks.items():
                own = {key: weight for key, weight in weights.items() if key.startswith(f"{name}.")}
                network.load_state_dict({key.removeprefix(f"{name}."): weight for key, weight in own.items()})
                network.eval().requires_grad_(False)
            normalization = Normalization(mean=weights["mean"].numpy(), std=weights["std"].numpy())
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{bundle.path}: its weights are not those of its networks: {reason}") from None
        return cls(**networks, normalization=normalization, text=text, sampler=bundle.manifest.sampler)

    @property
    def model(self) -> dict[str, Any]:
        """Configurations of the networks, as in a manifest's `model`."""
        configs: dict[str, Any] = json.loads(
            json.dumps({name: asdict(getattr(self, name).config) for name in NETWORKS})
        )
        return configs

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
        settings = self.sampler if settings is None else settings
        samples = range(len(captions)) if samples is None else samples
        pooled = torch.from_numpy(self.text.encode(captions).pooled).to(self.device)
        quality_B = self._quality(quality, len(captions))
        if frames is None:
            chances = self.lengths(self.generator.standardized(pooled), quality_B).softmax(1).cumsum(1).cpu().numpy()
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
            quality_B=quality_B,
            reward=self.reward(captions, settings),
        )
        return [postprocess(smooth_for_quality(motion, quality)) for motion in self._decoded(tokens, counts)]

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
        settings = self.sampler if settings is None else settings
        T = len(joints)
        check_frames([T])
        whole = -(-T // STRIDE) * STRIDE
        known, back = to_canonical_with_inverse(joints)
        held = extrapolate(known, whole)
        wanted: np.ndarray = np.pad(regenerate_T, (0, whole - T), "edge").reshape(-1, STRIDE).max(1)
        x_BTC, lengths_B = padded([self.normalization(held)], self.device)
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
        made = smooth_for_quality(self._decoded(tokens, [len(wanted)])[0][:T], quality)
        return crossfade(joints, back(fix_bone_lengths(made, known)), regenerate_T)

    @torch.no_grad()
    def reconstruct(self, clips: Sequence[np.ndarray], batch: int = 64) -> list[np.ndarray]:
        """Motions [T, V, 3], as the networks know them (`to_canonical`), to tokens and back; T a multiple of 4."""
        found: list[np.ndarray] = []
        for begin in range(0, len(clips), batch):
            x_BTC, lengths_B = padded([self.normalization(clip) for clip in clips[begin : begin + batch]], self.device)
            tokens = self.autoencoder.encode(x_BTC, lengths_B)
            found += self._decoded(tokens, (lengths_B // STRIDE).tolist())
        return found

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
            part = [clip[: min(len(clip) // STRIDE * STRIDE, MAX_FRAMES)] for clip in clips[begin : begin + batch]]
            check_frames([len(clip) for clip in part])
            part = [self.normalization(to_canonical(clip)) for clip in part]
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
            return self.recognizer.describe(*text_inputs(CaptionFeatures(captions, self.text), captions, self.device))

    def _quality(self, quality: str, count: int) -> Tensor | None:
        if not self.generator.config.qualities:
            return None
        return torch.full((count,), QUALITIES.index(quality), device=self.device)

    def _decoded(self, tokens_BLD: Tensor, counts: Sequence[int]) -> list[np.ndarray]:
        lengths_B = STRIDE * torch.tensor(list(counts), device=self.device)
        x_BTC = self.autoencoder.decode(tokens_BLD, lengths_B).cpu().numpy()
        return [self.normalization.back(x[: STRIDE * n]) for x, n in zip(x_BTC, counts, strict=True)]

    def to(self, device: torch.device) -> CoamdPipeline:
        """The same on another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in (*NETWORKS, "lengths")})


def check_frames(frames: Sequence[int]) -> None:
    """Raises InputError for a length that the networks do not know."""
    for n in frames:
        if not STRIDE <= n <= MAX_FRAMES:
            raise InputError(f"a motion of {n} frames, expected {STRIDE} to {MAX_FRAMES}")

"""The trained CoAMD networks as one pipeline in plain PyTorch: text to motion, editing, retrieval and recognition.

The runtime without torch is exported from the same networks and measured against this pipeline.
Shapes: B batch, T frames at 20 per second, V = 22 joints in meters, y up; F width of the recognizer's space.
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
from torch.nn.functional import normalize, pad

from ...runtime.body.canonical import to_canonical, to_canonical_with_inverse
from ...runtime.bundles.bundle import Bundle
from ...runtime.bundles.int8 import network_weights
from ...runtime.bundles.schema import GenerationManifest
from ...runtime.errors import BundleError, InputError
from ...runtime.generation import rng as noise
from ...runtime.generation.postprocess import crossfade, extrapolate, fix_bone_lengths, postprocess, smooth_for_quality
from ...runtime.generation.schedule import MAX_TOKENS, STRIDE, Sampling
from ...runtime.text_encoder import TextEncoder
from ..data.caption_features import CaptionEncoder, CaptionFeatures
from ..data.motions import MAX_FRAMES
from ..models.clip_text import ClipText
from ..models.coamd import (
    AutoEncoder,
    AutoEncoderConfig,
    GeneratorConfig,
    LengthEstimator,
    MotionGenerator,
    MotionRecognizer,
    MotionRecognizerConfig,
)
from ..runs import read_network, read_record, read_weights, weights_sha256
from .guidance import Reward, reward_of
from .sampling import sample
from .tasks import QUALITIES, Normalization, pad_motions, text_inputs

NETWORKS = {"autoencoder": "coamd-ae", "generator": "coamd-generator", "recognizer": "coamd-mar"}  # network -> its run
CLASSES: dict[str, tuple[Any, Any]] = {
    "autoencoder": (AutoEncoder, AutoEncoderConfig),
    "generator": (MotionGenerator, GeneratorConfig),
    "recognizer": (MotionRecognizer, MotionRecognizerConfig),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CoamdPipeline:
    """Networks that were trained on the same motions, and the encoder of their captions."""

    autoencoder: AutoEncoder
    generator: MotionGenerator
    recognizer: MotionRecognizer
    lengths: LengthEstimator
    normalization: Normalization
    text: CaptionEncoder
    sampler: Sampling = Sampling()  # default settings
    guided: float = 0.0  # weight of the guidance that the generator includes

    @classmethod
    def load(cls, source: str | Path, text: CaptionEncoder | None = None) -> CoamdPipeline:
        """Load a generation bundle by name or folder, or a folder of the finished runs coamd-ae, -generator and -mar.

        If the generator started from a bundle, the networks without a run of their own are those of the bundle.

        Args:
            text: the text encoder; None: that of the training.
        Raises:
            InputError: a run is missing, unfinished or damaged, or they were not trained with each other or `text`.
        """
        runs = Path(source)
        if (runs / NETWORKS["generator"]).is_dir():
            pipeline = cls._from_runs(runs, text or text_encoder_of(runs / NETWORKS["generator"]))
        else:
            bundle = Bundle.load(source, GenerationManifest)
            pipeline = cls.from_bundle(bundle, text or TextEncoder.of(bundle))
        return pipeline.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @classmethod
    def _from_runs(cls, runs: Path, text: CaptionEncoder) -> CoamdPipeline:
        trained, base = trained_networks(runs)
        loaded = {name: read_network(run, *CLASSES[name]) for name, run in trained.items()}
        networks: dict[str, Any] = {name: network for name, (network, _) in loaded.items()}
        record = loaded["generator"][1]
        if base is not None:
            start = cls.load(base, text)
            networks |= {name: getattr(start, name) for name in NETWORKS if name not in trained}
        elif missing := [run for name, run in NETWORKS.items() if name not in trained]:
            raise InputError(f"{runs}: no {missing[0]}, expected the finished runs {', '.join(NETWORKS.values())}")
        for name, (_, own) in loaded.items():
            if own.get("mean") != record.get("mean"):
                raise InputError(f"{trained[name]}: trained on other motions than {NETWORKS['generator']}")
            if name != "autoencoder" and own.get("text_sha256") != text.sha256:
                raise InputError(f"{trained[name]}: trained with another text encoder than this one")
        autoencoder = trained.get("autoencoder")
        if record.get("autoencoder_sha256") != (weights_sha256(autoencoder) if autoencoder else None):
            raise InputError(f"{trained['generator']}: trained on tokens of another autoencoder")
        lengths = LengthEstimator(text.width, networks["generator"].config.qualities)
        lengths.load_state_dict(read_weights(trained["generator"], "length.safetensors"))
        mean, std = (np.array(record[name], np.float32) for name in ("mean", "std"))
        normalization = Normalization(mean=mean, std=std)
        guided = float(record.get("recipe", {}).get("guided", 0))
        sampler = Sampling(cfg=1) if guided else Sampling()
        return cls(
            **networks,
            lengths=lengths.eval(),
            normalization=normalization,
            text=text,
            sampler=sampler,
            guided=guided,
        )

    @classmethod
    def from_bundle(cls, bundle: Bundle[GenerationManifest], text: CaptionEncoder) -> CoamdPipeline:
        """Raises BundleError if the weights do not fit the networks, or `text` is not the encoder of the training."""
        if bundle.manifest.text_sha256 != text.sha256:
            raise BundleError(f"{bundle.path}: trained with another text encoder than this one")
        weights = {name: torch.tensor(array) for name, array in network_weights(bundle.weights).items()}
        networks: dict[str, Any] = {}
        try:
            for name, (kind, configuration) in CLASSES.items():
                settings = bundle.manifest.model[name].items()
                networks[name] = kind(configuration(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings}))
            networks["lengths"] = LengthEstimator(text.width, networks["generator"].config.qualities)
            for name, network in networks.items():
                prefix = f"{name}."
                state = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
                network.load_state_dict(state)
                network.eval().requires_grad_(False)
            normalization = Normalization(mean=weights["mean"].numpy(), std=weights["std"].numpy())
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{bundle.path}: its weights are not those of its networks: {reason}") from None
        return cls(
            **networks,
            normalization=normalization,
            text=text,
            sampler=bundle.manifest.sampler,
            guided=bundle.manifest.guided,
        )

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
        """A motion [T, V, 3] for each caption; T is `frames`, rounded down to a multiple of 4, or estimated."""
        settings = self.sampler if settings is None else settings
        samples = range(len(captions)) if samples is None else samples
        pooled = torch.from_numpy(self.text.encode(captions).pooled).to(self.device)
        quality_B = self._quality(quality, len(captions))
        if frames is None:
            logits_BL = self.lengths(self.generator.standardize(pooled), quality_B)
            cumulative_BL = logits_BL.softmax(1).cumsum(1).cpu().numpy()
            drawn = [int((row < noise.uniform(seed, s)).sum()) for row, s in zip(cumulative_BL, samples, strict=True)]
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
        motions = self._decode(tokens, counts, settings.padded(counts))
        return [postprocess(smooth_for_quality(motion, quality)) for motion in motions]

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
        """A motion [T, V, 3] with some frames regenerated; all others are unchanged.

        Args:
            regenerate_T: mask of the frames to regenerate. At a seam up to `BLEND` new frames are blended with the old.
        """
        settings = self.sampler if settings is None else settings
        T = len(joints)
        check_frames([T])
        padded_T = -(-T // STRIDE) * STRIDE
        known, back = to_canonical_with_inverse(joints)
        extended = extrapolate(known, padded_T)
        regenerate_L: np.ndarray = np.pad(regenerate_T, (0, padded_T - T), "edge").reshape(-1, STRIDE).max(1)
        x_BTC, lengths_B = pad_motions([self.normalization(extended)], self.device)
        if settings.padding == "batch":
            x_BTC, lengths_B = pad(x_BTC, (0, 0, 0, MAX_FRAMES - padded_T)), torch.full_like(lengths_B, MAX_FRAMES)
        tokens = sample(
            self.generator,
            torch.from_numpy(self.text.encode([caption]).pooled).to(self.device),
            [len(regenerate_L)],
            settings,
            seed=seed,
            quality_B=self._quality(quality, 1),
            reward=self.reward([caption], settings),
            known_BLD=self.autoencoder.encode(x_BTC, lengths_B)[:, : len(regenerate_L)],
            regenerate_BL=regenerate_L[None],
        )
        motion = smooth_for_quality(self._decode(tokens, [len(regenerate_L)])[0][:T], quality)
        return crossfade(joints, back(fix_bone_lengths(motion, known)), regenerate_T)

    @torch.no_grad()
    def reconstruct(self, clips: Sequence[np.ndarray], batch: int = 64) -> list[np.ndarray]:
        """Encode canonical motions [T, V, 3], T a multiple of 4, to tokens and decode them again."""
        motions: list[np.ndarray] = []
        for start in range(0, len(clips), batch):
            x_BTC, lengths_B = pad_motions(
                [self.normalization(clip) for clip in clips[start : start + batch]], self.device
            )
            tokens = self.autoencoder.encode(x_BTC, lengths_B)
            motions += self._decode(tokens, (lengths_B // STRIDE).tolist())
        return motions

    def reward(self, captions: Sequence[str], settings: Sampling) -> Reward | None:
        """The reward that guidance maximizes; None without guidance."""
        if settings.guidance is None:
            return None
        target_BF = self._describe(captions)
        guidance = settings.guidance
        return reward_of(self.autoencoder, self.recognizer, target_BF, guidance.lengths, settings.padding)

    @torch.no_grad()
    def motions(self, clips: Sequence[np.ndarray], batch: int = 64) -> np.ndarray:
        """Features [N, F] of motions [T, V, 3], of their first 196 frames, in the recognizer's space; unit length."""
        features = []
        for start in range(0, len(clips), batch):
            part = [clip[: min(len(clip) // STRIDE * STRIDE, MAX_FRAMES)] for clip in clips[start : start + batch]]
            check_frames([len(clip) for clip in part])
            part = [self.normalization(to_canonical(clip)) for clip in part]
            x_BTC, lengths_B = pad_motions(part, self.device)
            features.append(normalize(self.recognizer.encode(x_BTC, lengths_B).fused, dim=1).cpu().numpy())
        return np.concatenate(features)

    @torch.no_grad()
    def texts(self, captions: Sequence[str], batch: int = 64) -> np.ndarray:
        """Features [N, F] of captions in the recognizer's space; unit length."""
        parts = [captions[start : start + batch] for start in range(0, len(captions), batch)]
        return np.concatenate([normalize(self._describe(part), dim=1).cpu().numpy() for part in parts])

    @torch.no_grad()
    def labels(self, names: Sequence[str]) -> np.ndarray:
        """Features [N, F] of labels, to compare motions with; unit length."""
        pooled = self.text.encode(names).pooled
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def _describe(self, captions: Sequence[str]) -> Tensor:
        with torch.no_grad():
            return self.recognizer.describe(*text_inputs(CaptionFeatures(captions, self.text), captions, self.device))

    def _quality(self, quality: str, count: int) -> Tensor | None:
        if not self.generator.config.qualities:
            return None
        return torch.full((count,), QUALITIES.index(quality), device=self.device)

    def _decode(
        self, tokens_BLD: Tensor, counts: Sequence[int], padded: Sequence[int] | None = None
    ) -> list[np.ndarray]:
        lengths_B = STRIDE * torch.tensor(list(padded or counts), device=self.device)
        x_BTC = self.autoencoder.decode(tokens_BLD, lengths_B).cpu().numpy()
        return [self.normalization.denormalize(x[: STRIDE * n]) for x, n in zip(x_BTC, counts, strict=True)]

    def to(self, device: torch.device) -> CoamdPipeline:
        """Copy to another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in (*NETWORKS, "lengths")})


def trained_networks(runs: Path) -> tuple[dict[str, Path], str | None]:
    """The run of each network that has one, and what the others are taken from: the generator's `init`, if any."""
    trained = {name: runs / run for name, run in NETWORKS.items() if (runs / run).is_dir()}
    if len(trained) == len(NETWORKS):
        return trained, None
    return trained, read_record(trained["generator"]).get("recipe", {}).get("init")


def text_encoder_of(run: Path) -> CaptionEncoder:
    """The text encoder that a run was trained with: the bundled one, or CLIP.

    Raises:
        InputError: not the folder of a run, or CLIP's files are gone.
    """
    recipe = read_record(run).get("recipe", {})
    return TextEncoder.load("text") if recipe.get("clip") is None else ClipText.load(Path(recipe["clip"]))


def check_frames(frames: Sequence[int]) -> None:
    """Raises InputError for a length that the networks do not support."""
    for n in frames:
        if not STRIDE <= n <= MAX_FRAMES:
            raise InputError(f"a motion of {n} frames, expected {STRIDE} to {MAX_FRAMES}")

"""Trained recognisers as frozen encoders: a clip becomes one feature, the mean of what the head is given.

Shapes: N clips, T time, V joints, D width of a feature.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.random import Generator

from ...runtime.body.frontend import Frontend, prepare
from ...runtime.body.layout import Layout
from ...runtime.bundles.bundle import Bundle
from ...runtime.errors import InputError
from ...runtime.progress import progress
from ..data import augment, streams, vocabulary
from ..data.clips import LabeledClip, load_clips, resample
from ..data.unseen_labels import BACKGROUND
from ..models.ctr_gcn import CTRGCN, CTRGCNConfig
from ..models.stream_gcn import StreamGCN, StreamGCNConfig, fold, from_weights
from ..recognition.ctr_gcn import LAYOUT, CtrGcnTask, whole_sample
from ..recognition.tasks import pad_back_and_forth
from ..runs import read_network, weights_sha256

BATCH = 64
MIN_SHARE = 0.6  # share of a clip that is seen at least
MAX_SECONDS = 4.5
REST_SECONDS = 2.0
SIDES = ("trained", "validation")


class FrozenEncoder(Protocol):
    """A frozen recogniser of clips in a layout.

    Attributes:
        labels: of the vocabulary, that it was trained on. sources: of the clips that it was. width: D.
        sha256, licence: of its weights.
    """

    @property
    def layout(self) -> Layout: ...
    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def sources(self) -> tuple[str, ...]: ...
    @property
    def width(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def licence(self) -> str: ...

    def whole_input(self, clip: LabeledClip) -> np.ndarray:
        """What the network is shown of a clip."""

    def augmented_input(self, clip: LabeledClip, rng: Generator) -> tuple[np.ndarray, str]:
        """What it is shown of a random part of the clip, performed otherwise, and the label of that."""

    def features(self, shown: Sequence[np.ndarray]) -> np.ndarray:
        """[N, D] of clips as they are shown."""


def load_encoder(name: str) -> FrozenEncoder:
    """The encoder of a finished run of `live` or `nwucla-ctrgcn`, or of a recogniser's bundle.

    Args:
        name: folder of a run or a bundle, or a bundled model's name.
    Raises:
        BundleError, InputError: neither, or damaged.
    """
    run = Path(name)
    if not (run / "recipe.json").is_file():
        return StreamEncoder.from_bundle(Bundle.load(name))
    recipe = json.loads((run / "recipe.json").read_text())["recipe"]
    return CtrEncoder(run) if "stream" in recipe else StreamEncoder.from_run(run)


@dataclass(frozen=True, kw_only=True)
class StreamEncoder:
    """A StreamGCN, folded; its feature is the mean over frames."""

    network: StreamGCN
    layout: Layout
    frontend: Frontend
    labels: tuple[str, ...]
    sha256: str
    licence: str
    sources: ClassVar[tuple[str, ...]] = (*vocabulary.SOURCES, "other")

    @classmethod
    def from_run(cls, run: Path) -> StreamEncoder:
        network, about = read_network(run, StreamGCN, StreamGCNConfig)
        recipe = about["recipe"]
        return cls(
            network=fold(network),
            layout=Layout.load(recipe["layout"]),
            frontend=Frontend(**recipe["frontend"]),
            labels=vocabulary_labels(about["labels"]),
            sha256=weights_sha256(run),
            licence=recipe["licence"],
        )

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> StreamEncoder:
        manifest = bundle.manifest
        return cls(
            network=from_weights(manifest.model, bundle.weights),
            layout=Layout.load(manifest.layout),
            frontend=manifest.frontend,
            labels=vocabulary_labels(manifest.labels),
            sha256=manifest.files["weights.safetensors"].sha256,
            licence=manifest.license,
        )

    @property
    def width(self) -> int:
        return self.network.config.channels[-1]

    def whole_input(self, clip: LabeledClip) -> np.ndarray:
        frames = max(2, round(clip.seconds * self.frontend.rate_hz))
        return prepare(resample(clip.joints, frames), self.frontend, self.layout)

    def augmented_input(self, clip: LabeledClip, rng: Generator) -> tuple[np.ndarray, str]:
        joints, label = clip.joints, clip.label or ""
        if rng.random() < 0.5:
            joints, label = augment.mirror(joints, self.layout), vocabulary.MIRRORED.get(label, label)
        joints = augment.augment(joints, clip.fps, self.frontend.rate_hz, self.layout, rng)
        if not label.startswith("turn"):  # of which every part shows a walk
            frames = max(2, round(min(len(joints) * rng.uniform(MIN_SHARE, 1), MAX_SECONDS * self.frontend.rate_hz)))
            begin = rng.integers(len(joints) - frames + 1)
            joints = joints[begin : begin + frames]
        return augment.rotate(prepare(joints, self.frontend, self.layout), rng.normal(0, 0.2), np.zeros(2)), label

    @torch.no_grad()
    def features(self, shown: Sequence[np.ndarray]) -> np.ndarray:
        found = np.zeros((len(shown), self.width), np.float32)
        order = np.argsort([len(frames) for frames in shown], kind="stable")
        for begin in range(0, len(order), BATCH):
            part = order[begin : begin + BATCH]
            T = len(shown[part[-1]])
            features_NTD = self.network(torch.from_numpy(np.stack([pad_back_and_forth(shown[i], T) for i in part])))[
                1
            ].numpy()
            for i, of_frames in zip(part, features_NTD, strict=True):
                found[i] = of_frames[: len(shown[i])].mean(0)
        return found


class CtrEncoder:
    """One stream of CTR-GCN on NW-UCLA; its feature is the mean over frames, joints and people."""

    sources = ("nw-ucla",)

    def __init__(self, run: Path):
        self.network, about = read_network(run, CTRGCN, CTRGCNConfig)
        self.layout, self.stream = Layout.load(LAYOUT), about["recipe"]["stream"]
        actions = {action: vocabulary.label({"ds": "nw-ucla", "action": action}) for action in about["labels"]}
        self.labels = vocabulary_labels([label for label in actions.values() if label])
        self.width = self.network.config.channels[-1]
        self.sha256, self.licence = weights_sha256(run), about["recipe"]["licence"]
        self.task = CtrGcnTask(clips=(), labels=self.labels, stream=self.stream, layout=self.layout, seed=0)

    def whole_input(self, clip: LabeledClip) -> np.ndarray:
        return whole_sample(clip, self.stream, (clip.label or "",)).x

    def augmented_input(self, clip: LabeledClip, rng: Generator) -> tuple[np.ndarray, str]:
        return self.task.augmented_input(clip, rng), clip.label or ""

    @torch.no_grad()
    def features(self, shown: Sequence[np.ndarray]) -> np.ndarray:
        parts = [torch.from_numpy(np.stack(shown[i : i + BATCH])[..., None]) for i in range(0, len(shown), BATCH)]
        return np.concatenate([self.network.features(part).numpy() for part in parts])


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedClips:
    """Features of clips [N, D], with their labels."""

    features_ND: np.ndarray
    labels: tuple[str, ...]


def encode_clips(encoder: FrozenEncoder, data: Path, copies: int, folder: Path) -> tuple[EncodedClips, EncodedClips]:
    """What a matcher is trained on and validated with.

    Of clips that may be trained on and whose label the encoder knows, as many copies, each performed otherwise; of
    validation clips of all labels, seen or not, the clip as it is. Stretches of rest in these are `BACKGROUND`.

    Args:
        data: a folder of clip sets. copies: of every clip. folder: keeps what was encoded; a file an encoder.
    Raises:
        InputError: no clips of the encoder's sources in the folder.
    """
    kept = folder / f"features-{encoder.sha256[:16]}-{copies}.npz"
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as read:
            trained, validation = (
                EncodedClips(features_ND=read[f"{side}_features_ND"], labels=tuple(map(str, read[f"{side}_labels"])))
                for side in SIDES
            )
        return trained, validation
    clips = labeled_clips(encoder, data, vocabulary.is_trainable, encoder.labels)
    held_out = labeled_clips(encoder, data, vocabulary.is_validation, vocabulary.labels())
    if not clips:
        raise InputError(f"{data}: no clip of {', '.join(encoder.sources)} that a matcher is trained on")
    varied = [
        encoder.augmented_input(clip, np.random.default_rng((copy, i)))
        for copy in range(copies)
        for i, clip in enumerate(progress(clips, f"clips, time {copy + 1} of {copies}"))
    ]
    shown = [encoder.whole_input(clip) for clip in held_out]
    found = (
        EncodedClips(
            features_ND=encoder.features([frames for frames, _ in varied]),
            labels=tuple(label for _, label in varied),
        ),
        EncodedClips(features_ND=encoder.features(shown), labels=tuple(clip.label or "" for clip in held_out)),
    )
    kept.parent.mkdir(parents=True, exist_ok=True)
    new = kept.with_suffix(".new.npz")
    arrays: dict[str, Any] = {}
    for side, of in zip(SIDES, found, strict=True):
        arrays |= {f"{side}_features_ND": of.features_ND, f"{side}_labels": np.array(of.labels)}
    np.savez(new, **arrays)
    new.rename(kept)
    return found


def labeled_clips(
    encoder: FrozenEncoder, data: Path, keep: Callable[[dict[str, Any]], bool], names: Collection[str]
) -> list[LabeledClip]:
    """Clips of these labels from the encoder's sources, and the stretches of rest in them and in those of no label."""
    clips = [clip for clip in load_clips(data, encoder.layout, keep) if clip.source in encoder.sources]
    clips = [clip for clip in clips if clip.label is None or clip.label in names]
    rests = [
        replace(clip, joints=streams.play_rest(window, fps, REST_SECONDS, fps), label=BACKGROUND)
        for clip in clips
        for window, fps in streams.rest_windows([clip], encoder.layout)
    ]
    return [clip for clip in clips if clip.label] + rests


def vocabulary_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Those of our vocabulary, each once, sorted."""
    return tuple(label for label in vocabulary.labels() if label in labels)

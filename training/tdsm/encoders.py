"""Trained recognizers as frozen encoders: the feature of a clip is the mean of the classifier head's inputs.

Shapes: N clips, T time, V joints, D feature width.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.random import Generator

from ...runtime.body.frontend import Frontend, prepare
from ...runtime.body.layout import Layout
from ...runtime.bundles.bundle import Bundle
from ...runtime.errors import InputError
from ...runtime.progress import progress
from ..data import augment, streams, vocabulary
from ..data.clips import LabeledClip, back_and_forth, resample
from ..data.open_clips import load_open_clips
from ..data.unseen_labels import BACKGROUND
from ..models.ctr_gcn import CTRGCN, CTRGCNConfig
from ..models.stream_gcn import StreamGCN, StreamGCNConfig, fold, from_weights
from ..recognition.ctr_gcn import LAYOUT, CtrGcnTask, whole_sample
from ..recognition.recipes import left_out, open_encoder
from ..runs import read_network, weights_sha256

BATCH = 64
MIN_SHARE = 0.6  # of a clip, in an augmented sample
MAX_SECONDS = 4.5
REST_SECONDS = 2.0
SIDES = ("trained", "validation")
MAX_TRAINED, MAX_VALIDATION = 45, 40  # clips of a label in a data set: more say little that is new


class FrozenEncoder(Protocol):
    """A frozen recognizer of clips in a skeleton layout.

    Attributes:
        labels: labels of the open vocabulary that it was trained on. sources: sources of its training clips. width: D.
        sha256, license: of its weights.
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
    def license(self) -> str: ...

    def whole_input(self, clip: LabeledClip) -> np.ndarray:
        """Network input for the whole clip, without augmentation."""

    def augmented_input(self, clip: LabeledClip, rng: Generator) -> tuple[np.ndarray, str]:
        """Network input for an augmented random part of the clip, and its label."""

    def features(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Features [N, D] of network inputs."""


def load_encoder(name: str) -> FrozenEncoder:
    """Encoder of a finished run of `open`, `live` or `nwucla-ctrgcn`, or of a recognizer's bundle.

    Args:
        name: folder of a run or a bundle, or the name of a bundled model.
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
    """A folded StreamGCN; its feature is the mean over frames."""

    network: StreamGCN
    layout: Layout
    frontend: Frontend
    labels: tuple[str, ...]
    sha256: str
    license: str
    left_out: tuple[str, ...] = ()  # sources

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
            license=recipe["license"],
            left_out=left_out(recipe.get("leave_out")),  # runs on recordings of your own have none
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
            license=manifest.license,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(source for source in vocabulary.sources() if source not in self.left_out)

    @property
    def width(self) -> int:
        return self.network.config.features

    def whole_input(self, clip: LabeledClip) -> np.ndarray:
        frames = max(2, round(clip.seconds * self.frontend.rate_hz))
        return prepare(resample(clip.joints, frames), self.frontend, self.layout)

    def augmented_input(self, clip: LabeledClip, rng: Generator) -> tuple[np.ndarray, str]:
        joints, label = clip.joints, clip.label or ""
        if rng.random() < 0.5:
            joints, label = augment.mirror(joints, self.layout), vocabulary.MIRRORED.get(label, label)
        joints = augment.augment(joints, clip.fps, self.frontend.rate_hz, self.layout, rng, open_encoder().augmentation)
        if not label.startswith("turn"):  # parts of which are just a walk
            frames = max(2, round(min(len(joints) * rng.uniform(MIN_SHARE, 1), MAX_SECONDS * self.frontend.rate_hz)))
            begin = rng.integers(len(joints) - frames + 1)
            joints = joints[begin : begin + frames]
        return augment.rotate(prepare(joints, self.frontend, self.layout), rng.normal(0, 0.2), np.zeros(2)), label

    @torch.no_grad()
    def features(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        features_ND = np.zeros((len(inputs), self.width), np.float32)
        order = np.argsort([len(frames) for frames in inputs], kind="stable")
        for begin in range(0, len(order), BATCH):
            part = order[begin : begin + BATCH]
            T = len(inputs[part[-1]])
            frames_NTV3 = torch.from_numpy(np.stack([back_and_forth(inputs[i], T) for i in part]))
            features_NTD = self.network(frames_NTV3)[1].numpy()
            for i, features_TD in zip(part, features_NTD, strict=True):
                features_ND[i] = features_TD[: len(inputs[i])].mean(0)
        return features_ND


class CtrEncoder:
    """One stream of CTR-GCN on NW-UCLA; its feature is the mean over frames, joints and people."""

    sources = ("nw-ucla",)

    def __init__(self, run: Path):
        self.network, about = read_network(run, CTRGCN, CTRGCNConfig)
        self.layout, self.stream = Layout.load(LAYOUT), about["recipe"]["stream"]
        actions = {action: vocabulary.label({"ds": "nw-ucla", "action": action}) for action in about["labels"]}
        self.labels = vocabulary_labels([label for label in actions.values() if label])
        self.width = self.network.config.features
        self.sha256, self.license = weights_sha256(run), about["recipe"]["license"]
        self.task = CtrGcnTask(clips=(), labels=self.labels, stream=self.stream, layout=self.layout, seed=0)

    def whole_input(self, clip: LabeledClip) -> np.ndarray:
        return whole_sample(clip, self.stream, (clip.label or "",)).x

    def augmented_input(self, clip: LabeledClip, rng: Generator) -> tuple[np.ndarray, str]:
        return self.task.augmented_input(clip, rng), clip.label or ""

    @torch.no_grad()
    def features(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        parts = [torch.from_numpy(np.stack(inputs[i : i + BATCH])[..., None]) for i in range(0, len(inputs), BATCH)]
        return np.concatenate([self.network.features(part).numpy() for part in parts])


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedClips:
    """Features of clips [N, D], with their labels."""

    features_ND: np.ndarray
    labels: tuple[str, ...]


def encode_clips(encoder: FrozenEncoder, data: Path, copies: int, folder: Path) -> tuple[EncodedClips, EncodedClips]:
    """Features to train and to validate a matcher on.

    For training, `copies` augmented copies of trainable clips whose label the encoder knows; for validation, the
    clips of all labels, seen or not, without augmentation, and those that no label names, labeled `none`. In both,
    stretches of rest are labeled `BACKGROUND`.

    Args:
        data: folder of clip sets. folder: caches the features, one file per encoder.
    Raises:
        InputError: no clips of the encoder's sources in `data`.
    """
    cache = folder / f"features-{encoder.sha256[:16]}-{copies}.npz"
    if cache.is_file():
        with np.load(cache, allow_pickle=False) as arrays:
            trained, validation = (
                EncodedClips(
                    features_ND=arrays[f"{side}_features_ND"], labels=tuple(map(str, arrays[f"{side}_labels"]))
                )
                for side in SIDES
            )
        return trained, validation
    clips = some(labeled_clips(encoder, data, vocabulary.is_open_trainable, encoder.labels), MAX_TRAINED)
    held_out = some(
        labeled_clips(encoder, data, vocabulary.is_open_validation, vocabulary.open_labels(), unknown=True),
        MAX_VALIDATION,
    )
    if not clips:
        raise InputError(f"{data}: no clip of {', '.join(encoder.sources)} that a matcher is trained on")
    augmented = [
        encoder.augmented_input(clip, np.random.default_rng((copy, i)))
        for copy in range(copies)
        for i, clip in enumerate(progress(clips, f"clips, copy {copy + 1} of {copies}"))
    ]
    encoded = (
        EncodedClips(
            features_ND=encoder.features([frames for frames, _ in augmented]),
            labels=tuple(label for _, label in augmented),
        ),
        EncodedClips(
            features_ND=encoder.features([encoder.whole_input(clip) for clip in held_out]),
            labels=tuple(clip.label or "" for clip in held_out),
        ),
    )
    save_features(cache, encoded)
    return encoded


def save_features(path: Path, encoded: tuple[EncodedClips, EncodedClips]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new.npz")
    arrays: dict[str, Any] = {}
    for side, part in zip(SIDES, encoded, strict=True):
        arrays |= {f"{side}_features_ND": part.features_ND, f"{side}_labels": np.array(part.labels)}
    np.savez(new, **arrays)
    new.rename(path)


def some(clips: Sequence[LabeledClip], most: int) -> list[LabeledClip]:
    """At most this number of clips of each label and data set, chosen at random."""
    counts: Counter[tuple[str | None, str]] = Counter()
    chosen = []
    for i in np.random.default_rng(0).permutation(len(clips)):
        counts[clips[i].label, clips[i].source] += 1
        if counts[clips[i].label, clips[i].source] <= most:
            chosen.append(clips[i])
    return chosen


def labeled_clips(
    encoder: FrozenEncoder,
    data: Path,
    keep: Callable[[dict[str, Any]], bool],
    names: Collection[str],
    unknown: bool = False,
) -> list[LabeledClip]:
    """Clips of the encoder's sources with one of these labels, and stretches of rest from them and unlabeled clips.

    Args:
        unknown: whether clips that certainly have no label are in the result, labeled `none`.
    """
    loaded = load_open_clips(data, encoder.layout, keep)
    clips = [clip for clip in loaded if clip.source in encoder.sources and not clip.flat]
    clips = [clip for clip in clips if clip.label is None or clip.label in names]
    rests = [
        replace(clip, joints=streams.play_rest(window, fps, REST_SECONDS, fps), label=BACKGROUND)
        for clip in clips
        for window, fps in streams.rest_windows([clip], encoder.layout)
    ]
    none = [
        replace(clip, label=vocabulary.NONE)
        for clip in clips
        if unknown and clip.label is None and vocabulary.is_unknown(clip.record)
    ]
    return [clip for clip in clips if clip.label] + none + rests


def vocabulary_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels of the open vocabulary among `labels`, sorted."""
    return tuple(label for label in vocabulary.open_labels() if label in labels)

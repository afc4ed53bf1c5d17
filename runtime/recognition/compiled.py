"""Compiled labels: a zero-shot recognizer with its current labels as a bundle that the native engine runs alone.

What depends on texts only is computed here and stored: the matcher's conditioning by each text. The native engine
needs neither Python nor a text encoder, and its labels are fixed.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from ..backends.native import NativeBackend
from ..bundles.bundle import Bundle, write_bundle
from ..bundles.safetensors import pack
from ..bundles.schema import MATCHER, WEIGHTS, CompiledManifest
from ..errors import InputError
from .label_texts import NONE
from .open_labels import OpenLabels
from .recognizer import Recognizer

SIGNAL = 0.9341011694934117  # alpha-bar of the diffusion step that features are noised to
TOLERANCE = 1e-4  # of probabilities
FRAMES = 60  # compared
NETWORK = ("x_embedder", "final_layer.linear")
BLOCK = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


def compile_labels(recognizer: Recognizer, out: str | Path) -> Bundle[CompiledManifest]:
    """Write a recognizer's current labels, texts and examples, as the bundle `out`; an existing bundle is replaced.

    Raises:
        InputError: the recognizer's labels are fixed.
        BundleError: `out` holds something else.
    """
    labels, out = recognizer.label_strategy, Path(out)
    if not isinstance(labels, OpenLabels):
        raise InputError(f"the labels of model {recognizer.name!r} are fixed, expected a zero-shot model")
    manifest, files = _compile(labels, recognizer.bundle, out.name)
    with tempfile.TemporaryDirectory() as folder:
        trial = Bundle.load(write_bundle(Path(folder) / "trial", manifest, files), CompiledManifest)
        _check_parity(labels, trial)
    return Bundle.load(write_bundle(out, manifest, files), CompiledManifest)


def _compile(open_labels: OpenLabels, bundle: Bundle, name: str) -> tuple[dict[str, object], dict[str, bytes]]:
    vocabulary, settings = open_labels.streams.vocabulary, bundle.manifest.matching
    raw = json.loads(bundle.manifest_file)
    weights = {name: array for name, array in bundle.weights.items() if not name.startswith((MATCHER, "head."))} | {
        MATCHER + name: bundle.weights[MATCHER + name] for name in ("mean", "projection")
    }
    matching = {
        "texts": vocabulary.texts,
        "backgrounds": len(vocabulary.offset_T) - vocabulary.texts,
        **{key: getattr(settings, key) for key in ("scale", "none", "prototype_scale", "prototype_offset")},
        **{key: getattr(settings, key) for key in ("window_s", "every_s", "encoder_sha256")},
    }
    matcher = raw["model"]["matcher"]
    if "parts" in matcher:
        layers, others, of_texts = ["motion"], [], ["texts"]
    else:
        matching |= {"signal": SIGNAL, "noises": len(bundle.weights[MATCHER + "noises"])}
        layers = [*NETWORK, *(f"blocks.{k}.{layer}" for k in range(matcher["depth"]) for layer in BLOCK)]
        others, of_texts = ["noises"], ["token_modulation", "modulation"]
    if vocabulary.texts:
        parts = [*others, *(f"{layer}.{part}" for layer in layers for part in ("weight", "bias"))]
        weights |= {MATCHER + part: bundle.weights[MATCHER + part] for part in parts}
        arrays = (np.concatenate(part) for part in zip(*vocabulary.conditioning, strict=True))
        weights |= {MATCHER + part: array for part, array in zip(of_texts, arrays, strict=True)}
        weights[MATCHER + "offset"] = vocabulary.offset_T
    if vocabulary.enrolled:
        matching |= {"examples": list(vocabulary.enrolled), "prototypes": len(vocabulary.prototypes_NF)}
        weights |= {
            MATCHER + "prototypes": vocabulary.prototypes_NF,
            MATCHER + "head.weight": vocabulary.head_HD,
            MATCHER + "head.bias": vocabulary.bias_H,
        }
    manifest = {key: raw[key] for key in ("schema", "license", "layout", "fps", "frontend")} | {
        "name": name,
        "task": CompiledManifest.task,
        "decision": raw["decision"] | {"others": 0},  # labels that are not chosen do not count
        "labels": list(vocabulary.labels),
        "none": NONE,
        "model": raw["model"] | {"classes": len(vocabulary.labels)},
        "graphs": {},
        "metrics": {},
        "matching": matching,
    }
    return manifest, {WEIGHTS: pack({name: np.asarray(array, np.float32) for name, array in weights.items()})}


def _check_parity(labels: OpenLabels, bundle: Bundle[CompiledManifest]) -> None:
    """Compare probabilities over frames of a moving body with those of the recognizer."""
    expected, found = labels.inline_streams(1), NativeBackend(bundle).streams(1)
    rng, pose = np.random.default_rng(0), np.zeros((bundle.manifest.joints, 3), np.float32)
    expected.begin(0)
    found.begin(0)
    for _ in range(FRAMES):
        pose += rng.normal(0, 0.05, pose.shape).astype(np.float32)
        probs = [_softmax(streams.step([0], pose[None])[0][0]) for streams in (expected, found)]
        if not np.abs(probs[0] - probs[1]).max() <= TOLERANCE:
            difference = np.abs(probs[0] - probs[1]).max()
            raise RuntimeError(f"{bundle.path}: probabilities differ from the recognizer's by {difference:.1e}")


def _softmax(logits_K: np.ndarray) -> np.ndarray:
    probs: np.ndarray = np.exp(logits_K - logits_K.max())
    return probs / probs.sum()

"""The tiny recognizer as the encoder of a zero-shot bundle, with a real ONNX matcher for three texts.

The modulation of a text is its place: the sum of its sentences times P [W, 4]. P is solved so that a label lies where
both wrists are, their heights above the pelvis; the error is the mean squared distance to the feature.
"""

from pathlib import Path
from typing import Any

import numpy as np

from motionrt.runtime.bundles.bundle import Bundle, write_bundle
from motionrt.runtime.bundles.fields import Fields
from motionrt.runtime.bundles.safetensors import pack
from motionrt.runtime.bundles.schema import MATCHER, SLOTS, ZeroShotManifest, matcher_sizes
from motionrt.runtime.bundles.signatures import MATCHER_GRAPHS, manifest_graphs
from motionrt.runtime.text_encoder import TextEncoder

from . import tiny

W, E, S = 384, 1, len(SLOTS)
R, M = 2 * E, 8 * E  # as of a network of one block
PLACES = {"raise left hand": (0.8, -0.05), "raise right hand": (-0.05, 0.8), "standing still": (-0.05, -0.05)}
LEFT, RIGHT, STILL = PLACES
SETTINGS: dict[str, Any] = {
    "labels": {LEFT: {"label": LEFT}, RIGHT: {"label": RIGHT}},
    "background": {STILL: {"label": STILL}},
    "scale": 40.0,
    "none": 2.0,
    "prototype_scale": 40.0,
    "prototype_offset": 0.2,
    "window_s": 0.5,
    "every_s": 0.25,
    "encoder_sha256": "e" * 64,
}


def zero_shot_bundle(path: Path, **changes: Any) -> Path:
    """Write the bundle at `path`, with `changes` to the settings of its matcher."""
    text = TextEncoder.load()
    pooled, places = text.encode(list(PLACES)).pooled, np.zeros((3, tiny.D), np.float32)
    places[:, :2] = list(PLACES.values())
    matrix = np.zeros((W, M), np.float32)
    matrix[:, : tiny.D] = np.linalg.pinv(pooled) @ places
    weights = {
        MATCHER + "place": matrix,
        MATCHER + "mean": np.zeros(tiny.D, np.float32),
        MATCHER + "projection": np.eye(tiny.D, dtype=np.float32),
        MATCHER + "noises": np.zeros((1, tiny.D), np.float32),
    }
    manifest = tiny.manifest(task=ZeroShotManifest.task)
    manifest["model"]["matcher"] = {"feature": tiny.D, "text": W, "width": E, "depth": 1, "tokens": S, "cross": True}
    sizes = matcher_sizes(Fields(manifest["model"], "tiny"))
    manifest["graphs"] |= manifest_graphs(ZeroShotManifest.task, sizes, MATCHER_GRAPHS)
    manifest["matching"] = settings = SETTINGS | {"text_sha256": text.sha256} | changes
    known = np.zeros((len(settings["labels"]) + len(settings["background"]), S, W), np.float32)
    known[:, 0] = text.encode([*settings["labels"], *settings["background"]]).pooled
    weights[MATCHER + "known"] = known
    graphs = {"condition.onnx": _condition(), "match.onnx": _match()}
    return write_bundle(path, manifest, {**tiny.files(), **graphs, tiny.WEIGHTS: pack({**tiny.weights(), **weights})})


def aligned_bundle(path: Path, **changes: Any) -> Path:
    """The same places as a space of features and texts, without graphs; heights are angles from those at rest."""
    text = TextEncoder.load()
    pooled, places = text.encode(list(PLACES)).pooled, np.zeros((3, tiny.D), np.float32)
    places[:, :2] = np.array(list(PLACES.values())) - (0.2, 0.2)
    by_text = np.zeros((S, W, tiny.D), np.float32)
    by_text[0] = np.linalg.pinv(pooled) @ places
    known = np.zeros((len(PLACES), S, W), np.float32)
    known[:, 0] = pooled
    weights = {
        "mean": np.zeros(tiny.D, np.float32),
        "projection": np.eye(tiny.D, dtype=np.float32),
        "motion.weight": np.eye(tiny.D, dtype=np.float32),
        "motion.bias": np.array([-0.2, -0.2, *[0] * (tiny.D - 2)], np.float32),
        "text.weight": by_text,
        "text.bias": np.zeros((S, tiny.D), np.float32),
        "known": known,
    }
    manifest = tiny.manifest(task=ZeroShotManifest.task)
    space = {key: changes.pop(key, value) for key, value in (("parts", [tiny.D]), ("shares", [1.0]))}
    manifest["model"]["matcher"] = {"feature": tiny.D, **space}
    manifest["matching"] = SETTINGS | {"text_sha256": text.sha256} | changes
    packed = pack({**tiny.weights(), **{MATCHER + name: array for name, array in weights.items()}})
    return write_bundle(path, manifest, {**tiny.files(), tiny.WEIGHTS: packed})


def load(path: Path) -> Bundle[ZeroShotManifest]:
    return Bundle.load(path, ZeroShotManifest)


def _condition() -> bytes:
    node = tiny.helper.make_node
    nodes = [
        node("ReduceSum", ["sentences", "one"], ["summed"], keepdims=0),
        node("MatMul", ["summed", MATCHER + "place"], ["modulation"]),
        node("Slice", ["sentences", "zero", "width", "two"], ["token_modulation"]),
    ]
    small = {"zero": [0], "width": [R], "one": [1], "two": [2]}
    inputs = {"sentences": ["K", S, W], "mask": ["K", S]}
    outputs = {"token_modulation": ["K", S, R], "modulation": ["K", M]}
    return tiny.model(nodes, inputs, outputs, small, [tiny.external(MATCHER + "place", (W, M))])


def _match() -> bytes:
    node = tiny.helper.make_node
    nodes = [
        node("Slice", ["modulation", "zero", "width", "one"], ["places"]),
        node("Unsqueeze", ["z", "one"], ["z_B1F"]),
        node("Sub", ["z_B1F", "places"], ["off"]),
        node("Mul", ["off", "off"], ["squared"]),
        node("ReduceMean", ["squared", "two"], ["errors"], keepdims=0),
    ]
    inputs = {"z": ["B", tiny.D], "token_modulation": ["K", S, R], "modulation": ["K", M]}
    small = {"zero": [0], "width": [tiny.D], "one": [1], "two": [2]}
    return tiny.model(nodes, inputs, {"errors": ["B", "K"]}, small, [])

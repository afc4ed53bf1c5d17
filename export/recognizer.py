"""A trained StreamGCN as a recognition bundle: folded weights, a step graph, a clip graph and a model card."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..runtime.backends.factory import create
from ..runtime.bundles.bundle import Bundle, write_bundle
from ..runtime.bundles.schema import SCHEMA, WEIGHTS, RecognitionManifest, Thresholds
from ..runtime.bundles.signatures import manifest_graphs
from ..runtime.errors import InputError
from ..training.data import vocabulary
from ..training.data.clips import SET_ASIDE
from ..training.models.stream_gcn import StreamGCN, StreamGCNConfig, fold
from .card import model_card
from .graphs import export_graph

TASK = RecognitionManifest.task
PICTURE, NOTES = "confusion.png", "notes.md"  # files of a run that become part of the bundle
TOLERANCE = 1e-4  # of logits, ONNX Runtime against torch
WHOLE = dict.fromkeys(("ae", "coamd", "mar"), "`motionrt import coamd AE COAMD MAR` makes a bundle of all three")
WHOLE["tdsm"] = "`motionrt import tdsm CHECKPOINT --text features:FOLDER` makes a bundle of it"
THRESHOLDS = Thresholds(temperature=1.0, smooth_s=0.2, on=0.6, off=0.3, hold_s=0.1)


def export_run(run: Path, out: Path) -> Bundle:
    """Write the bundle `out` from the folder of a finished run.

    Thresholds in `run/decision.json` replace the default ones, `run/reliability.json` becomes part of the manifest, and
    `run/notes.md` of the card, if present.

    Raises:
        InputError: the run is unfinished, or its files do not match.
    """
    record = read_json(run / "recipe.json")
    try:
        recipe, labels, model = record["recipe"], record["labels"], record["model"]
    except KeyError as error:
        raise InputError(f"{run / 'recipe.json'}: has no {error}; expected that of a recognizer's run") from None
    network = load_network(run, model)
    thresholds = asdict(THRESHOLDS)
    if (run / "decision.json").is_file():
        thresholds |= read_json(run / "decision.json")
    manifest = {
        "schema": SCHEMA,
        "name": out.name,
        "task": TASK,
        "license": recipe["license"],
        "layout": recipe["layout"],
        "fps": network.config.fps,
        "frontend": {key: value for key, value in recipe["frontend"].items() if key != "rate_hz" and value is not None},
        "decision": thresholds,
        "labels": labels,
        "none": vocabulary.NONE if vocabulary.NONE in labels else None,
        "model": {
            **model,
            "receptive_field": network.receptive_field,
            "delay": network.delay,
            "state": network.state_size,
            "features": network.config.features,
        },
        "graphs": manifest_graphs(TASK, sizes_of(network)),
        "metrics": last_metrics(run),
    }
    if recipe.get("flat_model"):
        manifest["flat_model"] = recipe["flat_model"]
    if (run / "reliability.json").is_file():
        manifest["reliability"] = read_json(run / "reliability.json")
    files = {WEIGHTS: save(network.state_dict()), **graphs(network)}
    files |= {name: (run / name).read_bytes() for name in (SET_ASIDE, PICTURE) if (run / name).is_file()}
    notes = (run / NOTES).read_text() + "\n" if (run / NOTES).is_file() else ""
    card = model_card(
        manifest, len(files[WEIGHTS]), PICTURE if PICTURE in files else None, notes, record.get("sets", ())
    )
    files["MODEL_CARD.md"] = card.encode()
    with tempfile.TemporaryDirectory() as folder:
        check_parity(Bundle.load(write_bundle(Path(folder) / out.name, manifest, files)), network)
    return Bundle.load(write_bundle(out, manifest, files))


def check_own(run: Path) -> None:
    """Raises InputError for the folder of an imported network: alone it has no bundle."""
    file = run / "recipe.json"
    record = read_json(file) if file.is_file() else {}
    if "official" in record:
        kind = record["official"].get("kind", "network")
        raise InputError(f"{run}: an imported {kind}; {WHOLE.get(kind, 'it has no bundle of its own')}")


def load_network(run: Path, config: dict[str, Any]) -> StreamGCN:
    """The run's averaged network, folded for inference."""
    path = run / "model.safetensors"
    if not path.is_file():
        raise InputError(f"{path}: no such file; the run has not finished, resume it with `motionrt train`")
    tuples: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    try:
        model = StreamGCN(StreamGCNConfig(**tuples)).eval()
        model.load_state_dict(load_file(path))
    except (RuntimeError, TypeError, SafetensorError) as error:
        raise InputError(f"{path}: not the weights of this run's network ({str(error).splitlines()[0]})") from None
    return fold(model).requires_grad_(False)


def graphs(network: StreamGCN) -> dict[str, bytes]:
    """File name -> ONNX graph."""
    methods: dict[str, Callable[..., Any]] = {"step": network.step, "clip": lambda frames: network(frames)[:2]}
    sizes = sizes_of(network)
    return {f"{name}.onnx": export_graph(network, method, TASK, name, sizes) for name, method in methods.items()}


def sizes_of(network: StreamGCN) -> dict[str, int]:
    """Sizes of the network's graphs, see `signatures`."""
    config = network.config
    return {
        "joints": config.joints,
        "state": network.state_size,
        "features": config.features,
        "labels": config.classes,
    }


@torch.no_grad()
def check_parity(bundle: Bundle, network: StreamGCN) -> None:
    """Check the bundle's graphs and the native engine against the network on a random walk.

    Raises:
        RuntimeError: logits differ by more than `TOLERANCE`.
    """
    onnx, native = create("onnx", bundle), create("native", bundle)
    steps = np.random.default_rng(0).normal(0, 0.03, (40, network.config.joints, 3))
    frames = np.cumsum(steps, 0).astype(np.float32)
    expected = network(torch.from_numpy(frames)[None])[0][0].numpy()
    streams = onnx.streams(1)
    stepped = np.concatenate([streams.step([0], frame[None])[0] for frame in frames])
    logits = {"clip.onnx": onnx.clip(frames)[0], "step.onnx": stepped, WEIGHTS: native.clip(frames)[0]}
    for name, found in logits.items():
        worst = float(np.abs(found - expected).max())
        if not worst <= TOLERANCE:
            raise RuntimeError(f"{bundle.path / name}: logits differ from the network's by {worst:.1e}")


def last_metrics(run: Path) -> dict[str, Any]:
    """The run's last metrics on its validation clips."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return {"validation": json.loads(lines[-1])} if lines else {}


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected the folder of a training run") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None

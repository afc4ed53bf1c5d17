"""Finished CoAMD runs as one generation bundle: weights, graphs, the actions in training and a model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..runtime.body.canonical import KIT, LAYOUTS
from ..runtime.bundles.bundle import Bundle, write_bundle
from ..runtime.bundles.fields import Fields
from ..runtime.bundles.int8 import INTEGERS, SCALE, quantize_rows
from ..runtime.bundles.safetensors import pack
from ..runtime.bundles.schema import SCHEMA, WEIGHTS, GenerationManifest, coamd_sizes
from ..runtime.bundles.signatures import INT8_GRAPHS, INT8_SUFFIX, manifest_graphs
from ..runtime.text_encoder import TextEncoder
from ..training.coamd.pipeline import NETWORKS, CoamdPipeline, trained_networks
from ..training.coamd.tasks import QUALITIES
from ..training.data.caption_features import CaptionEncoder
from ..training.data.humanml import KIT_ML, is_humanml
from ..training.data.motions import RATE_HZ, load_motions
from ..training.models.clip_text import ClipText
from .clip_text import export_clip
from .coamd_graphs import TASK, onnx_graphs
from .int8 import to_int8
from .recognizer import last_metrics, read_json

SAMPLER = {"steps": 8, "evaluations": 4, "solver": "midpoint", "cfg": 2.5}  # see bench/results/sampling.json
PUBLISHED_SAMPLERS = {  # published but for the solver, which is Heun's
    "smpl22": {"steps": 12, "evaluations": 20, "cfg": 4.5},
    "kit21": {"steps": 12, "evaluations": 20, "cfg": 2.5},
}
LICENSES = {"smpl22": "non-commercial research use: trained on HumanML3D, which is made of AMASS",
            "kit21": "research use: trained on KIT-ML"}  # fmt: skip
SMALL = 4096  # weights with fewer elements stay float32


def export_coamd(runs: Path, out: Path) -> Bundle[GenerationManifest]:
    """Write the bundle `out` from a folder of the finished runs coamd-ae, coamd-generator and coamd-mar.

    The autoencoder is stored in 16 bits, for its precision in millimeters, the matrices of the others in 8.

    Raises:
        InputError: a run is missing or unfinished, the runs do not match, or their data no longer exist.
    """
    pipeline = CoamdPipeline.load(runs)
    recipe = read_json(runs / "coamd-generator" / "recipe.json")["recipe"]
    data = Path(recipe["data"])
    published = pipeline.recognizer.config.words == "clip"
    manifest = coamd_manifest(pipeline, bundled_encoder(pipeline.text, out), out)
    manifest |= {
        "license": LICENSES[manifest["layout"]] if is_humanml(data) else recipe["license"],
        "sampler": (PUBLISHED_SAMPLERS[manifest["layout"]] if published else SAMPLER)
        | ({"cfg": 1} if pipeline.guided else {}),
        "guided": pipeline.guided,
        "actions": {} if is_humanml(data) else known_actions(data),
        "metrics": metrics_of(runs),
    }
    weights = statistics(pipeline)
    for name in (*NETWORKS, "lengths"):
        weights |= stored_weights(name, getattr(pipeline, name), halves=name == "autoencoder")
    graphs = onnx_graphs(pipeline)
    graphs |= {f"{name}{INT8_SUFFIX}.onnx": to_int8(graphs[f"{name}.onnx"], weights) for name in INT8_GRAPHS}
    manifest |= coamd_graphs(pipeline, graphs)
    files = {WEIGHTS: pack(weights), **graphs, "MODEL_CARD.md": coamd_card(manifest).encode()}
    return Bundle.load(write_bundle(out, manifest, files), GenerationManifest)


def metrics_of(runs: Path) -> dict[str, Any]:
    """The last metrics of every network on its validation clips; those of networks without a run are the bundle's."""
    trained, base = trained_networks(runs)
    metrics = {name: last_metrics(run)["validation"] for name, run in trained.items()}
    return metrics if base is None else Bundle.load(base, GenerationManifest).manifest.metrics | metrics


def coamd_manifest(pipeline: CoamdPipeline, encoder: TextEncoder, out: Path) -> dict[str, Any]:
    """Entries of a manifest about the networks."""
    layout = LAYOUTS[len(pipeline.autoencoder.config.parents)]
    return {
        "schema": SCHEMA,
        "name": out.name,
        "task": TASK,
        "layout": layout.name,
        "fps": KIT_ML.fps if layout is KIT else RATE_HZ,
        "text": encoder.name,
        "text_sha256": encoder.sha256,
        "qualities": QUALITIES if pipeline.generator.config.qualities else QUALITIES[:1],
        "model": pipeline.model,
    }


def bundled_encoder(encoder: CaptionEncoder, out: Path) -> TextEncoder:
    """A text encoder from its bundle; that of CLIP is written next to `out`."""
    if isinstance(encoder, ClipText):
        return TextEncoder(export_clip(encoder, out.with_name(f"{out.name}-text")))
    assert isinstance(encoder, TextEncoder)
    return encoder


def statistics(pipeline: CoamdPipeline) -> dict[str, np.ndarray]:
    """The normalization as weights of a bundle."""
    return {"mean": pipeline.normalization.mean, "std": pipeline.normalization.std}


def coamd_graphs(pipeline: CoamdPipeline, files: Collection[str]) -> dict[str, Any]:
    """The manifest's entry for graph files."""
    sizes = coamd_sizes(Fields(pipeline.model, "model"))
    return {"graphs": manifest_graphs(TASK, sizes, [file.removesuffix(".onnx") for file in files])}


def stored_weights(name: str, network: nn.Module, halves: bool) -> dict[str, np.ndarray]:
    """Weights of a network, prefixed by `name`, large ones as float16 or as 8-bit rows."""
    weights: dict[str, np.ndarray] = {}
    for key, tensor in network.state_dict().items():
        array, key = tensor.cpu().numpy(), f"{name}.{key}"
        if array.ndim < 2 or array.size < SMALL:
            weights[key] = array
        elif halves:
            weights[key] = array.astype(np.float16)
        else:
            weights[key + INTEGERS], weights[key + SCALE] = quantize_rows(array)
    return weights


def known_actions(data: Path) -> dict[str, dict[str, int]]:
    """Training clips per action and quality, the most frequent action first."""
    clips = [clip for clip in load_motions(data) if clip.split == "train"]
    counts = Counter((clip.action, clip.quality) for clip in clips)
    actions = Counter(clip.action for clip in clips)
    return {action: {quality: counts[action, quality] for quality in QUALITIES} for action, _ in actions.most_common()}


def coamd_card(manifest: dict[str, Any]) -> str:
    """Markdown card: the networks, the actions in training, license and limits."""
    known: dict[str, dict[str, int]] = manifest["actions"]
    guided = manifest.get("guided", 0)
    included = (
        f"The generator includes classifier-free guidance of {guided:g}, so a token takes one evaluation, not two.\n"
        if guided
        else ""
    )
    rows = "".join(f"| {action} | {clips['mocap']} | {clips['kinect']} |\n" for action, clips in known.items())
    return f"""# {manifest["name"]}

CoAMD, small: text to motion, editing, retrieval and recognition by text, on absolute joints in layout
`{manifest["layout"]}` at {manifest["fps"]:g} frames a second. Four frames are one token of the autoencoder; the
generator decodes tokens in a few steps; the recognizer embeds motion and text in one space and can guide the generator.

{included}The autoencoder's weights are stored in 16 bits, the matrices of the other networks in 8.

## Actions in training
Clips by capture method. An action captured by a Kinect only can still be requested in the quality of motion capture.
Few clips mean little variety; one or two clips rarely suffice for an action.

| action | motion capture | Kinect |
|---|---|---|
{rows}
## License
{manifest["license"]}

## Limits
Short motions of one person, up to 9.8 seconds, without objects or contact with other people. English descriptions of
the actions above; other descriptions give the nearest of them. It must not drive a machine without additional checks.
"""

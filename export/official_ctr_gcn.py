"""Official CTR-GCN checkpoints for NTU RGB+D, one for each stream, as one bundle that recognizes whole clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..runtime.bundles.bundle import write_bundle
from ..runtime.bundles.safetensors import pack
from ..runtime.bundles.schema import SCHEMA, WEIGHTS, ClipManifest
from ..runtime.bundles.signatures import STREAMS, manifest_graphs
from ..runtime.errors import InputError
from ..training.data import ntu
from ..training.models.ctr_gcn import CTRGCN, NTU_PARENTS
from .ctr_gcn import FastCTRGCN, fold
from .graphs import export_graph
from .official import ImportOptions, digest, weights_file
from .recognizer import THRESHOLDS

TASK = ClipManifest.task
ENSEMBLE = {"joint": 0.6, "bone": 0.6, "joint_motion": 0.4, "bone_motion": 0.4}  # published weights of the logits
FRAMES, WINDOW_S, EVERY_S = 64, 3.0, 0.5
LICENSE = "that of the checkpoints; NTU RGB+D is for non-commercial research"


class StreamNetworks(nn.Module):
    """The networks by stream; `method` gives what a stream's graph computes."""

    def __init__(self, networks: dict[str, FastCTRGCN]):
        super().__init__()
        for stream, network in networks.items():
            setattr(self, stream, network)

    def method(self, stream: str) -> Any:
        """Function of a clip [M, C, T, V], absent people all zeros, that returns the logits [classes]."""
        network: Any = self.get_submodule(stream)

        def logits(clip_MCTV: Tensor) -> tuple[Tensor]:
            return (network.people(clip_MCTV),)

        return logits


def import_ctr_gcn(checkpoints: Sequence[Path], models: Sequence[CTRGCN], out: Path, options: ImportOptions) -> None:
    """Write the bundle `out` from the networks of the first streams: joints, bones, and the motion of both.

    Raises:
        InputError: networks that do not fit each other, or another number of labels than they have.
    """
    config = models[0].config
    for path, model in zip(checkpoints, models, strict=True):
        if model.config != config:
            raise InputError(f"{path}: {model.config.classes} classes and channels {model.config.channels}, expected "
                             f"{config.classes} and {config.channels} as in {checkpoints[0].name}")  # fmt: skip
    streams = dict(zip(STREAMS, models, strict=False))
    networks = StreamNetworks({stream: fold(model) for stream, model in streams.items()}).eval()
    sizes = {
        "people": config.people,
        "channels": config.in_channels,
        "frames": FRAMES,
        "joints": config.joints,
        "labels": config.classes,
    }
    graphs = {f"{name}.onnx": export_graph(networks, networks.method(name), TASK, name, sizes) for name in streams}
    parents = [joint if parent < 0 else parent for joint, parent in enumerate(config.parents)]
    manifest = {
        "schema": SCHEMA,
        "name": out.name,
        "task": TASK,
        "license": LICENSE,
        "layout": "ntu25",
        "fps": 30.0,
        "frontend": {"facing_s": 0.0, "reach_m": 2.0, "max_gap_s": 0.5},
        "decision": asdict(THRESHOLDS),
        "labels": read_labels(options.labels, config.classes),
        "none": None,
        "model": {
            "arch": "ctr-gcn",
            "parents": parents,
            "people": config.people,
            "channels": config.in_channels,
            "frames": FRAMES,
            "weights": {stream: ENSEMBLE[stream] for stream in streams},
            "window_s": WINDOW_S,
            "every_s": EVERY_S,
            "receptive_field": round(30 * WINDOW_S),
            "delay": 0,
            "state": 1,
            "features": 1,
        },
        "graphs": manifest_graphs(TASK, sizes, tuple(streams)),
        "metrics": {},
        "official": {
            stream: {"name": path.name, "sha256": digest(weights_file(path))}
            for stream, path in zip(streams, checkpoints, strict=True)
        },
    }
    weights = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in networks.state_dict().items()}
    write_bundle(out, manifest, {WEIGHTS: pack(weights), **graphs, "MODEL_CARD.md": card(manifest).encode()})


def is_ntu(model: CTRGCN) -> bool:
    """True for networks on NTU RGB+D, which become bundles."""
    return model.config.parents == NTU_PARENTS


def read_labels(path: Path | None, count: int) -> list[str]:
    """Labels, one a line; by default the 60 or 120 of NTU RGB+D. Raises InputError: another number of them."""
    if path is None:
        if count not in (60, len(ntu.ACTIONS)):
            raise InputError(f"the network has {count} classes, expected 60 or 120 of NTU RGB+D, or --labels FILE")
        return list(ntu.ACTIONS[:count])
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    labels = [line for line in lines if line]
    if len(labels) != count:
        raise InputError(f"{path}: {len(labels)} labels, the network has {count}")
    if len(set(labels)) != count:
        raise InputError(f"{path}: a label occurs twice")
    return labels


def card(manifest: dict[str, Any]) -> str:
    """The model card."""
    sources = "".join(
        f"- {stream}: {about['name']}, sha256 {about['sha256']}, weight {ENSEMBLE[stream]}\n"
        for stream, about in manifest["official"].items()
    )
    return f"""# {manifest["name"]}

CTR-GCN from official checkpoints (Chen et al., ICCV 2021): a clip of one or two people in layout
`{manifest["layout"]}`, in the coordinates of a Kinect, in; {len(manifest["labels"])} labels out. A clip is resampled to
{FRAMES} frames; of a stream the last {WINDOW_S:g} s are recognized every {EVERY_S:g} s.

{sources}
## License
{manifest["license"]}

## Limits
It was trained on cut clips of one action each and knows no label for none: in a stream, the most similar action wins.
"""

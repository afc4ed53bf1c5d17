"""CTR-GCN's streams as one bundle that recognizes whole clips: official checkpoints for NTU RGB+D, or runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..runtime.bundles.bundle import Bundle, file_sha256, write_bundle
from ..runtime.bundles.safetensors import pack
from ..runtime.bundles.schema import SCHEMA, WEIGHTS, ClipManifest
from ..runtime.bundles.signatures import STREAMS, manifest_graphs
from ..runtime.errors import InputError
from ..training.data import ntu
from ..training.models.ctr_gcn import CTRGCN, NWUCLA_PARENTS, OPENPOSE_PARENTS, CTRGCNConfig
from ..training.models.fast_ctr_gcn import FastCTRGCN, fold
from ..training.recognition.ctr_gcn import FRAMES, PUBLISHED_FRAMES
from ..training.runs import read_network, read_record
from .graphs import export_graph
from .official import ImportOptions, weights_file
from .recognizer import THRESHOLDS, last_metrics

TASK = ClipManifest.task
ENSEMBLE = {"joint": 0.6, "bone": 0.6, "joint_motion": 0.4, "bone_motion": 0.4}  # published weights of the logits
WINDOW_S, EVERY_S = 3.0, 0.5
LICENSE = "that of the checkpoints; NTU RGB+D and NW-UCLA are for non-commercial research"
LAYOUTS = {NWUCLA_PARENTS: "kinect20", OPENPOSE_PARENTS: "openpose18"}  # others: ntu25
NWUCLA_ACTIONS = ("pick up with one hand", "pick up with two hands", "drop trash", "walk around", "sit down",
                  "stand up", "donning", "doffing", "throw", "carry")  # in published order  # fmt: skip


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
    streams = dict(zip(STREAMS, models, strict=False))
    about = {
        stream: {"name": path.name, "sha256": file_sha256(weights_file(path))}
        for stream, path in zip(streams, checkpoints, strict=True)
    }
    check_equal(checkpoints, [model.config for model in models])
    labels = read_labels(options.labels, models[0].config)
    write_clip_bundle(streams, labels, LICENSE, {"official": about}, out)


def export_clips(runs: Sequence[Path], out: Path) -> Bundle[ClipManifest]:
    """Write the bundle `out` from finished runs of recipes `SPLIT-ctrgcn` or `SPLIT-cocodiff`, one for each stream.

    Raises:
        InputError: an unfinished run, two of one stream, or runs that do not fit each other.
    """
    models: dict[str, CTRGCN] = {}
    records = [read_record(run) for run in runs]
    for run, record in zip(runs, records, strict=True):
        stream = record["recipe"]["stream"]
        if stream in models:
            raise InputError(f"{run}: a second run of stream {stream}, expected one of each")
        if record["recipe"]["name"] == "nwucla-ctrgcn":
            raise InputError(f"{run}: a run of nwucla-ctrgcn has no bundle, those of nwucla-published-ctrgcn have one")
        models[stream], _ = read_network(run, CTRGCN, CTRGCNConfig)
    check_equal(runs, [model.config for model in models.values()])
    first = records[0]
    for run, record in zip(runs, records, strict=True):
        if record["labels"] != first["labels"]:
            raise InputError(f"{run}: other labels than {runs[0]}")
    streams = {stream: models[stream] for stream in STREAMS if stream in models}
    write_clip_bundle(streams, first["labels"], first["recipe"]["license"], {"metrics": last_metrics(runs[0])}, out)
    return Bundle.load(out, ClipManifest)


def is_clip_run(run: Path) -> bool:
    """True if a folder is the run of one of CTR-GCN's streams."""
    file = run / "recipe.json"
    return file.is_file() and "stream" in read_record(run).get("recipe", {})


def check_equal(sources: Sequence[Path], configs: Sequence[CTRGCNConfig]) -> None:
    """Raises InputError unless all networks have the same sizes."""
    found = [f"{config.classes} classes, {config.joints} joints and channels {config.channels}" for config in configs]
    for path, config, sizes in zip(sources, configs, found, strict=True):
        if config != configs[0]:
            raise InputError(f"{path}: {sizes}; expected {found[0]} as in {sources[0].name}")


def write_clip_bundle(
    streams: Mapping[str, CTRGCN], labels: Sequence[str], license: str, about: Mapping[str, Any], out: Path
) -> None:
    """Write a bundle of networks by stream; `about` has further entries of the manifest."""
    config = next(iter(streams.values())).config
    scaled = config.parents == NWUCLA_PARENTS
    networks = StreamNetworks({stream: fold(model) for stream, model in streams.items()}).eval()
    sizes = {
        "people": config.people,
        "channels": config.in_channels,
        "frames": FRAMES if scaled else PUBLISHED_FRAMES,
        "joints": config.joints,
        "labels": config.classes,
    }
    graphs = {f"{name}.onnx": export_graph(networks, networks.method(name), TASK, name, sizes) for name in streams}
    parents = [joint if parent < 0 else parent for joint, parent in enumerate(config.parents)]
    manifest = {
        "schema": SCHEMA,
        "name": out.name,
        "task": TASK,
        "license": license,
        "layout": LAYOUTS.get(config.parents, "ntu25"),
        "fps": 30.0,
        "frontend": {"facing_s": 0.0, "reach_m": 2.0, "max_gap_s": 0.5},
        "decision": asdict(THRESHOLDS),
        "labels": labels,
        "none": None,
        "model": {
            "arch": "ctr-gcn",
            "parents": parents,
            "people": config.people,
            "channels": config.in_channels,
            "frames": sizes["frames"],
            "scaled": scaled,
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
        **about,
    }
    weights = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in networks.state_dict().items()}
    write_bundle(out, manifest, {WEIGHTS: pack(weights), **graphs, "MODEL_CARD.md": card(manifest).encode()})


def read_labels(path: Path | None, config: CTRGCNConfig) -> list[str]:
    """Labels, one a line; by default those of NTU RGB+D or NW-UCLA. Raises InputError: another number of them."""
    count = config.classes
    if path is None:
        known = (NWUCLA_ACTIONS,) if config.parents == NWUCLA_PARENTS else (ntu.ACTIONS[:60], ntu.ACTIONS)
        for names in known:
            if len(names) == count:
                return list(names)
        expected = " or ".join(str(len(names)) for names in known)
        raise InputError(f"the network has {count} classes, expected {expected}, or --labels FILE")
    return read_label_file(path, count)


def read_label_file(path: Path, count: int) -> list[str]:
    """Labels of `count` classes, one a line. Raises InputError: another number of them, or one is repeated."""
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
    files = {stream: f"{one['name']}, sha256 {one['sha256']}, " for stream, one in manifest.get("official", {}).items()}
    source = " from official checkpoints" if "official" in manifest else ""
    camera = "a picture" if manifest["layout"] == "openpose18" else "a Kinect"
    people = "one person" if manifest["model"]["people"] == 1 else "one or two people"
    sources = "".join(
        f"- {stream}: {files.get(stream, '')}weight {ENSEMBLE[stream]}\n" for stream in manifest["graphs"]
    )
    return f"""# {manifest["name"]}

CTR-GCN{source} (Chen et al., ICCV 2021): a clip of {people} in layout `{manifest["layout"]}`, in the
coordinates of {camera}, in; {len(manifest["labels"])} labels out. A clip is resampled to {manifest["model"]["frames"]}
frames; of a stream the last {WINDOW_S:g} s are recognized every {EVERY_S:g} s.

{sources}
## License
{manifest["license"]}

## Limits
It was trained on cut clips of one action each and knows no label for none: in a stream, the most similar action wins.
"""

"""Scaling of the cost of a frame with history, people, sensor joints and network joints.

Shapes: T time, V joints of the network, S joints of a sensor, M people.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...runtime.backends import factory
from ...runtime.backends.protocols import Backend
from ...runtime.body.layout import Layout
from ...runtime.bundles.bundle import Bundle, write_bundle
from ...runtime.bundles.schema import MANIFEST, WEIGHTS
from ...runtime.bundles.signatures import manifest_graphs
from ...runtime.errors import LayoutError, MotionError
from ...runtime.progress import ProgressBar
from ...runtime.recognition.recognizer import Recognizer
from .baselines import all_at_once, config, network_step, one_by_one
from .parity import TOLERANCE
from .timing import Call, in_turns, timed

HISTORY = (8, 16, 32, 64, 98, 128, 192, 256)  # frames
PEOPLE = (1, 2, 4, 6, 8, 12, 16)
NETWORKS = ("core15", "kinect20", "smpl22", "ntu25", "mediapipe33")
ROUNDS, ROUND_S, STEPS = 12, 0.03, 20
Key = TypeVar("Key")


def measure_scaling(
    bundle: Bundle, backend: Backend, reference: Backend, slow: bool, bar: ProgressBar
) -> dict[str, Any]:
    """Median latencies, ms, along four axes; `left_out` gives the reason if one is missing."""
    report: dict[str, Any] = {"model": bundle.manifest.name, "backend": backend.name, "left_out": {}}
    bar.stage("history", ROUNDS * len(HISTORY))
    report["history"] = by_history(bundle, backend, reference, bar)
    bar.stage("people", 2 * ROUNDS * len(PEOPLE))
    report["people"] = by_people(bundle, backend, bar)
    bar.stage("sensors", ROUNDS * len(Layout.names()))
    report["sensors"] = by_sensor(bundle, backend, bar)
    bar.stage("networks", ROUNDS * len(NETWORKS))
    try:
        if not slow:
            raise ImportError("left out of --quick")
        report["networks"] = by_network(bundle, backend.name, bar)
    except ImportError as error:
        report["left_out"]["networks"] = str(error)
    return report


def by_history(bundle: Bundle, backend: Backend, reference: Backend, bar: ProgressBar) -> list[dict[str, Any]]:
    """A step after this many frames, and the clip graph rerun over them."""
    frames = walk(max(HISTORY) + STEPS, bundle.manifest.joints)
    streams, slots = backend.streams(1), [0]
    stepped, rerun = defaultdict[int, list[np.ndarray]](list), defaultdict[int, list[np.ndarray]](list)
    for _, size in product(range(ROUNDS), HISTORY):
        streams.begin(0)
        for frame in frames[:size, None]:
            streams.step(slots, frame)
        stepped[size].append(timed(lambda i: streams.step(slots, frames[i, None]), STEPS, first=size))
        rerun[size].append(timed(lambda i: reference.clip(frames[i : i + size]), 2))  # noqa: B023
        bar.advance()
    return [
        {"frames": size, "step_ms": float(np.median(stepped[size])), "window_ms": float(np.median(rerun[size]))}
        for size in HISTORY
    ]


def by_people(bundle: Bundle, backend: Backend, bar: ProgressBar) -> list[dict[str, Any]]:
    """People in one call of `Recognizer.step_people`, and one by one, in the network's layout."""
    layout = Layout.load(bundle.manifest.layout)
    poses = [(pose, layout.name) for pose in trembling_poses(layout, layout)]
    calls = {}
    for people in PEOPLE:
        calls[people, "together"] = all_at_once(Recognizer(bundle, backend), poses, people)
        calls[people, "one_by_one"] = one_by_one(Recognizer(bundle, backend), poses, people)
    found = medians(calls, bar)
    return [{"people": n, "ms": found[n, "together"], "one_by_one_ms": found[n, "one_by_one"]} for n in PEOPLE]


def by_sensor(bundle: Bundle, backend: Backend, bar: ProgressBar) -> list[dict[str, Any]]:
    """`Recognizer.step` with every 3-D layout that can be mapped to the model's layout."""
    target, calls = Layout.load(bundle.manifest.layout), {}
    for source in map(Layout.load, Layout.names()):
        if source.dims == target.dims:
            with suppress(LayoutError):
                poses = [(pose, source.name) for pose in trembling_poses(target, source)]
                calls[source.name] = one_by_one(Recognizer(bundle, backend), poses)
    rows = [
        {"layout": name, "joints": len(Layout.load(name).joints), "ms": ms} for name, ms in medians(calls, bar).items()
    ]
    return sorted(rows, key=lambda row: row["joints"])


def by_network(like: Bundle, backend_name: str, bar: ProgressBar) -> list[dict[str, Any]]:
    """A network step of the same architecture on other skeletons, with random weights.

    Raises:
        ImportError: torch or the ONNX exporter is not installed.
        MotionError: the backend's logits differ from those of the exported clip graph.
    """
    calls, worst = {}, {}
    for name in NETWORKS:
        layout = Layout.load(name)
        with tempfile.TemporaryDirectory() as folder:
            bundle = random_bundle(like, layout, Path(folder) / name)
        backend, reference = factory.create(backend_name, bundle), factory.create("onnx", bundle)
        frames, slots, streams = walk(60, len(layout.joints)), [0], backend.streams(1)
        streams.begin(0)
        logits = np.concatenate([streams.step(slots, frame)[0] for frame in frames[:, None]])
        worst[name] = float(np.abs(logits - reference.clip(frames)[0]).max())
        if not worst[name] <= TOLERANCE:
            raise MotionError(
                f"parity: logits of {backend.name} on {name} differ by {worst[name]:.2e} from those of the ONNX clip "
                f"graph, expected at most {TOLERANCE:g}; nothing was measured"
            )
        calls[name] = network_step(backend, frames)
    return [
        {"layout": name, "joints": len(Layout.load(name).joints), "step_ms": ms, "parity_max_abs": worst[name]}
        for name, ms in medians(calls, bar).items()
    ]


def medians(calls: Mapping[Key, Call], bar: ProgressBar) -> dict[Key, float]:
    """Median latencies, measured in turns."""
    latencies = in_turns({str(key): call for key, call in calls.items()}, ROUNDS, ROUND_S, bar.advance)
    return {key: float(np.median(latencies[str(key)])) for key in calls}


def random_bundle(like: Bundle, layout: Layout, path: Path) -> Bundle:
    """A bundle with the architecture and thresholds of `like`, another skeleton and random weights."""
    import onnxscript  # noqa: F401  (required by the exporter)
    import torch
    from safetensors.torch import save

    from ...export.recognizer import TASK, graphs, sizes_of
    from ...training.models.stream_gcn import StreamGCN, fold

    torch.manual_seed(0)
    network = fold(StreamGCN(config(like, parents=layout.parents)).eval()).requires_grad_(False)
    network.pool.normal_()  # for logits as large as those of a trained network
    manifest = json.loads((like.path / MANIFEST).read_text(encoding="utf-8"))
    manifest |= {"name": path.name, "layout": layout.name, "metrics": {}}
    manifest["frontend"].pop("bones", None)  # of another skeleton
    manifest["graphs"] = manifest_graphs(TASK, sizes_of(network))
    manifest["model"] |= {"parents": list(layout.parents), "state": network.state_size}
    return Bundle.load(write_bundle(path, manifest, {WEIGHTS: save(network.state_dict()), **graphs(network)}))


def walk(frames: int, joints: int) -> np.ndarray:
    """Random movement as input of a network, [T, V, 3] meters."""
    steps = np.random.default_rng(0).normal(0, 0.01, (frames, joints, 3))
    return (0.3 * np.random.default_rng(1).normal(size=(joints, 3)) + np.cumsum(steps, 0)).astype(np.float32)


def trembling_poses(target: Layout, source: Layout, frames: int = 50) -> np.ndarray:
    """Poses [T, S, 3] of `source` whose joints in `target` tremble around fixed positions near the root.

    Raises:
        LayoutError: `source` cannot be mapped to `target`.
    """
    weights = target.map_from(source)
    rng = np.random.default_rng(0)
    pose = rng.uniform(-0.5, 0.5, (len(target.joints), 3))
    poses = pose - pose[target.root] + rng.normal(0, 0.005, (frames, len(target.joints), 3))
    return np.einsum("sv,tvc->tsc", np.linalg.pinv(weights), poses).astype(np.float32)

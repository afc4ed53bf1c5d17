"""Baselines that decide on every frame: ONNX Runtime and PyTorch on the same network, CTR-GCN on its window.

All run on one thread. Shapes: T time, V joints, M people.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import fields
from itertools import count, cycle
from typing import Any

import numpy as np

from ...runtime.backends.protocols import Backend
from ...runtime.body.frontend import prepare
from ...runtime.body.layout import Layout
from ...runtime.body.motion import Motion
from ...runtime.bundles.bundle import Bundle
from ...runtime.recognition.recognizer import Recognizer
from .timing import Call

CTR_GCN_CLASSES, CTR_GCN_FRAMES = 60, 64
READS = 4  # of all weights; takes about as long as a step
TITLES = {
    "recognizer_step": "Recognizer.step, sensor to decision",
    "native_network": "native, network stepped",
    "native_bf16": "native, weights in bfloat16",
    "onnx_step": "ONNX Runtime, network stepped",
    "onnx_window": "ONNX Runtime, window re-run",
    "torch_step": "PyTorch eager, network stepped",
    "ctr_gcn_torch": "CTR-GCN window, PyTorch eager",
    "ctr_gcn_onnx": "CTR-GCN window, ONNX Runtime",
    "only_reading": f"numpy, only reads the weights {READS} times",
}


def sensor_poses(motions: Sequence[Motion]) -> list[tuple[np.ndarray, str]]:
    """Every pose [V, 3] of the recordings in the sensor's layout, with the layout's name."""
    return [(pose, motion.layout) for motion in motions for pose in motion.person(0).joints]


def network_frames(bundle: Bundle, motions: Sequence[Motion]) -> np.ndarray:
    """The recordings as input of the network, [T, V, 3]."""
    layout = Layout.load(bundle.manifest.layout)
    parts = []
    for motion in motions:
        joints = np.einsum("vw,twc->tvc", layout.map_from(Layout.load(motion.layout)), motion.person(0).joints)
        parts.append(prepare(joints, bundle.manifest.frontend, layout))
    return np.concatenate(parts)


def one_by_one(recognizer: Recognizer, poses: Sequence[tuple[np.ndarray, str]], people: int = 1) -> Call:
    """Step each person at the model's rate, so that every frame is one step of the network."""
    frame, looped = count(), cycle(poses)

    def step(i: int) -> None:
        t = next(frame) / recognizer.fps
        for person in range(people):
            joints, layout = next(looped)
            recognizer.step(joints, t, person=person, layout=layout)

    return step


def all_at_once(recognizer: Recognizer, poses: Sequence[tuple[np.ndarray, str]], people: int) -> Call:
    """Step several people in one call, each at a different position in the recordings."""
    layout, shift = poses[0][1], len(poses) // people
    joints = np.stack([pose for pose, _ in poses])
    moments = cycle(np.stack([np.roll(joints, -shift * person, axis=0) for person in range(people)], axis=1))
    frame, ids = count(), list(range(people))

    def step(i: int) -> None:
        recognizer.step_people(next(moments), next(frame) / recognizer.fps, people=ids, layout=layout)

    return step


def network_step(backend: Backend, frames_TVC: np.ndarray) -> Call:
    """Step the network on one stream, frame by frame."""
    streams, slots = backend.streams(1), [0]
    streams.begin(0)
    frames = list(frames_TVC[:, None])
    return lambda i: streams.step(slots, frames[i % len(frames)])


def only_reading(bundle: Bundle) -> Call:
    """Only read the weights; its p99 shows the cost of the machine's interruptions."""
    weights = np.concatenate([array.ravel() for array in bundle.weights.values()])

    def read(i: int) -> None:
        for _ in range(READS):
            weights.max()

    return read


def window(reference: Backend, frames_TVC: np.ndarray, size: int) -> Call:
    """Rerun the clip graph over the last `size` frames for every frame."""
    T = len(frames_TVC)
    looped = np.concatenate([frames_TVC] * (2 + size // T))
    return lambda i: reference.clip(looped[i % T : i % T + size])


def torch_step(bundle: Bundle, frames_TVC: np.ndarray) -> Call:
    """The bundle's network as a PyTorch module. Raises ImportError without torch."""
    import torch

    from ...training.models.stream_gcn import StreamGCN, fold

    network = fold(StreamGCN(config(bundle)).eval())
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in bundle.weights.items()})
    frames, state = [torch.from_numpy(frame[None]) for frame in frames_TVC], network.new_state()

    @torch.inference_mode()
    def step(i: int) -> None:
        nonlocal state
        _, _, state = network.step(frames[i % len(frames)], state)

    return step


def config(bundle: Bundle, **changes: Any) -> Any:
    """The StreamGCNConfig of a bundle's network, with changes. Raises ImportError without torch."""
    from ...training.models.stream_gcn import StreamGCNConfig

    settings = {field.name: bundle.manifest.model[field.name] for field in fields(StreamGCNConfig)} | changes
    tuples: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    return StreamGCNConfig(**tuples)


def ctr_gcn_torch() -> Call:
    """CTR-GCN with random weights, two people. Raises ImportError without torch."""
    import torch

    network, clip = _ctr_gcn()

    @torch.inference_mode()
    def run(i: int) -> None:
        network(clip)

    return run


def ctr_gcn_onnx() -> Call:
    """The same exported to ONNX Runtime. Raises ImportError without torch or its exporter."""
    import onnxruntime as ort
    import onnxscript  # noqa: F401  (required by the exporter)
    import torch

    network, clip = _ctr_gcn()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(network, (clip,), dynamo=True, verbose=False, input_names=["clip"])
    assert program is not None
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    graph = program.model_proto.SerializeToString()
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    inputs = {"clip": clip.numpy()}
    with torch.inference_mode():
        expected = network(clip).numpy()
    if not np.allclose(session.run(None, inputs)[0], expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max())):
        raise RuntimeError("CTR-GCN in ONNX Runtime differs from PyTorch")
    return lambda i: session.run(None, inputs)


def _ctr_gcn() -> tuple[Any, Any]:
    """The network and a clip [1, C=3, T, V, M=2]."""
    import torch

    from ...training.models.ctr_gcn import CTRGCN, CTRGCNConfig

    torch.manual_seed(0)
    network = CTRGCN(CTRGCNConfig(classes=CTR_GCN_CLASSES)).eval().requires_grad_(False)
    config = network.config
    return network, torch.randn(1, config.in_channels, CTR_GCN_FRAMES, config.joints, config.people)

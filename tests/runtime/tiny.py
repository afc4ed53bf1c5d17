"""A small bundle with a real ONNX network, for tests: it recognizes which wrist is raised.

Per frame f = pose W1 [D = 4]; features = the mean of the last three f (the state keeps two, S = 8);
logits = features W2 + b [C = 3].
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.bundles.bundle import write_bundle
from motionrt.runtime.bundles.safetensors import pack

onnx = pytest.importorskip("onnx", reason="the tiny model is made with the onnx package")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT

LAYOUT = "core15"
LABELS = ("none", "raise left hand", "raise right hand")
FPS = 20.0
V, D, S, C = 15, 4, 8, 3
WEIGHTS = "weights.safetensors"
Shapes = Mapping[str, Sequence[int | str]]


def weights() -> dict[str, np.ndarray]:
    """W1 [45, D], W2 [D, C], b [C]: logits are 0, 20 * (left wrist height - 0.2), the same for the right."""
    joints = Layout.load(LAYOUT).joints
    w1 = np.zeros((V * 3, D), np.float32)
    w1[3 * joints.index("left_wrist") + 1, 0] = 1
    w1[3 * joints.index("right_wrist") + 1, 1] = 1
    w2 = np.zeros((D, C), np.float32)
    w2[0, 1] = w2[1, 2] = 20
    return {"w1": w1, "w2": w2, "b": np.array([0, -4, -4], np.float32)}


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "tiny",
        "task": "recognition",
        "license": "Apache-2.0",
        "layout": LAYOUT,
        "fps": FPS,
        "frontend": {"facing_s": 1.0, "reach_m": 2.0, "max_gap_s": 0.5},
        "decision": {"temperature": 1.0, "smooth_s": 0.1, "on": 0.6, "off": 0.3, "hold_s": 0.1},
        "labels": list(LABELS),
        "none": "none",
        "model": {"arch": "tiny", "receptive_field": 3, "delay": 0, "state": S, "features": D},
        "graphs": {
            "step": {
                "file": "step.onnx",
                "inputs": {"frame": ["M", V, 3], "state": ["M", S]},
                "outputs": {"logits": ["M", C], "features": ["M", D], "state_out": ["M", S]},
            },
            "clip": {
                "file": "clip.onnx",
                "inputs": {"frames": ["M", "T", V, 3]},
                "outputs": {"logits": ["M", "T", C], "features": ["M", "T", D]},
            },
        },
        "metrics": {},
        **changes,
    }


def files() -> dict[str, bytes]:
    graphs = {"step.onnx": step_graph(), "clip.onnx": clip_graph()}
    return {WEIGHTS: pack(weights()), **graphs, "MODEL_CARD.md": b"tiny\n"}


def tiny_bundle(path: Path, **changes: Any) -> Path:
    """Write the tiny bundle at `path`, with `changes` to the top level of its manifest."""
    return write_bundle(path, manifest(**changes), files())


def poses(frames: int, raised: str | None = None) -> np.ndarray:
    """Joints [T, V, 3] of a standing person who faces +z, with the "left", the "right" or no hand raised."""
    pose = np.zeros((V, 3), np.float32)
    joints = Layout.load(LAYOUT).joints
    height = {"pelvis": 1.0, "neck": 1.5, "head": 1.7, "shoulder": 1.45, "elbow": 1.2, "wrist": 0.95}
    height |= {"hip": 0.95, "knee": 0.5, "ankle": 0.1}
    for index, name in enumerate(joints):
        side, _, part = name.rpartition("_")
        pose[index] = {"left": 0.2, "right": -0.2, "": 0.0}[side], height[part], 0.0
        if raised == side and part == "wrist":
            pose[index, 1] = 1.8
    return np.repeat(pose[None], frames, axis=0)


def external(name: str, shape: Sequence[int], location: str = WEIGHTS) -> Any:
    """A float initializer with external data."""
    tensor = onnx.TensorProto(name=name, data_type=FLOAT, dims=shape, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def step_graph(location: str = WEIGHTS, extra: Sequence[Any] = ()) -> bytes:
    """The step graph, with `extra` initializers."""
    nodes = [
        helper.make_node("Flatten", ["frame"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w1"], ["f"]),
        helper.make_node("Concat", ["state", "f"], ["last"], axis=1),
        helper.make_node("Slice", ["last", "four", "twelve", "one"], ["state_out"]),
        helper.make_node("Reshape", ["last", "window"], ["last3"]),
        helper.make_node("ReduceMean", ["last3", "one"], ["features"], keepdims=0),
        helper.make_node("Gemm", ["features", "w2", "b"], ["logits"]),
    ]
    inputs: Shapes = {"frame": ["M", V, 3], "state": ["M", S]}
    outputs: Shapes = {"logits": ["M", C], "features": ["M", D], "state_out": ["M", S]}
    small = {"one": [1], "four": [D], "twelve": [3 * D], "window": [-1, 3, D]}
    initializers = [external(name, array.shape, location) for name, array in weights().items()]
    return model(nodes, inputs, outputs, small, [*initializers, *extra])


def clip_graph() -> bytes:
    nodes = [
        helper.make_node("Reshape", ["frames", "flatten"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w1"], ["f"]),
        helper.make_node("Pad", ["f", "pads"], ["padded"]),
        helper.make_node("Slice", ["padded", "zero", "minus2", "one"], ["x0"]),
        helper.make_node("Slice", ["padded", "one", "minus1", "one"], ["x1"]),
        helper.make_node("Sum", ["x0", "x1", "f"], ["sum"]),
        helper.make_node("Mul", ["sum", "third"], ["features"]),
        helper.make_node("MatMul", ["features", "w2"], ["products"]),
        helper.make_node("Add", ["products", "b"], ["logits"]),
    ]
    inputs: Shapes = {"frames": ["M", "T", V, 3]}
    outputs: Shapes = {"logits": ["M", "T", C], "features": ["M", "T", D]}
    small = {"flatten": [0, 0, -1], "pads": [0, 2, 0, 0, 0, 0], "zero": [0], "one": [1]}
    small |= {"minus1": [-1], "minus2": [-2]}  # `one` is also the axis of time, which is sliced
    third = onnx.numpy_helper.from_array(np.float32(1 / 3), "third")
    initializers = [external(name, array.shape) for name, array in weights().items()]
    return model(nodes, inputs, outputs, small, [*initializers, third])


def model(
    nodes: Sequence[Any],
    inputs: Shapes,
    outputs: Shapes,
    small: Mapping[str, Sequence[int]],
    initializers: Sequence[Any],
    integers: Sequence[str] = (),
) -> bytes:
    """A model of float tensors, except for the `integers` among its inputs."""
    constants = [onnx.numpy_helper.from_array(np.array(value), name) for name, value in small.items()]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(name, onnx.TensorProto.INT64 if name in integers else FLOAT, shape)
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()],
        initializer=[*initializers, *constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model.SerializeToString()

"""Products in 8 bits match those in float32 up to rounding, and use integers that the bundle stores."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

import onnxruntime as ort  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.export import Dim  # noqa: E402

from motionrt.export.graphs import to_onnx  # noqa: E402
from motionrt.export.int8 import to_int8  # noqa: E402
from motionrt.runtime.backends.onnx_session import EXACT_INT8, has_vnni  # noqa: E402
from motionrt.runtime.bundles.int8 import dequantize, quantize_rows  # noqa: E402


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flat, self.deep, self.last = nn.Linear(24, 96), nn.Linear(96, 40, bias=False), nn.Linear(40, 8)

    def both(self, x_NE: Tensor) -> tuple[Tensor]:
        return (self.last(self.deep(torch.relu(self.flat(x_NE))[None])[0]),)


def run(graph: bytes, weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    if not has_vnni():
        options.add_session_config_entry(*EXACT_INT8)
    names = [tensor.name for tensor in onnx.load_from_string(graph).graph.initializer if tensor.external_data]
    options.add_external_initializers(names, [ort.OrtValue.ortvalue_from_numpy(weights[name]) for name in names])
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_int8_products_are_nearly_the_same() -> None:
    torch.manual_seed(0)
    network = Network().eval().requires_grad_(False)
    stored: dict[str, np.ndarray] = {}
    for name, tensor in network.state_dict().items():
        if name in ("flat.weight", "deep.weight"):
            stored[f"{name}.integers"], stored[f"{name}.scale"] = quantize_rows(tensor.numpy())
        else:
            stored[name] = tensor.numpy()
    weights = dequantize(stored)
    network.load_state_dict({name: torch.from_numpy(weights[name]) for name in network.state_dict()})
    graph = to_onnx(network, network.both, {"x": torch.randn(5, 24)}, ("y",), ({0: Dim("N")},))
    small = to_int8(graph, stored)

    nodes = [node.op_type for node in onnx.load_from_string(small).graph.node]
    assert nodes.count("MatMulInteger") == 2 and nodes.count("Gemm") + nodes.count("MatMul") == 1
    held = {tensor.name for tensor in onnx.load_from_string(small).graph.initializer}
    assert {"flat.weight.integers", "flat.weight.scale", "last.weight"} <= held and "flat.weight" not in held
    x = np.random.default_rng(0).normal(size=(7, 24)).astype(np.float32)
    wanted, found = run(graph, weights, x), run(small, weights, x)
    np.testing.assert_allclose(wanted, network.both(torch.from_numpy(x))[0].numpy(), atol=1e-5)
    assert 0 < np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


def test_sums_do_not_saturate_on_this_cpu() -> None:
    """Of pairs of the largest products, which do not fit in 16 bits."""
    network = nn.Linear(64, 16, bias=False).requires_grad_(False)
    stored = {"weight.integers": np.full((16, 64), 127, np.int8), "weight.scale": np.full((16, 1), 0.5, np.float32)}
    network.weight.copy_(torch.from_numpy(dequantize(stored)["weight"]))
    graph = to_onnx(network, lambda x: (network(x),), {"x": torch.randn(5, 64)}, ("y",), ({0: Dim("N")},))
    x = np.full((3, 64), 255, np.float32)
    np.testing.assert_array_equal(run(to_int8(graph, stored), stored, x), np.full((3, 16), 64 * 255 * 127 * 0.5))

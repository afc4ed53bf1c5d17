"""ONNX Runtime on the CPU."""

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort

from ..bundle import Bundle
from ..errors import BundleError, InputError
from ..manifest import Graph, Shape

_BFLOAT16 = 16  # TensorProto.DataType
_SEVERITY_ERROR = 3


class OnnxBackend:
    """Runs a bundle's step and clip graphs.

    The weights are bound from the bundle's own buffer: both graphs share them, and no file is opened.

    Args:
        bundle: a verified bundle.
        threads: threads of one operator.
    Raises:
        BundleError: ONNX Runtime refuses a graph, or its inputs and outputs differ from the manifest.
    """

    name = "onnx"

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self._bundle = bundle
        self._threads = threads
        self._step = self._session("step")
        self._clip: ort.InferenceSession | None = None
        self._try_step()

    def streams(self, people: int) -> "OnnxStreams":
        """New streams of `people` people."""
        return OnnxStreams(self._step, people, self._bundle.manifest.state)

    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """frames [T, V, 3] float32 -> logits [T, C], features [T, D]."""
        if self._clip is None:
            if "clip" not in self._bundle.manifest.graphs:
                raise InputError(f"{self._bundle.path}: this bundle has no clip graph")
            self._clip = self._session("clip")
        logits, features = self._clip.run(_CLIP_OUTPUTS, {"frames": frames[None]})
        return logits[0], features[0]

    def _session(self, name: str) -> ort.InferenceSession:
        graph = self._bundle.manifest.graphs[name]
        where = str(self._bundle.path / graph.file)
        content = self._bundle.graphs[graph.file]
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = _SEVERITY_ERROR
        options.add_session_config_entry("session.load_model_format", "ONNX")
        initializers = self._bundle.initializers(graph.file)
        values = [_value(self._bundle.weights[key], tensor.onnx_type) for key, tensor in initializers.items()]
        options.add_external_initializers(list(initializers), values)
        try:
            session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise BundleError(f"{where}: ONNX Runtime cannot load it ({_line(error)})") from error
        _check(session, graph, where)
        return session

    def _try_step(self) -> None:
        """One step on zeros, to find out now what would fail in the middle of a stream."""
        manifest = self._bundle.manifest
        where = str(self._bundle.path / manifest.graphs["step"].file)
        frames = np.zeros((1, manifest.joints, 3), np.float32)
        try:
            state = np.zeros((1, manifest.state), np.float32)
            outputs = self._step.run(_STEP_OUTPUTS, {"frame": frames, "state": state})
        except Exception as error:
            raise BundleError(f"{where}: the first step failed ({_line(error)})") from error
        sizes = (len(manifest.labels), manifest.features, manifest.state)
        for name, array, size in zip(_STEP_OUTPUTS, outputs, sizes, strict=True):
            if array.shape != (1, size) or array.dtype != np.float32:
                found = f"{array.dtype} {list(array.shape)}"
                raise BundleError(f"{where}: {name} is {found}, expected float32 [1, {size}]")
            if not np.isfinite(array).all():
                raise BundleError(f"{where}: {name} of the first step is not finite")


class OnnxStreams:
    """The streams of several people, `size` floats each. `capacity`: how many there is room for."""

    def __init__(self, session: ort.InferenceSession, people: int, size: int) -> None:
        self.capacity = people
        self._session, self._size = session, size
        self._states = [np.zeros((1, size), np.float32)] * people  # of a slot; never written to

    def begin(self, slot: int) -> None:
        """The stream in this slot starts anew."""
        self._states[slot] = np.zeros((1, self._size), np.float32)

    def step(self, slots: Sequence[int], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One frame of each slot [M, V, 3] -> logits [M, C], features [M, D]."""
        states = [self._states[slot] for slot in slots]
        state = states[0] if len(states) == 1 else np.concatenate(states)
        logits, features, state = self._session.run(_STEP_OUTPUTS, {"frame": frames, "state": state})
        for i, slot in enumerate(slots):
            self._states[slot] = state[i : i + 1]
        return logits, features


_STEP_OUTPUTS = ["logits", "features", "state_out"]
_CLIP_OUTPUTS = ["logits", "features"]


def _value(array: np.ndarray, onnx_type: int) -> ort.OrtValue:
    if onnx_type == _BFLOAT16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, onnx_type)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _check(session: ort.InferenceSession, graph: Graph, where: str) -> None:
    for kind, nodes, expected in (
        ("input", session.get_inputs(), graph.inputs),
        ("output", session.get_outputs(), graph.outputs),
    ):
        found = {node.name: node for node in nodes}
        if set(found) != set(expected):
            raise BundleError(f"{where}: {kind}s {sorted(found)}, the manifest says {sorted(expected)}")
        for name, shape in expected.items():
            node = found[name]
            if node.type != "tensor(float)" or not _fits(node.shape, shape, exact=kind == "input"):
                tensor = f"{node.type} {node.shape}"
                raise BundleError(f"{where}: {kind} {name} is {tensor}, the manifest says {list(shape)}")


def _fits(found: list[int | str | None], expected: Shape, exact: bool) -> bool:
    """Sizes that the manifest names must be open in the graph, and fixed ones the same.

    Graphs need not tell the sizes of their outputs: unless `exact`, those may be open too.
    """
    if len(found) != len(expected):
        return not exact and not found
    for size, wanted in zip(found, expected, strict=True):
        is_open = not isinstance(size, int)
        if isinstance(wanted, str):
            if not is_open:
                return False
        elif size != wanted and (exact or not is_open):
            return False
    return True


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]

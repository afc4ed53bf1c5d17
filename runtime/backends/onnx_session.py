"""A bundle's graph as an ONNX Runtime session on the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort

from ..bundles.bundle import MODELS, Bundle
from ..bundles.onnx_graph import OnnxGraph
from ..bundles.onnx_shapes import Tensor, check_cost
from ..bundles.schema import Graph
from ..bundles.signatures import SIGNATURES, Shape, Signature
from ..errors import BundleError
from ..fork import survive_fork
from .threads import check_threads

EXACT_INT8 = ("session.x64quantprecision", "1")  # slower; else, sums of 8-bit products saturate without VNNI
_BFLOAT16 = 16  # TensorProto.DataType
_SEVERITY_ERROR = 3
_MAX_SHAPES = 10_000  # of inputs, that are remembered
_ONNX_TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"}


class OnnxSession:
    """An open graph. A forked child opens it again: threads and locks of the parent's session are of no use there.

    Before a graph that is not one of this package runs with inputs of new shapes, it is checked what that takes.

    Arguments and errors are those of `open_session`.
    """

    def __init__(self, bundle: Bundle, name: str, threads: int) -> None:
        graph = bundle.manifest.graphs[name]
        self._where = str(bundle.path / graph.file)
        self._graph = bundle.read_graph(graph.file)
        self._trusted = bundle.path.parent == MODELS
        self._shapes: set[tuple[tuple[str, tuple[int, ...]], ...]] = set()  # that were checked
        if not self._trusted:
            check_cost(self._graph, example_inputs(bundle.manifest.task, name, graph), self._where)
        self._arguments = bundle, name, threads, self._graph
        self._session: ort.InferenceSession | None = _open(*self._arguments)
        survive_fork(self)

    def run(self, outputs: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs in the order of their names, for all inputs by name. Thread-safe.

        Raises:
            BundleError: with inputs of these shapes, the graph would take too much memory or time.
        """
        if not self._trusted:
            self._check_shapes(inputs)
        session = self._session
        if session is None:
            session = self._session = _open(*self._arguments)
        found: list[np.ndarray] = session.run(outputs, inputs)
        return found

    def _check_shapes(self, inputs: Mapping[str, np.ndarray]) -> None:
        shapes = tuple((name, array.shape) for name, array in inputs.items())
        if shapes in self._shapes:
            return
        check_cost(self._graph, {name: Tensor(array.shape, array.dtype) for name, array in inputs.items()}, self._where)
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        self._shapes.add(shapes)

    def _after_fork(self) -> None:
        if self._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))  # freeing it would wait for its threads
            self._session = None


def open_session(bundle: Bundle, name: str, threads: int) -> OnnxSession:
    """Open one of a bundle's graphs.

    The weights are bound from the bundle's own buffer: all its graphs share them, and no file is opened.

    Args:
        bundle: a verified bundle.
        name: of the graph.
        threads: threads of one operator, which sleep while there is nothing to do.
    Raises:
        BundleError: the graph would take too much memory or time, ONNX Runtime rejects it, or its inputs and outputs
            differ from the manifest.
        InputError: more threads than CPUs that this process may use.
    """
    return OnnxSession(bundle, name, check_threads(threads))


def _open(bundle: Bundle, name: str, threads: int, onnx_graph: OnnxGraph) -> ort.InferenceSession:
    graph = bundle.manifest.graphs[name]
    where = str(bundle.path / graph.file)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _SEVERITY_ERROR
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if not has_vnni():
        options.add_session_config_entry(*EXACT_INT8)
    external = onnx_graph.external
    values = [_value(bundle.weights[key], tensor.onnx_type) for key, tensor in external.items()]
    options.add_external_initializers(list(external), values)
    try:
        session = ort.InferenceSession(bundle.files[graph.file], options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base class
        raise BundleError(f"{where}: ONNX Runtime cannot load it ({one_line(error)})") from error
    _check(session, graph, SIGNATURES[bundle.manifest.task].graphs[name], where)
    return session


def example_inputs(task: str, name: str, graph: Graph) -> dict[str, Tensor]:
    """Inputs of a graph, of the sizes that it was traced with."""
    sizes = {size: about.example for size, about in SIGNATURES[task].open_sizes(name).items()}
    tensors = SIGNATURES[task].graphs[name].tensors
    return {
        key: Tensor(tuple(sizes[n] if isinstance(n, str) else n for n in shape), np.dtype(tensors[key].dtype))
        for key, shape in graph.inputs.items()
    }


@cache
def has_vnni() -> bool:
    """Whether this x86 CPU has instructions that add 8-bit products without saturating; False: unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return "avx512_vnni" in flags or "avx_vnni" in flags


def one_line(error: Exception) -> str:
    """Message of an error of ONNX Runtime, in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]


def _value(array: np.ndarray, onnx_type: int) -> ort.OrtValue:
    if onnx_type == _BFLOAT16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, onnx_type)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _check(session: ort.InferenceSession, graph: Graph, signature: Signature, where: str) -> None:
    for kind, nodes, expected in (
        ("input", session.get_inputs(), graph.inputs),
        ("output", session.get_outputs(), graph.outputs),
    ):
        found = {node.name: node for node in nodes}
        if set(found) != set(expected):
            raise BundleError(f"{where}: {kind}s {sorted(found)}, the manifest says {sorted(expected)}")
        for name, shape in expected.items():
            node, wanted = found[name], _ONNX_TYPES[signature.tensors[name].dtype]
            if node.type != wanted or not _fits(node.shape, shape, exact=kind == "input"):
                tensor = f"{node.type} {node.shape}"
                raise BundleError(f"{where}: {kind} {name} is {tensor}, the manifest says {list(shape)}")


def _fits(found: list[int | str | None], expected: Shape, exact: bool) -> bool:
    """True if sizes that are open in the manifest are open in the graph, and all others equal.

    Unless `exact`, the graph's sizes can also be unknown, as those of outputs often are.
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

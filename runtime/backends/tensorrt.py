"""TensorRT on an NVIDIA GPU: engines from this user's cache, a CUDA graph for every shape. Not yet run on hardware.

Written against the documentation of TensorRT 10 and 11. torch owns the buffers, the streams and the CUDA graphs.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..bundles.bundle import Bundle
from ..bundles.schema import WEIGHTS, GenerationManifest, Manifest
from ..bundles.signatures import SIGNATURES
from ..errors import BundleError, InputError
from .onnx import OnnxBackend, OnnxStreams
from .tensorrt_cache import PlanKey, load_plan, profiles

DEVICE = "cuda"
RESIDENT = {  # outputs of graphs that stay on the GPU
    "step": ("state_out",),
    "times": tuple(SIGNATURES[GenerationManifest.task].graphs["times"].outputs),
}
MAX_SHAPES = 64  # CUDA graphs of an engine; the least recently used is dropped
_LEVELS = {"INTERNAL_ERROR": logging.CRITICAL, "ERROR": logging.ERROR, "WARNING": logging.WARNING}


class TensorRTBackend(OnnxBackend):
    """Runs a bundle's step and clip graphs in TensorRT, otherwise like `OnnxBackend`.

    Args:
        bundle: a verified bundle whose engines were built on this machine by `motionrt export --tensorrt`.
        precision: precision that they were built with.
    Raises:
        BundleError: an engine is missing, cannot be trusted or cannot run.
    """

    name = "tensorrt"

    def __init__(self, bundle: Bundle, precision: str = "fp32") -> None:
        self._precision = precision
        super().__init__(bundle)

    def streams(self, people: int) -> TensorRTStreams:
        """New streams for `people` people."""
        return TensorRTStreams(self._step, people, self._bundle.manifest.state)

    def _open(self, graph: str) -> Engine:
        return open_engine(self._bundle, graph, self._precision)

    @staticmethod
    def _to_numpy(output: Any) -> np.ndarray:
        host: np.ndarray = output if isinstance(output, np.ndarray) else output.cpu().numpy()
        return host


class TensorRTStreams(OnnxStreams):
    """Streams whose states stay on the GPU."""

    def _zeros(self) -> Any:
        import torch

        return torch.zeros(1, self._size, device=DEVICE)

    @staticmethod
    def _join(states: Sequence[Any]) -> Any:
        import torch

        return torch.cat(list(states))


def open_engine(bundle: Bundle[Any], name: str, precision: str) -> Engine:
    """Open the engine of one of a bundle's graphs. Raises BundleError like `TensorRTBackend`."""
    plan = load_plan(plan_key(bundle.manifest, name, precision), bundle.path)
    return Engine(plan, str(bundle.path / bundle.manifest.graphs[name].file), RESIDENT.get(name, ()))


def plan_key(manifest: Manifest, name: str, precision: str) -> PlanKey:
    """Key of a graph's engine on this machine."""
    import tensorrt
    import torch

    gpu = torch.cuda.get_device_properties(torch.cuda.current_device())
    return PlanKey(
        graph=manifest.files[manifest.graphs[name].file].sha256,
        weights=manifest.files[WEIGHTS].sha256,
        tensorrt=tensorrt.__version__,
        gpu=f"{gpu.name} {gpu.major}.{gpu.minor}",
        precision=precision,
        profiles=profiles(manifest.task, name, manifest.graphs[name]),
    )


class Engine:
    """A plan that runs like a session of ONNX Runtime; concurrent calls run one after the other.

    Args:
        plan: what was built.
        where: file of the graph, for errors.
        resident: names of the outputs that stay on the GPU, as tensors; every input can be such a tensor, too.
    """

    def __init__(self, plan: bytes, where: str, resident: Sequence[str] = ()) -> None:
        import tensorrt

        self._runtime = tensorrt.Runtime(logger())
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise BundleError(f"{where}: TensorRT rejects the engine that was built from it")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        for name in names:
            if self._engine.is_shape_inference_io(name):
                raise BundleError(f"{where}: shapes depend on values of {name}, which a CUDA graph cannot follow")
        self._types = {name: np.dtype(tensorrt.nptype(self._engine.get_tensor_dtype(name))) for name in names}
        self._where, self._resident = where, resident
        self._scratch: Any = None  # memory for intermediate results, of one call at a time
        self._captured: OrderedDict[tuple[Any, ...], Captured] = OrderedDict()
        self._busy = threading.Lock()

    def run(self, outputs: Sequence[str], inputs: Mapping[str, Any]) -> list[Any]:
        """Outputs for inputs, by name.

        Raises:
            InputError: the engine was not built for a shape.
        """
        shapes = tuple((name, array.shape) for name, array in inputs.items())
        with self._busy:
            captured = self._captured.pop(shapes, None)
            if captured is None:
                captured = Captured(self._engine, self._types, dict(shapes), self._where, self._memory())
            self._captured[shapes] = captured
            if len(self._captured) > MAX_SHAPES:
                self._captured.popitem(last=False)
            return captured.run(outputs, inputs, self._resident)

    def _memory(self) -> Any:
        import torch

        if self._scratch is None:
            size = max(1, self._engine.device_memory_size_v2)  # the largest that any shape needs
            self._scratch = torch.empty(size, dtype=torch.uint8, device=DEVICE)
        return self._scratch


class Captured:
    """A CUDA graph of an engine for inputs of these shapes, with its own inputs and outputs.

    It also has its own context: a graph must not be replayed after the context of its capture has changed. Contexts
    share the memory for intermediate results, since they run one after another.
    """

    def __init__(
        self,
        engine: Any,
        types: Mapping[str, np.dtype[Any]],
        shapes: Mapping[str, tuple[int, ...]],
        where: str,
        scratch: Any,
    ) -> None:
        import tensorrt
        import torch

        self._context = engine.create_execution_context(tensorrt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if self._context is None:
            raise BundleError(f"{where}: TensorRT has no memory left for it")
        self._context.set_device_memory(scratch.data_ptr(), scratch.numel())
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise InputError(f"{where}: {name} is {list(shape)}, the engine was not built for that shape")
        self._device, self._host = {}, {}
        for name, dtype in types.items():
            shape = tuple(self._context.get_tensor_shape(name))
            if min(shape, default=0) < 0:
                raise BundleError(f"{where}: the shape of {name} is not known before it is computed")
            kind = getattr(torch, dtype.name)
            self._device[name] = torch.zeros(shape, dtype=kind, device=DEVICE)  # indices must be valid
            self._host[name] = torch.empty(shape, dtype=kind, pin_memory=DEVICE == "cuda")
            self._context.set_tensor_address(name, self._device[name].data_ptr())
        self._stream, self._graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        self._enqueue(where)  # work that is deferred after a change of shapes happens now, outside the graph
        self._stream.synchronize()
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            self._enqueue(where)

    def _enqueue(self, where: str) -> None:
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise BundleError(f"{where}: TensorRT failed to run it")

    def run(self, outputs: Sequence[str], inputs: Mapping[str, Any], resident: Sequence[str]) -> list[Any]:
        import torch

        self._stream.wait_stream(torch.cuda.current_stream())  # which computed inputs that are tensors
        with torch.cuda.stream(self._stream):
            for name, array in inputs.items():
                source = array
                if isinstance(array, np.ndarray):
                    source = self._host[name]
                    np.copyto(source.numpy(), array, casting="no")
                self._device[name].copy_(source, non_blocking=True)
            self._graph.replay()
            found = {name: self._device[name].clone() for name in outputs if name in resident}
            for name in outputs:
                if name not in resident:
                    self._host[name].copy_(self._device[name], non_blocking=True)
        self._stream.synchronize()
        return [found[name] if name in found else self._host[name].numpy().copy() for name in outputs]


@cache
def logger() -> Any:
    """TensorRT logger that writes to `logging`; a single one, since it must outlive its users."""
    import tensorrt

    log = logging.getLogger(__name__)

    class Logger(tensorrt.ILogger):
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            log.log(_LEVELS.get(severity.name, logging.DEBUG), message)

    return Logger()

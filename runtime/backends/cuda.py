"""PyTorch on a GPU: the training package's networks, with their kernels, as CUDA graphs.

A graph is captured at the first call with a shape and replayed afterwards: a replay is a single launch that reads and
writes fixed memory. If capture fails, the same operations are launched one by one and a warning says why.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.backends import cudnn
from torch.utils.dlpack import from_dlpack

from ..bundles.bundle import Bundle
from ..bundles.schema import GenerationManifest
from ..errors import BundleError, InputError
from ..extras import installed
from ..generation.networks import Networks
from ..generation.schedule import NoiseKey, Sampling
from ..generation.solvers import STAGES
from ..text_encoder import TextEncoder

log = logging.getLogger(__name__)
PRECISIONS = ("fp32", "bf16")  # of a generator's matrices
PEOPLE = (1, 2, 4, 8, 16)  # batch sizes of a step; unused streams fill them up
MAX_GRAPHS = 16  # in a cache
WARM_UP = 3  # calls before a capture: kernels are compiled and tuned, libraries choose theirs


class CudaGraph:
    """A function of tensors, captured as a graph; its inputs and outputs have fixed memory.

    Attributes:
        inputs: the tensors that the graph reads, copied from those it was captured with.
        reason: reason why it was not captured, None if it was.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor]) -> None:
        self.inputs = [tensor.clone() for tensor in inputs]
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        with torch.cuda.device_of(inputs[0]):
            self.reason = self._capture() if inputs[0].is_cuda else f"tensors are on {inputs[0].device}"

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.cuda.device_of(self.inputs[0]):
            for own, new in zip(self.inputs, inputs, strict=True):
                own.copy_(new, non_blocking=True)
            if self._graph is None:
                with without_tf32():
                    return self._function(*self.inputs)
            self._graph.replay()
            return self._outputs

    def _capture(self) -> str | None:
        """Capture the function; returns the reason if that fails."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), without_tf32():
            for _ in range(WARM_UP):
                self._function(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"), without_tf32():  # other threads go on
                self._outputs = self._function(*self.inputs)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            log.warning("no CUDA graph, operations are launched one by one: %s", reason)
            return reason
        self._graph = graph
        return None


class CudaGraphCache:
    """Captured functions by key and by dtypes and shapes of their inputs; the least recently used are dropped."""

    def __init__(self) -> None:
        self._graphs: OrderedDict[Hashable, CudaGraph] = OrderedDict()

    def __call__(
        self, key: Hashable, function: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        full_key = (key, *((tensor.dtype, tensor.shape) for tensor in inputs))
        if full_key not in self._graphs:
            self._graphs[full_key] = CudaGraph(function, inputs)
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(full_key)
        return self._graphs[full_key](*inputs)


class CudaBackend:
    """Runs a bundle's StreamGCN.

    Args:
        bundle: a verified bundle.
        device: "cuda", or "cuda:1" for the second GPU; tests also use "cpu".
    Raises:
        BundleError: its network is not a StreamGCN, or the weights are not those of its architecture.
    """

    name = "cuda"

    def __init__(self, bundle: Bundle, device: str = "cuda") -> None:
        from ...training.models.stream_gcn import from_weights

        try:
            network = from_weights(bundle.manifest.model, bundle.weights)
        except (KeyError, TypeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{bundle.path}: its weights are not those of a StreamGCN: {reason}") from None
        self._network = network.requires_grad_(False).to(device)
        self._network.stack()
        _warn_without_kernels()

    def streams(self, people: int) -> CudaStreams:
        """New streams of `people` people."""
        return CudaStreams(self._network, people)

    @torch.inference_mode()
    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """frames [T, V, 3] -> logits [T, C], features [T, D]."""
        with without_tf32():
            logits, features, _ = self._network(to_device(frames, self._network.head.weight.device)[None])
        return logits[0].cpu().numpy(), features[0].cpu().numpy()


class CudaClips:
    """A session of one stream of a CTR-GCN, as a CUDA graph.

    Args:
        bundle: a verified bundle of a recognizer of whole clips.
        stream: name of its graph.
        device: "cuda", or "cuda:1" for the second GPU; tests also use "cpu".
    Raises:
        BundleError: the weights are not those of a CTR-GCN.
    """

    def __init__(self, bundle: Bundle[Any], stream: str, device: str = "cuda") -> None:
        from ...training.models.fast_ctr_gcn import from_weights

        try:
            network = from_weights(bundle.manifest.model, stream, bundle.weights)
        except (KeyError, TypeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise BundleError(f"{bundle.path}: its weights are not those of a CTR-GCN: {reason}") from None
        self._network, self._device = network.to(device), torch.device(device)
        self._graphs = CudaGraphCache()

    @torch.no_grad()
    def run(self, outputs: Sequence[str], inputs: Mapping[str, Any]) -> list[np.ndarray]:
        """The logits [C] of a clip [M, C, T, V]."""

        def classify(clip_MCTV: Tensor) -> tuple[Tensor]:
            return (self._network.people(clip_MCTV),)

        (clip,) = inputs.values()
        (logits,) = self._graphs(outputs[0], classify, [to_device(clip, self._device)])
        return [logits.cpu().numpy()]


class HostBuffers(NamedTuple):
    """Inputs and outputs of a step of M people in page-locked memory, which the GPU copies without a detour."""

    frames: Tensor
    slots: Tensor
    outputs: Tensor


class CudaStreams:
    """State of a StreamGCN for several people, in ring buffers on the GPU. `capacity`: maximum number of people.

    Steps of all batch sizes are captured when it is made. They run on a stream of their own, which has priority.
    """

    def __init__(self, network: Any, people: int) -> None:
        self.capacity = people
        self._network = network
        self._device = network.head.weight.device
        self._rings = network.new_rings(people + PEOPLE[-1])  # the last ones are padding
        self._stream = torch.cuda.Stream(self._device, priority=-1) if self._device.type == "cuda" else None
        with self._on_stream():
            self._steps = {M: self._capture(M) for M in PEOPLE if M < 2 * people}  # noqa: SIM300

    def reason(self, people: int) -> str | None:
        """Reason why a step of this many people is not captured, None if it is."""
        return self._step_for(people)[0].reason

    @torch.inference_mode()
    def begin(self, slot: int) -> None:
        """Restart the stream in this slot."""
        with self._on_stream():
            for ring in (self._rings.last_SX, *self._rings.blocks, self._rings.place_S):
                ring[slot] = 0

    @torch.inference_mode()
    def step(self, slots: Sequence[int], frames: Any) -> tuple[np.ndarray, np.ndarray]:
        """One frame of each slot [M, V, 3], in numpy or on the GPU -> logits [M, C], features [M, D]."""
        (graph, host), M = self._step_for(len(slots)), len(slots)
        padding = range(self.capacity, self.capacity + len(host.slots) - M)
        host.slots.copy_(torch.tensor([*slots, *padding]))
        with self._on_stream():
            if isinstance(frames, np.ndarray):
                host.frames[:M] = torch.from_numpy(np.ascontiguousarray(frames))
                (outputs,) = graph(host.frames, host.slots)
            else:
                graph.inputs[0][:M].copy_(to_device(frames, self._device))
                (outputs,) = graph(graph.inputs[0], host.slots)
            host.outputs.copy_(outputs, non_blocking=True)
        if self._stream is not None:
            self._stream.synchronize()
        logits, features = np.split(host.outputs[:M].numpy(), [self._network.config.classes], 1)
        return logits.copy(), features.copy()

    def _step_for(self, people: int) -> tuple[CudaGraph, HostBuffers]:
        """The smallest step for this many people."""
        return self._steps[next(size for size in PEOPLE if size >= people)]

    @torch.inference_mode()
    def _capture(self, M: int) -> tuple[CudaGraph, HostBuffers]:
        def step(frames: Tensor, slots: Tensor) -> tuple[Tensor]:
            """Logits and features next to each other: one copy to the host instead of two."""
            return (torch.cat(self._network.step_in_rings(frames, self._rings, slots), 1),)

        config, pinned = self._network.config, self._stream is not None
        host = HostBuffers(
            torch.zeros(M, config.joints, 3, pin_memory=pinned),
            torch.zeros(M, dtype=torch.long, pin_memory=pinned),
            torch.zeros(M, config.classes + config.features, pin_memory=pinned),
        )
        host.slots.copy_(torch.arange(self.capacity, self.capacity + M))
        return CudaGraph(step, [host.frames.to(self._device), host.slots.to(self._device)]), host

    @contextmanager
    def _on_stream(self) -> Iterator[None]:
        """Context in which work is launched on the own stream, after what was launched before."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            yield


class CudaNetworks(Networks):
    """A generation bundle's networks: the whole loop from noise to tokens, guidance included, is one CUDA graph.

    Args:
        bundle: a verified bundle.
        precision: "fp32", or "bf16" for the generator's matrices.
        device: "cuda", or "cuda:1" for the second GPU; tests also use "cpu".
    Raises:
        BundleError: the weights are not those of its architecture.
        InputError: unknown precision.
    """

    batch, workers, on_cpu, _max_rows = 16, 1, False, None

    def __init__(self, bundle: Bundle[GenerationManifest], precision: str = "fp32", device: str = "cuda") -> None:
        from ...training.coamd.exported import ExportedCoamd
        from ...training.coamd.pipeline import CoamdPipeline

        if precision not in PRECISIONS:
            raise InputError(f"precision is {precision!r}, expected {' or '.join(PRECISIONS)}")
        self.bundle, self.precision, self.threads = bundle, precision, 1
        self._device = torch.device(device)
        pipeline = CoamdPipeline.from_bundle(bundle, TextEncoder.of(bundle))
        self._networks: Any = ExportedCoamd(pipeline).eval().requires_grad_(False).to(self._device)
        if precision == "bf16":
            self._networks.generator.to_bf16()
        self._networks.generator.head.stack()
        self._networks.recognizer.stack(torch.bfloat16 if precision == "bf16" else torch.float32)
        self._graphs = CudaGraphCache()
        _warn_without_kernels()

    @torch.no_grad()
    def run(self, graph: str, *inputs: np.ndarray) -> list[np.ndarray]:
        """Outputs of the method of this name, see `training.coamd.exported`."""
        method = getattr(self._networks, graph)
        tensors = [to_device(array, self._device) for array in inputs]
        with self._autocast():
            return [output.float().cpu().numpy() for output in self._graphs(graph, method, tensors)]

    @torch.no_grad()
    def sample(
        self,
        modulation_GBM: np.ndarray,
        counts: Sequence[int],
        settings: Sampling,
        *,
        keys: Sequence[NoiseKey] | None = None,
        target_BF: np.ndarray | None = None,
        known_BLD: np.ndarray | None = None,
        regenerate_BL: np.ndarray | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> np.ndarray:
        """Sample tokens [B, L, D], zeros beyond their counts; arguments as in `Networks.sample`, but one check in all.

        L is rounded up to a bucket, within which all lengths share a graph. Adaptive solvers, DDPM and padding as
        released have no loop of fixed steps: their networks are graphs of their own.
        """
        if settings.solver not in STAGES or settings.padding != "motion" or self.bundle.manifest.objective != "flow":
            return super().sample(
                modulation_GBM,
                counts,
                settings,
                keys=keys,
                target_BF=target_BF,
                known_BLD=known_BLD,
                regenerate_BL=regenerate_BL,
                check=check,
            )
        check()
        from ...training.coamd.cuda_graph_sampler import draw_inputs

        loop, arrays = draw_inputs(
            self.mask, counts, settings, keys=keys, known_BLD=known_BLD, regenerate_BL=regenerate_BL
        )
        target = np.zeros((len(counts), 1), np.float32) if target_BF is None else target_BF
        tensors = [to_device(array, self._device) for array in (modulation_GBM, target, *arrays)]

        def run_loop(*tensors: Tensor) -> tuple[Tensor, ...]:
            return (loop(self._networks, *tensors),)

        with self._autocast():
            return self._graphs(loop, run_loop, tensors)[0].float().cpu().numpy()

    def _autocast(self) -> Any:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16, cache_enabled=False)


def without_tf32() -> AbstractContextManager[None]:
    """Keep cuDNN's convolutions from rounding to TF32, its default; matrix products follow PyTorch's own setting."""
    return cudnn.flags(enabled=True, allow_tf32=False)


def _warn_without_kernels() -> None:
    if not installed("triton"):
        log.warning("no kernels, PyTorch's own operations are used: triton is not installed")


def to_device(array: Any, device: torch.device) -> Tensor:
    """Move to `device`: a numpy array, or a GPU array with DLPack or the CUDA array interface."""
    if isinstance(array, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)
    return _tensor(array).to(device)


def to_host(array: Any) -> np.ndarray:
    """Copy a GPU array to numpy."""
    copy: np.ndarray = _tensor(array).cpu().numpy()
    return copy


def _tensor(array: Any) -> Tensor:
    return from_dlpack(array) if hasattr(array, "__dlpack__") else torch.as_tensor(array, device="cuda")

"""PyTorch on a GPU: the training package's own networks, with their kernels, as CUDA graphs.

A graph is captured when something is first asked for in its shape, and replayed after: a replay is one launch that
reads and writes memory that stays where it is. Where none can be captured the same operations are launched one by one,
and a warning says why.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

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
from ..generation.schedule import Sampling
from ..text_encoder import TextEncoder

log = logging.getLogger(__name__)
PRECISIONS = ("fp32", "bf16")  # of a generator's matrices
PEOPLE = (1, 2, 4, 8, 16)  # who are stepped together, with streams that nobody uses if need be
GRAPHS = 16  # that are kept of a kind
WARM_UP = 3  # calls before a capture: kernels are compiled and tuned, libraries choose theirs


class CudaGraph:
    """A function of tensors, captured with copies of `given`; what it gives stays in the same memory.

    Attributes:
        reason: why it is not captured, None if it is.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], given: Sequence[Tensor]) -> None:
        self.given = [tensor.clone() for tensor in given]
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None
        self.reason = self._captured() if given[0].is_cuda else f"tensors are on {given[0].device}"

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        for own, new in zip(self.given, given, strict=True):
            own.copy_(new, non_blocking=True)
        if self._graph is None:
            with without_tf32():
                return self._function(*self.given)
        self._graph.replay()
        return self._found

    def _captured(self) -> str | None:
        """Captures the function, or says why not."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside), without_tf32():
            for _ in range(WARM_UP):
                self._function(*self.given)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph), without_tf32():
                self._found = self._function(*self.given)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            log.warning("no CUDA graph, operations are launched one by one: %s", reason)
            return reason
        self._graph = graph
        return None


class CudaGraphCache:
    """Functions captured by what tells them apart; the least recently used are dropped."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, CudaGraph] = OrderedDict()

    def __call__(
        self, key: Hashable, function: Callable[..., tuple[Tensor, ...]], given: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        whole = (key, *((tensor.dtype, tensor.shape) for tensor in given))
        if whole not in self._kept:
            self._kept[whole] = CudaGraph(function, given)
            if len(self._kept) > GRAPHS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(whole)
        return self._kept[whole](*given)


class CudaBackend:
    """Runs a bundle's StreamGCN.

    Args:
        bundle: a verified bundle.
        device: where; only tests use another than "cuda".
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
        _tell_of_kernels()

    def streams(self, people: int) -> CudaStreams:
        """New streams of `people` people."""
        return CudaStreams(self._network, people)

    @torch.inference_mode()
    def clip(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """frames [T, V, 3] -> logits [T, C], features [T, D]."""
        with without_tf32():
            logits, features, _ = self._network(to_device(frames, self._network.pool.device)[None])
        return logits[0].cpu().numpy(), features[0].cpu().numpy()


class CudaStreams:
    """What a StreamGCN remembers of several people, in rings on the GPU. `capacity`: how many there is room for."""

    def __init__(self, network: Any, people: int) -> None:
        self.capacity = people
        self._network = network
        self._device = network.pool.device
        self._rings = network.new_rings(people + PEOPLE[-1])  # the last are nobody's
        self._graphs: dict[int, CudaGraph] = {}
        self._graph(1)

    @torch.inference_mode()
    def begin(self, slot: int) -> None:
        """The stream in this slot starts anew."""
        for kept in (self._rings.last_SX, *self._rings.blocks, self._rings.place_S):
            kept[slot] = 0

    @torch.inference_mode()
    def step(self, slots: Sequence[int], frames: Any) -> tuple[np.ndarray, np.ndarray]:
        """One frame of each slot [M, V, 3], of numpy or on the GPU -> logits [M, C], features [M, D]."""
        graph, M = self._graph(len(slots)), len(slots)
        own_frames, own_slots = graph.given
        nobody = range(self.capacity, self.capacity + len(own_slots) - M)
        own_frames[:M].copy_(to_device(frames, self._device))
        found = graph(own_frames, torch.tensor([*slots, *nobody]))
        logits, features = (part[:M].cpu().numpy() for part in found)
        return logits, features

    @torch.inference_mode()
    def _graph(self, people: int) -> CudaGraph:
        """That of as many people or a few more."""
        M = next(size for size in PEOPLE if size >= people)
        if M not in self._graphs:
            frames = torch.zeros(M, self._network.config.joints, 3, device=self._device)
            nobody = torch.arange(self.capacity, self.capacity + M, device=self._device)
            step = self._network.step_in_rings
            self._graphs[M] = CudaGraph(lambda frames, slots: step(frames, self._rings, slots), [frames, nobody])
        return self._graphs[M]


class CudaNetworks(Networks):
    """A generation bundle's networks: the whole loop from noise to tokens, guidance included, is one CUDA graph.

    Args:
        bundle: a verified bundle.
        precision: "fp32", or "bf16" for the generator's matrices.
        device: where; only tests use another than "cuda".
    Raises:
        BundleError: the weights are not those of its architecture.
        InputError: no such precision.
    """

    def __init__(self, bundle: Bundle[GenerationManifest], precision: str = "fp32", device: str = "cuda") -> None:
        from ...training.coamd.exported import ExportedCoamd
        from ...training.coamd.pipeline import CoamdPipeline

        if precision not in PRECISIONS:
            raise InputError(f"precision is {precision!r}, expected {' or '.join(PRECISIONS)}")
        self.bundle, self.precision, self.threads = bundle, precision, 1
        self._device = torch.device(device)
        pipeline = CoamdPipeline.from_bundle(bundle, TextEncoder.load("text"))
        self._networks: Any = ExportedCoamd(pipeline).eval().requires_grad_(False).to(self._device)
        if precision == "bf16":
            self._networks.generator.to_bf16()
        self._networks.generator.head.stack()
        self._graphs = CudaGraphCache()
        _tell_of_kernels()

    @torch.no_grad()
    def run(self, graph: str, *inputs: np.ndarray) -> list[np.ndarray]:
        """What the method of this name gives; see `training.networks`."""
        method = getattr(self._networks, graph)
        given = [to_device(array, self._device) for array in inputs]
        with self._rounded():
            return [found.float().cpu().numpy() for found in self._graphs(graph, method, given)]

    @torch.no_grad()
    def sample(
        self,
        modulation_GBM: np.ndarray,
        counts: Sequence[int],
        settings: Sampling,
        *,
        seed: int = 0,
        samples: Sequence[int] | None = None,
        target_BF: np.ndarray | None = None,
        known_BLD: np.ndarray | None = None,
        regenerate_BL: np.ndarray | None = None,
    ) -> np.ndarray:
        """Tokens [B, L, D], zeros beyond their counts; arguments as of `Networks.sample`."""
        from ...training.coamd.cuda_graph_sampler import draw_inputs

        loop, arrays = draw_inputs(
            self.mask, counts, settings, seed=seed, samples=samples, known_BLD=known_BLD, regenerate_BL=regenerate_BL
        )
        target = np.zeros((len(counts), 1), np.float32) if target_BF is None else target_BF
        given = [to_device(array, self._device) for array in (modulation_GBM, target, *arrays)]

        def sampled(*given: Tensor) -> tuple[Tensor, ...]:
            return (loop(self._networks, *given),)

        with self._rounded():
            return self._graphs(loop, sampled, given)[0].float().cpu().numpy()

    def _rounded(self) -> Any:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16, cache_enabled=False)


def without_tf32() -> AbstractContextManager[None]:
    """Inside, convolutions do not round to TF32, which cuDNN does unless told; products do if PyTorch was told to."""
    return cudnn.flags(enabled=True, allow_tf32=False)


def _tell_of_kernels() -> None:
    if not installed("triton"):
        log.warning("no kernels, PyTorch's own operations are used: triton is not installed")


def to_device(array: Any, device: torch.device) -> Tensor:
    """An array of numpy, or anything on a GPU that speaks DLPack or has a CUDA array interface."""
    if isinstance(array, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)
    return _tensor(array).to(device)


def to_host(array: Any) -> np.ndarray:
    """What is on a GPU, as an array of numpy."""
    found: np.ndarray = _tensor(array).cpu().numpy()
    return found


def _tensor(array: Any) -> Tensor:
    return from_dlpack(array) if hasattr(array, "__dlpack__") else torch.as_tensor(array, device="cuda")

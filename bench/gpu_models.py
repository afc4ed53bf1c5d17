"""Whole models on a GPU: the recognizer's step, and a guided motion of CoAMD-XL. Timed only after parity."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..kernels.dispatch import use_impl
from ..runtime.backends.cuda import CudaBackend, CudaGraph
from ..runtime.backends.onnx import OnnxBackend
from ..runtime.bundles.bundle import Bundle
from ..runtime.errors import MotionError
from ..runtime.generation.generator import GUIDED_STEPS
from ..runtime.generation.schedule import MAX_TOKENS, STRIDE, Guidance, Sampling
from ..training.coamd.cuda_graph_sampler import SamplingLoop, draw_inputs
from ..training.coamd.exported import ExportedCoamd
from ..training.coamd.guidance import reward_of
from ..training.coamd.sampling import sample
from ..training.models.coamd import SIZES, AutoEncoder, MotionRecognizer
from .speed.random_networks import random_pipeline, to_bf16

GUIDED_XL = Sampling(steps=12, evaluations=8, cfg=4.5, guidance=Guidance(step=1.0, last=GUIDED_STEPS))
STEPS = 2000
BATCHES = (4, 16)  # motions that are generated together
LOGITS = 1e-3  # tolerance of a step against ONNX Runtime
TOKENS = 1e-2  # tolerance of fp32 tokens against the plain sampler, relative to their deviation


def time_live(device: torch.device) -> Iterator[dict[str, Any]]:
    """Time the recognizer's step with 1 to 16 people; on a CPU, only compare it with ONNX Runtime."""
    for people in (1, 8, 16) if device.type == "cuda" else (1,):
        yield {"part": "live", "people": people, **time_steps(people, device)}


def time_steps(people: int, device: torch.device) -> dict[str, Any]:
    """Milliseconds of a frame with several people, from numpy to numpy; on a CPU, only the largest difference.

    Raises:
        MotionError: logits differ from ONNX Runtime.
    """
    bundle, on_gpu = Bundle.load("live"), device.type == "cuda"
    frames = np.cumsum(np.random.default_rng(0).normal(0, 0.03, (STEPS, people, bundle.manifest.joints, 3)), 0)
    frames, slots = frames.astype(np.float32), list(range(people))
    backend = CudaBackend(bundle, str(device))
    with use_impl("auto" if on_gpu else "triton"):
        graph, onnx = backend.streams(people), OnnxBackend(bundle).streams(people)
        compared = frames[: 100 if on_gpu else 2]
        off = max(float(np.abs(graph.step(slots, frame)[0] - onnx.step(slots, frame)[0]).max()) for frame in compared)
    if not off <= LOGITS:
        raise MotionError(f"live on {device} is off by {off:.2g} from ONNX Runtime, expected at most {LOGITS:g}")
    found: dict[str, Any] = {"parity_max_abs": off, "not_captured": graph.reason(people)}
    if not on_gpu:
        return found
    network = backend._network
    rings, slot_M = network.new_rings(people), torch.arange(people, device=device)

    @torch.inference_mode()
    def launch(frame: np.ndarray) -> None:
        for part in network.step_in_rings(torch.from_numpy(frame).to(device), rings, slot_M):
            part.cpu()

    found["graph"] = percentiles(lambda frame: graph.step(slots, frame), frames)
    found["launched"] = percentiles(launch, frames[:500])
    with use_impl("reference"):
        graph_without_kernels = backend.streams(people)
        found["graph_without_kernels"] = percentiles(lambda frame: graph_without_kernels.step(slots, frame), frames)
        found["eager"] = percentiles(launch, frames[:500])
    found["onnx_on_cpu"] = percentiles(lambda frame: onnx.step(slots, frame), frames[:500])
    return found


def percentiles(call: Callable[[Any], Any], inputs: Any) -> dict[str, float]:
    """Milliseconds of calls, without the first tenth."""
    times_ms = []
    for value in inputs:
        started = time.perf_counter()
        call(value)
        times_ms.append(1e3 * (time.perf_counter() - started))
    p50, p99 = np.percentile(times_ms[len(times_ms) // 10 :], [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99)}


def time_coamd_xl(device: torch.device) -> Iterator[dict[str, Any]]:
    """Milliseconds from noise to a motion of 9.8 s, guided by the recognizer; weights are random.

    On a CPU, tokens of the small size are compared after a few steps.

    Raises:
        MotionError: tokens differ from the plain sampler's.
    """
    on_gpu = device.type == "cuda"
    settings = GUIDED_XL if on_gpu else replace(GUIDED_XL, steps=2, evaluations=2)
    size, tokens = ("xl", MAX_TOKENS) if on_gpu else ("small", 5)
    networks, loop, arguments = guided_loop(size, settings, device, tokens)
    text, target = random_text(networks, device), arguments[1]
    quality = torch.zeros(1, dtype=torch.long, device=device) if networks.generator.config.qualities else None

    def plain(networks: ExportedCoamd) -> Tensor:
        reward = reward_of(networks.autoencoder, networks.recognizer, target)
        return sample(networks.generator, text, [tokens], settings, quality_B=quality, reward=reward)

    schedule = [{"parts": step.parts, "guided": step.guidance is not None} for step in loop.steps]
    yield {"part": "coamd_xl", "settings": asdict(settings), "schedule": schedule}
    expected = plain(networks)
    networks.generator.head.stack()
    networks.recognizer.stack()
    shipped = "auto" if on_gpu else "triton"
    graph = capture(networks, loop, arguments, shipped)
    off = float((graph(*arguments)[0][:, :tokens] - expected).abs().max())
    deviation = float(expected.std())
    found = {"part": "coamd_xl", "tokens_max_abs": off, "tokens_deviation": deviation, "not_captured": graph.reason}
    yield found | ({"ms": {"fp32": time_calls(graph, arguments)}} if on_gpu else {})
    if not off <= TOKENS * deviation:
        raise MotionError(
            f"fp32 tokens are off by {off:.2g} from the plain sampler's, whose deviation is {deviation:.2g}"
        )
    if not on_gpu:
        return
    to_bf16_and_stack(networks)
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        for name, impl in (("bf16", shipped), ("bf16_without_kernels", "reference")):
            graph = capture(networks, loop, arguments, impl)
            off = float((graph(*arguments)[0] - expected).abs().max())
            times = time_calls(graph, arguments)
            yield {"part": "coamd_xl", "ms": {name: times}, f"{name}_max_abs": off, "not_captured": graph.reason}
        for motions in BATCHES:
            _, loop, arguments = guided_loop(size, settings, device, tokens, motions, networks)
            graph = capture(networks, loop, arguments, shipped)
            off = float((graph(*arguments)[0][:1] - expected).abs().max())  # the first one is that of the single call
            times = time_calls(graph, arguments)
            found = {"motions_s": 1e3 * motions / times["p50"], "max_abs": off, "not_captured": graph.reason}
            yield {"part": "batch", "motions": motions, "ms": times, **found}
    networks = random_networks(size, device)
    yield {"part": "coamd_xl", "ms": {"plain_fp32": time_calls(lambda: plain(networks), (), 3)}}
    networks.generator = to_bf16(networks.generator)
    with torch.autocast("cuda", torch.bfloat16):
        times = time_calls(lambda: plain(networks), (), 3)
    yield {"part": "coamd_xl", "ms": {"plain_bf16": times}}


def to_bf16_and_stack(networks: ExportedCoamd) -> None:
    """Matrices in bf16, and the weights of blocks and towers stacked, as in the CUDA backend."""
    networks.generator.to_bf16()
    networks.generator.head.stack()
    networks.recognizer.stack(torch.bfloat16)


def guided_loop(
    size: str,
    settings: Sampling,
    device: torch.device,
    tokens: int = MAX_TOKENS,
    motions: int = 1,
    networks: ExportedCoamd | None = None,
) -> tuple[ExportedCoamd, SamplingLoop, tuple[Tensor, ...]]:
    """Networks of a size, unless there are some; their sampling loop, and its arguments."""
    networks = networks or random_networks(size, device)
    loop, arrays = draw_inputs(networks.generator.mask.cpu().numpy(), [tokens] * motions, settings)
    target = normal(motions, networks.recognizer.config.feature, 1).to(device)
    inputs = [torch.from_numpy(array).to(device) for array in arrays]
    modulations = modulations_of(networks, random_text(networks, device, motions)).float()
    return networks, loop, (modulations, target, *inputs)


def random_text(networks: ExportedCoamd, device: torch.device, motions: int = 1) -> Tensor:
    return normal(motions, networks.generator.config.text, 0).to(device)


def normal(rows: int, width: int, seed: int) -> Tensor:
    """Random rows, of which more rows keep the first."""
    return torch.stack([torch.randn(width, generator=torch.Generator().manual_seed(seed + k)) for k in range(rows)])


@torch.no_grad()
def launch_all(device: torch.device) -> None:
    """Launch every kernel of the models once."""
    network = CudaBackend(Bundle.load("live"), str(device))._network
    for people in (1, 8, 16):
        frames = torch.zeros(people, network.config.joints, 3, device=device)
        network.step_in_rings(frames, network.new_rings(people), torch.arange(people, device=device))
    networks, loop, arguments = guided_loop("xl", GUIDED_XL, device)
    networks.generator.head.stack()
    loop(networks, *arguments)
    to_bf16_and_stack(networks)
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        loop(networks, *arguments)
        _, loop, arguments = guided_loop("xl", GUIDED_XL, device, motions=BATCHES[-1], networks=networks)
        loop(networks, *arguments)


def random_networks(size: str, device: torch.device) -> ExportedCoamd:
    """CoAMD of a size with random weights, all gates open."""
    torch.manual_seed(0)
    with device:
        pipeline = random_pipeline(size)
        sizes = SIZES[size]
        networks = ExportedCoamd(pipeline)
        networks.autoencoder = AutoEncoder(sizes.autoencoder)
        networks.recognizer = MotionRecognizer(sizes.recognizer)
    for module in networks.recognizer.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
    return networks.to(device).eval().requires_grad_(False)


@torch.no_grad()
def modulations_of(networks: ExportedCoamd, text: Tensor) -> Tensor:
    """The trunk's modulations with and without a text, [2, 1, M]."""
    generator = networks.generator
    quality = torch.zeros(len(text), dtype=torch.long, device=text.device) if generator.config.qualities else None
    conditions = [generator.condition(one_text, quality) for one_text in (text, torch.zeros_like(text))]
    return torch.stack([torch.cat(generator.modulations(condition), 1) for condition in conditions])


@torch.no_grad()
def capture(networks: ExportedCoamd, loop: SamplingLoop, arguments: tuple[Tensor, ...], impl: str) -> CudaGraph:
    """Capture the way from noise to a motion as one CUDA graph, with kernels ("triton"), without ("reference") or with
    those that are faster ("auto")."""

    def generate(*arguments: Tensor) -> tuple[Tensor, ...]:
        with use_impl(impl):  # also where it is launched without a graph
            tokens = loop(networks, *arguments)
        return tokens, networks.autoencoder.decode(tokens, STRIDE * arguments[2])

    return CudaGraph(generate, list(arguments))


@torch.no_grad()
def time_calls(call: Callable[..., Any], arguments: tuple[Tensor, ...], repeats: int = 20) -> dict[str, float]:
    """Milliseconds of a synchronized call: the median and the longest, after two warm-up calls."""
    times_ms = []
    for _ in range(repeats + 2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call(*arguments)
        torch.cuda.synchronize()
        times_ms.append(1e3 * (time.perf_counter() - started))
    return {"p50": float(np.median(times_ms[2:])), "max": max(times_ms[2:])}

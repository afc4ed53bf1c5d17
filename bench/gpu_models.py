"""Whole models on a GPU: the recognizer's step, and a guided motion of CoAMD-XL. Timed only after parity."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
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
from ..training.models.coamd import AutoEncoder, MotionRecognizer
from ..training.models.coamd.sizes import SIZES
from .speed.random_networks import random_pipeline, to_bf16

GUIDED_XL = Sampling(steps=12, evaluations=8, cfg=4.5, guidance=Guidance(step=1.0, last=GUIDED_STEPS))
STEPS = 2000
LOGITS = 1e-3  # tolerance of a step against ONNX Runtime
TOKENS = 1e-2  # tolerance of fp32 tokens against the plain sampler, relative to their deviation


def time_models(device: torch.device) -> dict[str, Any]:
    """Time the recognizer's step with 1 to 16 people, and CoAMD-XL."""
    return {"live": {str(M): time_steps(M, device) for M in (1, 8, 16)}, "coamd_xl": time_coamd_xl(device)}


def time_steps(people: int, device: torch.device) -> dict[str, Any]:
    """Milliseconds of a frame with several people, from numpy to numpy.

    Raises:
        MotionError: logits differ from ONNX Runtime.
    """
    bundle = Bundle.load("live")
    frames = np.cumsum(np.random.default_rng(0).normal(0, 0.03, (STEPS, people, bundle.manifest.joints, 3)), 0)
    frames, slots = frames.astype(np.float32), list(range(people))
    backend = CudaBackend(bundle, str(device))
    graph, onnx = (source.streams(people) for source in (backend, OnnxBackend(bundle)))
    off = max(float(np.abs(graph.step(slots, frame)[0] - onnx.step(slots, frame)[0]).max()) for frame in frames[:100])
    if not off <= LOGITS:
        raise MotionError(f"live on the GPU is off by {off:.2g} from ONNX Runtime, expected at most {LOGITS:g}")
    with use_impl("reference"):
        graph_without_kernels = backend.streams(people)
    network = backend._network
    rings, slot_M = network.new_rings(people), torch.arange(people, device=device)

    @torch.inference_mode()
    def launch(frame: np.ndarray) -> None:
        for part in network.step_in_rings(torch.from_numpy(frame).to(device), rings, slot_M):
            part.cpu()

    with use_impl("reference"):
        eager = percentiles(launch, frames[:500])
    return {
        "parity_max_abs": off,
        "graph": percentiles(lambda frame: graph.step(slots, frame), frames),
        "graph_without_kernels": percentiles(lambda frame: graph_without_kernels.step(slots, frame), frames),
        "launched": percentiles(launch, frames[:500]),
        "eager": eager,
        "onnx_on_cpu": percentiles(lambda frame: onnx.step(slots, frame), frames),
    }


def percentiles(call: Callable[[Any], Any], inputs: Any) -> dict[str, float]:
    """Milliseconds of calls, without the first tenth."""
    times_ms = []
    for value in inputs:
        started = time.perf_counter()
        call(value)
        times_ms.append(1e3 * (time.perf_counter() - started))
    p50, p99 = np.percentile(times_ms[len(times_ms) // 10 :], [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99)}


def time_coamd_xl(device: torch.device) -> dict[str, Any]:
    """Milliseconds from noise to a motion of 9.8 s, guided by the recognizer; weights are random.

    Raises:
        MotionError: tokens differ from the plain sampler's.
    """
    networks = random_xl().to(device)
    draw = torch.Generator().manual_seed(0)
    text, target = (torch.randn(1, 512, generator=draw).to(device) for _ in range(2))
    loop, arrays = draw_inputs(networks.generator.mask.cpu().numpy(), [MAX_TOKENS], GUIDED_XL)
    inputs = [torch.from_numpy(array).to(device) for array in arrays]
    modulations = modulations_of(networks, text)
    reward = reward_of(networks.autoencoder, networks.recognizer, target)

    def plain(networks: ExportedCoamd) -> Tensor:
        return sample(networks.generator, text, [MAX_TOKENS], GUIDED_XL, reward=reward)

    expected = plain(networks)
    arguments = (modulations, target, *inputs)
    off = float((capture(networks, loop, arguments)(*arguments)[0] - expected).abs().max())
    if not off <= TOKENS * float(expected.std()):
        raise MotionError(
            f"fp32 tokens are off by {off:.2g} from the plain sampler's, whose deviation is {float(expected.std()):.2g}"
        )
    times = {"fp32": time_calls(capture(networks, loop, arguments), arguments)}
    times["plain_fp32"] = time_calls(lambda: plain(networks), (), 3)
    half = copy.deepcopy(networks)
    half.generator = to_bf16(half.generator)
    with torch.autocast("cuda", torch.bfloat16):
        times["plain_bf16"] = time_calls(lambda: plain(half), (), 3)
    networks.generator.to_bf16()
    networks.generator.head.stack()
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        for name, impl in (("bf16", "auto"), ("bf16_without_kernels", "reference")):
            with use_impl(impl) if impl != "auto" else nullcontext():
                graph = capture(networks, loop, arguments)
            times[name] = time_calls(graph, arguments)
    schedule = [{"parts": step.parts, "guided": step.guidance is not None} for step in loop.steps]
    return {
        "settings": asdict(GUIDED_XL),
        "schedule": schedule,
        "tokens_max_abs": off,
        "tokens_deviation": float(expected.std()),
        "ms": times,
    }


def random_xl() -> ExportedCoamd:
    """CoAMD-XL with random weights, all gates open."""
    torch.manual_seed(0)
    pipeline = random_pipeline("xl")
    large = SIZES["xl"]
    networks = ExportedCoamd(pipeline)
    networks.autoencoder = AutoEncoder(large.autoencoder)
    networks.recognizer = MotionRecognizer(large.recognizer)
    for module in networks.recognizer.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
    return networks.eval().requires_grad_(False)


@torch.no_grad()
def modulations_of(networks: ExportedCoamd, text: Tensor) -> Tensor:
    """The trunk's modulations with and without a text, [2, 1, M]."""
    generator = networks.generator
    texts = (text, torch.zeros_like(text))
    return torch.stack([torch.cat(generator.modulations(generator.condition(one_text)), 1) for one_text in texts])


@torch.no_grad()
def capture(networks: ExportedCoamd, loop: SamplingLoop, arguments: tuple[Tensor, ...]) -> CudaGraph:
    """Capture the way from noise to a motion as one CUDA graph."""

    def generate(*arguments: Tensor) -> tuple[Tensor, ...]:
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

"""Whole models on a GPU: the recogniser's step, and a guided motion of CoAMD-XL. Nothing is timed that is not right."""

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
from .speed.published_size import halved, random_pipeline

GUIDED_XL = Sampling(steps=12, evaluations=8, cfg=4.5, guidance=Guidance(step=1.0, last=GUIDED_STEPS))
STEPS = 2000
LOGITS = 1e-3  # that a step may be off from ONNX Runtime
TOKENS = 1e-2  # that tokens in fp32 may be off from the plain sampler's, of their deviation


def models(device: torch.device) -> dict[str, Any]:
    """Times of the recogniser's step with people from 1 to 16, and of CoAMD-XL."""
    return {"live": {str(M): steps(M, device) for M in (1, 8, 16)}, "coamd_xl": coamd_xl(device)}


def steps(people: int, device: torch.device) -> dict[str, Any]:
    """Milliseconds of a frame of some people, from numpy to numpy.

    Raises:
        MotionError: logits are not those of ONNX Runtime.
    """
    bundle = Bundle.load("live")
    frames = np.cumsum(np.random.default_rng(0).normal(0, 0.03, (STEPS, people, bundle.manifest.joints, 3)), 0)
    frames, slots = frames.astype(np.float32), list(range(people))
    backend = CudaBackend(bundle, str(device))
    ours, theirs = (made.streams(people) for made in (backend, OnnxBackend(bundle)))
    off = max(float(np.abs(ours.step(slots, frame)[0] - theirs.step(slots, frame)[0]).max()) for frame in frames[:100])
    if not off <= LOGITS:
        raise MotionError(f"live on the GPU is off by {off:.2g} from ONNX Runtime, at most {LOGITS:g} is allowed")
    with use_impl("reference"):
        graph_without_kernels = backend.streams(people)
    network = backend._network
    rings, slot_M = network.new_rings(people), torch.arange(people, device=device)

    @torch.inference_mode()
    def launched(frame: np.ndarray) -> None:
        for part in network.step_in_rings(torch.from_numpy(frame).to(device), rings, slot_M):
            part.cpu()

    with use_impl("reference"):
        eager = percentiles(launched, frames[:500])
    return {
        "parity_max_abs": off,
        "graph": percentiles(lambda frame: ours.step(slots, frame), frames),
        "graph_without_kernels": percentiles(lambda frame: graph_without_kernels.step(slots, frame), frames),
        "launched": percentiles(launched, frames[:500]),
        "eager": eager,
        "onnx_on_cpu": percentiles(lambda frame: theirs.step(slots, frame), frames),
    }


def percentiles(call: Callable[[Any], Any], given: Any) -> dict[str, float]:
    """Milliseconds of calls, the first tenth not counted."""
    taken = []
    for one in given:
        started = time.perf_counter()
        call(one)
        taken.append(1e3 * (time.perf_counter() - started))
    p50, p99 = np.percentile(taken[len(taken) // 10 :], [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99)}


def coamd_xl(device: torch.device) -> dict[str, Any]:
    """Milliseconds from noise to a motion of 9.8 s, guided by the recogniser; weights are random and change no time.

    Raises:
        MotionError: tokens are not those of the plain sampler.
    """
    networks = xl().to(device)
    draw = torch.Generator().manual_seed(0)
    text, target = (torch.randn(1, 512, generator=draw).to(device) for _ in range(2))
    loop, arrays = draw_inputs(networks.generator.mask.cpu().numpy(), [MAX_TOKENS], GUIDED_XL)
    given = [torch.from_numpy(array).to(device) for array in arrays]
    told = told_of(networks, text)
    reward = reward_of(networks.autoencoder, networks.recognizer, target)

    def plain(networks: ExportedCoamd) -> Tensor:
        return sample(networks.generator, text, [MAX_TOKENS], GUIDED_XL, reward=reward)

    wanted = plain(networks)
    off = float((captured(networks, loop, told, target, given)(told, target, *given)[0] - wanted).abs().max())
    if not off <= TOKENS * float(wanted.std()):
        raise MotionError(
            f"tokens in fp32 are off by {off:.2g} from the plain sampler's, {float(wanted.std()):.2g} wide"
        )
    times = {"fp32": clocked(captured(networks, loop, told, target, given), (told, target, *given))}
    times["plain_fp32"] = clocked(lambda: plain(networks), (), 3)
    half = copy.deepcopy(networks)
    half.generator = halved(half.generator)
    with torch.autocast("cuda", torch.bfloat16):
        times["plain_bf16"] = clocked(lambda: plain(half), (), 3)
    networks.generator.to_bf16()
    networks.generator.head.stack()
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        for name, impl in (("bf16", "auto"), ("bf16_without_kernels", "reference")):
            with use_impl(impl) if impl != "auto" else nullcontext():
                graph = captured(networks, loop, told, target, given)
            times[name] = clocked(graph, (told, target, *given))
    schedule = [{"parts": of.parts, "guided": of.guidance is not None} for of in loop.steps]
    return {
        "settings": asdict(GUIDED_XL),
        "schedule": schedule,
        "tokens_max_abs": off,
        "tokens_deviation": float(wanted.std()),
        "ms": times,
    }


def xl() -> ExportedCoamd:
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
def told_of(networks: ExportedCoamd, text: Tensor) -> Tensor:
    """What the trunk is told of a text and of none, [2, 1, M]."""
    generator = networks.generator
    texts = (text, torch.zeros_like(text))
    return torch.stack([torch.cat(generator.modulations(generator.condition(of)), 1) for of in texts])


@torch.no_grad()
def captured(
    networks: ExportedCoamd, loop: SamplingLoop, told: Tensor, target: Tensor, given: list[Tensor]
) -> CudaGraph:
    """From noise to a motion as one CUDA graph."""

    def made(*given: Tensor) -> tuple[Tensor, ...]:
        tokens = loop(networks, *given)
        return tokens, networks.autoencoder.decode(tokens, STRIDE * given[2])

    return CudaGraph(made, [told, target, *given])


@torch.no_grad()
def clocked(call: Callable[..., Any], given: tuple[Tensor, ...], repeats: int = 20) -> dict[str, float]:
    """Milliseconds of a call, waited for: the median and the longest, after two that are not counted."""
    taken = []
    for _ in range(repeats + 2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call(*given)
        torch.cuda.synchronize()
        taken.append(1e3 * (time.perf_counter() - started))
    return {"p50": float(np.median(taken[2:])), "max": max(taken[2:])}

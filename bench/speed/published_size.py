"""The published size compared with plain PyTorch: `python -m motionrt.bench.speed.published_size [-o OUT.json]`.

Weights are random, which does not affect speed. 9.8 s of motion, 12 autoregressive steps of 8 evaluations, with
classifier-free guidance, both on all cores; the runtime's tokens must equal torch's within `PARITY`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...export.coamd_graphs import TASK, onnx_graphs
from ...export.int8 import to_int8
from ...runtime.bundles.fields import Fields
from ...runtime.bundles.int8 import INTEGERS, SCALE, quantize_rows
from ...runtime.bundles.onnx_graph import OnnxGraph, read_graph
from ...runtime.bundles.schema import WEIGHTS, Graph, coamd_sizes
from ...runtime.bundles.signatures import INT8_GRAPHS, INT8_SUFFIX, SIGNATURES
from ...runtime.errors import MotionError
from ...runtime.generation.open_networks import open_networks
from ...runtime.generation.schedule import MAX_TOKENS, Sampling
from ...training.coamd.pipeline import CoamdPipeline
from ...training.coamd.sampling import condition_modulations, sample
from ...training.models.coamd import SIZES, MotionGenerator
from .environment import commit, cpu_model, package_version, resident_bytes
from .random_networks import random_pipeline, to_bf16

SETTINGS = Sampling(steps=12, evaluations=8)
PARITY = 1e-4


@dataclass(frozen=True, slots=True)
class Manifest:
    """The part of a bundle's manifest that the runtime reads."""

    graphs: dict[str, Graph]
    task: str = TASK


@dataclass(frozen=True, slots=True)
class MemoryBundle:
    """Graphs and weights of a bundle, in memory."""

    path: Path
    manifest: Manifest
    files: dict[str, bytes]
    weights: dict[str, np.ndarray]

    def read_graph(self, file: str) -> OnnxGraph:
        return read_graph(self.files[file], WEIGHTS, file)


def bench_published_size(size: str = "xl", repeats: int = 3) -> dict[str, Any]:
    """Times in seconds, memory in GB.

    Raises:
        MotionError: the runtime's tokens differ from torch's.
    """
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    pipeline = random_pipeline(size)
    generator = pipeline.generator
    text = torch.randn(1, generator.config.text)
    quality = torch.zeros(1, dtype=torch.long) if generator.config.qualities else None
    memory = {"weights_gb": sum(p.numel() * p.element_size() for p in generator.parameters()) / 1e9}

    def in_torch(settings: Sampling, network: MotionGenerator = generator) -> np.ndarray:
        return sample(network, text, [MAX_TOKENS], settings, quality_B=quality).float().numpy()

    seconds: dict[str, float] = {}
    expected, seconds["torch"] = time_call(lambda: in_torch(replace(SETTINGS, eliminate=False)), 1)
    eliminated, seconds["torch_eliminated"] = time_call(lambda: in_torch(SETTINGS), 1)
    with torch.autocast("cpu", torch.bfloat16):
        half, seconds["torch_eliminated_bf16"] = time_call(lambda: in_torch(SETTINGS, to_bf16(generator)), 1)

    modulations = condition_modulations(generator, text, quality, SETTINGS.cfg)
    with torch.no_grad():
        modulations_GBM = torch.stack([torch.cat(parts, 1) for parts in modulations]).numpy()
    bundle = export_in_memory(pipeline, size)
    tokens: dict[str, np.ndarray] = {}
    for precision in ("fp32", "int8"):
        networks = open_networks(bundle, os.cpu_count() or 1, precision)  # type: ignore[arg-type]
        generate = partial(networks.sample, modulations_GBM, [MAX_TOKENS], SETTINGS)
        tokens[precision], seconds[f"runtime_{precision}"] = time_call(generate, repeats)
        memory[f"resident_{precision}_gb"] = resident_bytes() / 1e9
    off = {name: float(np.abs(found - expected).max()) for name, found in tokens.items()}
    others = {"torch_eliminated": eliminated, "torch_eliminated_bf16": half}
    off |= {name: float(np.abs(found - expected).max()) for name, found in others.items()}
    if off["fp32"] > PARITY:
        raise MotionError(f"parity: tokens differ by {off['fp32']:.2g} from torch's, expected at most {PARITY:g}")
    return {
        "benchmark": "published size",
        "parameters": sum(p.numel() for p in generator.parameters()),
        "steps": SETTINGS.steps,
        "evaluations": SETTINGS.evaluations,
        "seconds": seconds,
        "times_faster": {name: seconds["torch"] / taken for name, taken in seconds.items()},
        "tokens_max_abs": off,
        "tokens_deviation": float(expected.std()),
        "memory": {**memory, "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6},
        "environment": {
            "cpu": cpu_model(),
            "threads": os.cpu_count(),
            **{name: package_version(name) for name in ("torch", "onnxruntime")},
            "commit": commit(),
        },
    }


def export_in_memory(pipeline: CoamdPipeline, size: str) -> MemoryBundle:
    """Export the graphs of the sampler, in float32 and in 8 bits."""
    weights = {f"generator.{name}": tensor.numpy() for name, tensor in pipeline.generator.state_dict().items()}
    files = onnx_graphs(pipeline, INT8_GRAPHS)
    used = {name for graph in files.values() for name in read_graph(graph, WEIGHTS, "graph").external}
    for name in [name for name in used if weights[name].ndim == 2]:
        weights[name + INTEGERS], weights[name + SCALE] = quantize_rows(weights[name])
    files |= {f"{name}{INT8_SUFFIX}.onnx": to_int8(files[f"{name}.onnx"], weights) for name in INT8_GRAPHS}
    shapes = SIGNATURES[TASK].resolve(coamd_sizes(Fields(pipeline.model, size)))
    graphs = {}
    for file in files:
        inputs, outputs = shapes[file.removesuffix(".onnx")]
        graphs[file.removesuffix(".onnx")] = Graph(file=file, inputs=inputs, outputs=outputs)
    return MemoryBundle(Path(size), Manifest(graphs), files, weights)


def time_call(call: Callable[[], np.ndarray], repeats: int) -> tuple[np.ndarray, float]:
    """The result of a call, and its median time in seconds; with several repeats, after a warm-up call."""
    taken = []
    for _ in range(repeats + (repeats > 1)):
        started = time.perf_counter()
        found = call()
        taken.append(time.perf_counter() - started)
    return found, float(np.median(taken[repeats > 1 :]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="xl", choices=SIZES)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    text = json.dumps(bench_published_size(args.size), indent=1)
    if args.out is not None:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()

"""`motionrt bench generate`: latency of a motion, compared with plain PyTorch.

Parity is checked first; if it fails, nothing is measured. Calls take turns, so that drift of the machine does not
affect their ratios.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import MotionError
from ...runtime.generation import rng as noise
from ...runtime.generation.generator import GUIDED_STEPS, Generator
from ...runtime.generation.postprocess import settle
from ...runtime.generation.schedule import MAX_TOKENS, STRIDE, Guidance, Sampling, decode_schedule
from ...runtime.progress import ProgressBar
from .environment import environment, one_core
from .timing import Call, in_turns, percentiles, timed

TEXT = "a person walks forward and waves with the right hand"
PARITY_TEXTS = (TEXT, "a person bows", "someone runs and turns left")
SECONDS = STRIDE * MAX_TOKENS / 20
PARITY_M = 1e-3
STEP = 1.0  # guidance step along the gradient
LONGER: dict[str, Any] = {"steps": 12, "evaluations": 8, "solver": "heun"}  # the sampler of earlier versions
EVALUATIONS = (1, 2, 4, 8, 16)
LENGTHS = (1.0, 2.0, 4.0, 6.0, 8.0, SECONDS)
BATCHES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """Amount of measurement.

    Attributes:
        rounds, round_s: number of turns of every baseline, and duration of one, seconds.
        chunks: number of first chunks to time. slow: whether to include baselines that need torch.
    """

    rounds: int
    round_s: float
    chunks: int
    slow: bool


def full() -> Effort:
    return Effort(rounds=10, round_s=1.0, chunks=50, slow=True)


def quick() -> Effort:
    return Effort(rounds=1, round_s=1.0, chunks=20, slow=False)


def bench_generate(model: str, effort: Effort, threads: int = 1, plot: Path | None = None) -> dict[str, Any]:
    """Measure a generator.

    Args:
        model: name or path of a bundle.
        threads: of ONNX Runtime and of torch; with one thread, everything is pinned to one core.
        plot: file for the plot of scaling, .png or .svg; None: scaling is not measured.
    Returns:
        A JSON object; latencies in ms.
    Raises:
        MotionError: the runtime's motion differs from that of the networks in torch.
    """
    generator, exact = (Generator.load(model, threads, precision) for precision in ("auto", "fp32"))
    pipeline = _load_pipeline(model, threads) if find_spec("torch") else None
    with ProgressBar() as bar:
        bar.stage("parity")
        parity_m = None if pipeline is None else parity(exact, pipeline)
        with one_core() if threads == 1 else nullcontext() as core:
            measured = measure(generator, exact, pipeline if effort.slow else None, effort, bar)
            scaling = None if plot is None else measure_scaling(generator, bar)
    report = {
        "benchmark": "generate",
        "model": generator.name,
        "text": TEXT,
        "seconds": SECONDS,
        "clip_ms": measured["baselines"]["unguided"]["p50_ms"],
        "first_chunk_ms": measured["first_chunk"]["p50_ms"],
        "real_time_factor": 1e3 * SECONDS / measured["baselines"]["unguided"]["p50_ms"],
        "evaluations": evaluations(generator.settings),
        "precision": generator._networks.precision,
        "parity_max_m": parity_m,
        "left_out": {} if pipeline is not None else {"parity": "torch is not installed"},
        **measured,
        "environment": {**environment(generator.bundle), "threads": threads, "pinned_to_core": core},
    }
    if plot is not None and scaling is not None:
        from .plot import draw_generation

        draw_generation(scaling, plot)
        report["scaling"] = scaling
    return report


def parity(generator: Generator, pipeline: Any) -> float:
    """The largest difference of a coordinate from torch, meters, over texts and lengths, with and without guidance.

    Raises:
        MotionError: it exceeds `PARITY_M`.
    """
    largest = 0.0
    for seed, (text, tokens) in enumerate(zip(PARITY_TEXTS, (MAX_TOKENS, 21, 10), strict=True)):
        for settings in sampling_variants(generator.settings).values():
            with using(generator, settings):
                motion = generator.generate(text, STRIDE * tokens / generator.fps, seed=seed, split=False)
            (expected,) = pipeline.generate([text], [STRIDE * tokens], settings, seed=seed)
            largest = max(largest, float(np.abs(motion.joints - settle(expected)).max()))
    if largest > PARITY_M:
        raise MotionError(f"parity: joints differ by {largest:.2g} m from torch's, expected at most {PARITY_M:g}")
    return largest


def sampling_variants(settings: Sampling) -> dict[str, Sampling]:
    """Settings to compare: no guidance, guidance in the default steps, in all steps; and without elimination."""
    whole = replace(settings, eliminate=False)
    shipped, every = (Guidance(step=STEP, last=last, norm="token") for last in (GUIDED_STEPS, None))
    return {
        "unguided": settings,
        "guided": replace(settings, guidance=shipped),
        "guided_every_step": replace(settings, guidance=every),
        "unguided_without_elimination": whole,
        "guided_without_elimination": replace(whole, guidance=every),
    }


def measure(generator: Generator, exact: Generator, pipeline: Any, effort: Effort, bar: ProgressBar) -> dict[str, Any]:
    """Everything that is timed in one configuration: in the default precision, in fp32, with a pipeline in torch."""
    calls = {
        name: _generate_call(generator, settings) for name, settings in sampling_variants(generator.settings).items()
    }
    calls["fp32"] = _generate_call(exact, exact.settings)
    calls["fp32_longer"] = _generate_call(exact, replace(exact.settings, **LONGER))
    if pipeline is not None:
        whole = sampling_variants(generator.settings)["unguided_without_elimination"]
        calls["torch"] = lambda i: pipeline.generate([TEXT], [STRIDE * MAX_TOKENS], whole, seed=i)
        calls["torch_eliminated"] = lambda i: pipeline.generate([TEXT], [STRIDE * MAX_TOKENS], seed=i)
    bar.stage("baselines", effort.rounds * len(calls))
    turns = in_turns(calls, effort.rounds, effort.round_s, bar.advance)
    compared = {name: percentiles(latencies) for name, latencies in turns.items()}
    for figures in compared.values():
        figures["times_unguided"] = figures["p50_ms"] / compared["unguided"]["p50_ms"]
    guided = compared["guided_without_elimination"]["p50_ms"] / compared["unguided_without_elimination"]["p50_ms"]

    bar.stage("first chunks", effort.chunks)
    first = [_first_chunk(generator, i, bar) for i in range(effort.chunks)]
    with stages(generator) as spent:
        whole_ms = float(timed(calls["unguided"], 5).sum())
    shares = {name: float(ms) / whole_ms for name, ms in spent.items()}
    return {
        "baselines": compared,
        "guided_over_unguided_without_elimination": guided,
        "first_chunk": percentiles(first),
        "shares": {**shares, "numpy": 1 - sum(shares.values())},
    }


def evaluations(settings: Sampling, tokens: int = MAX_TOKENS) -> dict[str, int]:
    """Cost of a motion of this many tokens: steps that decide tokens, calls and rows of the head."""
    steps = list(decode_schedule(np.ones((1, tokens), bool), [noise.order(0, 0, tokens)], settings))
    branches = 1 if settings.cfg in (0, 1) else 2
    calls = [(evaluations, int(rows.sum())) for step in steps for rows, evaluations in step.parts]
    return {
        "steps": len(steps),
        "head_calls": sum(count for count, _ in calls),
        "cfg": branches,
        "head_rows": sum(branches * count * rows for count, rows in calls),
    }


def measure_scaling(generator: Generator, bar: ProgressBar) -> dict[str, Any]:
    """Median latencies, ms, over the length of a motion, the head's evaluations, and the batch size."""
    settings = generator.settings
    bar.stage("scaling", len(LENGTHS) + len(EVALUATIONS) + len(BATCHES))

    def median(call: Call) -> float:
        timed(call, 1)
        bar.advance()
        return float(np.median(timed(call, 7)))

    lengths = []
    for seconds in LENGTHS:
        calls = {
            name: _generate_call(generator, sampling_variants(settings)[name], seconds)
            for name in ("unguided", "guided")
        }
        lengths.append({"seconds": seconds, **{f"{name}_ms": median(call) for name, call in calls.items()}})
    steps = [
        {"evaluations": count, "ms": median(_generate_call(generator, replace(settings, evaluations=count)))}
        for count in EVALUATIONS
    ]
    batches = []
    for size in BATCHES:

        def generate_batch(i: int, size: int = size) -> object:
            return generator.generate([TEXT] * size, SECONDS, seed=i, split=False)

        batches.append({"motions": size, "ms": median(generate_batch)})
    return {"model": generator.name, "lengths": lengths, "evaluations": steps, "batches": batches}


@contextmanager
def using(generator: Generator, settings: Sampling) -> Iterator[None]:
    """Temporarily replace the generator's settings."""
    original, generator.settings = generator.settings, settings
    try:
        yield
    finally:
        generator.settings = original


@contextmanager
def stages(generator: Generator) -> Iterator[dict[str, float]]:
    """Milliseconds spent in each graph."""
    networks, spent = generator._networks, defaultdict[str, float](float)
    run = networks.run

    def timed_run(graph: str, *inputs: np.ndarray) -> list[np.ndarray]:
        started = time.perf_counter()
        outputs = run(graph, *inputs)
        spent[graph] += 1e3 * (time.perf_counter() - started)
        return outputs

    networks.run = timed_run  # type: ignore[method-assign]
    try:
        yield spent
    finally:
        del networks.run


def _generate_call(generator: Generator, settings: Sampling, seconds: float = SECONDS) -> Call:
    def call(i: int) -> object:
        with using(generator, settings):
            return generator.generate(TEXT, seconds, seed=i, split=False)

    return call


def _first_chunk(generator: Generator, i: int, bar: ProgressBar) -> float:
    """Milliseconds from the request to the first second of motion."""
    started = time.perf_counter()
    with generator.stream(TEXT, seed=i) as chunks:
        next(chunks)
        took = 1e3 * (time.perf_counter() - started)
    bar.advance()
    return took


def _load_pipeline(model: str, threads: int) -> Any:
    import torch

    from ...training.coamd.pipeline import CoamdPipeline

    torch.set_num_threads(threads)
    return CoamdPipeline.load(model).to(torch.device("cpu"))

"""`motionrt bench recognize`: latency of a frame, of baselines, and the roofline bound.

Parity is checked first; if it fails, nothing is measured. Everything runs on one thread of one core, and calls take
turns, so that drift of the machine does not affect their ratios.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ...runtime.backends import factory
from ...runtime.backends.protocols import Backend
from ...runtime.bundles.bundle import Bundle
from ...runtime.errors import MotionError
from ...runtime.progress import ProgressBar
from ...runtime.recognition.recognizer import Recognizer
from . import baselines
from .environment import environment, one_core
from .parity import parity
from .roofline import roofline
from .scaling import measure_scaling
from .timing import Call, in_turns, median_of, paced, percentiles, timed
from .workloads import sample_clips, samples

CAMERA_HZ = 30.0
TOGETHER = 8  # people in one call
NOT_QUICK = "left out of --quick"

COLD_START = """
import sys, time
started = time.monotonic()
sys.path.insert(0, sys.argv[1])
import numpy as np
motionrt = __import__(sys.argv[2])
recognizer = motionrt.Recognizer.load(sys.argv[3])
joints = np.random.default_rng(0).normal(0, 0.3, (recognizer.bundle.manifest.joints, 3))
assert recognizer.step(joints).status == "ok"
print(started, time.monotonic())
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """Amount of measurement.

    Attributes:
        parity_frames: frames to compare; clips: additional clips per data set.
        warm_up: saturated steps beforehand. runs: of the next three; each figure is the median over runs.
        steps: saturated. paced_frames: at `CAMERA_HZ`. together: calls with `TOGETHER` people.
        rounds, round_s: number of turns of every baseline, and duration of one, seconds.
        cold_starts: number of processes. peak_s: duration of measuring the machine's peaks, seconds.
        slow: whether to include baselines that need torch.
    """

    parity_frames: int
    clips: int
    warm_up: int
    runs: int
    steps: int
    paced_frames: int
    together: int
    rounds: int
    round_s: float
    cold_starts: int
    peak_s: float
    slow: bool


def full() -> Effort:
    return Effort(
        parity_frames=5_000,
        clips=50,
        warm_up=1_000,
        runs=5,
        steps=20_000,
        paced_frames=300,
        together=1_000,
        rounds=20,
        round_s=0.3,
        cold_starts=5,
        peak_s=1.0,
        slow=True,
    )


def quick() -> Effort:
    return Effort(
        parity_frames=1_000,
        clips=10,
        warm_up=200,
        runs=5,
        steps=1_000,
        paced_frames=50,
        together=100,
        rounds=10,
        round_s=0.05,
        cold_starts=5,
        peak_s=0.3,
        slow=False,
    )


def bench_recognize(model: str, effort: Effort, data: Path | None = None, plot: Path | None = None) -> dict[str, Any]:
    """Measure a recognizer.

    Args:
        model: name or path of a bundle.
        data: folder of clip sets for the parity check, in addition to the samples.
        plot: file for the plot of scaling, .png or .svg; None: scaling is not measured.
    Returns:
        A JSON object; latencies in ms.
    Raises:
        MotionError: the backend does not compute what the bundle's ONNX graphs compute.
    """
    bundle = Bundle.load(model)
    backend, reference = factory.create("auto", bundle), factory.create("onnx", bundle)
    with ProgressBar() as bar:
        bar.stage("parity")
        recordings = samples() + ([] if data is None else sample_clips(data, effort.clips))
        parity_report = parity(bundle, backend, reference, recordings, effort.parity_frames)
        with one_core() as core:
            measured = measure(bundle, backend, reference, effort, bar)
            scaling = None if plot is None else measure_scaling(bundle, backend, reference, effort.slow, bar)
        cold = cold_starts(bundle, effort.cold_starts, bar)
    step = measured["step"]
    report = {
        "benchmark": "recognize",
        "model": bundle.manifest.name,
        "backend": backend.name,
        "p50_ms": step["p50_ms"],
        "p99_ms": step["p99_ms"],
        "parity_max_abs": parity_report["max_abs"],
        "parity": parity_report,
        **measured,
        "cold_start": cold,
        "environment": {**environment(bundle), "threads": 1, "pinned_to_core": core},
    }
    if plot is not None and scaling is not None:
        from .plot import draw

        draw(scaling, plot)
        report["scaling"] = scaling
    return report


def measure(bundle: Bundle, backend: Backend, reference: Backend, effort: Effort, bar: ProgressBar) -> dict[str, Any]:
    """Everything that is timed in this process."""
    poses = baselines.sensor_poses(samples())
    step_call = baselines.one_by_one(Recognizer(bundle, backend), poses)
    people_call = baselines.all_at_once(Recognizer(bundle, backend), poses, TOGETHER)

    def repeat(stage: str, run: Callable[[], np.ndarray]) -> dict[str, Any]:
        bar.stage(stage, effort.runs)
        runs = []
        for _ in range(effort.runs):
            runs.append(percentiles(run()))
            bar.advance()
        return {**median_of(runs), "runs": runs}

    timed(step_call, effort.warm_up)
    step = repeat("saturated", lambda: timed(step_call, effort.steps))
    step["steps_per_s"] = 1e3 / step["mean_ms"]
    at_camera = repeat(f"at {CAMERA_HZ:g} Hz", lambda: paced(step_call, effort.paced_frames, CAMERA_HZ))
    at_camera["rate_hz"] = CAMERA_HZ
    timed(people_call, min(effort.warm_up, effort.together))
    people = repeat(f"{TOGETHER} people", lambda: timed(people_call, effort.together))
    people["people"] = TOGETHER

    calls, left_out = baseline_calls(bundle, backend, reference, step_call, effort.slow)
    bar.stage("baselines", effort.rounds * len(calls))
    turns = in_turns(calls, effort.rounds, effort.round_s, bar.advance)
    compared = {name: percentiles(latencies) for name, latencies in turns.items()}
    for figures in compared.values():
        figures["times_recognizer_step"] = figures["p50_ms"] / compared["recognizer_step"]["p50_ms"]
    report = {"step": step, "paced": at_camera, "together": people, "baselines": compared, "left_out": left_out}
    if "channels" in bundle.manifest.model:
        bar.stage("roofline")
        weight_bytes = sum(array.nbytes for array in bundle.weights.values())
        bound = roofline(bundle.manifest.model, weight_bytes, effort.peak_s)
        network_ms = compared.get("native_network", compared["onnx_step"])["p50_ms"]
        report["roofline"] = {**bound, "network_p50_ms": network_ms, "fraction": bound["floor_ms"] / network_ms}
    return report


def baseline_calls(
    bundle: Bundle, backend: Backend, reference: Backend, step_call: Call, slow: bool
) -> tuple[dict[str, Call], dict[str, str]]:
    """Baselines by name, and the reasons why others are left out."""
    manifest, frames = bundle.manifest, baselines.network_frames(bundle, samples())
    calls = {"recognizer_step": step_call}
    if backend.name != reference.name:
        calls["native_network"] = baselines.network_step(backend, frames)
    if backend.name == "native":
        half = factory.create("native", bundle, precision="bf16")
        calls["native_bf16"] = baselines.network_step(half, frames)
    calls["only_reading"] = baselines.only_reading(bundle)
    calls["onnx_step"] = baselines.network_step(reference, frames)
    if "clip" in manifest.graphs:
        calls["onnx_window"] = baselines.window(reference, frames, manifest.receptive_field)
    left_out = {}
    torch_baselines: dict[str, Callable[[], Call]] = {
        "torch_step": lambda: baselines.torch_step(bundle, frames),
        "ctr_gcn_torch": baselines.ctr_gcn_torch,
        "ctr_gcn_onnx": baselines.ctr_gcn_onnx,
    }
    for name, make in torch_baselines.items():
        try:
            if slow:
                import torch

                torch.set_num_threads(1)
                calls[name] = make()
            else:
                left_out[name] = NOT_QUICK
        except ImportError as error:
            left_out[name] = f"{error.name or error} is not installed"
        except RuntimeError as error:  # an export that does not work with this version of torch
            left_out[name] = " ".join(str(error).split())[:200]
    return calls, left_out


def cold_starts(bundle: Bundle, processes: int, bar: ProgressBar) -> dict[str, Any]:
    """Time from the start of a process to its first decision, ms; only files are cached."""
    package = __name__.split(".")[0]
    parent = str(Path(sys.modules[package].__path__[0]).absolute().parent)
    command = [sys.executable, "-c", COLD_START, parent, package, str(bundle.path.absolute())]
    bar.stage("cold starts", processes)
    total, own = [], []
    with tempfile.TemporaryDirectory() as elsewhere:
        for _ in range(processes):
            start_s = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=elsewhere)
            if done.returncode:
                raise MotionError(f"a fresh process failed: {(done.stderr.splitlines() or ['no message'])[-1]}")
            started, decided = map(float, done.stdout.split())
            total.append(1e3 * (decided - start_s))
            own.append(1e3 * (decided - started))
            bar.advance()
    return {"median_ms": median(total), "without_interpreter_ms": median(own), "runs_ms": total}

"""`motionrt bench recognize`: what a frame costs, beside what it would cost otherwise and what it must cost at least.

Parity comes first; where it fails, nothing is measured. Everything runs on one thread of one core, and contenders take
turns, so that ratios are those of one machine in one state.
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
from . import baselines as contenders
from .environment import environment, one_core
from .parity import parity
from .roofline import floor
from .scaling import growth
from .timing import Call, in_turns, median_of, paced, percentiles, timed
from .workloads import samples, some_clips

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
    """How much is measured.

    Attributes:
        parity_frames: frames that are compared; clips: how many of each data set besides.
        warm_up: saturated steps beforehand. runs: of the three that follow; each figure is the median of theirs.
        steps: saturated. paced_frames: at `CAMERA_HZ`. together: calls with `TOGETHER` people.
        rounds, round_s: turns of every contender, and how long one is, seconds.
        cold_starts: processes. peak_s: for measuring the machine's peaks, seconds.
        slow: whether contenders that need torch take part.
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
    """Measure a recogniser.

    Args:
        model: name or path of a bundle.
        data: folder of clip sets that take part in the parity check besides the samples.
        plot: picture to draw of how the cost grows, .png or .svg; None: that is not measured.
    Returns:
        A JSON object; latencies in ms.
    Raises:
        MotionError: the backend does not compute what the bundle's ONNX graphs compute.
    """
    bundle = Bundle.load(model)
    backend, reference = factory.create("auto", bundle), factory.create("onnx", bundle)
    with ProgressBar() as bar:
        bar.stage("parity")
        recordings = samples() + ([] if data is None else some_clips(data, effort.clips))
        compared = parity(bundle, backend, reference, recordings, effort.parity_frames)
        with one_core() as core:
            measured = measure(bundle, backend, reference, effort, bar)
            grown = None if plot is None else growth(bundle, backend, reference, effort.slow, bar)
        cold = cold_starts(bundle, effort.cold_starts, bar)
    step = measured["step"]
    report = {
        "benchmark": "recognize",
        "model": bundle.manifest.name,
        "backend": backend.name,
        "p50_ms": step["p50_ms"],
        "p99_ms": step["p99_ms"],
        "parity_max_abs": compared["max_abs"],
        "parity": compared,
        **measured,
        "cold_start": cold,
        "environment": {**environment(bundle), "threads": 1, "pinned_to_core": core},
    }
    if plot is not None and grown is not None:
        from .plot import draw

        draw(grown, plot)
        report["growth"] = grown
    return report


def measure(bundle: Bundle, backend: Backend, reference: Backend, effort: Effort, bar: ProgressBar) -> dict[str, Any]:
    """All that is timed in this process."""
    poses = contenders.sensor_poses(samples())
    feed = contenders.one_by_one(Recognizer(bundle, backend), poses)
    call = contenders.all_at_once(Recognizer(bundle, backend), poses, TOGETHER)

    def repeated(what: str, run: Callable[[], np.ndarray]) -> dict[str, Any]:
        bar.stage(what, effort.runs)
        runs = []
        for _ in range(effort.runs):
            runs.append(percentiles(run()))
            bar.advance()
        return {**median_of(runs), "runs": runs}

    timed(feed, effort.warm_up)
    step = repeated("saturated", lambda: timed(feed, effort.steps))
    step["steps_per_s"] = 1e3 / step["mean_ms"]
    at_camera = repeated(f"at {CAMERA_HZ:g} Hz", lambda: paced(feed, effort.paced_frames, CAMERA_HZ))
    at_camera["rate_hz"] = CAMERA_HZ
    timed(call, min(effort.warm_up, effort.together))
    people = repeated(f"{TOGETHER} people", lambda: timed(call, effort.together))
    people["people"] = TOGETHER

    entered, left_out = enter(bundle, backend, reference, feed, effort.slow)
    bar.stage("contenders", effort.rounds * len(entered))
    turns = in_turns(entered, effort.rounds, effort.round_s, bar.advance)
    compared = {name: percentiles(latencies) for name, latencies in turns.items()}
    for found in compared.values():
        found["times_recognizer_step"] = found["p50_ms"] / compared["recognizer_step"]["p50_ms"]
    report = {"step": step, "paced": at_camera, "together": people, "contenders": compared, "left_out": left_out}
    if "channels" in bundle.manifest.model:
        bar.stage("floor")
        weight_bytes = sum(array.nbytes for array in bundle.weights.values())
        least = floor(bundle.manifest.model, weight_bytes, effort.peak_s)
        network_ms = compared.get("native_network", compared["onnx_step"])["p50_ms"]
        report["floor"] = {**least, "network_p50_ms": network_ms, "fraction": least["floor_ms"] / network_ms}
    return report


def enter(
    bundle: Bundle, backend: Backend, reference: Backend, feed: Call, slow: bool
) -> tuple[dict[str, Call], dict[str, str]]:
    """Contenders by name, and why others are left out."""
    manifest, frames = bundle.manifest, contenders.network_frames(bundle, samples())
    calls = {"recognizer_step": feed}
    if backend.name != reference.name:
        calls["native_network"] = contenders.network_step(backend, frames)
    if backend.name == "native":
        half = factory.create("native", bundle, precision="bf16")
        calls["native_bf16"] = contenders.network_step(half, frames)
    calls["only_reading"] = contenders.only_reading(bundle)
    calls["onnx_step"] = contenders.network_step(reference, frames)
    if "clip" in manifest.graphs:
        calls["onnx_window"] = contenders.window(reference, frames, manifest.receptive_field)
    left_out = {}
    makers: dict[str, Callable[[], Call]] = {
        "torch_step": lambda: contenders.torch_step(bundle, frames),
        "ctr_gcn_torch": contenders.ctr_gcn_torch,
        "ctr_gcn_onnx": contenders.ctr_gcn_onnx,
    }
    for name, make in makers.items():
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
    """From the start of a process to its first decision, ms; files are in the page cache, nothing else is."""
    package = __name__.split(".")[0]
    parent = str(Path(sys.modules[package].__path__[0]).absolute().parent)
    command = [sys.executable, "-c", COLD_START, parent, package, str(bundle.path.absolute())]
    bar.stage("cold starts", processes)
    total, own = [], []
    with tempfile.TemporaryDirectory() as elsewhere:
        for _ in range(processes):
            began = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=elsewhere)
            if done.returncode:
                raise MotionError(f"a fresh process failed: {(done.stderr.splitlines() or ['no message'])[-1]}")
            started, decided = map(float, done.stdout.split())
            total.append(1e3 * (decided - began))
            own.append(1e3 * (decided - started))
            bar.advance()
    return {"median_ms": median(total), "without_interpreter_ms": median(own), "runs_ms": total}

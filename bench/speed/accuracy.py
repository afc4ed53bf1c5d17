"""Accuracy against latency, of computation and of observation: `python -m motionrt.bench.speed.accuracy DATA`.

The cost of a decision on one CPU thread is measured here; the accuracy on NW-UCLA's view 3 is read from nw_ucla.json
and ctr_gcn.json, whose trainings are long. CTR-GCN's weights are random, which does not affect speed.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from ...export.ctr_gcn import person_graph
from ...runtime.backends import factory
from ...runtime.body.motion import Motion
from ...runtime.bundles.bundle import Bundle
from ...runtime.bundles.onnx_graph import read_graph
from ...runtime.bundles.schema import WEIGHTS
from ...runtime.progress import ProgressBar, progress
from ...runtime.recognition.engine import MIN_CLIP_FRAMES
from ...runtime.recognition.recognizer import Recognizer
from ...training.data.clips import clip_sets, fingerprint, labeled
from ...training.models.ctr_gcn import CTRGCN, NWUCLA_PARENTS, CTRGCNConfig
from ...training.models.fast_ctr_gcn import fold
from ...training.recognition.ctr_gcn import FRAMES
from ..accuracy.protocols.labeled_clips import set_aside, top1
from ..report import print_report
from .baselines import network_step, window
from .environment import environment
from .plot import OTHER, OURS, check_plot
from .scaling import walk
from .timing import Call, in_turns, percentiles

STREAM_GCN, LIVE = "nwucla-stream", "live"
SEEN_S = (0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0)
ROUNDS, ROUND_S = 12, 0.1
TIMED = {  # key of recognize.json -> legend
    "step": "one person",
    "together": "eight people",
    "paced": "one person, 30 Hz, sleeping in between",
}


def costs() -> dict[str, dict[str, Any]]:
    """Latencies of one decision on NW-UCLA's skeleton: a step, or a network over the last frames."""
    bundle = Bundle.load(STREAM_GCN)
    frames = walk(2 * FRAMES, bundle.manifest.joints)
    native, onnx = factory.create("native", bundle), factory.create("onnx", bundle)
    calls = {
        "step": network_step(native, frames),
        "onnx_step": network_step(onnx, frames),
        "onnx_window": window(onnx, frames, bundle.manifest.model["receptive_field"]),
        **{f"ctr_gcn_{streams}": ctr_gcn(streams) for streams in (1, 2, 4)},
    }
    with ProgressBar() as bar:
        bar.stage("latency", ROUNDS * len(calls))
        return {name: percentiles(ms) for name, ms in in_turns(calls, ROUNDS, ROUND_S, bar.advance).items()}


def ctr_gcn(streams: int) -> Call:
    """Run folded CTR-GCN networks over the last frames of one person, in ONNX Runtime on one thread."""
    sessions = []
    for seed in range(streams):
        torch.manual_seed(seed)
        network = fold(CTRGCN(CTRGCNConfig(classes=10, parents=NWUCLA_PARENTS, people=1)).eval())
        graph, weights = person_graph(network), network.state_dict()
        names = list(read_graph(graph, WEIGHTS, "graph").external)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_external_initializers(names, [ort.OrtValue.ortvalue_from_numpy(weights[n].numpy()) for n in names])
        sessions.append(ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]))
    clip = np.random.default_rng(0).standard_normal((1, 3, FRAMES, len(NWUCLA_PARENTS)), np.float32)
    inputs = {"clip": clip, "place": np.zeros(1, np.int64)}
    return lambda i: [session.run(None, inputs) for session in sessions]


def accuracy_by_time(model: str, data: Path) -> list[dict[str, Any]]:
    """Top-1 on the clips of the benchmark `live` after their first seconds; clips that have ended still count."""
    recognizer = Recognizer.load(model)
    excluded, hits, lengths = set(set_aside(recognizer)), defaultdict[float, list[bool]](list), []
    for clip_set in clip_sets(data):
        if clip_set.layout.dims == 2:
            continue
        for i in progress(range(len(clip_set)), clip_set.name):
            name = fingerprint(clip_set, i)
            found = [(target, clip) for target, clip in labeled(clip_set, i) if target in recognizer.labels]
            if not found or name in excluded:
                continue
            excluded.add(name)
            target, clip = found[0]
            lengths.append(clip.seconds)
            for seconds in (*SEEN_S, np.inf):
                frames = clip.frames if seconds >= clip.seconds else max(MIN_CLIP_FRAMES, round(seconds * clip.fps))
                hits[seconds].append(
                    recognizer.recognize(Motion(clip.joints[:frames], clip.fps, clip.layout)).label == target
                )
    return [
        {"seconds": seconds if np.isfinite(seconds) else None, **top1(correct)}
        | {"whole": float(np.mean(np.array(lengths) <= seconds))}
        for seconds, correct in hits.items()
    ]


def draw(report: dict[str, Any], results: Path, path: Path) -> None:
    """Three panels: accuracy against cost, accuracy against observed time, percentiles of recognize.json."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    settings: dict[Any, Any] = {"font.size": 11, "svg.hashsalt": "motionrt"}
    settings |= {"axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(settings):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
        _against_cost(left, report)
        _against_time(middle, report["seen"])
        _percentiles(right, json.loads((results / "recognize.json").read_text()))
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _against_cost(axes: Any, report: dict[str, Any]) -> None:
    cost, accuracy = report["costs"], report["accuracy"]
    mean, spread = accuracy["stream_gcn"]["top1"], accuracy["stream_gcn"]["std"]
    stream_gcn_ms = [cost[name]["p50_ms"] for name in ("step", "onnx_step", "onnx_window")]
    axes.errorbar(
        stream_gcn_ms, [mean] * 3, [spread] * 3, fmt="o-", color=OURS, capsize=3, label="StreamGCN, three seeds"
    )
    for x, name in zip(stream_gcn_ms, ("native,\nstep", "ORT,\nstep", "ORT,\nrerun"), strict=True):
        axes.annotate(name, (x, mean - spread), (0, -4), textcoords="offset points", ha="center", va="top", size=9)
    ctr_gcn = {n: (cost[f"ctr_gcn_{n}"]["p50_ms"], accuracy[f"ctr_gcn_{n}"]) for n in (1, 2, 4)}
    axes.plot(*zip(*ctr_gcn.values(), strict=True), "s-", color=OTHER, label="CTR-GCN, 1, 2, 4 streams, rerun, ORT")
    for n, point in ctr_gcn.items():
        axes.annotate(n, point, (6, -4), textcoords="offset points", va="top", size=9)
    axes.set(title="accuracy by cost", xlabel="cost of a decision, ms (median)", ylabel="NW-UCLA, view 3: top-1, %")
    axes.set(xscale="log", xlim=(0.02, 900), ylim=(90, 100))
    axes.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.legend(loc="upper left", frameon=False)
    axes.grid(axis="y", alpha=0.3)


def _against_time(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    within = [row for row in rows if row["seconds"] is not None]
    axes.plot([row["seconds"] for row in within], [row["top1"] for row in within], "o-", color=OURS, label="live")
    axes.axhline(rows[-1]["top1"], color=OURS, ls=":", label="whole clips")
    ended = [100 * row["whole"] for row in within]
    axes.plot([row["seconds"] for row in within], ended, "-", color="0.6", label="clips that have ended")
    axes.set(
        title="accuracy by observed time", xlabel="seconds observed", ylabel="validation clips, top-1, %", ylim=(0, 120)
    )
    axes.legend(loc="upper left", frameon=False, ncols=2, columnspacing=1)
    axes.grid(axis="y", alpha=0.3)


def _percentiles(axes: Any, found: dict[str, Any]) -> None:
    names = ("p50_ms", "p90_ms", "p99_ms", "p999_ms")
    for (key, title), mark in zip(TIMED.items(), "o^s", strict=True):
        axes.plot([found[key][name] for name in names], f"{mark}-", label=title)
    axes.set(title="latency distribution", xlabel="percentile", ylabel="a frame, ms", yscale="log", ylim=(0.03, 10))
    axes.set_xticks(range(len(names)), ["50", "90", "99", "99.9"])
    axes.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
    axes.legend(loc="upper left", frameon=False)
    axes.grid(axis="y", alpha=0.3)


def bench_accuracy(data: Path, results: Path) -> dict[str, Any]:
    """A JSON object: "costs" by baseline, "accuracy" on NW-UCLA in percent, and "seen", top-1 by observed time."""
    stream_gcn, windowed = (json.loads((results / name).read_text()) for name in ("nw_ucla.json", "ctr_gcn.json"))
    ensembles = list(windowed["ensembles"].values())
    return {
        "benchmark": "accuracy",
        "costs": costs(),
        "accuracy": {
            "stream_gcn": {"top1": stream_gcn["top1_mean"], "std": stream_gcn["top1_std"]},
            "ctr_gcn_1": windowed["streams"]["joint"]["top1"],
            "ctr_gcn_2": ensembles[0]["top1"],
            "ctr_gcn_4": ensembles[1]["top1"],
        },
        "seen": accuracy_by_time(LIVE, data),
        "environment": environment(Bundle.load(LIVE)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--results", type=Path, default=Path("bench/results"), help="folder of earlier results")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    if options.plot is not None:
        check_plot(options.plot)
    report = bench_accuracy(options.data, options.results)
    print_report(report, options.out)
    if options.plot is not None:
        draw(report, options.results, options.plot)


if __name__ == "__main__":
    main()

"""Latency of search by text and by motion, compared with reading the index once, the bound of exact search.

    python -m motionrt.bench.speed.search [-o search.json]

The indexes hold features of windows of the bundled recordings, each shifted by noise of length `NOISE` and normalized
again: the benchmark measures speed, not quality. Everything runs on one thread.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.body.motion import Motion
from ...runtime.progress import ProgressBar
from ...runtime.retrieval.index import MotionIndex
from ...runtime.retrieval.retriever import Retriever
from .environment import environment
from .roofline import read_bandwidth
from .timing import percentiles, timed
from .workloads import samples

SIZES = (1_000, 10_000, 100_000)
NOISE = 0.3
K = 5
WARM_UP, CALLS = 5, 200
PEAK_S = 1.0
TEXTS = (
    "someone waves",
    "a person walks forward",
    "a person runs in place and then stops",
    "a person raises the right hand, lowers it and bows to someone in front of them",
)


def bench_search(model: str = "default", sizes: Sequence[int] = SIZES, calls: int = CALLS) -> dict[str, Any]:
    """Measure a retriever.

    Args:
        model: name or path of a generation bundle.
        sizes: numbers of motions in the index.
        calls: per kind of query.
    Returns:
        A JSON object; latencies in ms of whole queries and of their parts.
    """
    retriever, motions = Retriever.load(model), samples()
    directions = retriever.motion_features(windows(motions))
    queries: dict[str, list[Any]] = {"text": list(TEXTS), "motion": motions}
    rows = []
    with ProgressBar() as bar:
        bar.stage("search", len(sizes) * len(queries))
        for size in sizes:
            retriever.library = fill_index(directions, size, retriever.library.model)
            row: dict[str, Any] = {"motions": size} | lower_bound(retriever.library)
            for kind, of_kind in queries.items():
                row[kind] = measure(retriever, of_kind, calls)
                bar.advance()
            rows.append(row)
    return {
        "benchmark": "search",
        "k": K,
        "noise": NOISE,
        "sizes": rows,
        "environment": {**environment(retriever.bundle), "threads": 1},
    }


def measure(retriever: Retriever, queries: Sequence[str | Motion], calls: int) -> dict[str, Any]:
    """Percentiles of whole queries, and of encoding and searching separately."""
    features = [retriever.feature(query) for query in queries]
    parts = {
        "query": lambda i: retriever.search(queries[i % len(queries)], K),
        "encoding": lambda i: retriever.feature(queries[i % len(queries)]),
        "searching": lambda i: retriever.library.nearest(features[i % len(features)], K),
    }
    found = {}
    for name, call in parts.items():
        timed(call, WARM_UP)
        found[name] = percentiles(timed(call, calls))
    return found


def lower_bound(index: MotionIndex) -> dict[str, Any]:
    """Time to read every direction once, at the measured bandwidth of one thread."""
    size = index.features.nbytes
    rate = read_bandwidth(size, PEAK_S)
    return {"bytes": size, "read_gb_per_s": rate / 1e9, "floor_ms": 1e3 * size / rate}


def windows(motions: Sequence[Motion], frames: int = 40, hop: int = 4) -> list[Motion]:
    """Windows of two seconds."""
    return [
        Motion(motion.joints[begin : begin + frames], motion.fps, motion.layout)
        for motion in motions
        for begin in range(0, motion.frames - frames + 1, hop)
    ]


def fill_index(directions_NF: np.ndarray, size: int, model: str) -> MotionIndex:
    """An index of `size` entries, each near one of the directions."""
    rng, F = np.random.default_rng(0), directions_NF.shape[1]
    chosen = directions_NF[np.fromiter(islice(cycle(range(len(directions_NF))), size), int)]
    near = chosen + rng.standard_normal((size, F), np.float32) * np.float32(NOISE / np.sqrt(F))
    index = MotionIndex(F, model)
    numbers = range(size)
    index.add(near / np.linalg.norm(near, axis=1, keepdims=True), [f"motion {i}" for i in numbers], [{}] * size)
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    report = bench_search(args.model)
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    for row in report["sizes"]:
        for kind in ("text", "motion"):
            parts = (f"{part} {row[kind][part]['p50_ms']:.2f} / {row[kind][part]['p99_ms']:.2f}" for part in row[kind])
            title = f"{row['motions']:7} motions by {kind:6}"
            print(f"{title}: ms p50 / p99: {', '.join(parts)}; lower bound {row['floor_ms']:.2f}")


if __name__ == "__main__":
    main()

"""What a search costs, by text and by motion, beside reading the library once: the least that an exact search can take.

    python -m motionrt.bench.speed.search [-o search.json]

The libraries hold features of windows of the recordings that ship with the package, each shifted by noise of length
`NOISE` and scaled to length 1 again: what is measured is speed, not what is found. Everything runs on one thread.
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
    "a person raises the right hand, lowers it and bows to somebody in front of them",
)


def bench_search(model: str = "default", sizes: Sequence[int] = SIZES, calls: int = CALLS) -> dict[str, Any]:
    """Measure a retriever.

    Args:
        model: name or path of a generation bundle.
        sizes: of libraries, in motions.
        calls: of every kind.
    Returns:
        A JSON object; latencies in ms, of a query as a whole and of its parts.
    """
    retriever, motions = Retriever.load(model), samples()
    directions = retriever.motion_features(windows(motions))
    queries: dict[str, list[Any]] = {"text": list(TEXTS), "motion": motions}
    rows = []
    with ProgressBar() as bar:
        bar.stage("search", len(sizes) * len(queries))
        for size in sizes:
            retriever.library = filled(directions, size, retriever.library.model)
            row: dict[str, Any] = {"motions": size} | floor(retriever.library)
            for kind, asked in queries.items():
                row[kind] = measured(retriever, asked, calls)
                bar.advance()
            rows.append(row)
    return {
        "benchmark": "search",
        "k": K,
        "noise": NOISE,
        "sizes": rows,
        "environment": {**environment(retriever.bundle), "threads": 1},
    }


def measured(retriever: Retriever, queries: Sequence[str | Motion], calls: int) -> dict[str, Any]:
    """Percentiles of a search, and of its parts on their own."""
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


def floor(library: MotionIndex) -> dict[str, Any]:
    """Reading every direction once, at the rate at which one thread reads as many bytes."""
    size = library.features.nbytes
    rate = read_bandwidth(size, PEAK_S)
    return {"bytes": size, "read_gb_per_s": rate / 1e9, "floor_ms": 1e3 * size / rate}


def windows(motions: Sequence[Motion], frames: int = 40, hop: int = 4) -> list[Motion]:
    """Two seconds each."""
    return [
        Motion(motion.joints[begin : begin + frames], motion.fps, motion.layout)
        for motion in motions
        for begin in range(0, motion.frames - frames + 1, hop)
    ]


def filled(directions_NF: np.ndarray, size: int, model: str) -> MotionIndex:
    """A library of so many entries, each near one of the directions."""
    rng, F = np.random.default_rng(0), directions_NF.shape[1]
    chosen = directions_NF[np.fromiter(islice(cycle(range(len(directions_NF))), size), int)]
    near = chosen + rng.standard_normal((size, F), np.float32) * np.float32(NOISE / np.sqrt(F))
    library = MotionIndex(F, model)
    numbers = range(size)
    library.add(near / np.linalg.norm(near, axis=1, keepdims=True), [f"motion {i}" for i in numbers], [{}] * size)
    return library


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
            print(
                f"{row['motions']:7} motions by {kind:6}: ms p50 / p99: {', '.join(parts)}; floor {row['floor_ms']:.2f}"
            )


if __name__ == "__main__":
    main()

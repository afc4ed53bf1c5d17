"""Motions per second in batches, compared with one by one, on all CPUs.

    python -m motionrt.bench.speed.generate_batch [-o generate_batch.json]

Nothing is measured unless the motions of a batch are those of single calls.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.backends.threads import cpus
from ...runtime.errors import MotionError
from ...runtime.generation.generator import Generator
from .environment import environment
from .generate import PARITY_TEXTS, SECONDS
from .timing import in_turns

SIZES = (1, 2, 4, 8, 16)
ROUNDS = 5
PARITY_M = 1e-5


def bench_generate_batch(
    model: str = "default", sizes: Sequence[int] = SIZES, rounds: int = ROUNDS, seconds: float = SECONDS
) -> dict[str, Any]:
    """Measure batches of these sizes, and the largest number of motions one by one.

    Args:
        model: name or path of a bundle.
        rounds: number of turns of three calls. seconds: of a motion.
    Returns:
        A JSON object; ms are medians of whole calls.
    Raises:
        MotionError: motions of a batch differ from those of single calls.
    """
    generator = Generator.load(model)
    texts = list(islice(cycle(PARITY_TEXTS), max(sizes)))

    def one_by_one(first: int) -> list[np.ndarray]:
        return [generator.generate(text, seconds, seed=first + i).joints for i, text in enumerate(texts)]

    batch = [motion.joints for motion in generator.generate(texts, seconds)]
    parity_m = max(float(np.abs(a - b).max()) for a, b in zip(batch, one_by_one(0), strict=True))
    if not parity_m <= PARITY_M:
        raise MotionError(f"parity: joints of a batch differ by {parity_m:.2g} m, expected at most {PARITY_M:g}")
    calls = {str(size): partial(_generate, generator, texts[:size], seconds) for size in sizes}
    times = in_turns({**calls, "one by one": one_by_one}, rounds, 0.0)
    rows = [_row(size, times[str(size)]) for size in sizes]
    alone = _row(len(texts), times["one by one"])
    return {
        "benchmark": "generate_batch",
        "seconds": seconds,
        "parity_max_m": parity_m,
        "batches": rows,
        "one_by_one": alone,
        "times_faster": alone["ms"] / rows[-1]["ms"],
        "environment": {**environment(generator.bundle), "cpus": cpus()},
    }


def _generate(generator: Generator, texts: list[str], seconds: float, seed: int) -> object:
    return generator.generate(texts, seconds, seed=seed)


def _row(motions: int, latencies_ms: np.ndarray) -> dict[str, Any]:
    ms = float(np.median(latencies_ms))
    return {"motions": motions, "ms": ms, "motions_per_s": 1e3 * motions / ms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N", help="of batches")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a motion")
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    report = bench_generate_batch(args.model, args.sizes, args.rounds, args.seconds)
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    rows = {f"a batch of {row['motions']}": row for row in report["batches"]}
    for name, row in {**rows, "one by one": report["one_by_one"]}.items():
        print(f"{name:14} {row['ms']:8.1f} ms {row['motions_per_s']:8.1f} motions/s")


if __name__ == "__main__":
    main()

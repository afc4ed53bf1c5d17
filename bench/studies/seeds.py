"""Mean and deviation of a benchmark over models trained with different seeds.

`python -m motionrt.bench.studies.seeds BENCHMARK DATA BUNDLE... -o OUT.json`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ..accuracy.registry import Options, evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark")
    parser.add_argument("data", type=Path)
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_intermixed_args()
    reports = [evaluate(args.benchmark, Options(model=bundle, data=args.data)) for bundle in args.bundles]
    top1 = [report["top1"] for report in reports]
    spread = float(np.std(top1, ddof=1)) if len(top1) > 1 else None
    summary = {"top1_mean": float(np.mean(top1)), "top1_std": spread, "top1": top1}
    args.out.write_text(json.dumps({**summary, "seeds": reports}, indent=1) + "\n")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()

"""Variants of the recipe `live`, beside the recipe itself.

`python -m motionrt.bench.studies.attempts RUNS -o attempts.json`: for the finished runs in RUNS, their settings that
differ from the recipe's, and macro top-1 on clips of people kept out, as the training measured it last, and, if the run
was made by `leave_one_set_out`, on the clips of the sets left out. Runs that differ in their seed alone are one.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...training.recognition.recipes import live
from .leave_one_set_out import MEASURED

OF_A_MACHINE = ("seed", "data", "threads", "workers", "checkpoint_every", "validate_every", "license", "flat_model")
OTHERS = ("helper",)  # of CoCoDiff, not used here


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by their names on the command line, without those that are not part of an attempt."""
    parts = [
        value if isinstance(value, dict) else {name: value} for name, value in settings.items() if name not in OTHERS
    ]
    return {name: value for part in parts for name, value in part.items() if name not in OF_A_MACHINE}


def changes(run: Path) -> dict[str, Any]:
    """Settings of a run that are not the recipe's."""
    own = flat(json.loads((run / "recipe.json").read_text())["recipe"])
    standard = flat(json.loads(json.dumps(asdict(live()))))
    changed = {name: value for name, value in own.items() if name in standard and value != standard[name]}
    if changed.get("teachers"):
        changed["teachers"] = len(changed["teachers"].split(","))
    return changed


def scores(run: Path) -> dict[str, float]:
    """Macro top-1 on people kept out and on each set left out."""
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    found = {"people kept out": last["macro_top1"]}
    if (run / MEASURED).exists():
        found |= {name: of["macro_top1"] for name, of in json.loads((run / MEASURED).read_text()).items()}
    return found


def gather(runs: Path) -> list[dict[str, Any]]:
    """Every attempt: its settings, seeds, and mean scores."""
    seeds: dict[str, list[int]] = defaultdict(list)
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for weights in sorted(runs.glob("*/model.safetensors")):
        key = json.dumps(changes(weights.parent), sort_keys=True)
        seeds[key].append(json.loads((weights.parent / "recipe.json").read_text())["recipe"]["loop"]["seed"])
        found[key].append(scores(weights.parent))
    return [
        {
            "settings": json.loads(key),
            "seeds": seeds[key],
            "macro_top1": {name: float(np.mean([row[name] for row in rows])) for name in rows[0]},
            "macro_top1_by_seed": [row["people kept out"] for row in rows],
        }
        for key, rows in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    attempts = gather(args.runs)
    args.out.write_text(json.dumps({"protocol": __doc__.split("\n\n")[1], "attempts": attempts}, indent=1) + "\n")
    for attempt in attempts:
        print(attempt)


if __name__ == "__main__":
    main()

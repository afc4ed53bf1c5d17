"""The README's table of measurements: `python -m motionrt.bench.readme README.md bench/results`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def table(results: Path) -> str:
    """Markdown rows: what was measured, the figure, the file it stands in."""

    def read(name: str) -> dict[str, Any]:
        return json.loads((results / name).read_text())

    live, chosen = read("live.json"), read("thresholds.json")
    cross, few_false = chosen["cross_fitted"], chosen["cross_fitted_few_false"]
    ucla, unseen, latency = (
        read("nw_ucla.json"),
        read("leave_one_set_out.json")["sets"],
        read("samples.json")["summary"],
    )
    first = ucla["seeds"][0]
    copies = [seed["without_copies"]["top1"] for seed in ucla["seeds"]]
    rows = [
        (
            f"`live`, {live['n']} validation clips, stepped",
            f"macro top-1 **{live['macro_top1']:.1f} %** of {live['macro_classes']} labels, top-1 {live['top1']:.1f} %",
            "live.json",
        ),
        *(
            (f"… of them {name}", f"top-1 {figure['top1']:.1f} % of {figure['n']}", "live.json")
            for name, figure in live["per_set"].items()
        ),
        *(
            (
                f"`live` trained without {name}",
                f"top-1 {figure['top1']:.1f} % of {figure['n']}",
                "leave_one_set_out.json",
            )
            for name, figure in unseen.items()
        ),
        (
            f"`live` in {cross['minutes']:.0f} minutes of streams, {cross['actions']} actions",
            f"event F1 **{cross['f1']:.1f} %**, {cross['false_onsets_per_minute']:.2f} false onsets a minute",
            "thresholds.json",
        ),
        (
            "… counting only onsets that were also told within 0.5 s",
            f"event F1 {cross['f1_when_told']:.1f} %",
            "thresholds.json",
        ),
        (
            "… with thresholds for few false onsets",
            f"event F1 {few_false['f1']:.1f} %, {few_false['false_onsets_per_minute']:.2f} false onsets a minute",
            "thresholds.json",
        ),
        (
            "… *none*, frame by frame",
            f"precision {cross['none_precision']:.1f} %, recall {cross['none_recall']:.1f} %",
            "thresholds.json",
        ),
        (
            "… from an action's start to its first right label, median",
            f"{cross['median_s_to_first_right']:.2f} s, {100 * cross['median_share_to_first_right']:.0f} % of it",
            "thresholds.json",
        ),
        (
            f"StreamGCN on NW-UCLA, {first['n']} clips of view 3, {len(ucla['top1'])} seeds",
            f"top-1 **{ucla['top1_mean']:.1f} %** ± {ucla['top1_std']:.1f}",
            "nw_ucla.json",
        ),
        (
            f"… without the {first['n'] - first['without_copies']['n']} clips that are copies of view 2",
            f"top-1 {sum(copies) / len(copies):.1f} %",
            "nw_ucla.json",
        ),
        (
            f"latency of a frame, {latency['frames']} frames of the samples, ONNX Runtime, one thread",
            f"p50 {latency['p50_ms']:.2f} ms, p99 {latency['p99_ms']:.2f} ms",
            "samples.json",
        ),
    ]
    lines = [f"| {what} | {figure} | [{file}](bench/results/{file}) |" for what, figure, file in rows]
    return "\n".join(["| what | measured | file |", "|---|---|---|", *lines])


def with_table(text: str, results: Path) -> str:
    """A README with its table made anew between the two markers."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{table(results)}\n{END}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readme", type=Path)
    parser.add_argument("results", type=Path)
    args = parser.parse_args()
    args.readme.write_text(with_table(args.readme.read_text(), args.results))


if __name__ == "__main__":
    main()

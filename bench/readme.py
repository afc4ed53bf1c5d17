"""The README's tables of measurements: `python -m motionrt.bench.readme README.md bench/results`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

Rows = list[tuple[str, str, str]]  # what was measured, the figure, the file it stands in


def speed(results: Path) -> Rows:
    found, soak = _read(results, "recognize.json"), _read(results, "soak.json")
    step, together, floor = found["step"], found["together"], found["floor"]
    ours = {name: figures["times_recognizer_step"] for name, figures in found["contenders"].items()}
    network_ms, onnx_ms = (found["contenders"][name]["p50_ms"] for name in ("native_network", "onnx_step"))
    reading = found["contenders"]["only_reading"]
    window_ms = found["contenders"]["onnx_window"]["p50_ms"]

    def times(name: str) -> str:
        return f"**{ours[name]:.{0 if ours[name] >= 20 else 1}f} x** as long"

    file = "recognize.json"
    return [
        (
            "a frame, from sensor joints to decision",
            f"p50 **{step['p50_ms']:.3f} ms**, p99 {step['p99_ms']:.3f} ms, {step['steps_per_s']:,.0f} frames a second",
            file,
        ),
        (
            f"… at {found['paced']['rate_hz']:.0f} Hz, asleep in between",
            f"p50 {found['paced']['p50_ms']:.3f} ms, p99 {found['paced']['p99_ms']:.3f} ms",
            file,
        ),
        (
            f"{together['people']} people in one call",
            f"p50 **{together['p50_ms']:.3f} ms**, p99 {together['p99_ms']:.3f} ms",
            file,
        ),
        (
            "for comparison: numpy reads the weights four times and does no more",
            f"p50 {reading['p50_ms']:.3f} ms, p99 {reading['p99_ms']:.3f} ms",
            file,
        ),
        (
            "cold process: start, import, load `live`, first decision",
            f"**{found['cold_start']['median_ms']:.0f} ms**, without Python's own start "
            f"{found['cold_start']['without_interpreter_ms']:.0f} ms",
            file,
        ),
        (
            "the network alone, native, against its step graph in ONNX Runtime",
            f"{network_ms:.3f} ms against {onnx_ms:.3f} ms: **{onnx_ms / network_ms:.1f} x**",
            file,
        ),
        (
            "… with its weights in bfloat16",
            f"{found['contenders']['native_bf16']['p50_ms']:.3f} ms",
            file,
        ),
        (
            "… against the whole window run again for every frame in ONNX Runtime",
            f"{window_ms:.1f} ms: **{window_ms / network_ms:.0f} x**",
            file,
        ),
        *(
            (f"{title}, compared with `Recognizer.step`", times(name), file)
            for name, title in (
                ("torch_step", "the same network stepped in PyTorch"),
                ("ctr_gcn_onnx", "CTR-GCN's window (64 frames, two people) in ONNX Runtime"),
            )
            if name in ours
        ),
        (
            f"floor of a step: {floor['flops'] / 1e6:.1f} MFLOP, "
            f"{(floor['weight_bytes'] + floor['state_bytes']) / 1e6:.2f} MB",
            f"{floor['floor_ms']:.3f} ms at {floor['peak_gflops']:.0f} GFLOP/s and {floor['read_gb_per_s']:.0f} GB/s "
            f"of one thread; **{100 * floor['fraction']:.0f} %** of it reached",
            file,
        ),
        ("largest difference of a logit from ONNX Runtime's", f"{found['parity_max_abs']:.1e}", file),
        (
            f"memory after {soak['frames']:,} more frames with people coming and going",
            f"{soak['growth_mb']:+.2f} MB",
            "soak.json",
        ),
    ]


def accuracy(results: Path) -> Rows:
    live, half = _read(results, "live.json"), _read(results, "live_bf16.json")
    chosen = _read(results, "thresholds.json")
    cross, few_false = chosen["cross_fitted"], chosen["cross_fitted_few_false"]
    ucla, unseen = _read(results, "nw_ucla.json"), _read(results, "leave_one_set_out.json")["sets"]
    first = ucla["seeds"][0]
    copies = [seed["without_copies"]["top1"] for seed in ucla["seeds"]]
    return [
        (
            f"`live`, {live['n']} validation clips, stepped",
            f"macro top-1 **{live['macro_top1']:.1f} %** of {live['macro_classes']} labels, top-1 {live['top1']:.1f} %",
            "live.json",
        ),
        (
            "… with the weights in bfloat16",
            f"macro top-1 {half['macro_top1']:.1f} %, top-1 {half['top1']:.1f} %",
            "live_bf16.json",
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
    ]


def table(rows: Rows) -> str:
    lines = [f"| {what} | {figure} | [{file}](bench/results/{file}) |" for what, figure, file in rows]
    return "\n".join(["| what | measured | file |", "|---|---|---|", *lines])


def with_tables(text: str, results: Path) -> str:
    """A README with its tables made anew, each between its two markers."""
    for rows in (speed, accuracy):
        begin, end = (f"<!-- {rows.__name__}: {which} -->" for which in ("begin", "end"))
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{table(rows(results))}\n{end}{rest.split(end)[1]}"
    return text


def _read(results: Path, name: str) -> dict[str, Any]:
    return json.loads((results / name).read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readme", type=Path)
    parser.add_argument("results", type=Path)
    args = parser.parse_args()
    args.readme.write_text(with_tables(args.readme.read_text(), args.results))


if __name__ == "__main__":
    main()

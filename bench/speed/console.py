"""Benchmark reports as tables on the console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from .baselines import TITLES

COLUMNS = {"p50_ms": "p50", "p90_ms": "p90", "p99_ms": "p99", "p999_ms": "p99.9", "max_ms": "max"}
MOTION_COLUMNS = {"p50_ms": "p50", "p99_ms": "p99", "max_ms": "max", "times_unguided": "times"}
FEW_COLUMNS = {"p50_ms": "p50", "p99_ms": "p99", "max_ms": "max", "times_recognizer_step": "times"}


def recognize_tables(report: dict[str, Any]) -> Iterator[Table | str]:
    """The report of `bench recognize`."""
    parity, step = report["parity"], report["step"]
    yield (
        f"{report['model']}, backend {report['backend']}: logits over {parity['frames']} frames are within "
        f"{report['parity_max_abs']:.1e} of ONNX Runtime"
    )
    table = latency_table("Recognizer.step, one thread, ms")
    add(table, f"saturated, {len(step['runs'])} runs, {step['steps_per_s']:.0f} steps/s", step)
    add(table, f"paced at {report['paced']['rate_hz']:g} Hz", report["paced"])
    add(table, f"{report['together']['people']} people in one call", report["together"])
    yield table

    table = latency_table("In turns, ms; times = multiple of Recognizer.step", FEW_COLUMNS)
    for name, figures in report["baselines"].items():
        add(table, TITLES[name], figures, FEW_COLUMNS)
    yield table
    for name, reason in report["left_out"].items():
        yield f"not measured: {TITLES[name]}: {reason}"

    cold = report["cold_start"]
    yield (
        f"cold process to first decision: {cold['median_ms']:.0f} ms, {cold['without_interpreter_ms']:.0f} ms of it "
        "for import, load and step"
    )
    if "roofline" in report:
        yield roofline_line(report["roofline"])
    yield environment_line(report["environment"])


def generate_tables(report: dict[str, Any]) -> Iterator[Table | str]:
    """The report of `bench generate`."""
    count, compared = report["evaluations"], report["baselines"]
    if report["parity_max_m"] is not None:
        yield f"{report['model']}: joints are within {1e3 * report['parity_max_m']:.2g} mm of torch"
    for name, reason in report["left_out"].items():
        yield f"not measured: {name}: {reason}"
    yield (
        f"{report['seconds']:g} s of motion in {report['clip_ms']:.0f} ms, {report['real_time_factor']:.0f} times real "
        f"time: {count['steps']} autoregressive steps, {count['head_calls']} evaluations of the head, "
        f"{count['head_rows']} rows of tokens"
    )
    table = latency_table("In turns, ms; times = multiple of unguided", MOTION_COLUMNS)
    for name, figures in compared.items():
        add(table, name.replace("_", " "), figures, MOTION_COLUMNS)
    add(table, "first second of a stream", {**report["first_chunk"], "times_unguided": float("nan")}, MOTION_COLUMNS)
    yield table
    yield ", ".join(f"{name} {100 * share:.0f} %" for name, share in report["shares"].items()) + " of the time"
    yield environment_line(report["environment"])


def zero_shot_tables(report: dict[str, Any]) -> Iterator[Table | str]:
    """The report of `bench zero-shot`."""
    yield (
        f"{report['model']}, backend {report['backend']}: logits computed in the background are within "
        f"{report['parity_max_abs']:.1e} of those computed in the stream"
    )
    table = latency_table(f"Recognizer.step paced at {report['rate_hz']:g} Hz, ms")
    add(table, "encoder only", report["streams"]["encoder"])
    add(table, "with matching in the background", report["streams"]["matching"])
    changing = report["streams"]["changing"]
    add(table, "… and labels that change every second", changing)
    add(table, "… steps during a change", changing["during_changes"])
    yield table
    yield (
        f"frames lost: {changing['frames_lost']}; over {changing['changes']} changes of labels, no step waited "
        f"more than {changing['waited_for_changes_ms']:.3f} ms"
    )
    table = latency_table("Matching of one person and changes of labels, ms")
    for row in report["match"]:
        add(table, f"{row['labels']} labels matched", row)
    for kind in ("cold", "cached"):
        add(table, f"set_labels, {report['set_labels']['labels']} labels, {kind}", report["set_labels"][kind])
    yield table
    yield environment_line(report["environment"])


def soak_tables(report: dict[str, Any]) -> Iterator[Table | str]:
    """The report of `bench soak`."""
    yield f"{report['model']}, backend {report['backend']}: {report['frames']} frames in {report['seconds']:.1f} s"
    table = latency_table("Recognizer.step, one thread, ms")
    add(table, "first tenth", report["first_tenth"])
    add(table, "last tenth", report["last_tenth"])
    yield table
    yield (
        f"memory: {report['rss_start_mb']:.1f} MB after the warm-up, {report['rss_end_mb']:.1f} MB at the end, "
        f"growth {report['growth_mb']:.2f} MB"
    )
    yield ", ".join(f"{name} {count}" for name, count in {**report["events"], **report["counters"]}.items())
    yield environment_line(report["environment"])


def latency_table(title: str, columns: dict[str, str] = COLUMNS) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in columns.values():
        table.add_column(column, justify="right")
    return table


def add(table: Table, title: str, figures: dict[str, Any], columns: dict[str, str] = COLUMNS) -> None:
    table.add_row(title, *(f"{figures[name]:.{3 if name.endswith('_ms') else 1}f}" for name in columns))


def roofline_line(bound: dict[str, Any]) -> str:
    return (
        f"lower bound of the network's step: {bound['floor_ms']:.3f} ms, bound by {bound['bound_by']} "
        f"({bound['flops'] / 1e6:.1f} MFLOP at {bound['peak_gflops']:.0f} GFLOP/s, "
        f"{(bound['weight_bytes'] + bound['state_bytes']) / 1e6:.2f} MB at {bound['read_gb_per_s']:.0f} GB/s); "
        f"measured {bound['network_p50_ms']:.3f} ms, {100 * bound['fraction']:.0f} % of the bound's speed"
    )


def environment_line(environment: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {environment[name]}" for name in ("python", "numpy", "onnxruntime", "torch"))
    return (
        f"{environment['cpu']}, {environment['cores']} cores, {environment['instruction_set']}, "
        f"{environment['kernel']}, {versions}, commit {environment['commit']}"
    )

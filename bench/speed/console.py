"""Reports of benchmarks as tables for people."""

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
    """What `bench recognize` measured, top down."""
    parity, step = report["parity"], report["step"]
    yield (
        f"{report['model']}, backend {report['backend']}: over {parity['frames']} frames logits are within "
        f"{report['parity_max_abs']:.1e} of ONNX Runtime's"
    )
    table = latency_table("Recognizer.step, one thread, ms")
    add(table, f"saturated, {len(step['runs'])} runs, {step['steps_per_s']:.0f} steps/s", step)
    add(table, f"paced at {report['paced']['rate_hz']:g} Hz", report["paced"])
    add(table, f"{report['together']['people']} people in one call", report["together"])
    yield table

    table = latency_table("In turns, ms; how many times Recognizer.step", FEW_COLUMNS)
    for name, figures in report["contenders"].items():
        add(table, TITLES[name], figures, FEW_COLUMNS)
    yield table
    for name, why in report["left_out"].items():
        yield f"not measured: {TITLES[name]}: {why}"

    cold = report["cold_start"]
    yield (
        f"cold process to first decision: {cold['median_ms']:.0f} ms, {cold['without_interpreter_ms']:.0f} ms of it "
        "in import, load and step"
    )
    if "floor" in report:
        yield floor_line(report["floor"])
    yield environment_line(report["environment"])


def generate_tables(report: dict[str, Any]) -> Iterator[Table | str]:
    """What `bench generate` measured, top down."""
    count, compared = report["evaluations"], report["contenders"]
    if report["parity_max_m"] is not None:
        yield f"{report['model']}: joints are within {1e3 * report['parity_max_m']:.2g} mm of those made in torch"
    for name, why in report["left_out"].items():
        yield f"not measured: {name}: {why}"
    yield (
        f"{report['seconds']:g} s of motion in {report['clip_ms']:.0f} ms, {report['real_time_factor']:.0f} times real "
        f"time: {count['steps']} autoregressive steps, {count['head_calls']} evaluations of the head, "
        f"{count['head_rows']} rows of tokens"
    )
    table = latency_table("In turns, ms; how many times unguided", MOTION_COLUMNS)
    for name, figures in compared.items():
        add(table, name.replace("_", " "), figures, MOTION_COLUMNS)
    add(table, "first second of a stream", {**report["first_chunk"], "times_unguided": float("nan")}, MOTION_COLUMNS)
    yield table
    yield ", ".join(f"{name} {100 * share:.0f} %" for name, share in report["shares"].items()) + " of the time"
    yield environment_line(report["environment"])


def zero_shot_tables(report: dict[str, Any]) -> Iterator[Table | str]:
    """What `bench zero-shot` measured, top down."""
    yield (
        f"{report['model']}, backend {report['backend']}: logits found beside a stream are within "
        f"{report['parity_max_abs']:.1e} of those that its frames wait for"
    )
    table = latency_table(f"Recognizer.step paced at {report['rate_hz']:g} Hz, ms")
    add(table, "the encoder alone", report["streams"]["encoder"])
    add(table, "matching beside it", report["streams"]["matching"])
    changing = report["streams"]["changing"]
    add(table, "and labels that change every second", changing)
    add(table, "of these, steps during a change", changing["during_changes"])
    yield table
    yield (
        f"frames lost: {changing['frames_lost']}; by {changing['changes']} changes of labels no step was kept waiting "
        f"for more than {changing['waited_for_changes_ms']:.3f} ms"
    )
    table = latency_table("Matching of one person and changes of labels, ms")
    for row in report["match"]:
        add(table, f"{row['labels']} labels matched", row)
    for kind in ("cold", "cached"):
        add(table, f"set_labels, {report['set_labels']['labels']} labels, {kind}", report["set_labels"][kind])
    yield table
    yield environment_line(report["environment"])


def soak_tables(report: dict[str, Any]) -> Iterator[Table | str]:
    """What `bench soak` measured."""
    yield f"{report['model']}, backend {report['backend']}: {report['frames']} frames in {report['seconds']:.1f} s"
    table = latency_table("Recognizer.step, one thread, ms")
    add(table, "first tenth", report["first_tenth"])
    add(table, "last tenth", report["last_tenth"])
    yield table
    yield (
        f"memory: {report['rss_start_mb']:.1f} MB after the warm-up, {report['rss_end_mb']:.1f} MB at the end, "
        f"growth {report['growth_mb']:.2f} MB"
    )
    yield ", ".join(f"{name} {count}" for name, count in {**report["said"], **report["counters"]}.items())
    yield environment_line(report["environment"])


def latency_table(title: str, columns: dict[str, str] = COLUMNS) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for column in columns.values():
        table.add_column(column, justify="right")
    return table


def add(table: Table, what: str, figures: dict[str, Any], columns: dict[str, str] = COLUMNS) -> None:
    table.add_row(what, *(f"{figures[name]:.{3 if name.endswith('_ms') else 1}f}" for name in columns))


def floor_line(floor: dict[str, Any]) -> str:
    return (
        f"floor of the network's step: {floor['floor_ms']:.3f} ms, bound by {floor['bound_by']} "
        f"({floor['flops'] / 1e6:.1f} MFLOP at {floor['peak_gflops']:.0f} GFLOP/s, "
        f"{(floor['weight_bytes'] + floor['state_bytes']) / 1e6:.2f} MB at {floor['read_gb_per_s']:.0f} GB/s); "
        f"measured {floor['network_p50_ms']:.3f} ms, {100 * floor['fraction']:.0f} % of the floor's speed"
    )


def environment_line(environment: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {environment[name]}" for name in ("python", "numpy", "onnxruntime", "torch"))
    return (
        f"{environment['cpu']}, {environment['cores']} cores, {environment['instruction_set']}, "
        f"{environment['kernel']}, {versions}, commit {environment['commit']}"
    )

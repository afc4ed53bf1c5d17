"""Fuzz the graphs of bundles in their meaning: `python -m motionrt.bench.fuzz.graphs [--count 20000] [-o graphs.json]`.

Each case is one of our graphs with a few changes that leave it well-formed: other operators, inputs, outputs,
attributes and constants, nodes that double or expand a tensor. A child of its own opens and runs it. Findings are: a
child that a signal ends, that takes more than 5 s on the core or 1 GB, or an error that is none of ours or of ONNX
Runtime.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, helper, numpy_helper

from ...runtime.backends.onnx_session import example_inputs, open_session
from ...runtime.bundles.bundle import Bundle
from ...runtime.bundles.onnx_shapes import OPERATORS
from ...runtime.bundles.schema import Manifest
from ...runtime.errors import BundleError
from ..report import print_report

MODELS = ("zero-shot", "default")
MAX_NODES = 400  # of a graph
CPU_S = 5  # of a case
HUNG_S = 60.0
MAX_BYTES = 10**9
NUMBERS = (-(2**63), -(2**31), -3, -2, -1, 0, 1, 2, 3, 5, 64, 4096, 2**20, 2**31, 2**40, 2**62, 2**63 - 1)
OUTCOMES = ("ran", "refused", "not loaded", "not run", "another error")  # by exit status of the child
OTHERS = ("Loop", "If", "Scan", "NonZero", "Resize", "OneHot", "TopK", "CumSum", "Trilu", "NonMaxSuppression", "RNN")


def change_operator(graph: GraphProto, random: np.random.Generator) -> None:
    _node(graph, random).op_type = str(random.choice(OPERATORS if random.random() < 0.9 else OTHERS))


def change_input(graph: GraphProto, random: np.random.Generator) -> None:
    at = int(random.integers(len(graph.node)))
    node, value = graph.node[at], _value(graph, random, at if random.random() < 0.9 else len(graph.node))
    if node.input and random.random() < 0.8:
        node.input[random.integers(len(node.input))] = value
    else:
        node.input.append(value)


def drop_input(graph: GraphProto, random: np.random.Generator) -> None:
    node = _node(graph, random)
    if node.input:
        i = random.integers(len(node.input))
        if random.random() < 0.5:
            node.input[i] = ""
        else:
            del node.input[i]


def add_output(graph: GraphProto, random: np.random.Generator) -> None:
    _node(graph, random).output.append(f"more{random.integers(1 << 30)}" if random.random() < 0.9 else "")


def drop_output(graph: GraphProto, random: np.random.Generator) -> None:
    node = _node(graph, random, lambda node: len(node.output) > 1)
    del node.output[random.integers(len(node.output))]


def change_attribute(graph: GraphProto, random: np.random.Generator) -> None:
    node = _node(graph, random, lambda node: len(node.attribute) > 0)
    attribute = node.attribute[random.integers(len(node.attribute))]
    if attribute.type == AttributeProto.INT:
        attribute.i = _number(random)
    elif attribute.type == AttributeProto.INTS and len(attribute.ints):
        attribute.ints[random.integers(len(attribute.ints))] = _number(random)
    elif attribute.type == AttributeProto.INTS or random.random() < 0.5:
        attribute.ints.append(_number(random))
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = random.choice([0.0, -1.0, 1e38, np.nan, np.inf])
    else:
        node.attribute.remove(attribute)


def add_attribute(graph: GraphProto, random: np.random.Generator) -> None:
    names = ("axis", "batch_dims", "keepdims", "group", "num_outputs", "allowzero", "axes", "perm", "pads", "strides")
    value = _number(random) if random.random() < 0.5 else [_number(random) for _ in range(random.integers(1, 4))]
    _node(graph, random).attribute.append(helper.make_attribute(str(random.choice(names)), value))


def change_constant(graph: GraphProto, random: np.random.Generator) -> None:
    small = [tensor for tensor in graph.initializer if not tensor.external_data]
    small += [one.t for node in graph.node if node.op_type == "Constant" for one in node.attribute if one.HasField("t")]
    tensor = small[random.integers(len(small))]
    try:
        array = numpy_helper.to_array(tensor).copy()
    except ValueError:  # an earlier change left shape and values that do not fit
        return
    if array.size and random.random() < 0.8:
        with np.errstate(all="ignore"):
            array.reshape(-1)[random.integers(array.size)] = np.array(_number(random)).astype(array.dtype)
    else:
        array = np.array([_number(random) for _ in range(random.integers(5))], np.int64)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def change_weight(graph: GraphProto, random: np.random.Generator) -> None:
    tensor = graph.initializer[random.integers(len(graph.initializer))]
    if tensor.dims and random.random() < 0.7:
        tensor.dims[random.integers(len(tensor.dims))] = abs(_number(random)) % (1 << 40)
    else:
        tensor.data_type = int(random.integers(0, 20))


def grow(graph: GraphProto, random: np.random.Generator) -> None:
    """Double, expand or multiply a value, many times."""
    at, times = int(random.integers(len(graph.node))), int(random.choice([1, 3, 10, 30]))
    kind, key = (
        str(random.choice(["Concat", "Expand", "Tile", "MatMul", "Add", "Pad", "Range"])),
        random.integers(1 << 30),
    )
    name, size = _value(graph, random, at), max(abs(_number(random)), 1) % (1 << 40)
    if kind in ("Expand", "Tile"):
        shape = np.array([size] * int(random.integers(1, 4)), np.int64)
        graph.initializer.append(numpy_helper.from_array(shape, f"shape{key}"))
    if kind in ("Range", "Pad"):
        values = (0, size, 1) if kind == "Range" else ([0, 0, 0, size],) * 3
        for i, value in enumerate(values):
            graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), f"shape{key}{i}"))
    for i in range(times):
        output = f"grown{key}.{i}"
        inputs = {
            "Expand": [name, f"shape{key}"], "Tile": [name, f"shape{key}"], "Pad": [name, f"shape{key}0"],
            "Range": [f"shape{key}{k}" for k in range(3)],
        }.get(kind, [name, name])  # fmt: skip
        more: dict[str, Any] = {"axis": 0} if kind == "Concat" else {}
        graph.node.insert(at + i, helper.make_node(kind, inputs, [output], name=output, **more))
        name = output
    if at + times < len(graph.node) and graph.node[at + times].input:
        graph.node[at + times].input[0] = name


def move(graph: GraphProto, random: np.random.Generator) -> None:
    node = _node(graph, random)
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    graph.node.remove(node)
    graph.node.insert(int(random.integers(len(graph.node))), copy)


CHANGES: tuple[Callable[[GraphProto, np.random.Generator], None], ...] = (
    change_operator, change_input, drop_input, add_output, drop_output, change_attribute, add_attribute,
    change_constant, change_weight, grow, move,
)  # fmt: skip


def _node(
    graph: GraphProto, random: np.random.Generator, fits: Callable[[onnx.NodeProto], bool] = lambda node: True
) -> onnx.NodeProto:
    nodes = [node for node in graph.node if fits(node)]
    return nodes[random.integers(len(nodes))] if nodes else graph.node[random.integers(len(graph.node))]


def _value(graph: GraphProto, random: np.random.Generator, end: int) -> str:
    """Name of an input, an initializer or a value that the first nodes compute."""
    names = [one.name for field in (graph.input, graph.initializer) for one in field]
    names += [name for node in graph.node[:end] for name in node.output]
    return names[random.integers(len(names))]


def _number(random: np.random.Generator) -> int:
    return NUMBERS[random.integers(len(NUMBERS))]


def damage(data: bytes, random: np.random.Generator) -> bytes:
    """A model with one change, or a few."""
    model = onnx.load_from_string(data)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        CHANGES[random.integers(len(CHANGES))](model.graph, random)
    return bytes(model.SerializeToString())


def run_case(bundle: Bundle[Any], name: str) -> int:
    """Open and run a graph on zeros: number of the outcome."""
    about = bundle.manifest.graphs[name]
    try:
        session = open_session(bundle, name, 1)
    except BundleError as error:
        return 2 if "ONNX Runtime" in str(error) else 1
    inputs = {
        key: np.zeros(tensor.shape, tensor.dtype)
        for key, tensor in example_inputs(bundle.manifest.task, name, about).items()
    }
    try:
        session.run(list(about.outputs), inputs)
    except Exception:  # ONNX Runtime's errors have no common base class
        return 3
    return 0


def in_child(call: Callable[[], int]) -> tuple[str, float]:
    """Outcome of a call in a forked child: one of `OUTCOMES`, or what ended it. And the memory in bytes that it takes
    besides what it has from this process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 4
        try:
            os.write(writer, Path("/proc/self/statm").read_bytes())
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            status = call()
        finally:
            os._exit(status)
    os.close(writer)
    watch = os.pidfd_open(pid)
    try:
        hung = not select.select([watch], [], [], HUNG_S)[0]
        if hung:
            os.kill(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        pages = os.read(reader, 100).split()[1:2] or [b"0"]
    finally:
        os.close(watch)
        os.close(reader)
    used = max(0, usage.ru_maxrss * 1024 - int(pages[0]) * resource.getpagesize())
    if hung:
        return f"hung for {HUNG_S:g} s", used
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}", used
    return OUTCOMES[min(os.WEXITSTATUS(status), len(OUTCOMES) - 1)], used


def fuzz(count: int, seed: int = 0, keep: Path | None = None, seconds: float = float("inf")) -> dict[str, Any]:
    """Cases by outcome, the largest memory and the findings. `keep`: folder for the models of findings."""
    bundles = [Bundle.load(model, Manifest) for model in MODELS]
    graphs = [
        (bundle, name, bundle.files[about.file]) for bundle in bundles for name, about in bundle.manifest.graphs.items()
    ]
    graphs = [(b, name, data) for b, name, data in graphs if len(onnx.load_from_string(data).graph.node) <= MAX_NODES]
    outcomes: Counter[str] = Counter()
    findings, peak, end = [], 0.0, time.monotonic() + seconds
    for case in range(seed, seed + count):
        if time.monotonic() > end:
            break
        random = np.random.default_rng(case)
        bundle, name, data = graphs[random.integers(len(graphs))]
        damaged = damage(data, random)
        file = bundle.manifest.graphs[name].file
        changed = replace(bundle, path=Path("fuzzed"), files={**bundle.files, file: damaged})
        outcome, used = in_child(lambda changed=changed, name=name: run_case(changed, name))  # type: ignore[misc]
        outcomes[outcome] += 1
        peak = max(peak, used)
        problem = outcome if outcome not in OUTCOMES[:4] else f"{used:.0f} bytes" if used > MAX_BYTES else ""
        if problem:
            findings.append({"seed": case, "graph": name, "problem": problem})
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{case}.onnx").write_bytes(damaged)
    return {
        "graphs": sum(outcomes.values()),
        "outcomes": dict(outcomes),
        "peak_mb": round(peak / 1e6),
        "findings": findings,
    }


def merge(first: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """The result of two runs together."""
    return {
        "graphs": first["graphs"] + more["graphs"],
        "outcomes": dict(Counter(first["outcomes"]) + Counter(more["outcomes"])),
        "peak_mb": max(first["peak_mb"], more["peak_mb"]),
        "findings": first["findings"] + more["findings"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the others count on")
    parser.add_argument("--keep", type=Path, help="folder for the models of findings")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--more", action="store_true", help="go on after the cases of the result that is there (-o)")
    options = parser.parse_args()
    if options.more:
        earlier = json.loads(options.out.read_text(encoding="utf-8"))
        first = earlier["graphs"]
        more = fuzz(options.count - first, options.seed + first, options.keep, options.seconds)
        found = merge(earlier, more)
    else:
        found = fuzz(options.count, options.seed, options.keep, options.seconds)
    print_report(found, options.out)
    raise SystemExit(bool(found["findings"]))


if __name__ == "__main__":
    main()

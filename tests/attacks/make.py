"""Makes the bundles in this folder, each an attack on the loader: `python make.py`, in the folder itself.

Each is the tiny bundle of `tests/runtime/tiny.py` with one change and matching hashes and sizes, as an attacker would
write it. `attacks.json` holds the text that the error must contain.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402

from motionrt.runtime.bundles.safetensors import pack  # noqa: E402
from runtime import tiny  # noqa: E402

MESSAGES: dict[str, str] = {}


def attack(name: str, message: str, files: dict[str, bytes] | None = None, text: str = "", **changes: Any) -> None:
    """Write the tiny bundle as `name` with changed files and a changed manifest, or `text` in its place."""
    path = HERE / name
    shutil.rmtree(path, ignore_errors=True)
    tiny.tiny_bundle(path)
    manifest = json.loads((path / "manifest.json").read_text())
    for file, data in (files or {}).items():
        (path / file).write_bytes(data)
        manifest["files"][file] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (path / "manifest.json").write_text(text or json.dumps(manifest | changes, indent=1))
    MESSAGES[name] = message


def header(entries: Any, data: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def edited(change: Callable[[Any], None]) -> bytes:
    """The step graph, changed."""
    model = tiny.onnx.load_from_string(tiny.step_graph())
    change(model)
    return bytes(model.SerializeToString())


def add(model: Any, *nodes: Any, **constants: Any) -> None:
    model.graph.node.extend(nodes)
    arrays = {name: np.array(value) for name, value in constants.items()}
    model.graph.initializer.extend(tiny.onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())


def loop(model: Any) -> None:
    body = tiny.helper.make_graph([], "body", [], [])
    add(model, tiny.helper.make_node("Loop", ["turns", ""], [], "loop", body=body), turns=1 << 62)


def functions(model: Any) -> None:
    twice = tiny.helper.make_node("Add", ["x", "x"], ["y"])
    model.functions.append(tiny.helper.make_function("d", "f", ["x"], ["y"], [twice], list(model.opset_import)))


def domain(model: Any) -> None:
    model.graph.node[0].domain = "com.microsoft"


def operator(model: Any) -> None:
    model.graph.node[0].op_type = "TensorRTPlugin"


def doubles(model: Any) -> None:
    names = ["w1", *(f"double{i}" for i in range(30))]
    pairs = zip(names, names[1:], strict=False)
    add(model, *(tiny.helper.make_node("Concat", [a, a], [b], b, axis=0) for a, b in pairs))


def expands(model: Any) -> None:
    add(model, tiny.helper.make_node("ConstantOfShape", ["huge"], ["zeros"], "zeros"), huge=[1 << 20, 1 << 20])


def splits(model: Any) -> None:
    add(model, tiny.helper.make_node("Split", ["w1"], ["s1", "s2", "s3"], "split", axis=1, num_outputs=2))


def depends(model: Any) -> None:
    sizes = tiny.helper.make_node("Cast", ["frame"], ["sizes"], "sizes", to=7)
    add(model, sizes, tiny.helper.make_node("Expand", ["one", "sizes"], ["grown"], "grown"))


def main() -> None:
    weights, good = "weights.safetensors", pack(tiny.weights())
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    attack("external-file", "external file", {"step.onnx": tiny.step_graph("/etc/passwd")})
    attack("external-file-above", "external file", {"step.onnx": tiny.step_graph("../../weights.safetensors")})
    attack("header-longer-than-file", weights, {weights: struct.pack("<Q", 1 << 40) + b"{}"})
    attack("header-of-2-to-the-63", weights, {weights: struct.pack("<Q", 1 << 63) + b"{}"})
    attack("header-no-json", weights, {weights: header(b"\x80\x04cos\nsystem\n(S'true'\ntR.")})
    attack("header-nested", weights, {weights: header(b'{"a":' * 5000 + b"1" + b"}" * 5000)})
    attack("tensors-overlap", weights, {weights: header({"a": entry, "b": entry}, bytes(8))})
    attack("offsets-negative", weights, {weights: header({"a": entry | {"data_offsets": [-8, 0]}}, bytes(8))})
    attack("offsets-beyond", weights, {weights: header({"a": entry | {"data_offsets": [0, 1 << 50]}}, bytes(8))})
    attack("shape-overflows", weights, {weights: header({"a": entry | {"shape": [1 << 62, 4]}}, bytes(8))})
    twice = b'{"a": %b, "a": %b}' % ((json.dumps(entry).encode(),) * 2)
    attack("tensor-twice", weights, {weights: header(twice, bytes(8))})
    attack("weights-cut", weights, {weights: good[:-1]})
    attack("weights-and-more", weights, {weights: good + bytes(64)})
    nan = {**tiny.weights(), "b": np.full(3, np.nan, np.float32)}
    attack("weights-not-finite", "not finite", {weights: pack(nan)})
    attack("pickle", weights, {weights: b"\x80\x04cos\nsystem\n(S'true'\ntR."})
    attack("graph-no-graph", "step.onnx", {"step.onnx": bytes(range(256)) * 4})
    attack("graph-of-a-loop", "has subgraphs", {"step.onnx": edited(loop)})
    attack("graph-with-functions", "has local functions", {"step.onnx": edited(functions)})
    attack("graph-of-another-domain", "expected those of ONNX", {"step.onnx": edited(domain)})
    attack("graph-that-reads-files", "operator 'TensorRTPlugin' is not one", {"step.onnx": edited(operator)})
    attack("graph-that-doubles", "the limits are", {"step.onnx": edited(doubles)})
    attack("graph-that-expands", "the limits are", {"step.onnx": edited(expands)})
    attack("graph-with-an-output-too-many", "3 outputs", {"step.onnx": edited(splits)})
    attack("graph-that-depends-on-values", "depends on values", {"step.onnx": edited(depends)})
    attack("label-with-an-escape", "control character", labels=["none", "\x1b]0;owned\x07", "raise right hand"])
    attack("label-of-two-lines", "control character", labels=["none", "wave\nmotionrt: ok", "raise right hand"])
    attack("manifest-nested", "manifest.json", text="[" * 20000)
    attack("manifest-of-another-schema", "schema", schema=10**30)
    above = {"step": {"file": "../../../etc/passwd", "inputs": {}, "outputs": {}}}
    attack("manifest-file-above", "manifest.json", graphs=above)
    (HERE / "attacks.json").write_text(json.dumps(MESSAGES, indent=1) + "\n")


if __name__ == "__main__":
    main()

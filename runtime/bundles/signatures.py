"""Inputs and outputs of every graph that a bundle can hold, in one table.

Manifests are checked against it; sessions, TensorRT engines and the ONNX export derive from it. A new graph is an
entry here and a method of the module that is exported (`training.coamd.exported`, `export.zero_shot`, ...).

Sizes in lower case are those of the model, known from its manifest. Sizes in upper case are open, chosen at run time:

    recognition   M people, T frames
    clip          none
    zero-shot     also K texts, B features
    compiled      none
    matcher       B features
    text          N texts, L tokens
    generation    B motions, L tokens or words, Q positions, G conditions (with and without a text), S solver times,
                  N noisy tokens, T frames
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..generation.schedule import MAX_TOKENS, STRIDE

Shape = tuple[int | str, ...]
Tensors = tuple[dict[str, Shape], dict[str, Shape]]  # inputs and outputs of a graph

INT8_SUFFIX = ".int8"
MATCHER_GRAPHS = ("condition", "match")
INT8_GRAPHS = ("trunk", "times", "velocity")  # those that bundles also hold in 8 bits, named with INT8_SUFFIX
VARIANTS = {  # graphs that a bundle holds, by the words that the recognizer's text tower takes
    "features": ("describe", "guide"),
    "clip": ("describe_ids", "guide_lengths"),
}
CLIP_CONTEXT = 77  # token ids of a text


class TensorSpec(NamedTuple):
    """Shape and dtype of an input or output."""

    shape: Shape
    dtype: str


def float32(*shape: int | str) -> TensorSpec:
    return TensorSpec(shape, "float32")


def int64(*shape: int | str) -> TensorSpec:
    return TensorSpec(shape, "int64")


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenSize:
    """A size that is chosen at run time.

    Attributes:
        example: size while a graph is traced. It differs from 1 and from the graph's other sizes: the exporter takes
            equal sizes to be the same.
        engine: smallest, usual and largest size in a TensorRT engine; None: the graph runs in ONNX Runtime only.
        multiple: the size is always this multiple of another open size.
    """

    example: int
    engine: tuple[int, int, int] | None = None
    multiple: tuple[int, str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """Inputs and outputs of a graph. `open`: open sizes that differ from those of the task's other graphs."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    open: Mapping[str, OpenSize] = field(default_factory=dict)

    @property
    def tensors(self) -> dict[str, TensorSpec]:
        """Inputs and outputs by name."""
        return {**self.inputs, **self.outputs}


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSignatures:
    """Graphs of a task and their open sizes."""

    open: Mapping[str, OpenSize]
    graphs: Mapping[str, Signature]

    def open_sizes(self, graph: str) -> dict[str, OpenSize]:
        """Open sizes of a graph by name."""
        return {**self.open, **self.graphs[graph].open}

    def resolve(self, sizes: Mapping[str, int], names: Collection[str] | None = None) -> dict[str, Tensors]:
        """Shapes of the inputs and outputs of graphs, all or those of `names`, for the sizes of a model."""
        return {
            name: (_shapes(graph.inputs, sizes), _shapes(graph.outputs, sizes))
            for name, graph in self.graphs.items()
            if names is None or name in names
        }


def manifest_graphs(task: str, sizes: Mapping[str, int], names: Collection[str] | None = None) -> dict[str, Any]:
    """The manifest's entries for graphs, all or those of `names`, for the sizes of a model."""
    return {
        name: {"file": f"{name}.onnx", "inputs": inputs, "outputs": outputs}
        for name, (inputs, outputs) in SIGNATURES[task].resolve(sizes, names).items()
    }


def _shapes(specs: Mapping[str, TensorSpec], sizes: Mapping[str, int]) -> dict[str, Shape]:
    return {
        name: tuple(sizes[size] if isinstance(size, str) and size.islower() else size for size in spec.shape)
        for name, spec in specs.items()
    }


_RECOGNITION = TaskSignatures(
    open={"M": OpenSize(example=2, engine=(1, 4, 16)), "T": OpenSize(example=7, engine=(2, 128, 1024))},
    graphs={
        "step": Signature(
            inputs={"frame": float32("M", "joints", 3), "state": float32("M", "state")},
            outputs={
                "logits": float32("M", "labels"),
                "features": float32("M", "features"),
                "state_out": float32("M", "state"),
            },
        ),
        "clip": Signature(
            inputs={"frames": float32("M", "T", "joints", 3)},
            outputs={"logits": float32("M", "T", "labels"), "features": float32("M", "T", "features")},
        ),
    },
)

STREAMS = ("joint", "bone", "joint_motion", "bone_motion")  # of whole clips
_CLIP = TaskSignatures(
    open={},
    graphs={
        stream: Signature(
            inputs={"clip": float32("people", "channels", "frames", "joints")}, outputs={"logits": float32("labels")}
        )
        for stream in STREAMS
    },
)

_CONDITIONING = {
    "token_modulation": float32("K", "slots", "token_modulation"),
    "modulation": float32("K", "modulation"),
}
_ZERO_SHOT = TaskSignatures(
    open={**_RECOGNITION.open, "K": OpenSize(example=5), "B": OpenSize(example=2)},
    graphs={
        **_RECOGNITION.graphs,
        "condition": Signature(
            inputs={"sentences": float32("K", "slots", "text"), "mask": float32("K", "slots")},
            outputs=_CONDITIONING,
        ),
        "match": Signature(
            inputs={"z": float32("B", "matched"), **_CONDITIONING}, outputs={"errors": float32("B", "K")}
        ),
    },
)

_MATCHER = TaskSignatures(
    open={"B": OpenSize(example=2)},
    graphs={
        "match": Signature(  # features with one text
            inputs={"z": float32("B", "feature"), "words": float32("tokens", "text"), "pooled": float32("pooled")},
            outputs={"errors": float32("B")},
        )
    },
)

_TEXT = TaskSignatures(
    open={"N": OpenSize(example=2), "L": OpenSize(example=7)},
    graphs={
        "text": Signature(
            inputs={"ids": int64("N", "L"), "mask": int64("N", "L")},
            outputs={"tokens": float32("N", "L", "width"), "pooled": float32("N", "width")},
        )
    },
)

_MODULATION = "told"  # name in the files of existing bundles
_TOKENS = {"tokens": float32("B", "L", "latent"), "counts": int64("B")}
_JOINTS = {"joints": float32("B", "T", "joints", 3), "frames": int64("B")}
_GRADIENT = {"gradient": float32("B", "L", "latent"), "reward": float32("B")}
_GENERATION = TaskSignatures(
    open={
        "B": OpenSize(example=3, engine=(1, 1, 4)),
        "G": OpenSize(example=2, engine=(1, 2, 2)),
        "L": OpenSize(example=7, engine=(1, 25, MAX_TOKENS)),
        "Q": OpenSize(example=5, engine=(1, 8, MAX_TOKENS)),
        "N": OpenSize(example=5, engine=(1, 16, 2 * MAX_TOKENS)),
        "S": OpenSize(example=4, engine=(1, 8, 64)),
        "T": OpenSize(example=7 * STRIDE, engine=(STRIDE, 100, MAX_TOKENS * STRIDE), multiple=(STRIDE, "L")),
    },
    graphs={
        "condition": Signature(
            inputs={"text": float32("B", "text"), "quality": int64("B")},
            outputs={_MODULATION: float32("B", "trunk_modulation"), "lengths": float32("B", MAX_TOKENS + 1)},
        ),
        "trunk": Signature(
            inputs={**_TOKENS, _MODULATION: float32("G", "B", "trunk_modulation"), "places": int64("B", "Q")},
            outputs={"z": float32("G", "B", "Q", "width")},
        ),
        "times": Signature(
            inputs={"times": float32("S"), "z": float32("N", "width")},
            outputs={_MODULATION: float32("S", "N", "head_modulation")},
        ),
        "velocity": Signature(
            inputs={"x": float32("N", "latent"), _MODULATION: float32("G", "N", "head_modulation")},
            outputs={"v": float32("G", "N", "latent")},
        ),
        "decode": Signature(inputs=_TOKENS, outputs={"joints": float32("B", "T", "joints", 3)}),
        "encode": Signature(inputs=_JOINTS, outputs={"tokens": float32("B", "L", "latent")}),
        "motion": Signature(
            inputs=_JOINTS,
            outputs={"features": float32("B", "features")},
            open={"B": OpenSize(example=3, engine=(1, 8, 32))},
        ),
        "describe": Signature(
            inputs={"words": float32("B", "L", "word"), "counts": int64("B")},
            outputs={"features": float32("B", "features")},
            open={"L": OpenSize(example=9, engine=(1, 24, 256))},
        ),
        "describe_ids": Signature(
            inputs={"ids": int64("B", CLIP_CONTEXT)}, outputs={"features": float32("B", "features")}
        ),
        "guide": Signature(inputs={**_TOKENS, "target": float32("B", "features")}, outputs=_GRADIENT),
        "guide_lengths": Signature(  # lengths: those that the recognizer gets
            inputs={**_TOKENS, "lengths": int64("B"), "target": float32("B", "features")}, outputs=_GRADIENT
        ),
    },
)
_IN_8_BITS = {name + INT8_SUFFIX: _GENERATION.graphs[name] for name in INT8_GRAPHS}

SIGNATURES: Mapping[str, TaskSignatures] = {
    "recognition": _RECOGNITION,
    "clip": _CLIP,
    "zero-shot": _ZERO_SHOT,
    "compiled": TaskSignatures(open={}, graphs={}),
    "matcher": _MATCHER,
    "text": _TEXT,
    "generation": TaskSignatures(open=_GENERATION.open, graphs={**_GENERATION.graphs, **_IN_8_BITS}),
}

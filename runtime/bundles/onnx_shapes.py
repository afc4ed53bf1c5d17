"""Shapes of all that a graph computes, from the shapes of its inputs: what a run takes is known before it starts.

The operators below are those that a bundle's graphs may use. Small tensors from which shapes are computed are computed
here, too; a shape that depends on the values of an input is refused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from ..errors import BundleError
from .onnx_graph import DTYPES, Node, OnnxGraph

MAX_BYTES = 1 << 29  # of all values that exist at a time
MAX_WORK = 2 * 10**11  # multiplications, and bytes written
MAX_VALUES = 4096  # elements of a tensor that is computed here, and parts of a sequence
Shape = tuple[int, ...]


class Tensor(NamedTuple):
    """Shape, dtype and, if they are known, values."""

    shape: Shape
    dtype: np.dtype[Any]
    values: np.ndarray | None = None

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def known(self) -> np.ndarray:
        if self.values is None:
            raise _Misfit("a shape depends on values that are computed from inputs")
        return self.values

    def integers(self) -> list[int]:
        values = self.known()
        _require(values.dtype.kind == "i" and values.ndim <= 1, "expected a list of whole numbers")
        return [int(value) for value in values.reshape(-1)]

    def integer(self) -> int:
        (value,) = self.integers()
        return value

    def view(self, function: Callable[[np.ndarray], np.ndarray]) -> Tensor:
        """Result of a function of NumPy that returns a view."""
        array = np.broadcast_to(np.zeros((), self.dtype), self.shape) if self.values is None else self.values
        array = function(array)
        return Tensor(array.shape, self.dtype, None if self.values is None else array)


class Parts(NamedTuple):
    """A sequence of tensors."""

    tensors: list[Tensor]

    @property
    def bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)


class Cost(NamedTuple):
    """Bytes of all values that exist at a time, at most, and multiplications and bytes written."""

    bytes: int
    work: int


class _Misfit(Exception):
    """A node that does not fit its inputs; the message says why."""


class _Rule(NamedTuple):
    """An operator. `apply`: a node and its inputs -> its output, or a list of outputs."""

    inputs: range
    outputs: range
    apply: Callable[..., Any]


def check_operators(graph: OnnxGraph, where: str) -> None:
    """Check that each node is a call of an operator above, with inputs that were computed before it.

    Raises:
        BundleError: names the node and what is wrong.
    """
    known = {*graph.inputs, *graph.external, *graph.constants}
    if len(known) < len(graph.inputs) + len(graph.external) + len(graph.constants):
        raise BundleError(f"{where}: two inputs or initializers have the same name")
    for node in graph.nodes:
        about = _about(node, where)
        if node.operator not in _RULES:
            raise BundleError(f"{where}: operator {node.operator!r} is not one that the graphs of bundles use")
        rule = _RULES[node.operator]
        for kind, names, counts in (("inputs", node.inputs, rule.inputs), ("outputs", node.outputs, rule.outputs)):
            if len(names) not in counts or "" in names[: counts.start]:
                raise BundleError(f"{about}: {len(names)} {kind}, expected {counts.start} to {counts.stop - 1}")
        if missing := {*node.inputs} - known - {""}:
            raise BundleError(f"{about}: input {min(missing)!r} is not computed before it")
        outputs = [name for name in node.outputs if name]
        if not known.isdisjoint(outputs) or len({*outputs}) < len(outputs):
            raise BundleError(f"{about}: the name of an output is taken")
        known.update(outputs)
    if missing := {*graph.outputs} - known:
        raise BundleError(f"{where}: output {min(missing)!r} is not computed")


def check_cost(graph: OnnxGraph, inputs: Mapping[str, Tensor], where: str) -> Cost:
    """Compute what a run takes.

    Args:
        graph: one that `check_operators` accepts.
        inputs: by name.
    Raises:
        BundleError: shapes do not fit or depend on values of an input, or the run takes too much memory or time.
    """
    if {*inputs} != {*graph.inputs}:
        raise BundleError(f"{where}: inputs {sorted(graph.inputs)}, the manifest says {sorted(inputs)}")
    left = Counter(name for node in graph.nodes for name in node.inputs) + Counter(graph.outputs)
    values: dict[str, Any] = {name: Tensor(t.shape, DTYPES[t.onnx_type]) for name, t in graph.external.items()}
    values |= {name: _small(array) for name, array in graph.constants.items()} | dict(inputs)
    kept = {*values}
    live = peak = work = 0
    for node in graph.nodes:
        arguments = [values[name] if name else None for name in node.inputs]
        outputs, products = _run(node, arguments, where)
        sizes = [output.bytes for output in outputs]
        live += sum(sizes)
        peak, work = max(peak, live), work + products + sum(sizes)
        if peak > MAX_BYTES or work > MAX_WORK:
            limits = f"the limits are {MAX_BYTES} bytes and {MAX_WORK:.0e} operations"
            raise BundleError(
                f"{_about(node, where)}: the graph takes {peak} bytes and {work:.0e} operations, {limits}"
            )
        for name, output, size in zip(node.outputs, outputs, sizes, strict=True):
            values[name] = output
            live -= 0 if left[name] else size
        for name in node.inputs:
            left[name] -= 1
            if not left[name] and name and name not in kept:
                live -= values[name].bytes
    return Cost(peak, work)


def _run(node: Node, inputs: list[Any], where: str) -> tuple[list[Any], int]:
    """Outputs of a node, and the multiplications that they take."""
    try:
        found = _RULES[node.operator].apply(node, *inputs)
        outputs = found if isinstance(found, list) else [found]
        _require(len(outputs) >= len(node.outputs), f"{len(node.outputs)} outputs, expected {len(outputs)}")
        for output in outputs:
            parts = output.tensors if isinstance(output, Parts) else [output]
            _require(all(size >= 0 for part in parts for size in part.shape), "a size below 0")
        return outputs[: len(node.outputs)], _products(node, outputs[0], inputs)
    except _Misfit as error:
        raise BundleError(f"{_about(node, where)}: {error}") from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise BundleError(f"{_about(node, where)}: its inputs and attributes do not fit") from error


def _products(node: Node, output: Any, inputs: list[Any]) -> int:
    """Multiplications of a node, at least."""
    if node.operator in ("MatMul", "MatMulInteger", "Gemm"):
        return math.prod(output.shape) * inputs[0].shape[0 if node.attributes.get("transA") else -1]
    if node.operator == "Conv":
        return math.prod(output.shape) * math.prod(inputs[1].shape[1:])
    if node.operator == "Einsum":
        return math.prod(_labels(node.attributes["equation"].split("->")[0], inputs).values())
    return 0


def _about(node: Node, where: str) -> str:
    return f"{where}: node {node.name!r} ({node.operator})"


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise _Misfit(problem)


def _small(array: np.ndarray) -> Tensor:
    return Tensor(array.shape, array.dtype, array if array.size <= MAX_VALUES else None)


def _blank(like: Tensor, shape: Shape) -> Tensor:
    return Tensor(shape, like.dtype)


def _axis(axis: int, rank: int) -> int:
    _require(-rank <= axis < rank, f"axis {axis} of {rank}")
    return axis % rank


# Operators with one output of the shapes of their inputs, broadcast.


def _elementwise(function: Callable[..., Any] | None = None, dtype: str | None = None) -> Callable[..., Tensor]:
    """`function` computes known values; None: they are not followed. `dtype`: of the output, if not of the input."""

    def apply(node: Node, *inputs: Tensor) -> Tensor:
        shape = np.broadcast_shapes(*(x.shape for x in inputs))
        kind = inputs[-1].dtype if dtype is None else np.dtype(dtype)
        if function is None or any(x.values is None for x in inputs) or math.prod(shape) > MAX_VALUES:
            return Tensor(shape, kind)
        with np.errstate(all="ignore"):
            return Tensor(shape, kind, np.asarray(function(*(x.values for x in inputs)), kind))

    return apply


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind != "i":
        return a / b
    _require(bool((b != 0).all()), "division by 0")
    quotients: np.ndarray = np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))  # rounded to 0
    return quotients


def _cast(node: Node, x: Tensor, like: Tensor | None = None) -> Tensor:
    dtype = DTYPES[node.attributes["to"]] if like is None else like.dtype
    with np.errstate(all="ignore"):
        return Tensor(x.shape, dtype, None if x.values is None else x.values.astype(dtype))


def _clip(node: Node, x: Tensor, *limits: Tensor | None) -> Tensor:
    _require(all(limit is None or limit.shape == () for limit in limits), "limits are not numbers")
    return _blank(x, x.shape)


def _same(node: Node, x: Tensor) -> Tensor:
    _axis(node.attributes.get("axis", -1), max(len(x.shape), 1))
    return _blank(x, x.shape)


def _layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> list[Tensor]:
    axis = _axis(node.attributes.get("axis", -1), len(x.shape))
    for part in (scale, bias):
        _require(part is None or part.shape == x.shape[axis:], "scale and bias do not fit")
    mean = _blank(x, x.shape[:axis] + (1,) * (len(x.shape) - axis))
    return [_blank(x, x.shape), mean, mean]


def _quantize(node: Node, x: Tensor) -> list[Tensor]:
    return [Tensor(x.shape, DTYPES[2]), Tensor((), DTYPES[1]), Tensor((), DTYPES[2])]


# Products.


def _matmul(a: Tensor, b: Tensor, dtype: np.dtype[Any]) -> Tensor:
    _require(len(a.shape) > 0 and len(b.shape) > 0, "a number is not a matrix")
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    _require(left[-1] == right[-2], f"{list(a.shape)} times {list(b.shape)}")
    rows, columns = left[-2:-1] if len(a.shape) > 1 else (), right[-1:] if len(b.shape) > 1 else ()
    return Tensor((*np.broadcast_shapes(left[:-2], right[:-2]), *rows, *columns), dtype)


def _matmul_integer(node: Node, a: Tensor, b: Tensor, *zeros: Tensor | None) -> Tensor:
    _require(all(zero is None or zero.shape in ((), (1,)) for zero in zeros), "zero points are not numbers")
    return _matmul(a, b, DTYPES[6])


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    _require(len(a.shape) == len(b.shape) == 2, "expected matrices")
    (m, k), (n, k2) = (
        a.shape[:: -1 if node.attributes.get("transA") else 1],
        b.shape[:: 1 if node.attributes.get("transB") else -1],
    )
    _require(k == k2 and (c is None or np.broadcast_shapes(c.shape, (m, n)) == (m, n)), "sizes do not fit")
    return _blank(a, (m, n))


def _einsum(node: Node, *inputs: Tensor) -> Tensor:
    before, after = node.attributes["equation"].replace(" ", "").split("->")
    sizes = _labels(before, inputs)
    _require(len({*after}) == len(after), "a label occurs twice")
    return _blank(inputs[0], tuple(sizes[label] for label in after))


def _labels(terms: str, inputs: Any) -> dict[str, int]:
    """Size of each label of an equation."""
    sizes: dict[str, int] = {}
    for term, x in zip(terms.replace(" ", "").split(","), inputs, strict=True):
        _require(term.isalpha() and len({*term}) == len(term), "expected different letters")
        for label, size in zip(term, x.shape, strict=True):
            _require(sizes.setdefault(label, size) == size, f"sizes of {label} differ")
    return sizes


def _conv(node: Node, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    rank, get = len(x.shape) - 2, node.attributes.get
    ones = [1] * rank
    kernel, group, pads = list(w.shape[2:]), get("group", 1), get("pads", [0] * 2 * rank)
    strides, dilations = get("strides", ones), get("dilations", ones)
    _require(rank in (1, 2) and get("auto_pad", "NOTSET") == "NOTSET", "expected 1 or 2 dimensions and pads")
    _require(len(w.shape) == rank + 2 and get("kernel_shape", kernel) == kernel, "a kernel of other sizes")
    _require(group > 0 and w.shape[0] % group == 0 and x.shape[1] == w.shape[1] * group, "channels do not fit")
    _require(b is None or b.shape == w.shape[:1], "a bias of another size")
    _require(len(pads) == 2 * rank and len(strides) == len(dilations) == rank, "attributes of other lengths")
    _require(min(pads) >= 0 and min(strides) > 0 and min(dilations) > 0, "attributes below their range")
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    padded = [n + pads[i] + pads[i + rank] for i, n in enumerate(x.shape[2:])]
    _require(min(kernel) > 0 and all(map(int.__ge__, padded, reach)), "the kernel is larger than its input")
    sizes = [(n - r) // s + 1 for n, r, s in zip(padded, reach, strides, strict=True)]
    columns = math.prod(w.shape[1:]) * math.prod(sizes) * group * x.dtype.itemsize
    _require(columns <= MAX_BYTES, f"takes {columns} bytes, the limit is {MAX_BYTES}")
    return _blank(x, (x.shape[0], w.shape[0], *sizes))


# Operators that move values.


def _concat(node: Node, *inputs: Tensor) -> Tensor:
    axis = _axis(node.attributes["axis"], len(inputs[0].shape))
    _require(len({x.shape[:axis] + x.shape[axis + 1 :] for x in inputs}) == 1, "sizes do not fit")
    size = sum(x.shape[axis] for x in inputs)
    shape = (*inputs[0].shape[:axis], size, *inputs[0].shape[axis + 1 :])
    _require(all(len(x.shape) == len(shape) for x in inputs), "ranks differ")
    if any(x.values is None for x in inputs) or math.prod(shape) > MAX_VALUES:
        return _blank(inputs[0], shape)
    return _small(np.concatenate([x.known() for x in inputs], axis))


def _reshape(node: Node, x: Tensor, to: Tensor) -> Tensor:
    sizes = to.integers()
    if not node.attributes.get("allowzero"):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    total = math.prod(x.shape)
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = total // -math.prod(sizes)
    shape = tuple(sizes)
    _require(min(shape, default=0) >= 0 and math.prod(shape) == total, f"{list(x.shape)} to {to.integers()}")
    return Tensor(shape, x.dtype, None if x.values is None else x.values.reshape(shape))


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.view(lambda array: array.transpose(node.attributes.get("perm")))


def _unsqueeze(node: Node, x: Tensor, axes: Tensor) -> Tensor:
    return x.view(lambda array: np.expand_dims(array, tuple(axes.integers())))


def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.view(lambda array: array.squeeze(None if axes is None else tuple(axes.integers())))


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.attributes.get("axis", 1)
    _require(0 <= axis <= len(x.shape), f"axis {axis} of {len(x.shape)}")
    return _blank(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _slice(
    node: Node, x: Tensor, start: Tensor, end: Tensor, axes: Tensor | None = None, step: Tensor | None = None
) -> Tensor:
    starts, ends = start.integers(), end.integers()
    steps = [1] * len(starts) if step is None else step.integers()
    parts = [slice(None)] * len(x.shape)
    for axis, *part in zip(range(len(starts)) if axes is None else axes.integers(), starts, ends, steps, strict=True):
        i = _axis(axis, len(parts))
        _require(parts[i] == slice(None), "an axis occurs twice")
        parts[i] = slice(*part)
    if min(steps, default=1) < 0:  # an end before the first element is not one from the end
        parts = [
            slice(p.start, None, p.step) if p.step and p.step < 0 and p.stop < -n else p
            for p, n in zip(parts, x.shape, strict=True)
        ]
    return x.view(lambda array: array[tuple(parts)])


def _gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = _axis(node.attributes.get("axis", 0), len(x.shape))
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    if x.values is None or indices.values is None or math.prod(shape) > MAX_VALUES:
        return _blank(x, shape)
    return _small(np.take(x.values, indices.values, axis))


def _gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = _axis(node.attributes.get("axis", 0), len(x.shape))
    pairs = zip(indices.shape, x.shape, strict=True)
    _require(all(i == axis or m <= n for i, (m, n) in enumerate(pairs)), "indices do not fit")
    return _blank(x, indices.shape)


def _gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    batch, depth = node.attributes.get("batch_dims", 0), indices.shape[-1]
    _require(0 <= batch < len(indices.shape) and 1 <= depth <= len(x.shape) - batch, "indices do not fit")
    _require(x.shape[:batch] == indices.shape[:batch], "batches do not fit")
    return _blank(x, indices.shape[:-1] + x.shape[batch + depth :])


def _scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    depth = indices.shape[-1]
    _require(1 <= depth <= len(x.shape), "indices do not fit")
    _require(updates.shape == indices.shape[:-1] + x.shape[depth:], "updates do not fit")
    return _blank(x, x.shape)


def _expand(node: Node, x: Tensor, to: Tensor) -> Tensor:
    return _blank(x, np.broadcast_shapes(x.shape, tuple(to.integers())))


def _tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    return _blank(x, tuple(n * times for n, times in zip(x.shape, repeats.integers(), strict=True)))


def _pad(node: Node, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
    _require(node.attributes.get("mode", "constant") == "constant", "expected the mode constant")
    _require(value is None or math.prod(value.shape) == 1, "expected one value")
    sizes, shape = pads.integers(), list(x.shape)
    chosen = list(range(len(shape))) if axes is None else [_axis(axis, len(shape)) for axis in axes.integers()]
    _require(len(sizes) == 2 * len(chosen) and len({*chosen}) == len(chosen), "pads and axes do not fit")
    for i, axis in enumerate(chosen):
        shape[axis] += sizes[i] + sizes[i + len(chosen)]
    return _blank(x, tuple(shape))


def _pieces(x: Tensor, axis: int, sizes: list[int]) -> list[Tensor]:
    _require(min(sizes, default=0) >= 0 and sum(sizes) == x.shape[axis], f"{sizes} of {x.shape[axis]}")
    cuts, before = [0, *accumulate(sizes)], (slice(None),) * axis
    parts = [(*before, slice(start, end)) for start, end in pairwise(cuts)]
    return [x.view(itemgetter(part)) for part in parts]


def _split(node: Node, x: Tensor, split: Tensor | None = None) -> list[Tensor]:
    axis, count = _axis(node.attributes.get("axis", 0), len(x.shape)), len(node.outputs)
    if split is None:
        _require(node.attributes.get("num_outputs") == count, f"{count} outputs, expected num_outputs")
        size = -(-x.shape[axis] // count)
        sizes = [size] * (count - 1)
        sizes.append(x.shape[axis] - sum(sizes))
    else:
        sizes = split.integers()
        _require("num_outputs" not in node.attributes and len(sizes) == count, f"{count} outputs, {len(sizes)} sizes")
    return _pieces(x, axis, sizes)


def _split_to_sequence(node: Node, x: Tensor, split: Tensor) -> Parts:
    axis, n = _axis(node.attributes.get("axis", 0), len(x.shape)), split.integers()
    size = x.shape[axis]
    if split.shape == ():
        _require(n[0] > 0 and size <= n[0] * MAX_VALUES, f"parts of {n[0]}")
        n = [min(n[0], size - start) for start in range(0, size, n[0])]
    return Parts(_pieces(x, axis, n))


def _sequence_at(node: Node, parts: Parts, index: Tensor) -> Tensor:
    return parts.tensors[index.integer()]


# Operators that make and reduce values.


def _shape(node: Node, x: Tensor) -> Tensor:
    return _small(np.array(x.shape[node.attributes.get("start", 0) : node.attributes.get("end")], np.int64))


def _constant(node: Node) -> Tensor:
    ((name, value),) = node.attributes.items()
    kinds = {
        "value": None,
        "value_int": DTYPES[7],
        "value_ints": DTYPES[7],
        "value_float": DTYPES[1],
        "value_floats": DTYPES[1],
    }
    return _small(np.asarray(value, kinds[name]))


def _constant_of_shape(node: Node, to: Tensor) -> Tensor:
    value = node.attributes.get("value", np.zeros(1, np.float32))
    _require(value.size == 1, "expected one value")
    return Tensor(tuple(to.integers()), value.dtype)


def _range(node: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    a, b, step = (x.known().item() for x in (start, limit, delta))
    size = max(math.ceil((b - a) / step), 0)
    return Tensor(
        (size,), start.dtype, (a + step * np.arange(size)).astype(start.dtype) if size <= MAX_VALUES else None
    )


def _reduce(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = [] if axes is None else [_axis(axis, len(x.shape)) for axis in axes.integers()]
    if not chosen and not node.attributes.get("noop_with_empty_axes"):
        chosen = list(range(len(x.shape)))
    _require(len({*chosen}) == len(chosen), "an axis occurs twice")
    if node.attributes.get("keepdims", 1):
        return _blank(x, tuple(1 if i in chosen else n for i, n in enumerate(x.shape)))
    return _blank(x, tuple(n for i, n in enumerate(x.shape) if i not in chosen))


def _rules() -> dict[str, _Rule]:
    one, many = range(1, 2), range(1, 257)
    logic: dict[str, Callable[..., Any]] = {
        "And": np.logical_and, "Equal": np.equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal,
        "Less": np.less, "LessOrEqual": np.less_equal, "Or": np.logical_or,
    }  # fmt: skip
    arithmetic: dict[str, Callable[..., Any]] = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _divide}
    unary = (
        "Abs Ceil Cos Elu Erf Exp Floor Gelu HardSigmoid LeakyRelu Log LogSoftmax Reciprocal Relu Sigmoid Sin Softmax "
        "Softplus Sqrt Tanh"
    )
    reductions = "ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
    return {
        **{name: _Rule(range(2, 3), one, _elementwise(f, "?")) for name, f in logic.items()},
        **{name: _Rule(range(2, 3), one, _elementwise(f)) for name, f in arithmetic.items()},
        **{name: _Rule(one, one, _same) for name in unary.split()},
        **{name: _Rule(range(1, 3), one, _reduce) for name in reductions.split()},
        **{name: _Rule(many, one, _elementwise()) for name in ("Max", "Mean", "Min", "Sum")},
        "Cast": _Rule(one, one, _cast),
        "CastLike": _Rule(range(2, 3), one, _cast),
        "Clip": _Rule(range(1, 4), one, _clip),
        "Concat": _Rule(many, one, _concat),
        "Constant": _Rule(range(1), one, _constant),
        "ConstantOfShape": _Rule(one, one, _constant_of_shape),
        "Conv": _Rule(range(2, 4), one, _conv),
        "DynamicQuantizeLinear": _Rule(one, range(3, 4), _quantize),
        "Einsum": _Rule(range(1, 9), one, _einsum),
        "Expand": _Rule(range(2, 3), one, _expand),
        "Flatten": _Rule(one, one, _flatten),
        "Gather": _Rule(range(2, 3), one, _gather),
        "GatherElements": _Rule(range(2, 3), one, _gather_elements),
        "GatherND": _Rule(range(2, 3), one, _gather_nd),
        "Gemm": _Rule(range(2, 4), one, _gemm),
        "Identity": _Rule(one, one, _elementwise(np.positive)),
        "IsNaN": _Rule(one, one, _elementwise(None, "?")),
        "LayerNormalization": _Rule(range(2, 4), range(1, 4), _layer_norm),
        "MatMul": _Rule(range(2, 3), one, lambda node, a, b: _matmul(a, b, a.dtype)),
        "MatMulInteger": _Rule(range(2, 5), one, _matmul_integer),
        "Neg": _Rule(one, one, _elementwise(np.negative)),
        "Not": _Rule(one, one, _elementwise(np.logical_not)),
        "Pad": _Rule(range(2, 5), one, _pad),
        "Pow": _Rule(range(2, 3), one, _elementwise()),
        "Range": _Rule(range(3, 4), one, _range),
        "Reshape": _Rule(range(2, 3), one, _reshape),
        "ScatterND": _Rule(range(3, 4), one, _scatter_nd),
        "SequenceAt": _Rule(range(2, 3), one, _sequence_at),
        "Shape": _Rule(one, one, _shape),
        "Slice": _Rule(range(3, 6), one, _slice),
        "Split": _Rule(range(1, 3), many, _split),
        "SplitToSequence": _Rule(range(2, 3), one, _split_to_sequence),
        "Squeeze": _Rule(range(1, 3), one, _squeeze),
        "Tile": _Rule(range(2, 3), one, _tile),
        "Transpose": _Rule(one, one, _transpose),
        "Unsqueeze": _Rule(range(2, 3), one, _unsqueeze),
        "Where": _Rule(range(3, 4), one, _elementwise(np.where)),
    }


_RULES = _rules()
OPERATORS = tuple(sorted(_RULES))

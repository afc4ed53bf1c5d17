"""The safetensors format: written by the safetensors package, read by a stricter reader that copies nothing.

A file is an 8-byte little-endian header length, a JSON header {name: {dtype, shape, data_offsets}} and the tensors'
bytes, back to back, row-major, little-endian.

The package reads a buffer by copying every tensor, and takes duplicate keys, unknown fields and unaligned tensors. Here
arrays are views of the bytes whose hash was checked, which halves the memory of the weights, and none of these pass.
"""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from ..errors import BundleError
from .strict_json import load_object

MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_DIMS = 8

DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I8": np.dtype("i1"), "U8": np.dtype("u1"),
}  # fmt: skip
_LENGTH_BYTES = 8
_WRITABLE = {dtype for name, dtype in DTYPES.items() if name != "BF16"}

if sys.byteorder != "little":
    raise ImportError("motionrt supports little-endian machines only")


def unpack(data: bytes, where: str) -> dict[str, np.ndarray]:
    """Read every tensor of a safetensors file.

    Args:
        data: the whole file.
        where: names the file in errors.
    Returns:
        name -> read-only array, a view of `data`; BF16 comes as its uint16 bit pattern.
    Raises:
        BundleError: the data deviates from the format; the message names file and tensor.
    """
    if len(data) < _LENGTH_BYTES:
        raise BundleError(f"{where}: {len(data)} bytes is too short for a safetensors file")
    header_bytes = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if header_bytes > MAX_HEADER_BYTES:
        raise BundleError(f"{where}: header of {header_bytes} bytes, at most {MAX_HEADER_BYTES} are allowed")
    start = _LENGTH_BYTES + header_bytes
    if start > len(data):
        raise BundleError(f"{where}: header of {header_bytes} bytes in a file of {len(data)}")
    if data[_LENGTH_BYTES : _LENGTH_BYTES + 1] != b"{":
        raise BundleError(f"{where}: the header does not start with '{{'")

    header = load_object(data[_LENGTH_BYTES:start], where)
    _check_metadata(header.pop("__metadata__", {}), where)
    entries = {name: _entry(entry, f"{where}: tensor {name!r}") for name, entry in header.items()}
    _check_coverage({name: span for name, (_, _, span) in entries.items()}, len(data) - start, where)

    tensors: dict[str, np.ndarray] = {}
    for name, (dtype, shape, (begin, end)) in entries.items():
        if (start + begin) % dtype.itemsize:
            raise BundleError(f"{where}: tensor {name!r} is not aligned to its {dtype.itemsize}-byte elements")
        count = (end - begin) // dtype.itemsize
        tensors[name] = np.frombuffer(data, dtype, count, start + begin).reshape(shape)
    return tensors


def read_metadata(data: bytes) -> dict[str, str]:
    """The texts of a file that `unpack` has read."""
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    found: dict[str, str] = load_object(data[_LENGTH_BYTES:start], "header").get("__metadata__", {})
    return found


def pack(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Write tensors as one safetensors file; equal tensors give equal bytes.

    Args:
        tensors: name -> float32, float16, int64, int32, int8 or uint8 array.
    Raises:
        ValueError: another dtype.
    """
    _check_writable(tensors)
    return save({name: np.asarray(array, order="C") for name, array in tensors.items()})


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write the file of `pack` tensor by tensor, without holding it in memory. Raises the same error."""
    _check_writable(tensors)
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header, end = {}, 0
    for name in order:
        array = tensors[name]
        dtype = next(key for key, known in DTYPES.items() if known == array.dtype and key != "BF16")
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
        for name in order:
            file.write(np.ascontiguousarray(tensors[name]).data)


def _check_writable(tensors: Mapping[str, np.ndarray]) -> None:
    for name, array in tensors.items():
        if array.dtype not in _WRITABLE:
            raise ValueError(f"tensor {name!r}: dtype {array.dtype} cannot be stored")


def _check_metadata(metadata: Any, where: str) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BundleError(f"{where}: __metadata__ must map strings to strings")


def _entry(entry: Any, where: str) -> tuple[np.dtype[Any], tuple[int, ...], tuple[int, int]]:
    """Header entry -> (dtype, shape, (begin, end) in bytes after the header)."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BundleError(f"{where}: expected exactly dtype, shape and data_offsets")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise BundleError(f"{where}: dtype {str(entry['dtype'])[:80]!r}, expected one of {', '.join(DTYPES)}")
    shape, span = entry["shape"], entry["data_offsets"]
    if not _sizes(shape) or len(shape) > MAX_DIMS:
        raise BundleError(f"{where}: shape {str(shape)[:80]}, expected at most {MAX_DIMS} sizes of 0 or more")
    if not _sizes(span) or len(span) != 2 or span[0] > span[1]:
        raise BundleError(f"{where}: data_offsets {str(span)[:80]}, expected [begin, end] with begin <= end")
    expected = math.prod(shape) * dtype.itemsize
    if span[1] - span[0] != expected:
        raise BundleError(f"{where}: {span[1] - span[0]} bytes, shape {shape} of {entry['dtype']} needs {expected}")
    return dtype, tuple(shape), (span[0], span[1])


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_coverage(spans: dict[str, tuple[int, int]], size: int, where: str) -> None:
    """Raises BundleError unless the spans fill the `size` bytes after the header without holes or overlaps."""
    position = 0
    for name, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if end > size:
            raise BundleError(f"{where}: tensor {name!r} ends at byte {end} of {size}")
        if begin != position:
            problem = "overlaps the tensor before it" if begin < position else f"leaves a hole at byte {position}"
            raise BundleError(f"{where}: tensor {name!r} {problem}")
        position = end
    if position != size:
        raise BundleError(f"{where}: {size - position} bytes after the last tensor")

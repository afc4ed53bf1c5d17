"""The safetensors reader takes what the format allows and nothing else."""

import contextlib
import json
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from motionrt import BundleError
from motionrt.runtime.bundles.safetensors import MAX_HEADER_BYTES, pack, unpack

TENSORS: dict[str, np.ndarray] = {
    "half": np.arange(3, dtype=np.float16),
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "empty": np.zeros((0, 4), np.float32),
    "scalar": np.array(7, np.int64),
    "bytes": np.arange(5, dtype=np.uint8),
    "small": np.array([-1, 2], np.int8),
    "ints": np.array([[1], [2]], np.int32),
}


def raw(header: Any, body: bytes = bytes(24)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype: Any = "F32", shape: Any = (2, 3), offsets: Any = (0, 24)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_packed_tensors_come_back_read_only() -> None:
    tensors = unpack(pack(TENSORS), "w")
    assert set(tensors) == set(TENSORS)
    for name, expected in TENSORS.items():
        assert tensors[name].dtype == expected.dtype
        np.testing.assert_array_equal(tensors[name], expected)
        assert tensors[name].shape == expected.shape and not tensors[name].flags.writeable


def test_tensors_are_views_of_the_file() -> None:
    data = pack(TENSORS)
    assert np.shares_memory(unpack(data, "w")["matrix"], np.frombuffer(data, np.uint8))


def test_equal_tensors_give_equal_bytes_in_any_order() -> None:
    assert pack(TENSORS) == pack(dict(reversed(TENSORS.items())))


def test_files_are_exchanged_with_the_safetensors_package() -> None:
    ours = safetensors.numpy.load(pack(TENSORS))
    theirs = unpack(safetensors.numpy.save(TENSORS, metadata={"format": "np"}), "w")
    for name, expected in TENSORS.items():
        np.testing.assert_array_equal(ours[name], expected)
        np.testing.assert_array_equal(theirs[name], expected)


def test_bf16_comes_as_its_bit_pattern() -> None:
    tensors = unpack(raw({"w": entry("BF16", [2], [0, 4])}, b"\x80\x3f\x00\xc0"), "w")
    assert tensors["w"].dtype == np.uint16 and tensors["w"].tolist() == [0x3F80, 0xC000]


def test_an_unsupported_dtype_is_not_written() -> None:
    with pytest.raises(ValueError, match="'w'.*float64"):
        pack({"w": np.zeros(2)})


ATTACKS: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "too short"),
    "seven bytes": (bytes(7), "too short"),
    "header beyond the limit": ((MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}", "at most"),
    "header of 2**64 - 1": (b"\xff" * 8 + b"{}", "at most"),
    "header beyond the file": ((100).to_bytes(8, "little") + b"{}", "file of 10"),
    "header that starts with a blank": (raw(b" {}", b""), "does not start"),
    "header that is a list": (raw(b"[]", b""), "does not start"),
    "header cut short": (raw(b'{"w": {"dtype": "F32"', b""), "not valid JSON"),
    "header that is not UTF-8": (raw(b'{"\xff": 1}', b""), "not valid JSON"),
    "header nested too deep": (raw(b'{"w":' + b"[" * 100_000, b""), "not valid JSON"),
    "duplicate tensor": (raw(b'{"w": 1, "w": 2}'), "duplicate key 'w'"),
    "NaN": (raw(b'{"w": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}'), "NaN"),
    "entry that is a list": (raw({"w": []}), "'w'.*exactly"),
    "entry with another key": (raw({"w": {**entry(), "file": "x"}}), "'w'.*exactly"),
    "entry without a shape": (raw({"w": {"dtype": "F32", "data_offsets": [0, 24]}}), "'w'.*exactly"),
    "unknown dtype": (raw({"w": entry("F8")}), "'w'.*'F8'"),
    "dtype that is a list": (raw({"w": entry(["F32"])}), "'w'.*dtype"),
    "negative size": (raw({"w": entry(shape=[-2, -3])}), "'w'.*shape"),
    "size that is true": (raw({"w": entry(shape=[True, 6])}), "'w'.*shape"),
    "size that is a float": (raw({"w": entry(shape=[2.0, 3])}), "'w'.*shape"),
    "too many dimensions": (raw({"w": entry(shape=[1] * 8 + [6])}), "'w'.*shape"),
    "shape larger than its bytes": (raw({"w": entry(shape=[2, 4])}), "'w'.*24 bytes.*32"),
    "shape that overflows 64 bits": (raw({"w": entry(shape=[2**62, 2**62])}), "'w'.*24 bytes"),
    "offsets reversed": (raw({"w": entry(offsets=[24, 0])}), "'w'.*data_offsets"),
    "three offsets": (raw({"w": entry(offsets=[0, 24, 24])}), "'w'.*data_offsets"),
    "negative offset": (raw({"w": entry(offsets=[-24, 0])}), "'w'.*data_offsets"),
    "end beyond the file": (raw({"w": entry(offsets=[8, 32])}), "'w'.*ends at byte 32 of 24"),
    "overlap": (raw({"a": entry("U8", [16], [0, 16]), "b": entry("U8", [16], [8, 24])}), "'b'.*overlaps"),
    "same bytes twice": (raw({"a": entry(), "b": entry()}), "'b'.*overlaps"),
    "hole": (raw({"a": entry("U8", [8], [0, 8]), "b": entry("U8", [8], [16, 24])}), "'b'.*hole at byte 8"),
    "hole at the start": (raw({"a": entry("U8", [16], [8, 24])}), "'a'.*hole at byte 0"),
    "bytes after the last": (raw({"a": entry("U8", [16], [0, 16])}), "8 bytes after"),
    "not aligned": (
        raw({"a": entry("U8", [1], [0, 1]), "b": entry("F32", [1], [1, 5])}, bytes(5)),
        "'b'.*align",
    ),
    "metadata of numbers": (raw({"__metadata__": {"a": 1}}, b""), "__metadata__"),
    "metadata that is a list": (raw({"__metadata__": []}, b""), "__metadata__"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused_in_one_line_that_names_file_and_tensor(name: str) -> None:
    data, message = ATTACKS[name]
    with pytest.raises(BundleError, match=message) as caught:
        unpack(data, "some/weights.safetensors")
    assert str(caught.value).startswith("some/weights.safetensors: ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_every_cut_is_refused() -> None:
    data = pack({"w": TENSORS["matrix"], "h": TENSORS["half"]})
    for size in range(len(data)):
        with pytest.raises(BundleError):
            unpack(data[:size], "w")


def test_any_damage_gives_a_bundle_error_or_arrays() -> None:
    generator = np.random.default_rng(0)
    data = pack({"w": TENSORS["matrix"], "h": TENSORS["half"]})
    for _ in range(2000):
        damaged = bytearray(data)
        for position in generator.integers(0, len(data), 3):
            damaged[position] = generator.integers(0, 256)
        with contextlib.suppress(BundleError):
            unpack(bytes(damaged), "w")

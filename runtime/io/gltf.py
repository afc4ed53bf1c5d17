"""glTF 2.0 animations: `.glb` (our own, too), `.gltf`, and the avatars and animations of VRM (`.vrm`, `.vrma`).

The format states meters, y up, right-handed. It has times instead of a frame rate: keys of a steady rate are taken as
the frames, other animations are sampled. Shapes: T time, K keys of one sampler.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..body.motion_data import MotionData
from ..body.rotations import from_quaternions
from ..body.time_check import MAX_RATE_HZ, MIN_RATE_HZ
from ..errors import InputError
from .named_joints import joints_by_name
from .text import MAX_FRAMES, check_bytes, check_size, decode

MAX_BYTES = 1 << 29
MAX_NODES = 10_000
SAMPLED_FPS = 30.0  # of animations whose keys have no steady rate
GLB_MAGIC, JSON_CHUNK, BINARY_CHUNK = b"glTF", b"JSON", b"BIN\0"
COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
PATHS = {"translation": 3, "rotation": 4, "scale": 3}

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Skeleton:
    """A file with a skeleton at rest.

    Attributes:
        document, binary: the file's JSON and buffer.
        named: nodes of the skeleton by name, see `_named_nodes`.
        parents: of N nodes, -1 for none.
        linear, positions: of the nodes in the world, [N, 3, 3] and [N, 3]; NaN for nodes outside of the hierarchy.
    """

    document: dict[str, Any]
    binary: bytes
    named: dict[str, int]
    parents: list[int]
    linear: NDArray[np.float64]
    positions: NDArray[np.float64]


def read_gltf(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Read the first animation; `fps` samples it at another rate, at the same speed."""
    with _structure():
        return _read(path, layout, fps)


def read_skeleton(path: Path) -> Skeleton:
    """Read the skeleton of a file whose data are all inside it. Raises InputError: it is no such file."""
    with _structure():
        scene = _Scene(path)
        if any("uri" in buffer for buffer in scene.list("buffers")[:1]):
            raise InputError("has its data in another file, expected a .glb that holds everything")
        nodes = scene.list("nodes")
        if len(nodes) > MAX_NODES:
            raise InputError(f"has {len(nodes)} nodes, the limit is {MAX_NODES}")
        named, parents = _named_nodes(scene, nodes), _parents(nodes)
        _with_ancestors(parents, list(named.values()))  # none is its own
        linear, positions = np.full((len(nodes), 3, 3), np.nan), np.full((len(nodes), 3), np.nan)
        pending = [(node, np.eye(3), np.zeros(3)) for node, parent in enumerate(parents) if parent < 0]
        while pending:
            node, above, origin = pending.pop()
            own, offset = _local(nodes[node], node, {}, np.zeros(1))
            linear[node], positions[node] = above @ own, origin + above @ offset
            pending += [(child, linear[node], positions[node]) for child in nodes[node].get("children", [])]
        joints = list(named.values())
        if not np.isfinite(positions[joints]).all() or not (np.abs(np.linalg.det(linear[joints])) > 1e-12).all():
            raise InputError("has joints of no size")
        return Skeleton(
            document=scene.document,
            binary=scene.binary or b"",
            named=named,
            parents=parents,
            linear=linear,
            positions=positions,
        )


@contextmanager
def _structure() -> Iterator[None]:
    """Raise InputError for a file that lacks what glTF requires."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError | UnicodeDecodeError):
            raise
        raise InputError(f"does not have the structure of glTF ({type(error).__name__}: {error})") from None


def _read(path: Path, layout: str | None, fps: float | None) -> MotionData:
    scene = _Scene(path)
    nodes = scene.list("nodes")
    if len(nodes) > MAX_NODES:
        raise InputError(f"has {len(nodes)} nodes, the limit is {MAX_NODES}")
    animations = scene.list("animations")
    if not animations:
        raise InputError("has no animation")
    if len(animations) > 1:
        names = ", ".join(str(one.get("name", number)) for number, one in enumerate(animations))
        log.warning("%s: the first of %d animations is read (%s)", path, len(animations), names)
    named = _named_nodes(scene, nodes)
    channels = _channels(scene, animations[0])
    times, rate = _frame_times([keys for keys, _, _ in channels.values()], fps)
    positions = _world_positions(nodes, channels, times, list(named.values()))
    joints, known = joints_by_name(list(named), positions, layout)
    holder = scene.document.get("asset", {}).get("copyright")
    return MotionData(joints, rate, known, meta={"license": holder} if isinstance(holder, str) else {})


class _Scene:
    """The JSON document and the buffers of a file."""

    def __init__(self, path: Path) -> None:
        check_bytes(path, MAX_BYTES)
        data = path.read_bytes()
        self.folder, self.binary = path.parent, None
        text = data
        if data[:4] == GLB_MAGIC:
            chunks = dict(_chunks(data))
            if JSON_CHUNK not in chunks:
                raise InputError("has no JSON chunk")
            text, self.binary = chunks[JSON_CHUNK], chunks.get(BINARY_CHUNK)
        try:
            self.document = json.loads(decode(text))
        except (json.JSONDecodeError, RecursionError) as error:
            raise InputError(f"is neither a .glb nor valid JSON ({error})") from None
        if not isinstance(self.document, dict) or "asset" not in self.document:
            raise InputError("is not glTF: has no 'asset'")
        version = str(self.document["asset"].get("version", ""))
        if not version.startswith("2"):
            raise InputError(f"is glTF {version or 'of an unknown version'}, expected 2.0")
        self._buffers: dict[int, bytes] = {}

    def list(self, key: str) -> list[dict[str, Any]]:
        return list(self.document.get(key, []))

    def accessor(self, number: int) -> NDArray[np.float64]:
        """Values [count, width]."""
        about = self.list("accessors")[_index(number)]
        if "sparse" in about or "bufferView" not in about:
            raise InputError(f"accessor {number} is sparse, which is not read")
        view = self.list("bufferViews")[_index(about["bufferView"])]
        if "EXT_meshopt_compression" in view.get("extensions", {}):
            raise InputError("is compressed (EXT_meshopt_compression): write it without, as with gltf-transform copy")
        dtype, width, count = np.dtype(COMPONENTS[about["componentType"]]), WIDTHS[about["type"]], about["count"]
        size = dtype.itemsize * width
        stride = view.get("byteStride", size)
        start = view.get("byteOffset", 0) + about.get("byteOffset", 0)
        data = self._buffer(view["buffer"])
        if not (0 < count <= MAX_FRAMES * 3 and stride >= size and 0 <= start <= len(data)):
            raise InputError(f"accessor {number} is damaged")
        if start + stride * (count - 1) + size > len(data):
            raise InputError(f"is cut short: accessor {number} ends after its buffer of {len(data)} bytes")
        array: NDArray[Any] = np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))
        values = array.astype(np.float64)
        if about.get("normalized") and dtype.kind in "iu":
            values = np.maximum(values / np.iinfo(dtype).max, -1)
        return values

    def _buffer(self, number: int) -> bytes:
        if number not in self._buffers:
            about = self.list("buffers")[_index(number)]
            uri = about.get("uri")
            if uri is None:
                if self.binary is None:
                    raise InputError("has no binary chunk")
                self._buffers[number] = self.binary
            elif uri.startswith("data:"):
                try:
                    self._buffers[number] = base64.b64decode(uri.partition(",")[2], validate=True)
                except binascii.Error:
                    raise InputError(f"buffer {number} is not valid base64") from None
            else:
                self._buffers[number] = self._file(uri)
        return self._buffers[number]

    def _file(self, name: str) -> bytes:
        path = self.folder / name
        if "/" in name or "\\" in name or name in (".", "..") or not path.is_file():
            raise InputError(f"its data {name!r} is not a file beside it")
        check_bytes(path, MAX_BYTES)
        return path.read_bytes()


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and contents of the chunks of a .glb."""
    version, length = np.frombuffer(data[4:12].ljust(8, b"\0"), "<u4")
    if version != 2 or length > len(data):
        raise InputError(
            f"is binary glTF {version}, expected 2" if version != 2 else f"is cut short: {len(data)} of {length} bytes"
        )
    start = 12
    while start + 8 <= length:
        size = int(np.frombuffer(data[start : start + 4], "<u4")[0])
        if start + 8 + size > length:
            raise InputError(f"is cut short: a chunk of {size} bytes at {start} of {length}")
        yield data[start + 4 : start + 8], data[start + 8 : start + 8 + size]
        start += 8 + size


def _named_nodes(scene: _Scene, nodes: list[dict[str, Any]]) -> dict[str, int]:
    """Nodes of the skeleton by name; of VRM, by the names of its humanoid bones."""
    extensions = scene.document.get("extensions", {})
    for key in ("VRMC_vrm_animation", "VRMC_vrm", "VRM"):
        bones = extensions.get(key, {}).get("humanoid", {}).get("humanBones")
        if isinstance(bones, dict) and bones:
            return {str(name): _index(bone["node"]) for name, bone in bones.items()}
        if isinstance(bones, list) and bones:
            return {str(bone["bone"]): _index(bone["node"]) for bone in bones}
    joints = [_index(node) for skin in scene.list("skins") for node in skin["joints"]]
    named: dict[str, int] = {}
    for node in joints or [node for node in range(len(nodes)) if "mesh" not in nodes[node]]:
        named.setdefault(str(nodes[node].get("name", f"node {node}")), node)
    if not named:
        raise InputError("has no joints")
    return named


Channels = dict[tuple[int, str], tuple[NDArray[np.float64], NDArray[np.float64], str]]


def _channels(scene: _Scene, animation: dict[str, Any]) -> Channels:
    """Times [K], values [K, D] (or [3, K, D] with tangents) and interpolation by node and path."""
    found: Channels = {}
    for channel in animation["channels"]:
        target, sampler = channel["target"], animation["samplers"][_index(channel["sampler"])]
        if target.get("path") not in PATHS or "node" not in target:
            continue  # weights of morph targets
        keys = scene.accessor(sampler["input"])[:, 0]
        values = scene.accessor(sampler["output"])
        kind = sampler.get("interpolation", "LINEAR")
        if kind == "CUBICSPLINE":
            values = values.reshape(len(keys), 3, -1).transpose(1, 0, 2)
        if values.shape[-2:] != (len(keys), PATHS[target["path"]]) or not np.isfinite(keys).all():
            raise InputError(f"the {target['path']} of node {target['node']} does not have a value per key")
        if (np.diff(keys) <= 0).any():
            raise InputError(f"the keys of node {target['node']} are not in the order of time")
        found[_index(target["node"]), target["path"]] = (keys, values, kind)
    if not found:
        raise InputError("its animation moves no joint")
    return found


def _frame_times(keys: list[NDArray[np.float64]], fps: float | None) -> tuple[NDArray[np.float64], float]:
    """Times [T] in seconds and the rate: the keys themselves if they are a steady sequence of frames."""
    longest = max(keys, key=len)
    start, end = min(one[0] for one in keys), max(one[-1] for one in keys)
    steps = np.diff(longest)
    if fps is None and len(steps) and longest[0] == start and longest[-1] == end:
        step = float(np.median(steps))
        if MIN_RATE_HZ <= 1 / step <= MAX_RATE_HZ and np.abs(steps - step).max() < 0.1 * step:
            return longest, round(len(steps) / float(end - start), 3)
    rate = SAMPLED_FPS if fps is None else fps
    if not (0 < rate <= 1e6 and (end - start) * rate < MAX_FRAMES):
        raise InputError(f"lasts {end - start:.6g} s, the limit is {MAX_FRAMES} frames at {rate:g} a second")
    return start + np.arange(int((end - start) * rate + 1e-3) + 1) / rate, rate


def _world_positions(
    nodes: list[dict[str, Any]], channels: Channels, times: NDArray[np.float64], wanted: list[int]
) -> NDArray[np.float32]:
    """World positions [T, N, 3] of the wanted nodes."""
    parents = _parents(nodes)
    slots: dict[int, list[int]] = {}
    for slot, node in enumerate(wanted):
        slots.setdefault(node, []).append(slot)
    needed = _with_ancestors(parents, wanted)
    check_size(len(times), len(needed))
    positions = np.empty((len(times), len(wanted), 3), np.float32)
    pending = [(node, np.eye(3), np.zeros(3)) for node in needed if parents[node] < 0]
    while pending:
        node, above, origin = pending.pop()
        linear, offset = _local(nodes[node], node, channels, times)
        place = origin + (above @ offset[..., None])[..., 0]
        positions[:, slots.get(node, [])] = np.broadcast_to(place, (len(times), 3))[:, None]
        pending += [(child, above @ linear, place) for child in nodes[node].get("children", []) if child in needed]
    return positions


def _parents(nodes: list[dict[str, Any]]) -> list[int]:
    parents = [-1] * len(nodes)
    for node, about in enumerate(nodes):
        for child in about.get("children", []):
            if parents[_index(child)] != -1:
                raise InputError(f"node {child} has two parents")
            parents[child] = node
    return parents


def _with_ancestors(parents: list[int], wanted: list[int]) -> set[int]:
    needed: set[int] = set()
    for node in wanted:
        path: set[int] = set()
        while node >= 0 and node not in needed:
            if node in path:
                raise InputError(f"node {node} is its own ancestor")
            path.add(node)
            node = parents[node]
        needed |= path
    return needed


def _local(
    about: dict[str, Any], node: int, channels: Channels, times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Linear part [(T,) 3, 3] and translation [(T,) 3] of one node relative to its parent."""
    if "matrix" in about:
        matrix = np.array(about["matrix"], np.float64).reshape(4, 4).T
        return matrix[:3, :3], matrix[:3, 3]

    def value(path: str, rest: list[float]) -> NDArray[np.float64]:
        if (node, path) in channels:
            return _sample(*channels[node, path], times, path == "rotation")
        return np.array(about.get(path, rest), np.float64).reshape(len(rest))

    quaternion = value("rotation", [0, 0, 0, 1])
    quaternion = quaternion / np.maximum(np.linalg.norm(quaternion, axis=-1, keepdims=True), 1e-12)
    linear = from_quaternions(np.roll(quaternion, 1, axis=-1)) * value("scale", [1, 1, 1])[..., None, :]
    return linear, value("translation", [0, 0, 0])


def _sample(
    keys: NDArray[np.float64], values: NDArray[np.float64], kind: str, times: NDArray[np.float64], turns: bool
) -> NDArray[np.float64]:
    """Values [T, D] at `times`; before the first and after the last key the value stays."""
    if len(keys) == 1:
        return np.broadcast_to(values[1, 0] if kind == "CUBICSPLINE" else values[0], (len(times), values.shape[-1]))
    left = np.clip(np.searchsorted(keys, times, side="right") - 1, 0, len(keys) - 2)
    step = keys[left + 1] - keys[left]
    share = np.clip((times - keys[left]) / step, 0, 1)[:, None]
    if kind == "STEP":
        return values[np.where(times >= keys[-1], len(keys) - 1, left)]
    if kind == "CUBICSPLINE":
        before, middle, after = values
        squared, cubed = share**2, share**3
        return np.asarray(
            (2 * cubed - 3 * squared + 1) * middle[left]
            + (cubed - 2 * squared + share) * step[:, None] * after[left]
            + (3 * squared - 2 * cubed) * middle[left + 1]
            + (cubed - squared) * step[:, None] * before[left + 1]
        )
    first, second = values[left], values[left + 1]
    return _slerp(first, second, share) if turns else first + share * (second - first)


def _slerp(first: NDArray[np.float64], second: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spherical interpolation of unit quaternions [T, 4], the short way round."""
    cosine = (first * second).sum(axis=-1, keepdims=True)
    second, angle = np.where(cosine < 0, -second, second), np.arccos(np.clip(np.abs(cosine), 0, 1))
    near = angle < 1e-4
    sine = np.where(near, 1, np.sin(angle))
    left = np.where(near, 1 - share, np.sin((1 - share) * angle) / sine)
    right = np.where(near, share, np.sin(share * angle) / sine)
    return np.asarray(left * first + right * second)


def _index(number: Any) -> int:
    """An index of the document. Raises InputError for anything else, such as a negative one."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise InputError(f"has {number!r} where an index was expected")
    return number

"""A character of the user's, a `.glb` or `.vrm` with a skeleton, animated by a motion; all else in the file stays.

Shapes: T time, N nodes of the file, J joints that are known by their names.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..body.joint_names import identify
from ..body.motion_data import MotionData
from ..body.proportions import SMPL, Body, put_on, to_smpl
from ..body.rotations import continuous, one_person, to_quaternions
from ..errors import InputError
from .gltf import BINARY_CHUNK, GLB_MAGIC, JSON_CHUNK, Skeleton, read_skeleton

SUFFIXES = (".glb", ".vrm")
NEEDED = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "shoulder", "elbow"))
FLOAT = 5126  # glTF's component type

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Character:
    """A character as its file holds it.

    Attributes:
        skeleton: the file, and its nodes at rest. nodes: J nodes of the body's joints. body: the joints at rest.
    """

    skeleton: Skeleton
    nodes: tuple[int, ...]
    body: Body


def read_character(path: Path) -> Character:
    """Read a character whose joints are known by their names, in any rest pose.

    Raises InputError: no such file, not a .glb with a skeleton, or joints are missing.
    """
    if not path.is_file():
        raise InputError(f"rig {path}: no such file")
    try:
        return _character(read_skeleton(path))
    except InputError as error:
        raise InputError(f"rig {path}: {error}") from error


def write_character(motion: MotionData, file: BinaryIO, character: Character) -> None:
    """Write a character's file with an animation of one person, which comes before those that it has.

    Nodes that are no joints of `body`, such as fingers and hair, keep their pose.

    Raises InputError for several people, a 2-D layout or a missing joint.
    """
    skeleton, body = character.skeleton, character.body
    pelvis, turns = put_on(body, one_person(to_smpl(motion)))
    above = skeleton.parents[character.nodes[0]]
    linear, origin = (np.eye(3), np.zeros(3)) if above < 0 else (skeleton.linear[above], skeleton.positions[above])
    keys = [(character.nodes[0], "translation", (pelvis - origin) @ np.linalg.inv(linear).T)]
    keys += [
        (node, "rotation", _local_rotations(character, joint, turns))
        for joint, node in enumerate(character.nodes)
        if joint in body.parents
    ]

    document, data = deepcopy(skeleton.document), bytearray(skeleton.binary)
    views, accessors = (document.setdefault(key, []) for key in ("bufferViews", "accessors"))

    def add(values: Array, **about: Any) -> int:
        """Index of a new accessor."""
        array = values.astype("<f4")
        data.extend(bytes(-len(data) % 4))
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": array.nbytes})
        data.extend(array.tobytes())
        accessors.append({"bufferView": len(views) - 1, "componentType": FLOAT, "count": len(array)} | about)
        return len(accessors) - 1

    last = (motion.frames - 1) / motion.fps
    times = add(np.arange(motion.frames) / motion.fps, type="SCALAR", min=[0.0], max=[float(np.float32(last))])
    animation: dict[str, Any] = {"name": "motion", "channels": [], "samplers": []}
    for sampler, (node, path, values) in enumerate(keys):
        _separate(document["nodes"][node])
        animation["channels"].append({"sampler": sampler, "target": {"node": node, "path": path}})
        animation["samplers"].append({"input": times, "output": add(values, type=f"VEC{values.shape[1]}")})
    document["animations"] = [animation, *document.get("animations", [])]
    document.setdefault("buffers", [{}])[0]["byteLength"] = len(data)
    holders = [document["asset"].get("copyright"), motion.meta.get("license", motion.meta.get("licence"))]
    if any(holders):
        document["asset"]["copyright"] = "; ".join(str(holder) for holder in holders if holder)
    file.write(_glb(json.dumps(document).encode(), bytes(data)))


def _character(skeleton: Skeleton) -> Character:
    names = list(skeleton.named)
    found = identify(names)
    if "spine" in found:
        found["spine1"] = found.pop("spine")
    known = {joint: skeleton.named[names[found[joint]]] for joint in SMPL.joints if joint in found}
    missing = [joint for joint in ("pelvis", *NEEDED) if joint not in known]
    if missing:
        raise InputError(f"its {len(names)} joints have no {', '.join(missing)}, expected those of a person")
    nodes, parents = list(known.values()), []
    for number, (joint, node) in enumerate(known.items()):
        above = skeleton.parents[node]
        while above >= 0 and above not in nodes:
            above = skeleton.parents[above]
        parents.append(nodes.index(above) if above >= 0 else -1)
        if not (parents[-1] < number and (parents[-1] >= 0) == (number > 0)):
            raise InputError(f"its {joint} is not where a person's is in the hierarchy, expected it below the pelvis")
    body = Body(joints=tuple(known), parents=tuple(parents), rest=skeleton.positions[nodes])
    return Character(skeleton=skeleton, nodes=tuple(nodes), body=body)


def _local_rotations(character: Character, joint: int, turns: Array) -> Array:
    """Quaternions [T, 4] (x, y, z, w) of a joint's node relative to the node above it."""
    skeleton, node, parent = character.skeleton, character.nodes[joint], character.body.parents[joint]
    above = skeleton.parents[node]
    outer = np.eye(3) if above < 0 else _without_scale(skeleton.linear[above])
    if parent >= 0:
        outer = turns[:, parent] @ outer
    local = np.swapaxes(outer, -1, -2) @ turns[:, joint] @ _without_scale(skeleton.linear[node])
    return np.roll(continuous(to_quaternions(local)), -1, axis=-1)


def _without_scale(linear: Array) -> Array:
    scaled: Array = linear / np.linalg.norm(linear, axis=0)
    return scaled


def _separate(node: dict[str, Any]) -> None:
    """Give a node translation, rotation and scale instead of a matrix, which cannot be animated."""
    if "matrix" in node:
        matrix = np.array(node.pop("matrix"), np.float64).reshape(4, 4).T
        linear = matrix[:3, :3]
        node["translation"] = matrix[:3, 3].tolist()
        node["rotation"] = np.roll(to_quaternions(_without_scale(linear)), -1).tolist()
        node["scale"] = np.linalg.norm(linear, axis=0).tolist()


def _glb(document: bytes, data: bytes) -> bytes:
    """A binary glTF file of its JSON and its buffer."""
    chunks = [(JSON_CHUNK, document + b" " * (-len(document) % 4)), (BINARY_CHUNK, data + bytes(-len(data) % 4))]
    body = b"".join(np.uint32(len(content)).tobytes() + kind + content for kind, content in chunks)
    return GLB_MAGIC + np.array([2, 12 + len(body)], "<u4").tobytes() + body

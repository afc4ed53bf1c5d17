"""GLB (binary glTF 2.0): an animated skeleton with a simple body, which Blender imports as an armature.

Shapes: T time, V joints of the layout, J nodes of the rig, B bones.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..body.motion_data import MotionData
from ..body.rotations import Rig, solve
from ..extras import require
from .mannequin import body_side
from .rigs import rig_of

_THICK_M, _THICK, _WAIST = 0.02, 0.05, 0.2  # half a bone's thickness, plus a share of its length; position of the waist
BODY_COLORS = {"left": (230, 97, 1), "right": (33, 102, 172), "middle": (70, 70, 70)}
FACES = [(0, 2, 1), (0, 3, 2), (0, 4, 3), (0, 1, 4), (5, 1, 2), (5, 2, 3), (5, 3, 4), (5, 4, 1)]


def write_glb(motion: MotionData, file: BinaryIO, rig_name: str | None = None) -> None:
    """Write one person in meters, y up: a node per joint, the helper nodes of `Rig.from_motion`, and a body of bones.

    Bones are octahedra, the left ones orange, the right ones blue. The animation has a keyframe per frame at the
    motion's rate; timestamps are not written. A license in `meta` becomes the file's copyright. With `rig_name`, one of
    `rigs.RIGS`, nodes have the names of another program.

    Raises InputError for several people, a 2-D layout or a missing joint.
    """
    gltf = require("pygltflib", "files", "writing .glb")
    rotations = solve(*rig_of(motion, rig_name))
    rig, quaternions = rotations.rig, np.roll(rotations.quaternions, -1, axis=-1)  # glTF has (x, y, z, w)
    rest = _rest(rig)
    unbind = np.tile(np.eye(4), (len(rest), 1, 1))
    unbind[:, 3, :3] = -rest  # matrices are stored in column-major order

    license_ = motion.meta.get("license", motion.meta.get("licence"))
    asset = gltf.Asset(generator="motionrt", copyright=None if license_ is None else str(license_))
    scene = gltf.GLTF2(asset=asset, scene=0)
    store = _Store(gltf, scene)
    scene.nodes = [
        gltf.Node(name=name, children=rig.children(node), translation=rig.offsets[node].tolist())
        for node, name in enumerate(rig.nodes)
    ]
    top = rig.parents.index(-1)
    scene.scenes = [gltf.Scene(nodes=[top, len(scene.nodes)])]
    scene.nodes.append(gltf.Node(name="body", mesh=0, skin=0))
    scene.skins = [
        gltf.Skin(joints=[*range(len(rest))], skeleton=top, inverseBindMatrices=store.add(unbind, gltf.MAT4))
    ]
    _add_body(scene, store, rig, rest)

    animation = gltf.Animation(name="motion")
    times = store.add(np.arange(motion.frames) / motion.fps, gltf.SCALAR, bounds=True)
    translations = [(node, "translation", rotations.translations[:, node], gltf.VEC3) for node in rig.moving]
    rotation_keys = [(node, "rotation", quaternions[:, node], gltf.VEC4) for node in rig.order if rig.children(node)]
    for sampler, (node, path, values, kind) in enumerate(translations + rotation_keys):
        target = gltf.AnimationChannelTarget(node=node, path=path)
        animation.channels.append(gltf.AnimationChannel(sampler=sampler, target=target))
        animation.samplers.append(gltf.AnimationSampler(input=times, output=store.add(values, kind)))
    scene.animations = [animation]

    scene.buffers = [gltf.Buffer(byteLength=len(store.data))]
    scene.set_binary_blob(bytes(store.data))
    file.write(b"".join(scene.save_to_bytes()))


class _Store:
    """The file's only buffer; `add` returns the index of a new accessor."""

    def __init__(self, gltf: Any, scene: Any) -> None:
        self.gltf, self.scene, self.data = gltf, scene, bytearray()

    def add(
        self,
        values: ArrayLike,
        kind: str,
        dtype: DTypeLike = np.float32,
        *,
        target: int | None = None,
        bounds: bool = False,
    ) -> int:
        array = np.asarray(values).astype(dtype)
        view = self.gltf.BufferView(buffer=0, byteOffset=len(self.data), byteLength=array.nbytes, target=target)
        self.data += array.tobytes() + bytes(-array.nbytes % 4)
        accessor = self.gltf.Accessor(
            bufferView=len(self.scene.bufferViews),
            componentType=self.gltf.FLOAT if array.dtype == np.float32 else self.gltf.UNSIGNED_SHORT,
            count=len(array),
            type=kind,
        )
        if bounds:
            accessor.min, accessor.max = (np.atleast_1d(edge(axis=0)).tolist() for edge in (array.min, array.max))
        self.scene.bufferViews.append(view)
        self.scene.accessors.append(accessor)
        return len(self.scene.accessors) - 1


def _add_body(scene: Any, store: _Store, rig: Rig, rest: NDArray[np.float64]) -> None:
    """Add one mesh: an octahedron along every bone at rest, skinned to the node at its start."""
    gltf = store.gltf
    ends = [end for end in range(len(rig.layout.joints)) if end not in rig.moving]
    starts = [rig.parents[end] for end in ends]
    corners = octahedra(rest[starts], rest[ends])  # [B, 6, 3]
    owners = np.zeros((*corners.shape[:2], 4))
    owners[..., 0] = np.array(starts)[:, None]
    vertices = gltf.Attributes(
        POSITION=store.add(corners.reshape(-1, 3), gltf.VEC3, target=gltf.ARRAY_BUFFER, bounds=True),
        JOINTS_0=store.add(owners.reshape(-1, 4), gltf.VEC4, np.uint16, target=gltf.ARRAY_BUFFER),
        WEIGHTS_0=store.add(np.eye(4)[[0] * corners.shape[0] * 6], gltf.VEC4, target=gltf.ARRAY_BUFFER),
    )
    mesh = gltf.Mesh(name="body")
    for name, color in BODY_COLORS.items():
        bones = [bone for bone, end in enumerate(ends) if body_side(rig.layout.joints[end]) == name]
        if not bones:
            continue
        faces = [6 * bone + np.array(FACES) for bone in bones]
        indices = store.add(np.ravel(faces), gltf.SCALAR, np.uint16, target=gltf.ELEMENT_ARRAY_BUFFER)
        mesh.primitives.append(gltf.Primitive(attributes=vertices, indices=indices, material=len(scene.materials)))
        linear = [(channel / 255) ** 2.2 for channel in color]
        surface = gltf.PbrMetallicRoughness(baseColorFactor=[*linear, 1.0], metallicFactor=0.0, roughnessFactor=0.8)
        scene.materials.append(gltf.Material(name=name, pbrMetallicRoughness=surface, alphaCutoff=None))
    scene.meshes = [mesh]


def octahedra(starts: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners [B, 6, 3] from `starts` to `ends` [B, 3]: the start, four around the waist, the end."""
    along = ends - starts
    aside = np.cross(along, np.eye(3)[np.argmin(np.abs(along), axis=1)])  # the axis that is least along the bone
    length = np.linalg.norm(along, axis=1, keepdims=True)
    aside *= (_THICK_M + _THICK * length) / np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-9)
    across = np.cross(along, aside) / np.maximum(length, 1e-9)
    waist = [starts + _WAIST * along + out for out in (aside, across, -aside, -across)]
    return np.stack([starts, *waist, ends], axis=1)


def _rest(rig: Rig) -> NDArray[np.float64]:
    """Rest positions [J, 3] of the nodes."""
    positions = np.zeros_like(rig.offsets)
    for node in rig.order:
        if rig.parents[node] >= 0:
            positions[node] = positions[rig.parents[node]] + rig.offsets[node]
    return positions

"""glTF animations made by hand: hierarchies with units, interpolations, VRM's bones, and damage."""

import base64
import json
import struct

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.files import read

T_POSE = {  # centimeters, y up, facing z
    "hips": (None, (0, 95, 0)),
    "spine": ("hips", (0, 12, 0)),
    "chest": ("spine", (0, 25, 0)),
    "neck": ("chest", (0, 18, 0)),
    "head": ("neck", (0, 10, 2)),
    **{
        f"{side}{part}": (parent if parent in ("hips", "chest") else f"{side}{parent}", (sign * x, y, z))
        for side, sign in (("left", 1), ("right", -1))
        for part, parent, (x, y, z) in (
            ("UpperArm", "chest", (17, 12, 0)),
            ("LowerArm", "UpperArm", (28, 0, 0)),
            ("Hand", "LowerArm", (25, 0, 0)),
            ("UpperLeg", "hips", (9, -5, 0)),
            ("LowerLeg", "UpperLeg", (0, -42, 0)),
            ("Foot", "LowerLeg", (0, -41, 0)),
            ("Toes", "Foot", (0, -6, 13)),
        )
    },
}
MOTION_BUILDER = {"hips": "Hips", "spine": "Spine", "chest": "Spine1", "neck": "Neck", "head": "Head"} | {
    f"{side.lower()}{part}": f"{side}{name}"
    for side in ("Left", "Right")
    for part, name in {
        "UpperArm": "Arm",
        "LowerArm": "ForeArm",
        "Hand": "Hand",
        "UpperLeg": "UpLeg",
        "LowerLeg": "Leg",
        "Foot": "Foot",
        "Toes": "ToeBase",
    }.items()
}


class Scene:
    """A document under an `Armature` node that scales centimeters to meters."""

    def __init__(self, prefix: str = "mixamorig:") -> None:
        self.data = b""
        self.index = {name: k + 1 for k, name in enumerate(T_POSE)}
        nodes = [{"name": "Armature", "scale": [0.01] * 3, "children": [1]}]
        for name, (_, offset) in T_POSE.items():
            children = [self.index[other] for other, (parent, _) in T_POSE.items() if parent == name]
            nodes.append({"name": prefix + MOTION_BUILDER[name], "translation": list(offset), "children": children})
        self.document = {
            "asset": {"version": "2.0"},
            "nodes": nodes,
            "skins": [{"joints": list(self.index.values())}],
            "accessors": [],
            "bufferViews": [],
            "animations": [{"name": "raise", "channels": [], "samplers": []}],
        }

    def add(self, values, kind: str, component: int = 5126, dtype="<f4", **more) -> int:
        array = np.asarray(values, dtype)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.data += array.tobytes() + bytes(-array.nbytes % 4)
        self.document["bufferViews"].append(view)
        accessor = {"bufferView": len(self.document["bufferViews"]) - 1, "componentType": component, "type": kind}
        self.document["accessors"].append(
            accessor
            | {"count": array.size // {"SCALAR": 1}.get(kind, int(kind[-1])) if kind != "SCALAR" else array.size}
            | more
        )
        return len(self.document["accessors"]) - 1

    def animate(self, node: str, path: str, times, values, interpolation: str = "LINEAR", **more) -> None:
        animation = self.document["animations"][0]
        kind = "VEC4" if path == "rotation" else "VEC3"
        sampler = {"input": self.add(times, "SCALAR"), "output": self.add(values, kind, **more)}
        animation["samplers"].append(sampler | {"interpolation": interpolation})
        target = {"node": self.index[node], "path": path}
        animation["channels"].append({"sampler": len(animation["samplers"]) - 1, "target": target})

    def glb(self) -> bytes:
        document = self.document | {"buffers": [{"byteLength": len(self.data)}]}
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self.data), b"BIN\0") + self.data
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    def gltf(self, uri: str) -> bytes:
        return json.dumps(self.document | {"buffers": [{"byteLength": len(self.data), "uri": uri}]}).encode()


def about_z(angle) -> np.ndarray:
    half = np.asarray(angle) / 2
    return np.stack([0 * half, 0 * half, np.sin(half), np.cos(half)], axis=-1)


def raised(angles=(0, np.pi / 2), times=(0.0, 1.0), **more) -> Scene:
    """The left arm turns up about the shoulder."""
    scene = Scene()
    scene.animate("leftUpperArm", "rotation", times, about_z(np.array(angles)), **more)
    return scene


def load(tmp_path, data: bytes, name: str = "clip.glb", **options):
    (tmp_path / name).write_bytes(data)
    return read(tmp_path / name, **options)


def joint(motion, name: str) -> np.ndarray:
    return motion.joints[..., Layout.load(motion.layout).joints.index(name), :]


def test_units_of_the_armature_and_slow_keys_are_sampled(tmp_path):
    motion = load(tmp_path, raised().glb())
    assert (motion.fps, motion.frames) == (30, 31)
    np.testing.assert_allclose(joint(motion, "left_shoulder")[0], [0.17, 1.44, 0], atol=1e-6)
    np.testing.assert_allclose(joint(motion, "left_wrist")[0], [0.17 + 0.53, 1.44, 0], atol=1e-6)
    np.testing.assert_allclose(joint(motion, "left_wrist")[-1], [0.17, 1.44 + 0.53, 0], atol=1e-6)
    half = 0.53 * np.sqrt(0.5)  # at a steady speed: half way in the middle
    np.testing.assert_allclose(joint(motion, "left_wrist")[15], [0.17 + half, 1.44 + half, 0], atol=1e-6)
    assert joint(motion, "left_wrist")[0, 0] > 0 > joint(motion, "right_wrist")[0, 0]


def test_keys_of_a_steady_rate_are_the_frames(tmp_path):
    times = np.arange(48) / 24
    motion = load(tmp_path, raised(np.linspace(0, 1, 48), times).glb())
    assert motion.fps == pytest.approx(24) and motion.frames == 48
    assert load(tmp_path, raised(np.linspace(0, 1, 48), times).glb(), fps=12.0).frames == 24


def test_other_interpolations(tmp_path):
    step = load(tmp_path, raised(interpolation="STEP").glb())
    np.testing.assert_allclose(joint(step, "left_wrist")[:-1], joint(step, "left_wrist")[[0]].repeat(30, 0), atol=1e-6)
    assert joint(step, "left_wrist")[-1, 1] == pytest.approx(1.97, abs=1e-5)
    scene = Scene()
    scene.animate(
        "hips", "translation", [0, 1], [[0] * 3, [0, 95, 0], [0, 0, 60], [0] * 3, [0, 95, 60], [0] * 3], "CUBICSPLINE"
    )
    hips = joint(load(tmp_path, scene.glb()), "pelvis")
    s = np.arange(31) / 30
    np.testing.assert_allclose(hips[:, 2], 0.6 * ((s**3 - 2 * s**2 + s) + (3 * s**2 - 2 * s**3)), atol=1e-6)
    scene = Scene()
    values = np.round(about_z(np.array([0, np.pi / 2])) * 32767)
    scene.animate("leftUpperArm", "rotation", [0, 1], values, component=5122, dtype="<i2", normalized=True)
    assert joint(load(tmp_path, scene.glb()), "left_wrist")[-1, 1] == pytest.approx(1.97, abs=1e-3)


def test_a_gltf_with_its_data_inside_or_beside_it(tmp_path):
    scene, glb = raised(), load(tmp_path, raised().glb())
    inside = load(
        tmp_path, scene.gltf("data:application/octet-stream;base64," + base64.b64encode(scene.data).decode()), "a.gltf"
    )
    (tmp_path / "clip.bin").write_bytes(scene.data)
    beside = load(tmp_path, b"\xef\xbb\xbf" + scene.gltf("clip.bin"), "b.gltf")
    np.testing.assert_array_equal(inside.joints, glb.joints)
    np.testing.assert_array_equal(beside.joints, glb.joints)
    for uri in ("other.bin", "../clip.bin", str(tmp_path / "clip.bin")):
        with pytest.raises(InputError, match="is not a file beside it"):
            load(tmp_path, scene.gltf(uri), "c.gltf")


@pytest.mark.parametrize("version", ["VRM", "VRMC_vrm", "VRMC_vrm_animation"])
def test_vrm_names_the_bones_itself(tmp_path, version):
    scene = raised()
    for number, node in enumerate(scene.document["nodes"]):
        node["name"] = f"J{number}"
    if version == "VRM":
        bones = [{"bone": name, "node": node} for name, node in scene.index.items()]
    else:
        bones = {name: {"node": node} for name, node in scene.index.items()}
    scene.document["extensions"] = {version: {"humanoid": {"humanBones": bones}}}
    motion = load(tmp_path, scene.glb(), "avatar.vrm")
    np.testing.assert_allclose(joint(motion, "left_wrist")[-1], [0.17, 1.97, 0], atol=1e-6)


def test_the_first_of_several_animations_is_read_and_said(tmp_path, caplog):
    scene = raised()
    scene.document["animations"].append({"name": "walk", "channels": [], "samplers": []})
    assert load(tmp_path, scene.glb()).frames == 31
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'clip.glb'}: the first of 2 animations is read (raise, walk)"
    ]


def broken(change) -> bytes:
    scene = raised()
    change(scene.document)
    return scene.glb()


DAMAGE = {
    "no animation": (lambda: broken(lambda d: d.update(animations=[])), "has no animation"),
    "no joints": (
        lambda: broken(lambda d: d["skins"].clear() or d.update(nodes=[])),
        "has no joints|structure of glTF",
    ),
    "cut": (lambda: raised().glb()[:-20], "is cut short: [0-9]+ of [0-9]+ bytes"),
    "version 1": (lambda: broken(lambda d: d["asset"].update(version="1.0")), r"is glTF 1\.0, expected 2\.0"),
    "not glTF": (lambda: b'{"a": 1}', "is not glTF: has no 'asset'"),
    "noise": (lambda: b"\x00\x01\x02", "is neither a .glb nor valid JSON"),
    "wrong index": (lambda: broken(lambda d: d["skins"][0].update(joints=[-1])), "has -1 where an index was expected"),
    "far index": (lambda: broken(lambda d: d["skins"][0].update(joints=[999])), "does not have the structure of glTF"),
    "a loop": (lambda: broken(lambda d: d["nodes"][3].update(children=[1])), "has two parents"),
    "past the end": (lambda: broken(lambda d: d["accessors"][1].update(count=900)), "is cut short: accessor 1"),
    "huge": (lambda: broken(lambda d: d["accessors"][1].update(count=1 << 60)), "accessor 1 is damaged"),
    "other counts": (lambda: broken(lambda d: d["accessors"][0].update(count=1)), "does not have a value per key"),
    "backwards": (lambda: raised(times=(1, 0)).glb(), "are not in the order of time"),
    "for ever": (lambda: raised(times=(0, 1e9)).glb(), "the limit is 1000000 frames"),
    "compressed": (
        lambda: broken(lambda d: d["bufferViews"][1].update(extensions={"EXT_meshopt_compression": {}})),
        "is compressed",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_line(tmp_path, name):
    data, message = DAMAGE[name]
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, data())
    assert str(caught.value).startswith(f"{tmp_path / 'clip.glb'}: ") and "\n" not in str(caught.value)

"""GLB files read back with a library and by hand, and checked by Khronos' validator if it is installed."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.body.rotations import from_quaternions

gltf = pytest.importorskip("pygltflib", reason="pygltflib is not installed")

WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
DTYPES = {gltf.FLOAT: np.float32, gltf.UNSIGNED_SHORT: np.uint16}
VALIDATE = """
const bytes = new Uint8Array(require("fs").readFileSync(process.argv[1]));
require("gltf-validator").validateBytes(bytes).then(report => console.log(JSON.stringify(report.issues)));
"""


def values(scene, accessor: int) -> np.ndarray:
    about = scene.accessors[accessor]
    view = scene.bufferViews[about.bufferView]
    data = scene.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    return np.frombuffer(data, DTYPES[about.componentType]).reshape(about.count, WIDTHS[about.type])


def played(scene) -> dict[str, np.ndarray]:
    """World positions [T, 3] of all nodes by name, as a viewer computes them."""
    [animation] = scene.animations
    T = scene.accessors[animation.samplers[0].input].count
    local: dict[tuple[int, str], np.ndarray] = {}
    for channel in animation.channels:
        local[channel.target.node, channel.target.path] = values(scene, animation.samplers[channel.sampler].output)
    places = {}

    def walk(node: int, above: np.ndarray) -> None:
        matrix = np.tile(np.eye(4), (T, 1, 1))
        matrix[:, :3, 3] = local.get((node, "translation"), scene.nodes[node].translation)
        x, y, z, w = np.broadcast_to(local.get((node, "rotation"), [0, 0, 0, 1]), (T, 4)).T
        matrix[:, :3, :3] = from_quaternions(np.stack([w, x, y, z], axis=-1).astype(np.float64))
        world = above @ matrix
        places[scene.nodes[node].name] = world[:, :3, 3]
        for child in scene.nodes[node].children:
            walk(child, world)

    walk(scene.skins[0].skeleton, np.eye(4))
    return places


def in_layout(motion: Motion, name: str) -> Motion:
    return Motion(Layout.load(name).map_from(Layout.load("smpl22")) @ motion.joints, motion.fps, name)


def test_the_animation_equals_the_motion(tmp_path, samples):
    for clip in samples:
        clip.save(tmp_path / "clip.glb")
        scene = gltf.GLTF2().load(str(tmp_path / "clip.glb"))
        places = played(scene)
        joints = np.stack([places[name] for name in Layout.load("smpl22").joints], axis=1)
        assert 1000 * np.linalg.norm(joints - clip.joints, axis=-1).mean() <= 1
        times = values(scene, scene.animations[0].samplers[0].input)[:, 0]
        np.testing.assert_allclose(times, np.arange(clip.frames) / clip.fps, atol=1e-5)


def test_accessors_are_as_declared(tmp_path, wave):
    wave.save(tmp_path / "clip.glb")
    scene = gltf.GLTF2().load(str(tmp_path / "clip.glb"))
    assert scene.asset.copyright == wave.meta["licence"]
    assert scene.buffers[0].byteLength <= len(scene.binary_blob())
    for i, accessor in enumerate(scene.accessors):
        array = values(scene, i)
        assert np.isfinite(array).all() and scene.bufferViews[accessor.bufferView].byteOffset % 4 == 0
        if accessor.min:
            np.testing.assert_array_equal(accessor.min, array.min(axis=0))
            np.testing.assert_array_equal(accessor.max, array.max(axis=0))
    for channel in scene.animations[0].channels:
        sampler = scene.animations[0].samplers[channel.sampler]
        keys = values(scene, sampler.output)
        assert len(keys) == wave.frames
        if channel.target.path == "rotation":
            np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, atol=1e-5)
            assert ((keys[1:] * keys[:-1]).sum(axis=1) > 0).all()  # the short way round


def test_the_body_lies_around_the_bones_at_rest(tmp_path, wave):
    wave.save(tmp_path / "clip.glb")
    scene = gltf.GLTF2().load(str(tmp_path / "clip.glb"))
    [primitive, *others] = scene.meshes[0].primitives
    corners = values(scene, primitive.attributes.POSITION)
    assert np.ptp(corners[:, 0]) > 1 and np.ptp(corners[:, 1]) > 1  # the arms are spread
    owners = values(scene, primitive.attributes.JOINTS_0)[:, 0]
    unbind = values(scene, scene.skins[0].inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)  # columns to rows
    starts = (unbind[owners] @ np.append(corners, np.ones((len(corners), 1)), axis=1)[..., None])[:, :3, 0]
    np.testing.assert_allclose(starts[::6], 0, atol=1e-6)  # each bone's first corner is where its node is
    used = np.concatenate([values(scene, one.indices)[:, 0] for one in (primitive, *others)])
    assert sorted(set(used)) == list(range(len(corners)))
    faces = corners[used.reshape(-1, 3)]
    middles = corners.reshape(-1, 6, 3).mean(axis=1)[used.reshape(-1, 3)[:, 0] // 6]
    normals = np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0])
    assert ((normals * (faces.mean(axis=1) - middles)).sum(axis=1) > 0).all()  # they look outwards


@pytest.fixture(scope="module")
def validate():
    """Issues reported by the Khronos validator."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    where = {"cwd": sys.prefix, "capture_output": True, "text": True, "timeout": 60}
    if subprocess.run([node, "-e", "require('gltf-validator')"], **where).returncode:
        pytest.skip(f"gltf-validator is not installed: npm install --prefix {sys.prefix} gltf-validator")

    def run(path: Path) -> dict:
        return json.loads(subprocess.run([node, "-e", VALIDATE, str(path)], check=True, **where).stdout)

    return run


@pytest.mark.parametrize("name", [name for name in Layout.names() if Layout.load(name).dims == 3])
def test_the_validator_finds_nothing(tmp_path, wave, name, validate):
    in_layout(replace(wave, joints=wave.joints[:20]), name).save(tmp_path / "clip.glb")
    issues = validate(tmp_path / "clip.glb")
    assert issues["messages"] == []


def test_the_validator_finds_damage(tmp_path, wave, validate):
    wave.save(tmp_path / "clip.glb")
    broken = gltf.GLTF2().load(str(tmp_path / "clip.glb"))
    broken.accessors[0].count += 1
    broken.save(str(tmp_path / "broken.glb"))
    assert validate(tmp_path / "broken.glb")["numErrors"] > 0


def test_one_frame_is_a_clip(tmp_path, wave):
    replace(wave, joints=wave.joints[:1]).save(tmp_path / "clip.glb")
    places = played(gltf.GLTF2().load(str(tmp_path / "clip.glb")))
    np.testing.assert_allclose(places["head"][0], wave.joints[0, 15], atol=2e-3)

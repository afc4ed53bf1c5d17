"""A user's character takes a motion: in its own rest pose, units and proportions."""

import json

import numpy as np
import pytest

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.files import read

from .test_gltf import Scene, about_z, raised

BONES = [("knee", "hip"), ("ankle", "knee"), ("elbow", "shoulder"), ("wrist", "elbow")]


def directions(motion) -> np.ndarray:
    from motionrt.runtime.body.layout import Layout

    names = Layout.load(motion.layout).joints
    found = []
    for side in ("left", "right"):
        for end, start in BONES:
            bone = motion.joints[:, names.index(f"{side}_{end}")] - motion.joints[:, names.index(f"{side}_{start}")]
            found.append(bone / np.linalg.norm(bone, axis=-1, keepdims=True))
    return np.stack(found)


@pytest.mark.parametrize("hang_deg", [0, 50])
def test_bones_take_the_directions_of_the_motion_whatever_the_rest_pose(tmp_path, wave, hang_deg):
    scene = raised()
    for name, sign in (("leftUpperArm", -1), ("rightUpperArm", 1)):
        scene.document["nodes"][scene.index[name]]["rotation"] = about_z(sign * np.radians(hang_deg)).tolist()
    (tmp_path / "char.glb").write_bytes(scene.glb())
    wave.save(tmp_path / "out.glb", rig=tmp_path / "char.glb")
    found = read(tmp_path / "out.glb")
    assert found.frames == wave.frames and found.fps == pytest.approx(wave.fps)
    assert (directions(found) * directions(wave)).sum(-1).min() > 0.9999
    feet = [10, 11]
    assert 0 < read(tmp_path / "out.glb", layout="core15").joints[..., 1].min() < 0.15
    assert np.ptp(wave.joints[:, feet, 1]) < 0.2  # in meters, as the character's nodes are scaled
    thigh = np.linalg.norm(found.joints[0, _index(found, "left_knee")] - found.joints[0, _index(found, "left_hip")])
    assert thigh == pytest.approx(0.42, abs=1e-4)


def _index(motion, name):
    from motionrt.runtime.body.layout import Layout

    return Layout.load(motion.layout).joints.index(name)


def test_all_else_in_the_file_stays(tmp_path, wave):
    scene = raised()
    scene.document["nodes"].append({"name": "hat", "extras": {"a": 1}})
    scene.document["asset"]["copyright"] = "somebody"
    matrix = np.eye(4)
    matrix[3, :3] = scene.document["nodes"][1].pop("translation")
    scene.document["nodes"][1]["matrix"] = matrix.ravel().tolist()
    (tmp_path / "char.glb").write_bytes(scene.glb())
    wave.save(tmp_path / "out.glb", rig=str(tmp_path / "char.glb"))
    data = (tmp_path / "out.glb").read_bytes()
    document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    assert document["nodes"][-1] == scene.document["nodes"][-1]
    assert [animation["name"] for animation in document["animations"]] == ["motion", "raise"]
    assert document["asset"]["copyright"] == f"somebody; {wave.meta['licence']}"
    assert scene.data in data and "matrix" not in document["nodes"][1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda scene: scene.document["nodes"][scene.index["leftLowerLeg"]].update(name="x"), "have no left_knee"),
        (lambda scene: scene.document["nodes"][scene.index["hips"]].update(scale=[0, 0, 0]), "has joints of no size"),
        (lambda scene: scene.document.pop("asset"), "is not glTF"),
    ],
)
def test_a_character_that_cannot_be_moved_is_refused_in_one_line(tmp_path, wave, change, message):
    scene = Scene()
    change(scene)
    (tmp_path / "char.glb").write_bytes(scene.glb())
    with pytest.raises(InputError, match=message) as caught:
        wave.save(tmp_path / "out.glb", rig=tmp_path / "char.glb")
    assert "char.glb" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out.glb").exists()


def test_no_character_or_another_kind_of_file_is_refused(tmp_path, wave):
    with pytest.raises(InputError, match=r"none\.glb: no such file"):
        wave.save(tmp_path / "out.glb", rig=tmp_path / "none.glb")
    with pytest.raises(InputError, match=r"out\.bvh: rig is .*, expected a \.glb file for it"):
        wave.save(tmp_path / "out.bvh", rig=tmp_path / "none.glb")


def test_a_motion_is_written_twice_to_one_character(tmp_path, wave):
    """What was animated is a character, too."""
    (tmp_path / "char.glb").write_bytes(raised().glb())
    wave.save(tmp_path / "one.glb", rig=tmp_path / "char.glb")
    Motion(wave.joints[:20], wave.fps, "smpl22").save(tmp_path / "two.glb", rig=tmp_path / "one.glb")
    assert read(tmp_path / "two.glb").frames == 20

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.body.units import CMU, UNITS_M, height
from motionrt.runtime.errors import InputError
from motionrt.runtime.io import bvh
from motionrt.runtime.io.dataset import ClipSet
from motionrt.runtime.io.files import read

CMU_UNIT_M = UNITS_M[CMU]
BOW = Path(__file__).with_name("bandai_bow_normal.bvh")  # two frames of dataset-1_bow_normal_001, 0.1 s apart
CMU_TREE = {  # parent of every joint of the usual BVH conversion
    **dict.fromkeys(("LHipJoint", "RHipJoint", "LowerBack"), "Hips"),
    "LeftUpLeg": "LHipJoint",
    "LeftLeg": "LeftUpLeg",
    "LeftFoot": "LeftLeg",
    "LeftToeBase": "LeftFoot",
    "RightUpLeg": "RHipJoint",
    "RightLeg": "RightUpLeg",
    "RightFoot": "RightLeg",
    "RightToeBase": "RightFoot",
    "Spine": "LowerBack",
    "Spine1": "Spine",
    **dict.fromkeys(("Neck", "LeftShoulder", "RightShoulder"), "Spine1"),
    "Neck1": "Neck",
    "Head": "Neck1",
    "LeftArm": "LeftShoulder",
    "LeftForeArm": "LeftArm",
    "LeftHand": "LeftForeArm",
    **dict.fromkeys(("LeftFingerBase", "LThumb"), "LeftHand"),
    "LeftHandIndex1": "LeftFingerBase",
    "RightArm": "RightShoulder",
    "RightForeArm": "RightArm",
    "RightHand": "RightForeArm",
    **dict.fromkeys(("RightFingerBase", "RThumb"), "RightHand"),
    "RightHandIndex1": "RightFingerBase",
}


def cmu_bvh(pose, roots, turn=0.0):
    """A CMU file: `pose` [31, 3] of cmu31, rotated about y, moves along `roots` [T, 3]."""
    layout = Layout.load("cmu31")
    at = {names[-1]: point for names, point in zip(layout.aliases, pose, strict=True)}
    at |= dict.fromkeys(("LHipJoint", "RHipJoint", "LowerBack"), at["Hips"])
    at |= dict.fromkeys(("LeftShoulder", "RightShoulder"), at["Neck"])
    at |= {"LThumb": at["LeftHand"], "RThumb": at["RightHand"]}

    def block(kind, name, parent, channels):
        offset = at[name] - at[parent] if parent else np.zeros(3)
        lines = [
            f"{kind} {name}" if kind != "End" else "End Site",
            "{",
            f"OFFSET {' '.join(map(str, offset))}",
        ]
        if channels:
            lines.append(f"CHANNELS {len(channels)} {' '.join(channels)}")
        rotations = ["Zrotation", "Yrotation", "Xrotation"]
        for child in (child for child, above in CMU_TREE.items() if above == name):
            lines += block("JOINT", child, name, rotations)
        if f"{name}_end" in at:
            lines += block("End", f"{name}_end", name, [])
        return [*lines, "}"]

    root = ["Xposition", "Yposition", "Zposition", "Zrotation", "Yrotation", "Xrotation"]
    rest = [0.0] * (3 * len(CMU_TREE))
    frames = [" ".join(map(str, [*place, 0.0, turn, 0.0, *rest])) for place in roots]
    lines = ["HIERARCHY", *block("ROOT", "Hips", None, root), "MOTION", f"Frames: {len(roots)}"]
    return "\n".join([*lines, "Frame Time: .0083333", *frames]) + "\n"


def chain(*, rotations="Zrotation Xrotation Yrotation", values=(0, 0, 0), head=0.3):
    """A skeleton of core15 names in meters; only the root has channels."""
    layout = Layout.load("core15")
    offset = {
        "neck": (0, 0.5, 0),
        "head": (0, head, 0),
        "left_shoulder": (0.2, 0, 0),
        "right_shoulder": (-0.2, 0, 0),
    }
    offset |= {"left_hip": (0.1, 0, 0), "right_hip": (-0.1, 0, 0)}

    def block(kind, i):
        name = layout.joints[i]
        lines = [f"{kind} {name} {{ OFFSET {' '.join(map(str, offset.get(name, (0, -0.4, 0))))}"]
        lines.append(f"CHANNELS 6 Xposition Yposition Zposition {rotations}" if i == layout.root else "CHANNELS 0")
        children = [k for k, parent in enumerate(layout.parents) if parent == i]
        return [*lines, *(line for child in children for line in block("JOINT", child)), "}"]

    frame = " ".join(map(str, (1, 2, 3, *values)))
    return "\n".join(["HIERARCHY", *block("ROOT", 0), "MOTION", "Frames: 1", "Frame Time: 0.05", frame])


def test_a_real_bandai_file():
    motion = read(BOW)
    assert (motion.layout, motion.frames, motion.fps) == ("bandai", 2, pytest.approx(10))
    pose = dict(zip(Layout.load("bandai").joints, motion.joints[0], strict=True))
    np.testing.assert_allclose(pose["pelvis"], [0.0004, 0.9399, 0.0006], atol=1e-4)
    np.testing.assert_allclose(pose["head"], [-0.0029, 1.4134, -0.0367], atol=1e-3)
    np.testing.assert_allclose(pose["left_wrist"], [0.2326, 0.8755, 0.0495], atol=1e-3)
    np.testing.assert_allclose(pose["right_foot"], [-0.0552, 0.0474, 0.0004], atol=1e-3)


def test_a_real_bandai_file_equals_the_clip_of_the_shared_set(shared):
    import json

    record = json.loads((shared / "bandai22.json").read_text())
    i = [clip["id"] for clip in record["clips"]].index("dataset-1_bow_normal_001")
    with np.load(shared / "bandai22.npz") as data:
        frames = data["start"][i] + [0, 2]  # the set has 20 frames a second
        expected = data["joints"][frames].astype(np.float32)
        expected[..., [0, 2]] += data["root_xz"][frames][:, None]
    mapped = Layout.load("smpl22").map_from(Layout.load("bandai")) @ read(BOW).joints
    np.testing.assert_allclose(mapped, expected, atol=1e-3)


def test_cmu_names_and_units(tmp_path, wave):
    cmu = Layout.load("cmu31")
    clip = (cmu.map_from(Layout.load("smpl22")) @ wave.joints)[::10]
    (tmp_path / "01_01.bvh").write_text(cmu_bvh(clip[0] / CMU_UNIT_M, clip[:, 0] / CMU_UNIT_M))
    motion = read(tmp_path / "01_01.bvh")
    assert (motion.layout, motion.fps) == ("cmu31", pytest.approx(120, abs=0.01))
    np.testing.assert_allclose(motion.joints, clip[0] - clip[0, 0] + clip[:, :1], atol=2e-3)


def test_cmu_rotated_by_its_root(tmp_path, wave):
    cmu = Layout.load("cmu31")
    pose = cmu.map_from(Layout.load("smpl22")) @ wave.joints[0]
    (tmp_path / "turned.bvh").write_text(cmu_bvh(pose * 100, np.zeros((1, 3)), turn=90))
    x, y, z = (pose - pose[0]).T
    np.testing.assert_allclose(read(tmp_path / "turned.bvh").joints[0], np.stack([z, y, -x], axis=-1), atol=2e-3)


@pytest.mark.parametrize(
    ("rotations", "values", "x_becomes"),
    [
        ("Zrotation Xrotation Yrotation", (90, 0, 0), (0, 1, 0)),
        ("Zrotation Xrotation Yrotation", (0, 0, 90), (0, 0, -1)),
        ("Zrotation Xrotation Yrotation", (90, 90, 0), (0, 1, 0)),  # Z after X
        ("Xrotation Zrotation Yrotation", (90, 90, 0), (0, 0, 1)),  # X after Z
    ],
)
def test_rotations_apply_in_the_order_of_the_file(tmp_path, rotations, values, x_becomes):
    (tmp_path / "turn.bvh").write_text(chain(rotations=rotations, values=values))
    motion = read(tmp_path / "turn.bvh")
    joints = Layout.load("core15").joints
    left_hip = motion.joints[0, joints.index("left_hip")]  # 0.1 m along x of the root
    np.testing.assert_allclose(left_hip, np.array([1, 2, 3]) + 0.1 * np.array(x_becomes), atol=1e-6)


@pytest.mark.parametrize("unit", UNITS_M)
@pytest.mark.parametrize("tall_m", [1.1, 1.7, 2.1])
def test_units_are_detected_by_the_height_of_the_body(tmp_path, wave, caplog, unit, tall_m):
    cmu = Layout.load("cmu31")
    pose = cmu.map_from(Layout.load("smpl22")) @ wave.joints[0]
    pose *= np.float32(tall_m / height(pose[None], cmu))
    (tmp_path / "unit.bvh").write_text(cmu_bvh(pose / UNITS_M[unit], pose[:1] / UNITS_M[unit]))
    motion = read(tmp_path / "unit.bvh")
    if (unit, tall_m) == ("decimeters", 2.1):  # or 1.2 m in the unit of the CMU skeleton that it is
        assert caplog.messages == [] and not np.allclose(motion.joints[0], pose, atol=0.1)
        return
    np.testing.assert_allclose(motion.joints[0], pose, atol=2e-3)
    assert caplog.messages == []


def test_a_doubtful_unit_is_reported_and_an_impossible_one_refused(tmp_path, caplog):
    def load(units_tall, **options):
        text = chain()
        for offset in ("0.5", "0.3", "0.2", "0.1", "0.4"):
            text = re.sub(rf"(?<=[ -]){re.escape(offset)}(?=[ \n])", f"{float(offset) * units_tall / 1.954:.6f}", text)
        (tmp_path / "doubt.bvh").write_text(text)
        caplog.clear()
        return read(tmp_path / "doubt.bvh", **options)

    head = Layout.load("core15").joints.index("head")
    tall = {}
    for units_tall in (1.7, 20, 2.6, 600):
        motion = load(units_tall)
        tall[units_tall] = float(np.linalg.norm(motion.joints[0, head] - motion.joints[0, 0]))
        assert len(caplog.messages) == (units_tall != 1.7)
        if units_tall == 20:
            assert "doubt.bvh: the body is 20 units tall: read as decimeters, 2.0 m (could be CMU" in caplog.text
        if units_tall == 600:
            assert "read as millimeters, 0.6 m (a person is 1 to 2.2 m tall, see --scale)" in caplog.text
    assert tall[20] / tall[1.7] == pytest.approx(2 / 1.7, rel=1e-3)
    with pytest.raises(InputError, match=r"doubt.bvh: the body is 400 units tall, which is no person in .*pass scale"):
        load(400)
    assert load(400, scale=0.004) and caplog.messages == []


WHOLE = chain()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("HIERARCHY", "ends too early"),
        ("hello world", "has 'hello' where HIERARCHY was expected"),
        (WHOLE.split("MOTION")[0], "ends too early"),
        (WHOLE[:-8], "ends too early: .* numbers where 6 were expected"),
        (WHOLE + " 7", "has more numbers than 1 frames of 6 channels"),
        (WHOLE.replace("Frames: 1", "Frames: 0"), "has '0' where a count was expected"),
        (WHOLE.replace("Frames: 1", "Frames: " + "9" * 5000), "where a count was expected"),
        (WHOLE.replace("Time: 0.05", "Time: 0"), "has a frame time of 0.0, expected seconds"),
        (WHOLE.replace("Zrotation", "Wrotation"), "has 'Wrotation' where Xposition or"),
        (WHOLE.replace("0.5", "half"), "has a word where a number was expected"),
        (
            WHOLE.replace("left_knee", "joystick"),
            r"the 15 joint names \(pelvis, .*…\) have no left_knee, expected .*--layout FILE.json",
        ),
    ],
)
def test_malformed_bvh(tmp_path, text, message):
    (tmp_path / "bad.bvh").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / "bad.bvh")
    assert str(caught.value).startswith(f"{tmp_path / 'bad.bvh'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("frame_time", "unit", "rate"),
    [
        ("30", "a rate", "30"),
        ("120.0", "a rate", "120"),
        ("33.3333", "milliseconds", "30"),
        ("8.33333", "milliseconds", "120"),
        ("40", "milliseconds", "25"),
        ("33333", "microseconds", "30"),
        ("0.0000333333", "seconds / 1000", "30"),
    ],
)
def test_a_frame_time_in_another_unit_is_refused(tmp_path, wave, frame_time, unit, rate):
    path = tmp_path / "wave.bvh"
    wave.save(path)
    text = path.read_text()
    path.write_text(text.replace(f"Frame Time: {1 / wave.fps:.9g}", f"Frame Time: {frame_time}"))
    assert frame_time in path.read_text()
    with pytest.raises(
        InputError, match=f"wave.bvh: has a frame time of .*, which looks like {unit}, expected seconds"
    ):
        read(path)
    with pytest.raises(InputError, match=rf"pass fps={rate} \(--fps {rate}\)"):
        read(path)
    assert read(path, fps=float(rate)).fps == float(rate)


@pytest.mark.parametrize("rate_hz", [1, 5, 10, 20, 24, 30, 60, 100, 120, 240, 480])
def test_other_frame_times_are_taken(tmp_path, wave, rate_hz):
    Motion(wave.joints, rate_hz, wave.layout).save(tmp_path / "wave.bvh")
    assert read(tmp_path / "wave.bvh").fps == pytest.approx(rate_hz)


def test_bvh_with_too_many_joints(tmp_path):
    deep = "HIERARCHY ROOT a " + "{ OFFSET 0 0 0 JOINT b " * 2000
    (tmp_path / "deep.bvh").write_text(deep)
    with pytest.raises(InputError, match="has more than 256 joints"):
        read(tmp_path / "deep.bvh")


def error_mm(joints, motion):
    return 1000 * np.linalg.norm(joints - motion.joints, axis=-1).mean()


def read_elsewhere(path):
    """World positions [T, V, 3] of smpl22's joints, read by another project."""
    pybvh = pytest.importorskip("pybvh", reason="pybvh is not installed")
    clip = pybvh.read_bvh_file(path)
    names = [node.name for node in clip.nodes]
    return clip.node_positions()[:, [names.index(name) for name in Layout.load("smpl22").joints]]


def test_written_clips_are_read_back_within_a_millimeter(tmp_path, samples):
    for clip in samples:
        clip.save(tmp_path / "clip.bvh")
        again = read(tmp_path / "clip.bvh")
        assert (again.layout, again.frames, again.fps) == ("smpl22", clip.frames, pytest.approx(clip.fps))
        assert error_mm(again.joints, clip) <= 1
        assert error_mm(read_elsewhere(tmp_path / "clip.bvh"), clip) <= 1


@pytest.mark.parametrize("name", ["bandai22", "cmu22", "mocap22"])
def test_mocap_is_read_elsewhere_within_a_millimeter(tmp_path, shared, name):
    clip = ClipSet.load(shared / name)[1]
    clip.save(tmp_path / "clip.bvh")
    assert error_mm(read_elsewhere(tmp_path / "clip.bvh"), clip) <= 1


@pytest.mark.parametrize("name", [name for name in Layout.names() if Layout.load(name).dims == 3])
def test_every_layout_is_read_back_as_itself(tmp_path, wave, name):
    clip = Motion(Layout.load(name).map_from(Layout.load("smpl22")) @ wave.joints[::5], 4, name)
    clip.save(tmp_path / "clip.bvh")
    again = read(tmp_path / "clip.bvh")
    assert (again.layout, again.fps) == (name, 4)
    assert error_mm(again.joints, clip) <= 2


def test_the_skeleton_is_fixed(tmp_path, wave):
    wave.save(tmp_path / "clip.bvh")
    text = (tmp_path / "clip.bvh").read_text()
    assert text.count("position") == 3  # those of the root
    assert text.count("End Site") == 5  # head, wrists, feet
    joints = read(tmp_path / "clip.bvh").joints
    for joint, parent in Layout.load("smpl22").edges:
        assert np.ptp(np.linalg.norm(joints[:, joint] - joints[:, parent], axis=-1)) < 1e-4


@given(st.tuples(*[st.floats(-180, 180)] * 3), st.sampled_from([None, -90, 90, 89.9999]))
def test_euler_angles_are_those_of_the_rotation(angles, locked):
    z, x, y = np.radians([angles[0], angles[1] / 2 if locked is None else locked, angles[2]])[:, None]
    rotation = bvh.rotation_about(2, z) @ bvh.rotation_about(0, x) @ bvh.rotation_about(1, y)
    z, x, y = np.radians(bvh._euler_zxy(rotation)).T[:, :, None][..., 0]
    np.testing.assert_allclose(
        bvh.rotation_about(2, z) @ bvh.rotation_about(0, x) @ bvh.rotation_about(1, y), rotation, atol=1e-4
    )


def test_euler_angles_are_continuous():
    turns = np.radians(np.arange(0, 800, 20.0))
    degrees = bvh._euler_zxy(bvh.rotation_about(1, turns)[:, None])[:, 0]
    np.testing.assert_allclose(degrees[:, 2], np.degrees(turns), atol=1e-6)

import json

import numpy as np
import pytest

from motionrt.runtime._core import layout_weights
from motionrt.runtime.body import layout as skeleton
from motionrt.runtime.body.layout import FOLDER, Layout
from motionrt.runtime.errors import LayoutError
from motionrt.runtime.io.dataset import ClipSet

ALL = [Layout.load(name) for name in Layout.names()]
IN_3D = [layout for layout in ALL if layout.dims == 3]
WITH_LEGS = [layout for layout in ALL if "left_hip" in layout.joints]
IN_ORDER = {
    "core15": """pelvis neck head left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist
        left_hip left_knee left_ankle right_hip right_knee right_ankle""",
    "coco17": """nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow
        right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee
        left_ankle right_ankle""",
    "openpose18": """nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist
        right_hip right_knee right_ankle left_hip left_knee left_ankle right_eye left_eye
        right_ear left_ear""",
}
KINECT = """hip_center spine shoulder_center head shoulder_left elbow_left wrist_left hand_left
    shoulder_right elbow_right wrist_right hand_right hip_left knee_left ankle_left foot_left
    hip_right knee_right ankle_right foot_right"""
CMU = """root lhipjoint lfemur ltibia lfoot ltoes rhipjoint rfemur rtibia rfoot rtoes lowerback upperback
    thorax lowerneck upperneck head lclavicle lhumerus lradius lwrist lhand lfingers lthumb
    rclavicle rhumerus rradius rwrist rhand rfingers rthumb"""


def test_known_layouts():
    sizes = {layout.name: len(layout.joints) for layout in ALL}
    assert sizes == {
        "arkit91": 91,
        "azure32": 32,
        "bandai": 22,
        "cmu31": 31,
        "coco17": 17,
        "core14": 14,
        "core15": 15,
        "h36m17": 17,
        "jhmdb15": 15,
        "kinect20": 20,
        "kit21": 21,
        "mediapipe33": 33,
        "meta70": 70,
        "meta84": 84,
        "ntu25": 25,
        "openpose18": 18,
        "smpl22": 22,
        "smpl24": 24,
        "smplh52": 52,
        "smplx144": 144,
        "smplx55": 55,
        "webxr83": 83,
        "zed18": 18,
        "zed34": 34,
        "zed38": 38,
    }
    in_2d = {layout.name for layout in ALL} - {layout.name for layout in IN_3D}
    assert in_2d == {"coco17", "jhmdb15", "openpose18"}
    assert {layout.name for layout in ALL} - {layout.name for layout in WITH_LEGS} == {"meta70"}


@pytest.mark.parametrize("name", IN_ORDER)
def test_joint_order(name):
    assert Layout.load(name).joints == tuple(IN_ORDER[name].split())


def test_load_returns_one_object_per_name():
    assert Layout.load("core15") is Layout.load("core15")


def test_unknown_layout_names_the_known_ones():
    with pytest.raises(LayoutError, match=r"'smpl23', expected one of arkit91, .*bandai, .*smpl22"):
        Layout.load("smpl23")


def own_layout(folder, name="own15", **changes):
    data = json.loads((FOLDER / "core15.json").read_text(encoding="utf-8")) | changes
    path = folder / f"{name}.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


@pytest.fixture
def unregister(monkeypatch):
    monkeypatch.setattr(skeleton, "_REGISTERED", {})


@pytest.mark.usefixtures("unregister")
def test_a_layout_of_your_own_is_a_file(tmp_path):
    with pytest.raises(LayoutError, match=r"unknown skeleton layout 'own15'.*--layout FILE.json, Layout.read"):
        Layout.load("own15")
    layout = Layout.read(own_layout(tmp_path))
    assert Layout.load("own15") is layout and Layout.read(own_layout(tmp_path)) is layout and "own15" in Layout.names()
    np.testing.assert_array_equal(Layout.load("core15").map_from(layout), np.eye(15, dtype=np.float32))
    with pytest.raises(LayoutError, match=r"own15.json: there is another layout 'own15'"):
        Layout.read(own_layout(tmp_path, about="another"))
    with pytest.raises(LayoutError, match=r"smpl22.json: there is another layout"):
        Layout.read(own_layout(tmp_path, "smpl22"))


@pytest.mark.usefixtures("unregister")
@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"joints": 3}, "expected an object with 'about', 'dims', 'root' and a list 'joints'"),
        ({"root": "tail"}, "there is no 'tail'"),
        ({"joints": [{"name": "pelvis"}]}, "there is no 'parent'"),
        ({"joints": [{"name": "pelvis", "parent": "pelvis"}]}, "'pelvis' is its own ancestor"),
        ({"joints": 2 * [{"name": "pelvis", "parent": None}]}, "repeated or not strings"),
        ({"dims": 4}, "dims is 4, expected 3"),
    ],
)
def test_an_invalid_layout_is_refused_in_one_line(changes, problem, tmp_path):
    with pytest.raises(LayoutError, match=f"own15.json: not a skeleton layout: .*{problem}"):
        Layout.read(own_layout(tmp_path, **changes))
    assert "own15" not in Layout.names()


@pytest.mark.usefixtures("unregister")
def test_joints_that_are_all_neighbors_of_each_other_are_refused(tmp_path):
    names = [f"point{i}" for i in range(12)]
    joints = json.loads((FOLDER / "core15.json").read_text(encoding="utf-8"))["joints"]
    for name in names:
        joints.append({"name": name, "parent": "pelvis", "neighbours": [[one for one in names if one != name]]})
    layout = Layout.read(own_layout(tmp_path, joints=joints))
    with pytest.raises(LayoutError, match="neighbours of 'point0' refer to each other in too many ways"):
        layout.map_from(Layout.load("core15"))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000])
def test_invalid_json_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "own15.json").write_text(text)
    with pytest.raises(LayoutError, match="own15.json: not a skeleton layout"):
        Layout.read(tmp_path / "own15.json")
    with pytest.raises(LayoutError, match="none.json: cannot be read: No such file"):
        Layout.read(tmp_path / "none.json")


@pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.name)
def test_joints_form_one_tree(layout):
    assert len(set(layout.joints)) == len(layout.joints)
    assert layout.parents.count(-1) == 1
    assert len(layout.edges) == len(layout.joints) - 1
    for joint in range(len(layout.joints)):
        steps = 0
        while joint >= 0:
            joint, steps = layout.parents[joint], steps + 1
            assert steps <= len(layout.joints)


@pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.name)
def test_mirror_swaps_sides_and_keeps_the_tree(layout):
    mirror = np.array(layout.mirror)
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    swapped = [layout.joints[i] for i in mirror]
    for joint, twin in zip(layout.joints, swapped, strict=True):
        other = {"left": "right", "right": "left"}.get(joint.split("_")[0])
        assert twin == (joint if other is None else f"{other}_{joint.split('_', 1)[1]}")
    for i, parent in layout.edges:
        assert layout.parents[mirror[i]] == mirror[parent]


@pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.name)
def test_facing_gives_hips_and_shoulders(layout):
    parts = ["hip", "shoulder"] if layout in WITH_LEGS else ["shoulder"]
    left, right = layout.facing
    assert [layout.joints[i] for i in left] == [f"left_{part}" for part in parts]
    assert [layout.joints[i] for i in right] == [f"right_{part}" for part in parts]


@pytest.mark.parametrize("source", WITH_LEGS, ids=lambda layout: layout.name)
def test_every_layout_maps_onto_every_other(source):
    for target in ALL:
        weights = target.map_from(source)
        assert weights.dtype == np.float32
        assert weights.shape == (len(target.joints), len(source.joints)), target.name
        assert (weights >= 0).all(), target.name
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6, err_msg=target.name)


@pytest.mark.parametrize("source", WITH_LEGS, ids=lambda layout: layout.name)
def test_mirror_commutes_with_mapping(source):
    for target in ALL:
        weights = target.map_from(source)
        mirrored = weights[:, np.array(source.mirror)]
        np.testing.assert_allclose(weights[np.array(target.mirror)], mirrored, atol=1e-7, err_msg=target.name)


@pytest.mark.parametrize("layout", ALL, ids=lambda layout: layout.name)
def test_mapping_onto_itself_is_the_identity(layout):
    np.testing.assert_array_equal(layout.map_from(layout), np.eye(len(layout.joints), dtype=np.float32))


@pytest.mark.parametrize("source", WITH_LEGS, ids=lambda layout: layout.name)
def test_shared_joints_are_copied(source):
    for target in ALL:
        weights = target.map_from(source)
        for i, joint in enumerate(target.joints):
            if joint in source.joints:
                assert weights[i, source.joints.index(joint)] == 1, target.name


def test_missing_joints_are_means_of_neighbors():
    coco, smpl = Layout.load("coco17"), Layout.load("smpl22")
    from_coco = dict(zip(smpl.joints, smpl.map_from(coco), strict=True))

    def parts(row, source):
        return {joint: float(weight) for joint, weight in zip(source.joints, row, strict=True) if weight}

    assert parts(from_coco["pelvis"], coco) == {"left_hip": 0.5, "right_hip": 0.5}
    assert parts(from_coco["neck"], coco) == {"left_shoulder": 0.5, "right_shoulder": 0.5}
    assert parts(from_coco["head"], coco) == {"left_ear": 0.5, "right_ear": 0.5}
    assert parts(from_coco["left_foot"], coco) == {"left_ankle": 1}
    core = Layout.load("core15")
    from_core = dict(zip(smpl.joints, smpl.map_from(core), strict=True))
    assert parts(from_core["spine1"], core) == {"pelvis": 0.75, "neck": 0.25}
    assert parts(from_core["spine3"], core) == {"pelvis": 0.25, "neck": 0.75}


LEGS = [f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle")]


def test_legs_may_be_left_out():
    core, meta = Layout.load("core15"), Layout.load("meta70")
    assert meta.joints == Layout.load("meta84").joints[:70]
    with pytest.raises(LayoutError, match=f"core15 cannot be computed from meta70, which lacks {', '.join(LEGS)}$"):
        core.map_from(meta)
    weights = dict(zip(core.joints, core.map_from(meta, needs_legs=False), strict=True))
    for joint, row in weights.items():
        assert row.sum() == (joint not in LEGS)
        assert joint in LEGS or row[meta.joints.index(joint)] == 1


def test_an_impossible_mapping_names_the_missing_joints():
    core = Layout.load("core15")
    bust = Layout(
        name="bust",
        about="",
        joints=("pelvis", "neck", "head"),
        parents=(-1, 0, 1),
        root=0,
        dims=3,
        aliases=((),) * 3,
        neighbors={},
    )
    with pytest.raises(LayoutError, match="core15 cannot be computed from bust, which lacks left_shoulder"):
        core.map_from(bust)
    with pytest.raises(LayoutError, match="from bust, which lacks left_shoulder, .*, right_wrist$"):
        core.map_from(bust, needs_legs=False)


def test_find_identifies_a_layout_by_its_joint_names():
    kinect = KINECT.split()
    assert Layout.find(kinect).name == "kinect20"
    for layout in ALL:
        assert Layout.match(layout.joints, dims=layout.dims) == (layout, list(range(len(layout.joints))))
    with pytest.raises(LayoutError, match="in another order"):
        Layout.find(kinect[::-1])
    with pytest.raises(LayoutError, match="have no head, left_shoulder, .*expected all joints of a person"):
        Layout.find(["hip", "hop"])


def test_cmu_names_are_those_of_the_far_ends_of_bones():
    layout = Layout.find(CMU.split())
    joints = dict(zip(CMU.split(), layout.joints, strict=True))
    assert layout.name == "cmu31"
    assert (joints["lfemur"], joints["ltibia"], joints["rradius"]) == ("left_knee", "left_ankle", "right_wrist")
    assert (joints["upperneck"], joints["head"]) == ("head", "head_top")


def test_match_finds_joints_among_others_under_a_prefix():
    layout, order = Layout.match(["Camera", *(f"mixamorig:{joint}" for joint in Layout.load("core15").joints[::-1])])
    assert layout.name == "core15"
    assert order == list(range(15, 0, -1))


SETS = {"bandai22": "smpl22", "cmu22": "smpl22", "kinect20": "kinect20", "irds25": "ntu25", "yoga_mp33": "mediapipe33"}


@pytest.mark.parametrize("name", [*SETS, "jhmdb15"])
def test_find_on_the_shared_sets(shared, name):
    joints = json.loads((shared / f"{name}.json").read_text())["joints"]
    assert Layout.find(joints).name == SETS.get(name, name)


def test_a_set_in_2d_is_read_as_a_picture(shared):
    clip = ClipSet.load(shared / "jhmdb15")[0]
    assert (clip.layout, clip.joints.shape[1:]) == ("jhmdb15", (15, 2))
    body = dict(zip(Layout.load("jhmdb15").joints, clip.joints[0], strict=True))
    assert body["head"][1] < body["neck"][1] < body["left_hip"][1]  # y points down


def test_going_through_kinect_gives_core_the_same_joints_on_a_real_clip(shared):
    with np.load(shared / "bandai22.npz") as data:
        clip = data["joints"][: data["start"][1]].astype(np.float32)
    smpl, kinect, core = (Layout.load(name) for name in ("smpl22", "kinect20", "core15"))
    direct = core.map_from(smpl) @ clip
    through = core.map_from(kinect) @ (kinect.map_from(smpl) @ clip)
    np.testing.assert_allclose(through, direct, atol=1e-6)


@pytest.mark.parametrize(
    "middle", [x for x in IN_3D if {"pelvis", "neck", "head", "left_hip"} <= {*x.joints}], ids=lambda x: x.name
)
def test_core_survives_a_trip_through_every_3d_layout(middle):
    core = Layout.load("core15")
    np.testing.assert_allclose(core.map_from(middle) @ middle.map_from(core), np.eye(15), atol=1e-6)


@pytest.mark.parametrize("source", ALL, ids=lambda layout: layout.name)
@pytest.mark.parametrize("needs_legs", [True, False])
def test_the_c_library_maps_every_layout_as_python_does(source, needs_legs):
    for target in ALL:
        try:
            weights = target.map_from(source, needs_legs=needs_legs)
        except LayoutError:
            with pytest.raises(ValueError, match="cannot be made from"):
                layout_weights(target.name, source.name, needs_legs)
        else:
            found = layout_weights(target.name, source.name, needs_legs)
            np.testing.assert_allclose(found, weights, atol=1e-6, err_msg=target.name)

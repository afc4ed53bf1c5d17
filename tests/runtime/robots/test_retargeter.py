"""A person's motion on a robot: limits, resting feet, files, and robots of one's own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motionrt
from motionrt import InputError, LayoutError, Motion, Retargeter
from motionrt.runtime.cli import main
from motionrt.runtime.robots.support import distance_inside

ROOT = Path(motionrt.__file__).parent
SAMPLES = ROOT / "runtime" / "samples"
CLIPS = ("bandai_bow", "bandai_run", "bandai_wave_right_hand", "cmu_walk")


@pytest.fixture(scope="module", params=CLIPS)
def clip(request: pytest.FixtureRequest) -> Motion:
    return Motion.load(SAMPLES / f"{request.param}.npz")


def robot_file() -> dict[str, Any]:
    return json.loads((ROOT / "runtime" / "robots" / "g1.json").read_text())


def test_the_robot_follows_within_its_limits(clip: Motion) -> None:
    report = Retargeter("g1", clip.layout).retarget(clip).report()
    assert report["limit_violations"] == report["velocity_violations"] == report["held"] == 0
    assert report["error_cm"]["p50"] < 2 and report["slip_cm"] < 1 and report["collisions"] == 0


def test_every_3d_layout_works(clip: Motion) -> None:
    wanted = Retargeter("g1", clip.layout).retarget(clip).angles
    smpl = motionrt.Layout.load(clip.layout)
    for name in ("core15", "ntu25", "mediapipe33", "smpl24"):
        layout = motionrt.Layout.load(name)
        try:
            joints = np.einsum("vs,tsd->tvd", layout.map_from(smpl), clip.joints)
        except LayoutError:
            continue
        angles = Retargeter("g1", layout).retarget(Motion(joints=joints, fps=clip.fps, layout=name)).angles
        knee = Retargeter("g1").joints.index("left_knee_joint")
        assert np.corrcoef(angles[:, knee], wanted[:, knee])[0, 1] > 0.8 or np.ptp(wanted[:, knee]) < 0.2


def test_frame_by_frame_is_the_whole_clip(clip: Motion) -> None:
    robot = Retargeter("g1", clip.layout)
    whole = robot.retarget(clip)
    robot.reset()
    for i, joints in enumerate(clip.joints):
        pose = robot.step(joints, i / clip.fps)
        np.testing.assert_array_equal(pose.angles, whole.angles[i])
        np.testing.assert_array_equal(pose.position, whole.positions[i])


def test_a_turn_of_the_person_turns_the_robot(clip: Motion) -> None:
    angle = 2.0  # about y, which is up
    c, s = np.cos(angle), np.sin(angle)
    turned = Motion(joints=clip.joints @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]), fps=clip.fps, layout=clip.layout)
    before, after = (Retargeter("g1", clip.layout).retarget(motion) for motion in (clip, turned))
    np.testing.assert_allclose(after.positions[0, 2], before.positions[0, 2], atol=1e-3)
    x, y = before.positions[0, :2]
    np.testing.assert_allclose(after.positions[0, :2], [c * x - s * y, s * x + c * y], atol=1e-3)
    np.testing.assert_allclose(after.angles[0], before.angles[0], atol=1e-2)


def test_what_is_out_of_reach_is_named() -> None:
    clip = Motion.load(SAMPLES / "bandai_wave_right_hand.npz")
    joints = clip.joints.copy()
    names = motionrt.Layout.load(clip.layout).joints
    knee, ankle, foot = (names.index(f"left_{part}") for part in ("knee", "ankle", "foot"))
    joints[:, [ankle, foot]] += joints[:, [knee]] + [0, 0, 0.4] - joints[:, [ankle]]  # a knee that bends backward
    robot = Retargeter("g1", clip.layout)
    for i, pose in enumerate(joints):
        found = robot.step(pose, i / clip.fps)
    assert found.unreached and min(found.unreached.values()) > 0.1
    assert all(name.startswith("left_") and name != "left_wrist" for name in found.unreached)


def test_frames_without_hips_hold_the_pose(clip: Motion) -> None:
    joints = clip.joints.copy()
    joints[20:30, 1:3] = np.nan
    result = Retargeter("g1", clip.layout).retarget(Motion(joints=joints, fps=clip.fps, layout=clip.layout))
    assert result.held.sum() == 10
    assert (result.angles[20:30] == result.angles[19]).all()
    assert result.report()["velocity_violations"] == 0


def test_a_report_tells_where_the_center_of_mass_is(tmp_path: Path) -> None:
    clip = Motion.load(SAMPLES / "bandai_bow.npz")
    result = Retargeter("g1", clip.layout).retarget(clip)
    support = result.report()["support"]
    assert support["frames"] == clip.frames and support["share_over"] > 0.8
    middle = (result.feet[0, 0, :2] + result.feet[0, 1, :2]) / 2
    assert np.linalg.norm(result.centers[0, :2] - middle) < 0.2
    robot = robot_file()
    del robot["masses"], robot["capsules"]
    (tmp_path / "plain.json").write_text(json.dumps(robot))
    report = Retargeter(tmp_path / "plain.json", clip.layout).retarget(clip).report()
    assert report["support"] == {"frames": 0, "share_over": None, "p5_cm": None} and report["collisions"] is None


@pytest.mark.parametrize(
    ("point", "expected"), [((0.5, 0.5), 0.5), ((0.5, 0.25), 0.25), ((2, 0.5), -1), ((2, 2), -(2**0.5))]
)
def test_distance_inside_of_a_square(point: tuple[float, float], expected: float) -> None:
    corners = np.array([(0, 0), (1, 1), (0, 1), (1, 0), (0.5, 0.5), (0, 0)], float)
    assert distance_inside(np.array(point, float), corners) == pytest.approx(expected)


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".jsonl"])
def test_files_have_the_angles(tmp_path: Path, suffix: str) -> None:
    clip = Motion.load(SAMPLES / "cmu_walk.npz")
    result = Retargeter("g1", clip.layout).retarget(clip)
    path = tmp_path / f"walk{suffix}"
    result.save(path)
    if suffix == ".npz":
        with np.load(path) as file:
            angles = file["angles"]
            assert tuple(file["joints"]) == result.joints and file["root_quaternion"].shape == (clip.frames, 4)
    elif suffix == ".csv":
        table = np.genfromtxt(path, delimiter=",", names=True)
        angles = np.stack([table[joint] for joint in result.joints], axis=1)
    else:
        angles = np.array([json.loads(line)["angles"] for line in path.read_text().splitlines()])
    np.testing.assert_array_equal(angles, result.angles)


def test_the_command_writes_a_file_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bow.npz"
    main(["retarget", str(SAMPLES / "bandai_bow.npz"), "--robot", "g1", "-o", str(out), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert out.exists() and report["frames"] == 114 and report["limit_violations"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--robot", "x1", "--json"], "unknown robot 'x1'; known are g1"),
        (["-o", "out.bvh"], "out.bvh: expected a file with the extension .npz, .csv, .jsonl, .gif, .mp4"),
        (["--person", "1", "--json"], "person is 1, expected 0 to 0"),
        ([], "expected -o FILE"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", "motionrt.runtime.cli", "retarget", str(SAMPLES / "bandai_bow.npz"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def as_urdf(robot: dict[str, Any]) -> str:
    """The links and joints of a robot file as URDF."""
    links = dict.fromkeys([robot["root"], *(joint["child"] for joint in robot["joints"])])
    masses = {mass["link"]: mass for mass in robot["masses"]}
    lines = [
        f'<link name="{name}"><inertial><origin xyz="{" ".join(map(repr, masses[name]["xyz"]))}"/>'
        f'<mass value="{masses[name]["kg"]}"/></inertial></link>'
        for name in links
    ]
    for joint in robot["joints"]:
        numbers = {key: " ".join(map(repr, joint[key])) for key in ("xyz", "rpy", "axis")}
        lines.append(
            f'<joint name="{joint["name"]}" type="revolute"><parent link="{joint["parent"]}"/>'
            f'<child link="{joint["child"]}"/><origin xyz="{numbers["xyz"]}" rpy="{numbers["rpy"]}"/>'
            f'<axis xyz="{numbers["axis"]}"/><limit lower="{joint["lower"]}" upper="{joint["upper"]}" '
            f'velocity="{joint["max_velocity"]}" effort="1"/></joint>'
        )
    return '<?xml version="1.0"?>\n<!-- a robot -->\n<robot name="r">' + "\n".join(lines) + "</robot>"


def own_robot(folder: Path, urdf: str) -> Path:
    robot = robot_file()
    (folder / "r.urdf").write_text(urdf)
    kept = {key: robot[key] for key in ("keypoints", "soles", "capsules", "rest")}
    (folder / "mine.json").write_text(json.dumps({"urdf": "r.urdf", **kept}))
    return folder / "mine.json"


def test_a_urdf_file_gives_the_same_robot(tmp_path: Path) -> None:
    clip = Motion.load(SAMPLES / "cmu_walk.npz")
    wanted = Retargeter("g1", clip.layout).retarget(clip)
    mine = Retargeter(own_robot(tmp_path, as_urdf(robot_file())), clip.layout)
    assert mine.robot == "mine" and mine.joints == wanted.joints
    result = mine.retarget(clip)
    np.testing.assert_array_equal(result.angles, wanted.angles)
    np.testing.assert_array_equal(result.centers, wanted.centers)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<robot", "<model", "r.urdf: is not valid XML"),
        ("<!-- a robot -->", "<!DOCTYPE r>", "r.urdf: has a document type"),
        ('lower="-2.5307"', 'lower="nan"', "r.urdf: joint 'left_hip_pitch_joint': lower is 'nan', expected 1 finite"),
        ('<mass value="3.814"/>', '<mass value="heavy"/>', "r.urdf: link 'pelvis': mass is 'heavy', expected 1 finite"),
        ('velocity="32.0"', "", "joint 'left_hip_pitch_joint': velocity is '', expected 1 finite number"),
        ('type="revolute"', 'type="continuous"', "joint left_hip_pitch_joint: type is 'continuous', expected revolute"),
        ('<parent link="pelvis"/>', '<parent link="x"/>', "joint 'left_hip_pitch_joint': there is no link 'x'"),
        ('<child link="torso_link"/>', '<child link="pelvis"/>', "is not connected to the root, 'torso_link'"),
    ],
)
def test_bad_urdf_files_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = as_urdf(robot_file())
    assert old in text
    with pytest.raises(InputError) as error:
        Retargeter(own_robot(tmp_path, text.replace(old, new, 1)))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_bad_robot_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    with pytest.raises(InputError, match="mine.json: cannot be read"):
        Retargeter(path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"mine.json: is not valid JSON"):
        Retargeter(path)
    path.write_text(json.dumps({"root": "a"}))
    with pytest.raises(InputError, match=r"mine.json: joints is missing"):
        Retargeter(path)
    with pytest.raises(InputError, match=r"names the .urdf and the keypoints"):
        Retargeter(tmp_path / "r.urdf")
    with pytest.raises(InputError, match="coco17 is 2-D"):
        Retargeter("g1", "coco17")
    with pytest.raises(InputError, match=r"joints has shape \[3, 3\], expected float32 \[22, 3\]"):
        Retargeter("g1").step(np.zeros((3, 3)))

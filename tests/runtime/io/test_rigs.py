"""Files with the joint names of other programs."""

import json
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.rigs import RIGS

TOOLS = {"mixamo": "Mixamo, colon", "vrm": "Unity, VRM", "unreal": "Unreal"}
SMPL = Layout.load("smpl22")


@pytest.mark.parametrize("rig", TOOLS)
def test_names_are_those_that_the_program_expects(rig: str) -> None:
    known = json.loads((Path(__file__).parents[1] / "body" / "joint_names.json").read_text())["conventions"]
    assert RIGS[rig] == known[TOOLS[rig]]["joints"]


@pytest.mark.parametrize("rig", RIGS)
@pytest.mark.parametrize("suffix", [".bvh", ".glb"])
def test_a_file_of_a_rig_has_its_joints_alone_and_is_read_back(
    samples: list[Motion], tmp_path: Path, rig: str, suffix: str
) -> None:
    walk = Motion(joints=samples[1].joints[:30], fps=20, layout="smpl22")
    walk.save(tmp_path / f"walk{suffix}", rig=rig)
    if suffix == ".bvh":
        lines = (tmp_path / "walk.bvh").read_text().splitlines()
        names = [line.split()[1] for line in lines if line.split()[:1] in (["ROOT"], ["JOINT"])]
        assert sorted(names) == sorted(RIGS[rig].values())
    found = Motion.load(tmp_path / f"walk{suffix}", layout="smpl22")
    assert found.frames == 30 and found.fps == pytest.approx(20, rel=1e-4)
    assert np.linalg.norm(found.joints - walk.joints, axis=-1).mean() < 0.02


def test_a_recording_of_a_sensor_is_mapped_to_the_rig(samples: list[Motion], tmp_path: Path) -> None:
    layout = Layout.load("kinect20")
    joints = layout.map_from(SMPL) @ samples[1].joints[:10]
    Motion(joints=joints, fps=20, layout="kinect20").save(tmp_path / "x.bvh", rig="mixamo")
    assert Motion.load(tmp_path / "x.bvh", layout="smpl22").frames == 10


@pytest.mark.parametrize(("rig", "angle_deg"), [("mixamo", 0), ("unreal", 45)])
def test_arms_at_rest_are_level_or_hang_as_the_program_expects(
    samples: list[Motion], tmp_path: Path, rig: str, angle_deg: float
) -> None:
    samples[1].save(tmp_path / "x.bvh", rig=rig)
    lines = (tmp_path / "x.bvh").read_text().splitlines()
    for elbow, sign in zip((RIGS[rig]["left_elbow"], RIGS[rig]["right_elbow"]), (1, -1), strict=True):
        at = next(i for i, line in enumerate(lines) if line.split() == ["JOINT", elbow])
        x, y, z = map(float, lines[at + 2].split()[1:])
        assert np.degrees(np.arctan2(-y, sign * x)) == pytest.approx(angle_deg, abs=0.01) and z == 0


def test_an_unknown_rig_or_a_file_without_rotations_is_rejected(samples: list[Motion], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rig is 'maya', expected mixamo, vrm, unreal, smplx, amass, or a character"):
        samples[0].save(tmp_path / "x.bvh", rig="maya")
    with pytest.raises(InputError, match=r"x\.npz: rig is 'vrm', expected a \.bvh or \.glb file"):
        samples[0].save(tmp_path / "x.npz", rig="vrm")
    with pytest.raises(InputError, match=r"x\.bvh: rig is 'amass', expected a \.npz file"):
        samples[0].save(tmp_path / "x.bvh", rig="amass")
    assert not list(tmp_path.iterdir())

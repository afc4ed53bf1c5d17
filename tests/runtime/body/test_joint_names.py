"""Joints are found by name, one by one, in the conventions of many tools, and left stays left."""

import json
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.joint_names import identify
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import LayoutError

WALK = Path(__file__).parents[3] / "runtime" / "samples" / "cmu_walk.npz"
NAMES = json.loads(Path(__file__).with_name("joint_names.json").read_text(encoding="utf-8"))
MIXAMO = NAMES["conventions"]["Mixamo"]["joints"].values()
DOG = NAMES["conventions"]["MotionBuilder without neck"]["joints"].values()
ELSEWHERE_M = 99.0  # where joints are that must not be used


@pytest.fixture(scope="module")
def walk() -> np.ndarray:
    return Motion.load(WALK).joints


@pytest.mark.parametrize("convention", NAMES["conventions"].values(), ids=NAMES["conventions"])
def test_a_real_walk_in_every_convention_is_read_as_before(convention: dict, walk: np.ndarray) -> None:
    names = [*convention["others"], *convention["joints"].values()]
    smpl, layout = Layout.load("smpl22"), Layout.load(convention["layout"])
    truth = dict(zip(layout.joints, np.moveaxis(layout.map_from(smpl) @ walk, 1, 0), strict=True))
    truth |= dict(zip(smpl.joints, np.moveaxis(walk, 1, 0), strict=True))
    file = np.full((len(walk), len(names), 3), ELSEWHERE_M, np.float32)
    for joint, name in convention["joints"].items():
        file[:, names.index(name)] = truth[joint]
    for order in (np.arange(len(names)), np.random.default_rng(7).permutation(len(names))):
        found, index = Layout.match([names[i] for i in order], dims=3)
        assert found is layout
        core = Layout.load("core15")
        mapped = core.map_from(found) @ file[:, order][:, index]
        expected = core.map_from(smpl) @ walk
        if found.name == "core14":
            neck = core.joints.index("neck")
            expected[:, neck] = walk[:, [smpl.joints.index(f"{side}_shoulder") for side in ("left", "right")]].mean(1)
        np.testing.assert_allclose(mapped, expected, atol=1e-5)
        if found.name == "smpl22":
            np.testing.assert_allclose(file[:, order][:, index], walk, atol=1e-6)


def test_a_file_without_a_joint_is_refused_with_its_name() -> None:
    with pytest.raises(LayoutError, match="have no right_wrist, left_knee, expected .* person, .*--layout FILE.json"):
        Layout.match([name for name in MIXAMO if not name.endswith(("LeftLeg", "RightHand"))])
    with pytest.raises(
        LayoutError, match="have no left_foot, right_foot, expected all .* smpl22, .*--layout FILE.json"
    ):
        Layout.match([name for name in MIXAMO if "Toe" not in name], "smpl22")
    with pytest.raises(LayoutError, match="the 2 joint names .hip, hop. have no head, left_shoulder"):
        Layout.match(["hip", "hop"])


@pytest.mark.parametrize("also", ["Tail", "Tail1Site", "dog_tail_01", "LeftFrontLeg", "hind_leg_l", "L_Paw", "wing.R"])
def test_animals_are_no_people(also: str) -> None:
    names = [*DOG, also]
    with pytest.raises(LayoutError, match="those of an animal, expected a person; for a person name the layout"):
        Layout.match(names)
    assert Layout.match(names, "core14")[0].name == "core14"


@pytest.mark.parametrize("also", ["Ponytail", "Bip01_PonyTail1", "HairTail", "Tailbone", "LeftForeFoot", "Swing"])
def test_people_with_hair_are(also: str) -> None:
    assert Layout.match([*DOG, also])[0].name == "core14"


def test_nothing_is_found_in_other_names() -> None:
    assert identify(["Camera", "Light", "leg", "", "123", "l", "_"]) == {}


@pytest.mark.parametrize("sensor", NAMES["sensors"])
def test_the_order_of_a_sensor_is_that_of_its_library(sensor: str) -> None:
    assert Layout.find(NAMES["sensors"][sensor]) is Layout.load(sensor.split()[0])


def test_smplx144_begins_as_smplx55_and_ends_with_the_face() -> None:
    joints = Layout.load("smplx144").joints
    assert joints[:22] == Layout.load("smpl22").joints and joints[25:55] == Layout.load("smplx55").joints[25:]
    assert joints[55:66] == ("nose", "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe",
        "left_heel", "right_big_toe", "right_small_toe", "right_heel")  # fmt: skip
    assert joints[76] == "right_eye_brow1" and joints[143] == "left_contour_1"

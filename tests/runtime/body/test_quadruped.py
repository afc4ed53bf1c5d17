"""Animals whose joints have the names of a person are refused by their build; people on all fours are not."""

from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import LayoutError

DOG = {"arm": 0.42, "leg": 0.45, "trunk": 0.55}  # meters
ARM = ("shoulder", "elbow", "wrist")
PERSON = {"arm": 0.55, "leg": 0.83, "trunk": 0.5}


def on_all_fours(arm: float, leg: float, trunk: float, lift: float = 0.0) -> Motion:
    """Steps of a body in core15, with its hips lifted by an angle in radians, as in a downward dog."""
    joints = np.zeros((40, 15, 3), np.float32)
    index = Layout.load("core15").joints.index
    forward = np.array([0, -np.sin(lift), np.cos(lift)])
    joints[:, index("neck")] = trunk * forward
    joints[:, index("head")] = (trunk + 0.25) * forward
    for side, x in (("left", 0.1), ("right", -0.1)):
        for parts, at, length in (
            (ARM, trunk * forward, arm),
            (("hip", "knee", "ankle"), np.zeros(3), leg),
        ):
            swing = 0.4 * np.sin(np.arange(40) / 5 + (side == "left") + 2 * (parts[0] == "hip"))
            down = np.stack([0 * swing, -np.cos(swing), np.sin(swing)], axis=-1)
            for k, part in enumerate(parts):
                joints[:, index(f"{side}_{part}")] = at + [x, 0, 0] + down * length * k / 2
    joints[..., 1] -= joints[..., 1].min()
    return Motion(joints, 30, "core15")


@pytest.mark.parametrize("ending", [".bvh", ".glb"])
@pytest.mark.parametrize("size", [1.0, 2.5, 100.0])  # a dog, a horse, and a dog in centimeters
def test_an_animal_with_human_names_is_refused(tmp_path: Path, ending: str, size: float) -> None:
    if ending == ".glb":
        pytest.importorskip("pygltflib", reason="pygltflib is not installed")
    path, dog = tmp_path / f"dog{ending}", on_all_fours(**DOG)
    Motion(dog.joints * np.float32(size), dog.fps, dog.layout).save(path)
    with pytest.raises(LayoutError, match=r"the build is that of an animal on four legs, .*\(--layout NAME\)$"):
        Motion.load(path)
    with pytest.raises(LayoutError):
        Motion.load(path, up="z")
    assert Motion.load(path, "core15", scale=1 / size).frames == 40  # who names the layout is believed


@pytest.mark.parametrize("lift", [0.0, 0.6])
@pytest.mark.parametrize("build", [PERSON, PERSON | {"arm": 0.75}, PERSON | {"trunk": 0.7}])
def test_people_on_all_fours_are_read(tmp_path: Path, build: dict[str, float], lift: float) -> None:
    on_all_fours(**build, lift=lift).save(tmp_path / "crawl.bvh")
    assert Motion.load(tmp_path / "crawl.bvh").frames == 40


def test_a_cartoon_character_with_short_legs_is_read(tmp_path: Path) -> None:
    figure = on_all_fours(0.5, 0.5, 0.5)
    joints, index = figure.joints.copy(), Layout.load("core15").joints.index
    above = [index(name) for name in ("neck", "head", *(f"{s}_{p}" for s in ("left", "right") for p in ARM))]
    joints[:, above] += np.float32([0, 0.5, -0.5])  # upright, with arms that hang
    Motion(joints, 30, "core15").save(tmp_path / "figure.bvh")
    assert Motion.load(tmp_path / "figure.bvh").frames == 40

"""People without legs, as a headset reports them (layout meta70), wherever motion comes in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motionrt import InputError, Layout, LayoutError, Motion, Recognizer, Retargeter, Retriever
from motionrt.runtime.body import layout as skeleton
from motionrt.runtime.cli import main

META, CORE = Layout.load("meta70"), Layout.load("core15")
MODELS = ["live", "zero-shot"]


@pytest.fixture(scope="module")
def wave(samples: list[Motion]) -> Motion:
    """The upper body of somebody who waves."""
    clip = next(motion for motion in samples if "wave-right-hand" in motion.meta["source"])
    return Motion(np.float32(META.map_from(Layout.load(clip.layout)) @ clip.joints), clip.fps, "meta70")


@pytest.fixture(scope="module")
def live() -> Recognizer:
    return Recognizer.load("live")


def with_legs_at_rest(motion: Motion) -> Motion:
    """The same in core15, with hips beside the pelvis and everything below straight down."""
    joints = CORE.map_from(META, needs_legs=False) @ motion.joints
    index = CORE.joints.index
    across = joints[:, index("left_shoulder")] - joints[:, index("right_shoulder")]
    for side, sign in (("left", 1), ("right", -1)):
        for down, part in enumerate(("hip", "knee", "ankle")):
            hip = joints[:, index("pelvis")] + sign * 0.25 * across * np.float32([1, 0, 1])
            joints[:, index(f"{side}_{part}")] = hip - np.float32([0, 0.4 * down, 0])
    return replace(motion, joints=joints, layout="core15")


def save_own_layout(folder: Path, left_out: tuple[str, ...]) -> Path:
    """core15 without some joints, in a file."""
    data = json.loads((skeleton.FOLDER / "core15.json").read_text(encoding="utf-8"))
    data["joints"] = [joint for joint in data["joints"] if not joint["name"].endswith(left_out)]
    kept = {joint["name"] for joint in data["joints"]}
    for joint in data["joints"]:
        joint["parent"] = joint["parent"] if joint["parent"] in kept else None
    path = folder / f"no_{left_out[0]}.json"
    path.write_text(json.dumps({**data, "root": data["joints"][0]["name"]}), encoding="utf-8")
    return path


@pytest.mark.parametrize("model", MODELS)
def test_the_legs_hang_at_rest(model: str, wave: Motion) -> None:
    recognizer = Recognizer.load(model)
    found, expected = recognizer.recognize(wave), recognizer.clone().recognize(with_legs_at_rest(wave))
    np.testing.assert_allclose(found.probs, expected.probs, atol=1e-4)
    if model == "live":
        assert found.label == "wave"


def test_streams_give_the_same_events(live: Recognizer, wave: Motion, caplog: pytest.LogCaptureFixture) -> None:
    def events(motion: Motion) -> list[tuple[str | None, str]]:
        recognizer = live.clone()
        poses = zip(motion.times, motion.joints, strict=True)
        return [(out.event, out.label) for t, pose in poses if (out := recognizer.step(pose, t, layout=motion.layout))]

    found = events(wave)
    assert found == events(with_legs_at_rest(wave)) and ("onset", "wave") in found
    assert caplog.messages == []


def test_zeros_are_nobody(live: Recognizer) -> None:
    recognizer = live.clone()
    assert {recognizer.step(np.zeros((70, 3)), k / 20, layout="meta70").status for k in range(20)} == {"missing"}


def test_a_layout_of_your_own_may_lack_legs(
    wave: Motion, live: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(skeleton, "_REGISTERED", {})
    own = Layout.read(save_own_layout(tmp_path, ("hip", "knee", "ankle")))
    joints = np.float32(own.map_from(META) @ wave.joints)
    found = live.clone().recognize(Motion(joints, wave.fps, own.name))
    np.testing.assert_allclose(found.probs, live.clone().recognize(wave).probs, atol=1e-4)
    np.save(tmp_path / "wave.npy", joints)
    assert (
        main(["recognize", str(tmp_path / "wave.npy"), "--layout", str(tmp_path / "no_hip.json"), "--fps", "30"]) == 0
    )
    assert "wave" in capfd.readouterr().out


@pytest.mark.parametrize(
    "left_out, missing",
    [
        (("pelvis", "hip", "knee", "ankle"), "pelvis"),
        (("elbow", "hip"), "left_elbow, right_elbow"),
        (("head",), "head"),
    ],
)
def test_other_joints_are_needed(
    left_out: tuple[str, ...], missing: str, live: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skeleton, "_REGISTERED", {})
    own = Layout.read(save_own_layout(tmp_path, left_out))
    with pytest.raises(LayoutError, match=f"core15 cannot be computed from {own.name}, which lacks {missing}$"):
        live.clone().step(np.ones((len(own.joints), 3)), 0.0, layout=own.name)


def test_the_command_line_takes_a_file(wave: Motion, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wave.save(tmp_path / "wave.npz")
    assert main(["recognize", str(tmp_path / "wave.npz")]) == 0
    assert "wave" in capfd.readouterr().out


@pytest.mark.parametrize("scale, unit", [(1e3, "millimeters"), (100, "centimeters"), (1 / 0.3048, "feet")])
def test_other_units_are_refused(scale: float, unit: str, live: Recognizer, wave: Motion) -> None:
    with pytest.raises(InputError, match=f"looks like {unit}, expected meters"):
        live.clone().recognize(replace(wave, joints=wave.joints * np.float32(scale)))


@pytest.mark.parametrize("up, order, signs", [("z", (0, 2, 1), (1, -1, 1)), ("-y", (0, 1, 2), (1, -1, -1))])
def test_another_axis_up_is_told(
    up: str,
    order: tuple[int, ...],
    signs: tuple[int, ...],
    live: Recognizer,
    wave: Motion,
    caplog: pytest.LogCaptureFixture,
) -> None:
    live.clone().recognize(replace(wave, joints=wave.joints[..., order] * np.float32(signs)))
    [message] = caplog.messages
    assert f"the body stands along {up}, y is expected to be up" in message


def test_what_needs_legs_names_them(wave: Motion) -> None:
    lacks = "smpl22 cannot be computed from meta70, which lacks left_hip, .*right_foot$"
    with pytest.raises(LayoutError, match=lacks):
        Retargeter("g1", "meta70")
    with pytest.raises(LayoutError, match=lacks):
        Retriever.load().add(wave)


@pytest.mark.parametrize("ending", ["bvh", "glb", "gif"])
def test_they_can_be_exported(ending: str, wave: Motion, tmp_path: Path) -> None:
    path = tmp_path / f"wave.{ending}"
    wave.save(path)
    assert path.stat().st_size > 1000
    if ending != "gif":
        back = Motion.load(path)
        assert back.layout == "meta70"
        np.testing.assert_allclose(back.joints, wave.joints, atol=0.02)

"""Clips of a data folder: their joints, what happens when in them, and what names them."""

import json
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError
from motionrt.training.data import vocabulary
from motionrt.training.data.clips import (
    LabeledClip,
    active_span,
    clip_sets,
    cut_fall,
    fingerprint,
    heading,
    load_clips,
    phases,
    replace_outliers,
    resample,
)

from ..clip_folder import take, write_set


def test_clips_are_mapped_to_the_layout(
    data: Path, clips: list[LabeledClip], samples: list[Motion], layout: Layout
) -> None:
    assert len(clips) == sum(len(clip_set) for clip_set in clip_sets(data)) == 60
    assert {clip.joints.shape[1:] for clip in clips} == {(15, 3)}
    assert {clip.joints.dtype for clip in clips} == {np.dtype(np.float32)}
    assert {clip.fps for clip in clips} == {15.0, 20.0, 30.0}
    first = clips[0]
    assert (first.label, first.source, first.record["content"]) == ("bow", "bandai", "bow")
    wanted = np.einsum("vw,twc->tvc", layout.map_from(Layout.load("smpl22")), take(samples[0].joints, 0))
    np.testing.assert_allclose(first.joints, wanted, atol=2e-3)  # float16 of a meter
    assert first.seconds == len(first.joints) / 20


def test_only_the_records_that_are_kept_are_loaded(data: Path, layout: Layout) -> None:
    kept = load_clips(data, layout, vocabulary.is_validation)
    assert kept and all(vocabulary.is_validation(clip.record) for clip in kept)


def test_a_folder_without_clip_sets_is_rejected(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=f"{folder.name}: no clip set here; expected NAME.npz"):
            clip_sets(folder)


def test_several_folders_and_sets_are_separated_by_commas(
    tmp_path: Path, samples: list[Motion], layout: Layout
) -> None:
    smpl22 = Layout.load("smpl22")
    for name in ("a", "b", "c"):
        (tmp_path / name / "sets").mkdir(parents=True)
        write_set(tmp_path / name / "sets", name, smpl22, [(samples[0].joints, {})], fps=20)
        write_set(tmp_path / name / "sets", f"{name}2", smpl22, [(samples[0].joints, {})], fps=20)
    both = f"{tmp_path}/a/sets,{tmp_path}/c/sets/c2.npz"
    assert [clip_set.name for clip_set in clip_sets(both)] == ["a", "a2", "c2"]
    assert len(load_clips(both, layout)) == 3
    for missing in (tmp_path / "d", tmp_path / "b" / "b3.npz"):
        with pytest.raises(InputError, match=f"{missing.name}: no clip set here"):
            clip_sets(f"{both},{missing}")


def fall(fps: float = 20, seconds: float = 1.0) -> np.ndarray:
    """Somebody stands for two seconds, goes down, lies for two seconds and gets up, [T, V, 3]; the root is joint 0."""
    ways = [np.ones(round(2 * fps)), np.linspace(1, 0.1, round(seconds * fps)), np.full(round(2 * fps), 0.1)]
    height = np.concatenate([*ways, np.linspace(0.1, 1, round(seconds * fps)), np.ones(round(2 * fps))])
    joints = np.zeros((len(height), 22, 3), np.float32)
    joints[:, :11, 1] = height[:, None]
    return joints


def test_a_fall_is_cut_into_lying_down_and_getting_up() -> None:
    (down, lying), (up, rising) = cut_fall(fall(), 20, 0)
    assert (down, up) == ("lie down", "get up")
    for frames, begin in ((lying, 40), (rising, 100)):  # the movement, with at most half a second around it
        assert begin - 11 <= frames.start <= begin + 2 and begin + 18 <= frames.stop <= begin + 31
    assert [name for name, _ in cut_fall(fall()[60:], 20, 0)] == ["get up"]


def test_what_is_no_fall_is_not_cut() -> None:
    assert cut_fall(fall(seconds=12), 20, 0) == [], "nobody takes that long"
    assert cut_fall(fall()[:30], 20, 0) == [], "standing"
    assert cut_fall(0.3 * fall(), 20, 0) == [], "crawling: nobody is upright"


def test_the_parts_of_a_fall_are_clips(tmp_path: Path, layout: Layout) -> None:
    record = {"ds": "lafan1-g1", "label": "fall and get up", "subject": 1}
    write_set(tmp_path, "falls", Layout.load("smpl22"), [(fall(), record), (fall()[:30], record)], fps=20)
    found = load_clips(tmp_path, layout)
    assert [clip.label for clip in found] == ["lie down", "get up"], "a clip without a fall has no part"
    assert all(clip.record == record and 1 <= clip.seconds <= 2.1 for clip in found)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_the_hand_that_goes_higher_names_the_side(tmp_path: Path, layout: Layout, share: float) -> None:
    """Raised all the time, or for less than half of it."""
    smpl22 = Layout.load("smpl22")
    joints = np.zeros((40, 22, 3), np.float32)
    left, right = (smpl22.joints.index(f"{side}_wrist") for side in ("left", "right"))
    joints[:, right, 1] = -0.01
    joints[: round(40 * share), right, 1] = 0.5
    record = {"ds": "iri-gesture", "label": "raise hand for attention", "subject": 1}
    swapped = joints.copy()
    swapped[:, [left, right]] = swapped[:, [right, left]]
    write_set(tmp_path, "hands", smpl22, [(joints, record), (swapped, record)], fps=20)
    assert [clip.label for clip in load_clips(tmp_path, layout)] == ["raise right hand", "raise left hand"]


def test_a_picture_has_no_depth_and_its_y_points_up(tmp_path: Path, layout: Layout) -> None:
    flat15 = Layout.load("jhmdb15")
    joints = np.random.default_rng(0).normal(size=(20, 15, 3)).astype(np.float32) * [0.3, 0.1, 0]
    joints[:, flat15.joints.index("head"), 1] += 1
    write_set(tmp_path, "pictures", flat15, [(joints, {"ds": "jhmdb", "label": "wave"})], fps=20)
    (clip,) = load_clips(tmp_path, layout)
    assert clip.flat and clip.label == "wave" and clip.joints.shape == (20, 15, 3)
    assert not clip.joints[..., 2].any()
    head = layout.joints.index("head")
    assert (clip.joints[:, head, 1] - clip.joints[:, layout.root, 1] > 0.3).all()


def test_a_damaged_set_is_rejected_by_name(tmp_path: Path, samples: list[Motion], layout: Layout) -> None:
    write_set(tmp_path, "cut", Layout.load("smpl22"), [(samples[0].joints, {})], fps=20)
    path = tmp_path / "cut.npz"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"cut\.npz: not a readable clip set"):
        load_clips(tmp_path, layout)
    write_set(tmp_path, "cut", Layout.load("smpl22"), [(samples[0].joints, {})], fps=20)
    about = json.loads((tmp_path / "cut.json").read_text())
    (tmp_path / "cut.json").write_text(json.dumps(about | {"clips": [{}, {}]}))
    with pytest.raises(InputError, match=r"cut\.npz: start must increase from 0 to 91 in 2 clips"):
        load_clips(tmp_path, layout)


def test_a_joint_out_of_reach_keeps_its_position_on_the_body() -> None:
    joints = np.zeros((4, 3, 3), np.float32)
    joints[:, 0, 0] = [0, 1, 2, 3]  # the root walks along x
    joints[:, 1] = joints[:, 0] + [0, 0.5, 0]
    joints[:, 2] = joints[:, 0] + [0, -0.5, 0]
    joints[1:3, 1] += [0, 4, 0]
    joints[0, 2] += [0, 0, 9]
    cleaned = replace_outliers(joints, 0)
    np.testing.assert_allclose(cleaned[:, 1] - joints[:, 0], np.tile([0, 0.5, 0], (4, 1)))
    np.testing.assert_array_equal(cleaned[0, 2], joints[0, 0])  # nothing came before: the root's place
    np.testing.assert_array_equal(cleaned[1:, 2], joints[1:, 2])
    assert joints[1, 1, 1] == 4.5, "the clip handed in is left alone"


def test_resampling_keeps_both_ends_and_straight_lines() -> None:
    line = np.linspace(0, 6, 7, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    for frames in (2, 5, 7, 31):
        np.testing.assert_allclose(resample(line, frames)[:, 1, 2], np.linspace(0, 6, frames), atol=1e-6)
    np.testing.assert_array_equal(resample(line[:1], 3), np.zeros((3, 2, 3)))


def test_a_person_is_active_from_the_first_movement_to_the_last(layout: Layout) -> None:
    """Stands for one second, lifts a hand, holds it for two seconds, lowers it, stands for one second."""
    fps, up, hold = 20.0, 10, 40
    height = np.concatenate([np.zeros(20), np.linspace(0, 1, up), np.ones(hold), np.linspace(1, 0, up), np.zeros(20)])
    joints = np.zeros((len(height), len(layout.joints), 3), np.float32)
    joints[:, layout.joints.index("left_wrist"), 1] = height
    joints[:, :, 0] += np.linspace(0, 3, len(height))[:, None]  # where the person stands does not matter
    start, end = active_span(joints, fps)
    assert abs(start - 20) <= 2 and abs(end - (20 + up + hold + up)) <= 2
    assert phases(joints, fps, "raise left hand", layout) == [("raise left hand", start, end)]


def test_activity_ends_when_the_final_pose_is_held(layout: Layout) -> None:
    """Stands for a second, sits down, sits for two seconds."""
    height = np.concatenate([np.full(20, 0.9), np.linspace(0.9, 0.4, 10), np.full(40, 0.4)])
    joints = np.zeros((70, len(layout.joints), 3), np.float32)
    joints[:, layout.joints.index("left_knee"), 1] = -height
    start, end = active_span(joints, 20.0)
    assert abs(start - 20) <= 2 and abs(end - 30) <= 2


def test_a_clip_without_movement_is_active_throughout(layout: Layout) -> None:
    still = np.zeros((30, len(layout.joints), 3), np.float32)
    assert active_span(still, 20.0) == (0, 30)


def turning(layout: Layout, angle: np.ndarray) -> np.ndarray:
    """A person whose hips and shoulders turn to the angles [T], radians."""
    left, right = layout.facing
    joints = np.zeros((len(angle), len(layout.joints), 3), np.float32)
    side = 0.2 * np.stack([np.cos(angle), np.zeros_like(angle), np.sin(angle)], 1)
    joints[:, list(left)], joints[:, list(right)] = side[:, None], -side[:, None]
    return joints


def test_heading_does_not_jump(layout: Layout) -> None:
    angle = np.linspace(2, 9, 50)  # more than a whole turn
    found = heading(turning(layout, angle), layout)
    np.testing.assert_allclose(found - found[0], angle - angle[0], atol=1e-5)


def test_turns_are_preceded_and_followed_by_walking(layout: Layout) -> None:
    angle = np.concatenate([np.zeros(30), np.linspace(0, -1.5, 20), np.full(30, -1.5)])
    found = phases(turning(layout, angle), 20.0, "turn left", layout)
    assert [name for name, _, _ in found] == ["walk", "turn left", "walk"]
    assert found[0][1] == 0 and found[-1][2] == len(angle)
    assert all(a[2] == b[1] for a, b in zip(found, found[1:], strict=False)), "no gap and no overlap"
    assert 30 <= found[1][1] <= 34 and 46 <= found[1][2] <= 50


def test_phases_of_real_turns_cover_the_clip(shared: Path, layout: Layout) -> None:
    turns = load_clips(shared, layout, lambda r: (vocabulary.label(r) or "").startswith("turn"))
    assert len(turns) > 100
    for clip in turns:
        assert clip.label is not None
        parts = phases(clip.joints, clip.fps, clip.label, layout)
        assert parts[0][1] == 0 and parts[-1][2] == len(clip.joints)
        assert all(a[2] == b[1] for a, b in zip(parts, parts[1:], strict=False))
        assert [name for name, _, _ in parts] == ["walk", clip.label, "walk"]
        begin, end = next((begin, end) for name, begin, end in parts if name == clip.label)
        angle = heading(clip.joints, layout)
        assert abs(angle[end - 1] - angle[begin]) > 0.5 * abs(angle[-1] - angle[0])


def test_a_fingerprint_identifies_joints_independent_of_the_file(tmp_path: Path, samples: list[Motion]) -> None:
    layout = Layout.load("smpl22")
    rows = [(motion.joints, {"id": str(i)}) for i, motion in enumerate(samples)]
    write_set(tmp_path, "a", layout, rows, fps=20)
    write_set(tmp_path, "b", layout, rows[::-1], fps=30)
    forth, back = clip_sets(tmp_path)
    names = [fingerprint(forth, i) for i in range(len(rows))]
    assert names == [fingerprint(back, i) for i in range(len(rows))][::-1]
    assert len(set(names)) == len(names)

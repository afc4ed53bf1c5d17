import dataclasses
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.canonical import SMPL, heading, to_canonical
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.dataset import ClipSet
from motionrt.training.data import captions
from motionrt.training.data import motions as motion_clips
from motionrt.training.data.clips import clip_sets
from motionrt.training.data.lift import leveling_rotation, lift, smooth
from motionrt.training.data.motions import (
    PAIRS,
    RESTS,
    WITHOUT_CAPTIONS,
    BalancedSampler,
    MotionClip,
    assign_splits,
    cut,
    load_motions,
    mirror,
    recording,
    stand_still,
    turn_of,
    windows,
)

from ..clip_folder import take, write_set

KINECT = Layout.load("kinect20")
ANKLES = [SMPL.joints.index(f"{side}_ankle") for side in ("left", "right")]


def clip(frames: int, name: str = "a", action: str = "walk", **about: object) -> MotionClip:
    joints = np.random.default_rng(frames).normal(size=(frames, 22, 3)).astype(np.float32)
    defaults = {
        "style": None,
        "quality": "mocap",
        "split": "train",
        "source": "mocap22",
        "captions": ("a person walks",),
    }
    return MotionClip(joints=joints, name=name, action=action, **(defaults | about))  # type: ignore[arg-type]


def in_kinect(joints: np.ndarray) -> np.ndarray:
    """Joints of smpl22 as a camera sees them that looks along +z at a person who faces it."""
    seen = KINECT.map_from(SMPL) @ to_canonical(joints)
    return seen * np.array([-1, 1, -1]) + np.array([0, 0.4, 3])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, samples: list[Motion]) -> Path:
    """Clip sets by the names of the real ones, made of the recordings that ship with the package."""
    folder = tmp_path_factory.mktemp("motions")
    joints = [motion.joints for motion in samples]
    bandai = [
        {"id": f"{set_} {content} {style} {n}", "set": set_, "content": content, "style": style, "take": n}
        for set_, content, style, takes in (
            (2, "walk", "normal", 30), (2, "walk", "active", 3), (2, "run", "youthful", 30),
            (2, "wave-right-hand", "normal", 30), (1, "kick", "normal", 1),
        )
        for n in range(1, takes + 1)
    ]  # fmt: skip
    write_set(folder, "bandai22", SMPL, [(take(joints[0], k), record) for k, record in enumerate(bandai)], fps=20)
    mocap = [
        {"id": "long", "label": "walk", "desc": "a person walks forward"},
        {"id": "short", "label": "walk", "desc": "a person walks forward"},
        {"id": "cmu_12_01", "label": "walk", "desc": "a person walks slowly forward", "cmu_trial": "12_01"},
        {"id": "nobody knows", "label": "?", "desc": "?"},
    ]
    lengths = (np.tile(joints[0], (5, 1, 1))[:230], joints[0][:10], joints[0], joints[0])
    write_set(folder, "mocap22", SMPL, list(zip(lengths, mocap, strict=True)), fps=20)
    kinect = [
        {"ds": ds, "action": action, "subject": s, "rep": 0, "view": 1, "fps": fps}
        for ds, action, fps in (("nw-ucla", "walk around", 30), ("utkinect", "walk", 15))
        for s in (1, 2, 8, 9)
    ]
    write_set(folder, "kinect20", KINECT, [(in_kinect(take(joints[0], k)), record) for k, record in enumerate(kinect)])
    return folder


@pytest.fixture(scope="session")
def motions(folder: Path) -> list[MotionClip]:
    return load_motions(folder)


RIGHT = ("high arm wave", "forward punch", "throw")  # actions of the right hand in the Kinect sets


def known_sets(shared: Path) -> list[ClipSet]:
    return [clip_set for clip_set in clip_sets(shared) if clip_set.name not in WITHOUT_CAPTIONS]


def fourth(clip_set: ClipSet) -> ClipSet:
    """Every fourth clip of a set, and those of right hands."""
    kept = [i for i, record in enumerate(clip_set.clips) if i % 4 == 0 or record.get("action") in RIGHT]
    parts = [slice(*clip_set.start[i : i + 2]) for i in kept]
    return dataclasses.replace(
        clip_set,
        joints=np.concatenate([clip_set.joints[part] for part in parts]),
        root_xz=np.concatenate([clip_set.root_xz[part] for part in parts]),
        start=np.cumsum([0, *(part.stop - part.start for part in parts)]),
        clips=tuple(clip_set.clips[i] for i in kept),
    )


@pytest.fixture(scope="session")
def fourths(shared: Path) -> list[ClipSet]:
    """A part of the real sets: all of them take half a minute."""
    return [fourth(clip_set) for clip_set in known_sets(shared)]


@pytest.fixture(scope="session")
def real(fourths: list[ClipSet], shared: Path) -> list[MotionClip]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion_clips, "clip_sets", lambda data: fourths)
        return load_motions(shared)


def test_every_clip_is_canonical_named_and_captioned(motions: list[MotionClip]) -> None:
    assert {c.source for c in motions} - {RESTS} == {"bandai22", "mocap22", "kinect20"}
    assert len({c.name for c in motions}) == len(motions)
    for c in motions:
        assert c.joints.dtype == np.float32 and c.joints.shape[1:] == (22, 3)
        check_canonical(c.joints)
        assert len(set(c.captions)) >= 8 and c.action
        assert c.quality == ("kinect" if c.name.startswith(("nw-ucla", "utkinect")) else "mocap")
        assert (c.style is not None) == (c.source == "bandai22")


def check_canonical(joints: np.ndarray) -> None:
    assert np.isfinite(joints).all()
    assert abs(heading(joints[:1], SMPL)[0]) < 1e-3  # left is +x, so forward is +z
    assert np.abs(joints[0, 0, [0, 2]]).max() < 1e-4
    feet = [SMPL.joints.index(f"{side}_foot") for side in ("left", "right")]
    assert abs(joints[:, feet, 1].min()) < 1e-5


def test_only_short_and_unnamed_clips_are_skipped(
    folder: Path, motions: list[MotionClip], caplog: pytest.LogCaptureFixture
) -> None:
    written = sum(len(ClipSet.load(path)) for path in folder.glob("*.npz"))
    assert len([c for c in motions if c.source != RESTS]) == written - 2
    with caplog.at_level("INFO"):
        load_motions(folder)
    assert "'mocap22: under 16 frames': 1" in caplog.text and "'mocap22: without an action': 1" in caplog.text


def test_a_folder_without_clip_sets_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clip set here"):
        load_motions(tmp_path)


def test_canonical_undoes_rotation_and_translation(samples: list[Motion]) -> None:
    joints = to_canonical(samples[0].joints)
    turned = joints @ np.array([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]], np.float32) + np.array(
        [3, 1, -2], np.float32
    )
    assert np.allclose(to_canonical(turned), joints, atol=1e-4)
    assert np.allclose(to_canonical(joints), joints, atol=1e-5)


def test_mirror_swaps_sides_in_joints_and_words() -> None:
    c = clip(20, action="raise left hand", captions=("a person raises the left hand",))
    m = mirror(c)
    assert (m.action, m.captions) == ("raise right hand", ("a person raises the right hand",))
    left, right = SMPL.joints.index("left_wrist"), SMPL.joints.index("right_wrist")
    assert np.array_equal(m.joints[:, right], c.joints[:, left] * np.array([-1, 1, 1], np.float32))
    again = mirror(m)
    assert again.name == c.name != m.name and np.array_equal(again.joints, c.joints)
    assert (again.action, again.captions) == (c.action, c.captions)


def test_the_mirror_image_of_a_canonical_clip_is_canonical(motions: list[MotionClip]) -> None:
    check_canonical(mirror(motions[0]).joints)


@pytest.mark.parametrize("frames", [16, 39, 40, 195, 196, 199, 200, 235, 236, 391, 392, 395, 396, 1011])
def test_windows_cover_a_clip(frames: int) -> None:
    parts = windows(clip(frames))
    seen = np.concatenate([np.arange(frames)[part] for part in parts])
    assert len(set(seen)) > frames - 4
    assert all(len(np.arange(frames)[part]) <= 196 for part in parts)
    assert all(len(np.arange(frames)[part]) >= min(40, frames) for part in parts)
    assert (len(parts) == 1) == (frames < 200)


def test_a_window_is_a_canonical_clip_with_its_own_name(motions: list[MotionClip]) -> None:
    long = next(c for c in motions if c.name == "long")
    first, second = (cut(long, window) for window in windows(long))
    assert len({long.name, first.name, second.name}) == 3 and len(first.joints) == 196
    check_canonical(second.joints)
    assert cut(long, slice(0, 230)) is long


def test_kinect_clips_are_at_true_speed(motions: list[MotionClip], folder: Path) -> None:
    frames = {record["ds"]: n for record, n in kinect_lengths(folder)}
    lengths = {c.name.split()[0]: len(c.joints) for c in motions if c.source == "kinect20"}
    assert lengths["nw-ucla"] == pytest.approx(frames["nw-ucla"] * 20 / 12, abs=2)
    assert lengths["utkinect"] == pytest.approx(frames["utkinect"] * 20 / 15, abs=2)


def kinect_lengths(folder: Path) -> list[tuple[dict, int]]:
    clip_set = ClipSet.load(folder / "kinect20")
    return list(zip(clip_set.clips, np.diff(clip_set.start), strict=True))


def test_lifting_recovers_the_recorded_motion(samples: list[Motion]) -> None:
    """A tilted camera, noise and outliers; the walk comes back within the differences of anatomy."""
    walk = to_canonical(samples[0].joints)
    rng = np.random.default_rng(0)
    seen = in_kinect(samples[0].joints) + rng.normal(0, 0.01, (len(walk), 20, 3))
    seen[[5, 17], [11, 7]] += 3.0  # hands out of reach
    seen[10, 5] += 0.6  # an elbow that jumps
    tilt = np.array([[1, 0, 0], [0, 0.97, 0.2431], [0, -0.2431, 0.97]])
    seen = seen @ tilt.T
    lifted = to_canonical(lift(seen @ leveling_rotation([seen]).T, 20, 20))
    away = np.linalg.norm(lifted - lifted[:, :1] - walk + walk[:, :1], axis=2).mean(0)
    named = dict(zip(SMPL.joints, away, strict=True))
    assert len(lifted) == len(walk) and max(named.values()) < 0.13, named
    rough = canonical_noise(seen)
    assert jitter(lifted) < 0.5 * rough


def canonical_noise(seen: np.ndarray) -> float:
    return jitter(SMPL.map_from(KINECT) @ seen)


def jitter(joints: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(joints, 3, axis=0), axis=2).mean() * 20**3)


def test_lifted_bones_have_constant_and_symmetric_lengths(samples: list[Motion]) -> None:
    lifted = lift(in_kinect(samples[2].joints), 30, 20)
    lengths = np.stack([np.linalg.norm(lifted[:, a] - lifted[:, b], axis=1) for a, b in SMPL.edges], 1)
    assert np.ptp(lengths, axis=0).max() < 1e-5
    of = {SMPL.joints[a]: lengths[0, k] for k, (a, _) in enumerate(SMPL.edges)}
    assert all(abs(of[n] - of["right_" + n[5:]]) < 1e-6 for n in of if n.startswith("left_"))


@pytest.mark.parametrize("side", ["left", "right"])
def test_lifting_keeps_the_side_of_a_waving_hand(samples: list[Motion], side: str) -> None:
    still = np.repeat(samples[0].joints[:1], 40, 0)
    seen = in_kinect(still)
    seen[:, KINECT.joints.index(f"{side}_wrist"), 1] += 0.2 * np.sin(np.arange(40) / 3)
    seen[:, KINECT.joints.index(f"{side}_hand"), 1] += 0.2 * np.sin(np.arange(40) / 3)
    lifted = to_canonical(lift(seen, 20, 20))
    range_of = {s: np.ptp(lifted[:, SMPL.joints.index(f"{s}_wrist"), 1]) for s in ("left", "right")}
    other = {"left": "right", "right": "left"}[side]
    assert range_of[side] > 0.1 > 0.05 > range_of[other]


def test_walking_away_from_the_camera_is_not_walking_backward(samples: list[Motion]) -> None:
    """Kinect takes a back for a front: its left and right are exchanged there."""
    walk = to_canonical(samples[3].joints)
    away = (KINECT.map_from(SMPL) @ walk)[:, list(KINECT.mirror)] + np.array([0, 0, 2.5])
    lifted = to_canonical(lift(away, 20, 20))
    assert walk[-1, 0, 2] > 0.5 and lifted[-1, 0, 2] > 0.5


def test_smoothing_keeps_a_punch_and_removes_noise() -> None:
    t = np.arange(60) / 20
    reach = 0.5 * np.exp(-(((t - 1.5) / 0.2) ** 2))  # out and back in half a second
    still = np.random.default_rng(0).normal(0, 0.01, (60, 20, 3))
    joints = still.copy()
    joints[:, KINECT.joints.index("left_hand"), 2] += reach
    out = smooth(joints, 20, 20)
    hand = out[:, KINECT.joints.index("left_hand"), 2]
    assert hand.max() > 0.45 and abs(int(hand.argmax()) - 30) <= 1
    assert jitter(out[:, :5]) < 0.25 * jitter(still[:, :5])


def test_changing_the_rate_does_not_shift_time() -> None:
    ramp = np.arange(31)[:, None, None] / 30 * np.ones((1, 20, 3))  # 1 m a second
    out = smooth(ramp, 30, 20)
    assert np.allclose(out[:, 0, 0], np.arange(len(out)) / 20, atol=1e-6) and len(out) == 21


def bandai(content: str, style: str, takes: int, set_: int = 2) -> list[dict]:
    return [{"set": set_, "content": content, "style": style, "take": n + 1} for n in range(takes)]


def test_takes_are_split_in_runs_and_pairs_are_whole() -> None:
    records = bandai("run", "normal", 50) + bandai("walk", "active", 30)
    found = assign_splits(records)
    runs = [found[i] for i in range(50)]
    assert runs == ["validation"] * 4 + ["train"] * 42 + ["test"] * 4
    assert set(found[50:]) == {"pairs"}


def test_rare_contents_are_only_trained_on() -> None:
    assert set(assign_splits(bandai("kick", "normal", 1, 1) + bandai("punch", "normal", 2, 1))) == {"train"}


def test_pairs_are_closed_under_mirroring() -> None:
    for contents, _ in PAIRS:
        for content in contents:
            other = content.replace("left", "@").replace("right", "left").replace("@", "right")
            assert other in contents


def test_recordings_are_not_split() -> None:
    records = [
        {"trial": "01_05", "kind": "trial"}, {"trial": "01_05", "kind": "hml"},
        {"id": "cmu_12_01", "cmu_trial": "12_01"}, {"id": "cmu8_train_running_3"}, {"id": "cmu8_test_running_1"},
    ]  # fmt: skip
    assert assign_splits(records) == ["test", "test", "test", "train", "validation"]
    assert recording(records[3]) == "cmu8_train_running"


def test_takes_of_windows_and_mixtures_are_not_split() -> None:
    records = [
        {"ds": "lafan1-g1", "id": "lafan1_walk2_subject4_0"}, {"ds": "lafan1-g1", "id": "lafan1_walk2_subject4_1200"},
        {"ds": "aalto-styles", "id": "style_t_run_fast_t_run_slow_025_075"},
        {"ds": "hdm05", "id": "HDM_mm_squat1Reps_003_120"}, {"ds": "hdm05", "id": "HDM_bd_squat1Reps_003_120"},
    ]  # fmt: skip
    assert assign_splits(records) == ["test", "test", "validation", "test", "train"]
    assert recording(records[0]) == recording(records[1]) == "lafan1_walk2_subject4"


@pytest.mark.parametrize(
    ("degrees", "turn"),
    [
        (0, ""),
        (20, ""),
        (-35, "slightly right"),
        (90, "left"),
        (-90, "right"),
        (180, "around left"),
        (-300, "circle right"),
    ],
)
def test_a_measured_turn_has_a_word(samples: list[Motion], degrees: float, turn: str) -> None:
    standing = to_canonical(np.repeat(samples[0].joints[:1], 60, 0))
    way = np.radians(np.linspace(0, degrees, 60))[:, None]
    x, y, z = np.moveaxis(standing, 2, 0)
    turned = np.stack((x * np.cos(way) + z * np.sin(way), y, z * np.cos(way) - x * np.sin(way)), 2)  # left is +x
    assert turn_of(turned) == turn and turn in captions.turns()
    assert turn_of(np.concatenate((turned, turned[::-1]))) == ("winding" if abs(degrees) >= 100 else "")


def test_the_rest_of_a_clip_is_a_clip_of_standing_still(samples: list[Motion]) -> None:
    joints = to_canonical(samples[0].joints)
    straight = joints.copy()
    for side in ("left", "right"):  # legs straight below the hips, arms hanging
        for parts, lengths in (
            (("hip", "knee", "ankle"), (0.41, 0.42)),
            (("shoulder", "elbow", "wrist"), (0.27, 0.22)),
        ):
            for (above, below), length in zip(pairwise(parts), lengths, strict=True):
                above, below = (SMPL.joints.index(f"{side}_{part}") for part in (above, below))
                straight[:, below] = straight[:, above] - np.array([0, length, 0], np.float32)
        foot, ankle = (SMPL.joints.index(f"{side}_{part}") for part in ("foot", "ankle"))
        straight[:, foot] = straight[:, ankle] + np.array([0, -0.06, 0.12], np.float32)
    still = np.repeat(straight[:1], 30, 0)
    wild = np.random.default_rng(0).normal(0, 0.3, (20, 22, 3)).astype(np.float32) + still[:20]
    c = dataclasses.replace(clip(50, split="test", name="b"), joints=np.concatenate((wild, still)), style="proud")
    rest = stand_still(c)
    assert rest is not None and rest.name == "b still 22:50"
    assert (rest.action, rest.style, rest.split) == ("stand still", None, "test")
    assert 60 <= len(rest.joints) <= 160
    assert "a person stands still" in rest.captions and np.abs(np.diff(rest.joints, axis=0)).max() < 1e-5
    sitting = c.joints.copy()
    sitting[:, [SMPL.joints.index(f"{side}_foot") for side in ("left", "right")], 1] += 0.4
    assert stand_still(dataclasses.replace(c, joints=sitting)) is None
    assert stand_still(dataclasses.replace(c, split="pairs")) is None
    assert stand_still(clip(50)) is None


def test_splits_do_not_depend_on_the_order_of_records() -> None:
    records = bandai("run", "normal", 50) + bandai("bow", "sad", 1, 1) + bandai("bow", "old", 1, 1) * 12
    order = np.random.default_rng(0).permutation(len(records))
    shuffled = assign_splits([records[i] for i in order])
    assert [assign_splits(records)[i] for i in order] == shuffled


def test_draws_are_reproducible_and_independent_of_the_batch() -> None:
    clips = [clip(30 + k, name=str(k), action=str(k % 3)) for k in range(9)]
    a, b, other = (BalancedSampler(clips=clips, seed=seed) for seed in (1, 1, 2))
    names = [[c.name for c in task.batch(5, 6)] for task in (a, b, other)]
    assert names[0] == names[1] != names[2]
    assert [c.name for c in a.batch(5, 3)] == names[0][:3]
    assert [c.name for c in a.batch(6, 6)] != names[0]
    assert all(np.array_equal(x.joints, y.joints) for x, y in zip(a.batch(5, 6), b.batch(5, 6), strict=True))


def test_draws_are_canonical_and_of_whole_tokens(motions: list[MotionClip]) -> None:
    drawn = BalancedSampler(clips=motions, seed=0).batch(0, 100)
    assert {len(c.joints) % 4 for c in drawn} == {0} and max(len(c.joints) for c in drawn) <= 196
    assert 20 < sum(c.name.endswith("mirrored") for c in drawn) < 80
    for c in drawn:
        check_canonical(c.joints)


def test_actions_are_weighted_by_square_root_and_mocap_keeps_its_share() -> None:
    clips = [clip(40, action="common") for _ in range(64)] + [clip(40, action="rare") for _ in range(4)]
    clips += [clip(40, action="seen", quality="kinect") for _ in range(1000)]
    weights = BalancedSampler(clips=clips, seed=0).weights
    assert weights.sum() == pytest.approx(1) and weights[:68].sum() == pytest.approx(0.7)
    assert weights[:64].sum() / weights[64:68].sum() == pytest.approx(4)
    only = BalancedSampler(clips=clips[68:], seed=0).weights
    assert only.sum() == pytest.approx(1)


def test_styles_of_an_action_are_weighted_by_square_root() -> None:
    clips = [clip(40, style="normal") for _ in range(81)] + [clip(40, style="proud")]
    assert BalancedSampler(clips=clips, seed=0).weights[-1] == pytest.approx(0.1)


def test_draws_follow_the_weights() -> None:
    clips = [clip(40, name="often", action="a")] * 9 + [clip(40, name="seldom", action="b")]
    drawn = Counter(c.name.split()[0] for c in BalancedSampler(clips=clips, seed=0).batch(0, 400))
    assert drawn["seldom"] / 400 == pytest.approx(0.25, abs=0.08)


# ---- the real sets


def test_all_real_sets_load(real: list[MotionClip], fourths: list[ClipSet]) -> None:
    clips = Counter(c.source for c in real)
    there = {each.name: sum(record.get("group") != "child" for record in each.clips) for each in fourths}
    assert set(clips) == {*there, RESTS} and clips[RESTS] >= 50
    assert all(clips[name] >= 0.85 * there[name] for name in there)
    assert len({c.name for c in real}) == len(real)
    for c in real:
        check_canonical(c.joints)
        assert len(c.captions) >= 8


def test_the_splits_of_the_real_sets(shared: Path) -> None:
    """By the records alone, so also of the few clips that are left out for their joints."""
    known = [
        (clip_set.name, split, action, record)
        for clip_set in known_sets(shared)
        for record, split in zip(clip_set.clips, assign_splits(clip_set.clips), strict=True)
        if (action := captions.action(clip_set.name, record))
    ]
    of = defaultdict(Counter)
    for name, split, _, _ in known:
        of[name][split] += 1
    for name, counts in of.items():
        total = sum(counts.values())
        assert counts["train"] > 0.7 * total and all(
            0.04 * total < counts[s] < 0.2 * total for s in ("validation", "test")
        )
        assert (counts["pairs"] > 0) == (name == "bandai22")
    assert of["bandai22"]["pairs"] >= 0.05 * sum(of["bandai22"].values())
    trained = [(action, record) for _, split, action, record in known if split == "train"]
    assert {action for _, _, action, _ in known} == {action for action, _ in trained}
    assert {record.get("style") for *_, record in known} == {record.get("style") for _, record in trained}
    pairs = {(record["content"], record["style"]) for _, split, _, record in known if split == "pairs"}
    assert not pairs & {(record.get("content"), record.get("style")) for _, record in trained}
    assert len({content for content, _ in pairs}) >= 10


def test_no_trial_of_the_real_sets_crosses_splits(shared: Path) -> None:
    of = defaultdict(set)
    for name in ("cmu22", "mocap22", "cmumore22", "hdm22", "lafan22w", "robotmix22", "styles22"):
        records = ClipSet.load(shared / name).clips
        for record, split in zip(records, assign_splits(records), strict=True):
            of[recording(record)].add(split)
    assert all(len(found) == 1 for found in of.values())
    assert of["12_01"] == {"test"}  # as in `vocabulary.SHIPPED`: not trained on


def test_lifted_real_clips_are_people(real: list[MotionClip]) -> None:
    lifted = [c for c in real if c.quality == "kinect"]
    mocap = [c for c in real if c.quality == "mocap"]
    assert np.mean([jitter(c.joints) for c in lifted]) < 1.2 * np.mean([jitter(c.joints) for c in mocap])
    head, neck = SMPL.joints.index("head"), SMPL.joints.index("neck")
    for c in lifted:
        assert 1.0 < np.quantile(c.joints[:, head, 1], 0.9) < 1.8
    trunk = np.concatenate([c.joints[:, neck] - c.joints[:, 0] for c in lifted])
    assert np.median(trunk[:, 1] / np.linalg.norm(trunk, axis=1)) > 0.97  # half of all frames within 14 degrees


@pytest.mark.parametrize(
    ("prefix", "share"),
    [("msr-action3d high arm wave", 0.9), ("msr-action3d forward punch", 0.9), ("utkinect throw", 0.9)],
)
def test_right_hands_stay_right(real: list[MotionClip], prefix: str, share: float) -> None:
    def path(c: MotionClip, side: str) -> float:
        wrist = c.joints[:, SMPL.joints.index(f"{side}_wrist")] - c.joints[:, 0]
        return float(np.abs(np.diff(wrist, axis=0)).sum())

    found = [path(c, "right") > path(c, "left") for c in real if c.name.startswith(prefix)]
    assert len(found) > 10 and np.mean(found) >= share


def test_clips_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        clip(20).name = "b"  # type: ignore[misc]

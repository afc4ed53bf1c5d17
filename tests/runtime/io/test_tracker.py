import itertools
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.io.tracker import Tracker

FPS = 30.0


def body(x, y=200.0, size=100.0):
    """Pixels [2, 2] of a person centered at x and y."""
    return np.array([[x - size / 2, y - size], [x + size / 2, y + size]])


def test_ids_follow_people_who_change_their_order():
    tracker = Tracker()
    assert tracker.assign(0.0, [body(100), body(400)]) == [0, 1]
    assert tracker.assign(0.1, [body(390), body(120)]) == [1, 0]
    assert tracker.assign(0.2, [body(380), body(140), body(600)]) == [1, 0, 2]


def test_an_id_is_kept_for_half_a_second_and_then_reused():
    tracker = Tracker()
    assert tracker.assign(0.0, [body(100), body(400)]) == [0, 1]
    assert tracker.assign(0.25, [body(400)]) == [1]
    assert tracker.assign(0.5, [body(110), body(400)]) == [0, 1]
    assert tracker.assign(0.9, [body(400), body(900)]) == [1, 2]  # 0 may still come back
    assert tracker.assign(1.1, [body(700), body(400), body(900)]) == [0, 1, 2]


def test_a_distant_person_is_another_person():
    tracker = Tracker()
    assert tracker.assign(0.0, [body(100)]) == [0]
    assert tracker.assign(0.1, [body(500)]) == [1]


def test_a_newcomer_does_not_take_the_id_of_a_person_who_stays():
    tracker = Tracker()
    assert tracker.assign(0.0, [body(100), body(190)]) == [0, 1]
    assert tracker.assign(0.1, [body(0), body(102)]) == [2, 0]


def test_the_most_confident_of_too_many_newcomers_are_tracked():
    poses = [body(100), body(400), body(700)]
    for confidence in ([0.5, 0.1, 0.9], [np.full(2, 0.5), np.full(2, np.nan), np.array([0.8, 1.0])]):
        tracker = Tracker(max_people=2)
        assert tracker.assign(0.0, poses, confidence) == [1, -1, 0]
        assert tracker.assign(0.1, poses, [0.1, 0.9, 0.1]) == [1, -1, 0]  # who is known stays
        assert tracker.assign(0.2, poses[1:], [0.9, 0.1]) == [-1, 0]  # a place is kept for half a second
        assert tracker.assign(0.7, poses, [0.5, 0.9, 0.1]) == [-1, 1, 0]


def test_there_are_never_more_ids_than_allowed():
    tracker, rng = Tracker(), np.random.default_rng(0)
    for k in range(60):
        ids = tracker.assign(k / FPS, [body(x) for x in rng.uniform(0, 1e5, 20)])
        kept = [person for person in ids if person >= 0]
        assert len(kept) == len(set(kept)) and set(kept) <= set(range(16))


def test_missing_joints_are_ignored_and_a_pose_without_joints_is_not_tracked():
    tracker = Tracker()
    nowhere = np.full((3, 2), np.nan)
    whole, torn = (np.vstack([body(100), last]) for last in ([100.0, 150.0], [np.nan, 150.0]))
    assert tracker.assign(0.0, [nowhere, whole]) == [-1, 0]
    assert tracker.assign(0.1, [torn, nowhere]) == [0, -1]
    assert tracker.assign(0.2, []) == []


def test_joints_in_meters_are_distinguished_by_depth():
    pose = np.random.default_rng(0).uniform(0, 1.5, (22, 3)) * [0.4, 1, 0.3]
    behind = pose + [0, 0, 2]
    tracker = Tracker()
    assert tracker.assign(0.0, [pose, behind]) == [0, 1]
    assert tracker.assign(0.1, [behind, pose]) == [1, 0]


def walks(shared, count):
    """Real walks [T, 22, 3] at 30 Hz, rotated to go along +x and through the origin halfway."""
    record = json.loads((shared / "bandai22.json").read_text())
    with np.load(shared / "bandai22.npz") as data:
        start, joints, root_xz = data["start"], data["joints"], data["root_xz"]
    for i in (i for i, clip in enumerate(record["clips"]) if clip["content"] == "walk"):
        clip = joints[start[i] : start[i + 1]].astype(np.float64)
        clip[..., [0, 2]] += root_xz[start[i] : start[i + 1]][:, None]
        t = np.arange(0, (len(clip) - 1) / 20, 1 / FPS) * 20
        k, part = t.astype(int), (t % 1)[:, None, None]
        clip = clip[k] * (1 - part) + clip[k + 1] * part
        way = clip[-1, 0] - clip[0, 0]
        if np.hypot(way[0], way[2]) < 1.5:
            continue
        turn = np.arctan2(way[2], way[0])
        clip = turned(clip - clip[len(clip) // 2, 0] * [1, 0, 1], -turn)
        yield clip
        count -= 1
        if not count:
            return


def turned(clip, angle):
    x, y, z = np.moveaxis(clip, -1, 0)
    return np.stack([np.cos(angle) * x - np.sin(angle) * z, y, np.sin(angle) * x + np.cos(angle) * z], axis=-1)


def seen_by_a_camera(pose):
    """Pixels [V, 2] of a pose, from 4 m away."""
    depth = 4 + pose[:, 2]
    return np.stack([640 + 600 * pose[:, 0] / depth, 400 - 600 * (pose[:, 1] - 1) / depth], axis=-1)


def crossings(shared):
    """Two people who walk through each other, 0.6 m apart: (poses, poses) [T, 22, 3]."""
    for one, other in itertools.pairwise(walks(shared, 9)):
        frames = min(len(one), len(other)) // 2
        one, other = (clip[len(clip) // 2 - frames : len(clip) // 2 + frames] for clip in (one, other))
        yield one + [0, 0, 0.3], turned(other, np.pi) - [0, 0, 0.3]


@pytest.mark.parametrize("view", [seen_by_a_camera, lambda pose: pose], ids=["pixels", "meters"])
def test_people_who_walk_through_each_other_keep_their_ids(shared, view):
    for one, other in crossings(shared):
        tracker, rng = Tracker(), np.random.default_rng(0)
        for k, pair in enumerate(zip(one, other, strict=True)):
            order = [0, 1] if k == 0 else rng.permutation(2).tolist()
            assert tracker.assign(k / FPS, [view(pair[m]) for m in order]) == order


def test_a_person_hidden_behind_another_is_found_again(shared):
    for one, other in crossings(shared):
        tracker, middle = Tracker(), len(one) // 2
        for k, pair in enumerate(zip(one, other, strict=True)):
            order = [1] if abs(k - middle) <= 3 else [0, 1]
            assert tracker.assign(k / FPS, [seen_by_a_camera(pair[m]) for m in order]) == order


@hypothesis.settings(max_examples=50, deadline=None)
@hypothesis.given(st.data())
def test_the_order_of_poses_does_not_matter(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    x = np.arange(5) * 150 + rng.uniform(-30, 30, 5)
    plain, shuffled = Tracker(), Tracker()
    for k in range(6):
        x += rng.uniform(-10, 10, 5)
        here = [m for m in range(5) if rng.random() < 0.8] if k else list(range(5))
        ids = plain.assign(k / FPS, [body(x[m]) for m in here])
        order = data.draw(st.permutations(range(len(here)))) if k else list(range(5))
        again = shuffled.assign(k / FPS, [body(x[here[m]]) for m in order])
        assert again == [ids[m] for m in order] == [here[m] for m in order]


SMPL = Layout.load("smpl22").parents


def taller(pose, height):
    """The pose of a person `height` times as tall, with longer legs than arms."""
    legs = [1, 2, 4, 5, 7, 8, 10, 11]
    bones = np.array([pose[v] - pose[p] if p >= 0 else pose[v] for v, p in enumerate(SMPL)])
    bones[legs] *= height**2
    taller = np.zeros_like(pose)
    for v, p in enumerate(SMPL):
        taller[v] = bones[v] + (taller[p] if p >= 0 else 0)
    return taller


def test_people_who_meet_and_turn_back_are_identified_by_their_bones(shared):
    kept = dict.fromkeys((SMPL, ()), 0)
    for one, other in crossings(shared):
        middle = len(one) // 2
        one, other = (np.concatenate([clip[:middle], clip[:middle][::-1]]) for clip in (one, other))
        for parents in kept:
            tracker = Tracker(parents=parents)
            for k, (a, b) in enumerate(zip(one, other, strict=True)):
                ids = tracker.assign(k / FPS, [seen_by_a_camera(pose) for pose in (taller(a, 1.1), b)])
            kept[parents] += ids == [0, 1]
    assert kept[SMPL] == 8 > kept[()]


def test_a_returning_person_gets_the_id_back_only_if_the_bones_match(shared):
    for clip in walks(shared, 4):
        for height, person in ((1.05, 1), (1.2, 2)):  # the same one, a stranger
            tracker = Tracker(parents=SMPL)
            for k, pose in enumerate(clip[:45]):
                assert tracker.assign(k / FPS, [pose, taller(pose, 1.05) + [0, 0, 3]]) == [0, 1]
            for t in np.arange(1.5, 6, 0.2):  # the first one stays
                assert tracker.assign(t, [clip[44]]) == [0]
            back = taller(clip[20], height) + [2, 0, -1]
            assert tracker.assign(6.0, [clip[44], back]) == [0, person]

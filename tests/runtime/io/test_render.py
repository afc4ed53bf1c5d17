"""Pictures of poses."""

from dataclasses import replace

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.io.mannequin import Capsule, Ellipsoid, body_scale, mannequin
from motionrt.runtime.io.render import TORSO_COLORS, Camera, follow, render

SMPL = Layout.load("smpl22")


@pytest.fixture
def pose(wave):
    return wave.joints[:1].astype(float)


def camera(axes=None, **changes):
    defaults = {"target": np.zeros(3), "distance_m": np.inf, "scale": 100.0, "size": (100, 80)}
    return Camera(axes=np.eye(3) if axes is None else axes, **{**defaults, **changes})


def test_a_picture_has_its_size_and_the_same_pixels_every_time(pose):
    image = render(pose, SMPL, (120, 200))
    assert image.shape == (200, 120, 3) and image.dtype == np.uint8
    assert np.array_equal(image, render(pose, SMPL, (120, 200)))
    assert render(pose, SMPL).shape == (480, 480, 3)


def test_projection_is_in_pixels_right_and_down():
    points = np.array([[0, 0, 0], [0.1, 0.2, 0], [0.1, 0.2, 0.5]])
    pixels, depth, scale = camera().project(points)
    np.testing.assert_allclose(pixels, [[50, 40], [60, 20], [60, 20]])
    np.testing.assert_allclose(depth, [0, 0, 0.5])
    pixels, _, scale = camera(distance_m=1.0).project(points)
    np.testing.assert_allclose(pixels[2], [70, 0])  # twice as large at half the distance
    np.testing.assert_allclose(scale, [100, 100, 200])


def test_the_nearer_person_hides_the_other(pose):
    front, back = pose[0], pose[0] + [0, 0, -3.0]
    view = replace(follow(pose[None], SMPL, 20, (200, 200), axes=np.eye(3), floor=False)[0], distance_m=np.inf)
    alone = render(front[None], SMPL, camera=view)
    for people in ([front, back], [back, front]):
        image = render(np.stack(people), SMPL, camera=view, one_color=True)
        assert (image == alone).all(axis=-1).mean() > 0.97  # but for pixels on its outline
    assert (render(back[None] + [0.3, 0, 0], SMPL, camera=view) == alone).all(axis=-1).mean() < 0.95


def test_people_have_different_torsos_unless_asked_otherwise(pose):
    two = np.concatenate([pose, pose + [1.0, 0, 0]])
    assert not np.array_equal(render(two, SMPL), render(two, SMPL, one_color=True))
    assert len(set(TORSO_COLORS)) == len(TORSO_COLORS)


def test_a_part_without_its_joints_is_absent(pose):
    whole = mannequin(pose[0], SMPL)
    pose[0, SMPL.joints.index("left_elbow")] = np.nan
    rest = mannequin(pose[0], SMPL)
    assert len(whole) - len(rest) == 3  # upper arm, forearm, hand
    assert sum(part.side == "left" for part in whole) - sum(part.side == "left" for part in rest) == 3
    assert mannequin(np.full((22, 3), np.nan), SMPL) == []


def test_the_face_looks_where_the_shoulders_face(samples):
    for clip in samples:
        for pose in clip.joints[::20].astype(float):
            (head,) = [part for part in mannequin(pose, SMPL) if isinstance(part, Ellipsoid) and part.face]
            left, right = (pose[SMPL.joints.index(f"{side}_shoulder")] for side in ("left", "right"))
            assert head.axes[0] @ (left - right) > 0  # the first axis points to the left
            np.testing.assert_allclose(np.cross(head.axes[0], head.axes[1]) @ head.axes[2] > 0, True)


def test_sizes_follow_the_body(wave):
    joints = wave.joints.astype(float)
    scale = body_scale(joints, SMPL)
    assert 0.8 < scale < 1.1
    assert body_scale(joints * 2, SMPL) == pytest.approx(2 * scale)
    assert body_scale(joints * np.nan, SMPL) == 1
    large, small = mannequin(joints[0], SMPL, scale), mannequin(joints[0] / 2, SMPL, scale / 2)
    for a, b in zip(large, small, strict=True):
        if isinstance(a, Capsule):
            assert isinstance(b, Capsule) and b.start_radius == pytest.approx(a.start_radius / 2)
            np.testing.assert_allclose(b.end, a.end / 2, atol=1e-9)
        else:
            assert isinstance(b, Ellipsoid)
            np.testing.assert_allclose(b.axes, a.axes / 2, atol=1e-9)


def test_joints_on_top_of_each_other_are_drawn():
    image = render(np.zeros((1, 22, 3)), SMPL, (60, 60))
    assert np.ptp(image) > 50


def test_the_shadow_lies_on_the_floor_below_the_body(pose):
    view = follow(pose[None], SMPL, 20, (200, 200))[0]
    floor, bare = render(pose * np.nan, SMPL, camera=view), render(pose, SMPL, camera=replace(view, floor_m=None))
    empty = render(pose * np.nan, SMPL, camera=replace(view, floor_m=None))
    body = np.abs(bare.astype(int) - empty).max(axis=-1) > 2
    darker = (floor.astype(int) - render(pose, SMPL, camera=view)).min(axis=-1)
    rows = np.nonzero((darker > 15) & ~body)[0]
    feet = np.nonzero(body)[0].max()
    assert len(rows) > 50 and abs(rows.mean() - feet) < 40

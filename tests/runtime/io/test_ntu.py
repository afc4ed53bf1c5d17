import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.files import read


@pytest.fixture(scope="module")
def actor(wave):
    """The sample as recorded by a Kinect v2: [40, 25, 3], 3 m in front of the sensor and facing it."""
    joints = (Layout.load("ntu25").map_from(Layout.load("smpl22")) @ wave.joints)[:40]
    return joints * [-1, 1, -1] + [0.1, -0.9, 3.0]


def text(frames):
    """The format's text of `frames`: one list of (body id, joints [25, 3]) per frame."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for body, joints in bodies:
            lines += [f"{body} 0 1 1 0 0 0 -0.01 0.02 2", "25"]
            lines += [f"{x:.7g} {y:.7g} {z:.7g} 260.1 190.2 1000.5 500.5 0.1 0.2 0.3 0.4 2" for x, y, z in joints]
    return "\n".join(lines) + "\n"


def load(tmp_path, frames, **options):
    path = tmp_path / "S001C001P001R001A001.skeleton"
    path.write_text(text(frames))
    return read(path, **options)


def test_one_person(tmp_path, actor):
    motion = load(tmp_path, [[("72057594037931101", joints)] for joints in actor])
    assert (motion.layout, motion.fps, motion.joints.shape) == ("ntu25", 30.0, (40, 25, 3))
    np.testing.assert_allclose(motion.joints, actor, atol=1e-5)
    assert (motion.confidence == 1).all()


def test_two_people_with_the_livelier_first_and_nan_while_one_is_away(tmp_path, actor):
    calm = actor[0] + [1, 0, 0]
    frames = [[("1", calm), ("2", joints)] for joints in actor]
    for t in range(10, 20):
        frames[t] = frames[t][1:]  # the calm one is away
    motion = load(tmp_path, frames)
    assert motion.joints.shape == (40, 2, 25, 3)
    np.testing.assert_allclose(motion.joints[:, 0], actor, atol=1e-5)
    away = np.isnan(motion.joints[:, 1]).all(axis=(1, 2))
    assert away.tolist() == [10 <= t < 20 for t in range(40)]
    assert (motion.confidence[10:20, 1] == 0).all()


def test_a_person_found_again_under_a_new_id_is_one_person(tmp_path, actor):
    frames = [[("1" if t < 18 else "2", joints)] if t not in (18, 19) else [] for t, joints in enumerate(actor)]
    motion = load(tmp_path, frames)
    assert motion.people == 1
    assert np.isnan(motion.joints[18:20]).all()
    np.testing.assert_allclose(np.delete(motion.joints, [18, 19], 0), np.delete(actor, [18, 19], 0), atol=1e-5)


def test_phantoms_are_ignored(tmp_path, actor):
    table = actor[0] * [3, 0.1, 1]  # wide and low
    frames = [[("1", joints), ("2", table + 0.01 * t)] for t, joints in enumerate(actor)]
    for t in range(5):
        frames[t].append(("3", actor[t] + [2, 0, 0]))  # seen for five frames only
    motion = load(tmp_path, frames)
    assert motion.people == 1
    np.testing.assert_allclose(motion.joints, actor, atol=1e-5)


def test_a_third_person_is_ignored(tmp_path, actor):
    frames = [[(str(m), actor[0] + m * (joints - actor[0]) + [m, 0, 0]) for m in range(3)] for joints in actor]
    motion = load(tmp_path, frames)
    assert motion.people == 2
    assert motion.joints[0, 0, 0, 0] > motion.joints[0, 1, 0, 0] > 0.9


def test_zeros_are_missing_joints(tmp_path, actor):
    holed = actor.copy()
    holed[:, 7] = 0
    motion = load(tmp_path, [[("1", joints)] for joints in holed])
    assert np.isnan(motion.joints[:, 7]).all() and (motion.confidence[:, 7] == 0).all()
    assert np.isfinite(np.delete(motion.joints, 7, axis=1)).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], "is cut short or damaged at frame 20 of 40"),
        (lambda whole: "40 frames", "is cut short or damaged at the number of frames"),
        (lambda whole: "0\n", "has no body in any frame"),
        (lambda whole: "2\n0\n0\n", "has no body in any frame"),
        (lambda whole: "many\n", "has 'many' at the number of frames, expected a count"),
        (lambda whole: whole.replace("\n25\n", "\n20\n"), "has 20 joints at frame 1 of 40, expected 25"),
        (
            lambda whole: whole.replace("260.1", "wide", 1),
            "damaged at frame 1 of 40: expected numbers",
        ),
        (
            lambda whole: whole.replace("\n1\n", "\n17\n", 1),
            "has '17' at frame 1 of 40, expected a count of at most 16",
        ),
    ],
)
def test_malformed_skeleton(tmp_path, actor, damage, message):
    path = tmp_path / "bad.skeleton"
    path.write_text(damage(text([[("1", joints)] for joints in actor])))
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)

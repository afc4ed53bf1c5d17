"""MSR-Action3D, UTKinect, Florence 3D and UTD-MHAD as they are distributed, with the numbers of a clip of ours."""

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.files import is_motion_file, read

T = 12
KINECT = Layout.load("kinect20").joints


@pytest.fixture(scope="module")
def kinect(wave):
    """[12, 20, 3] in front of the sensor, in the order of kinect20."""
    joints = (Layout.load("kinect20").map_from(Layout.load("smpl22")) @ wave.joints)[:T]
    return (joints * [-1, 1, -1] + [0.1, -0.9, 2.5]).round(5)


def lines(rows) -> str:
    return "\n".join(" ".join(f"{x:.6g}" for x in row) for row in rows) + "\n"


def refused(path, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        read(path, **options)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


MSR = [
    *("left_shoulder", "right_shoulder", "neck", "spine", "left_hip", "right_hip", "pelvis"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot", "head"),
]
FLORENCE = [
    *("head", "neck", "spine", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_shoulder", "right_elbow", "right_wrist", "left_hip", "left_knee", "left_ankle"),
    *("right_hip", "right_knee", "right_ankle"),
]


def test_msr_action3d(tmp_path, kinect):
    points = kinect[:, [KINECT.index(name) for name in MSR]]
    points[3] = 0  # a frame without a skeleton
    path = tmp_path / "a01_s02_e03_skeleton3D.txt"
    path.write_text(lines(np.c_[points.reshape(-1, 3), np.full(20 * T, 0.5)]))
    motion = read(path)
    assert (motion.layout, motion.fps, motion.meta) == ("kinect20", 15, {"file_name": "a01_s02_e03_skeleton3D"})
    assert np.isnan(motion.joints[3]).all()
    seen = np.delete(np.arange(T), 3)
    np.testing.assert_allclose(motion.joints[seen], kinect[seen], atol=1e-5)
    path.write_text(lines(np.c_[points.reshape(-1, 3) * [150, 150, 400] + 100, np.full(20 * T, 0.5)]))
    refused(path, r"holds screen coordinates: use MSR-Action3D's files in meters, named like a01_s01_e01_skeleton3D")
    path.write_text(lines(np.ones((30, 4))))
    refused(path, "has 30 lines, expected 20 a frame")


def test_utkinect_has_jumps_and_repeated_frames(tmp_path, kinect):
    numbers = np.array([100, 102, 104, 104, 106, 110, 112, 114, 116, 118, 120, 122])
    path = tmp_path / "joints_s01_e01.txt"
    path.write_text(lines(np.c_[numbers, kinect.reshape(T, -1)]))
    motion = read(path)
    kept = np.delete(np.arange(T), 3)
    assert (motion.layout, motion.fps) == ("kinect20", pytest.approx(15))
    np.testing.assert_allclose(motion.joints, kinect[kept], atol=1e-4)
    np.testing.assert_allclose(motion.timestamps, (numbers[kept] - 100) / 30)


def test_florence_is_one_recording_with_pauses(tmp_path, kinect):
    points = 1000 * kinect[:, [KINECT.index(name) for name in FLORENCE]]
    about = np.array([[1, 4, 2]] * 5 + [[2, 5, 9]] * (T - 5))
    path = tmp_path / "Florence_dataset_WorldCoordinates.txt"
    path.write_text("%idvideo idactor idcategory f1 ... fn\n" + lines(np.c_[about, points.reshape(T, -1)]))
    motion = read(path)
    assert motion.fps == 30
    known = Layout.load(motion.layout).joints
    for name in set(FLORENCE) & set(known):
        np.testing.assert_allclose(motion.joints[:, known.index(name)], kinect[:, KINECT.index(name)], atol=1e-3)
    assert np.diff(motion.times)[4] == pytest.approx(2 + 1 / 30) and motion.times[0] == 0
    assert motion.meta["videos"] == [
        {"video": 1, "actor": 4, "action": 2, "start": 0.0},
        {"video": 2, "actor": 5, "action": 9, "start": pytest.approx(2 + 5 / 30)},
    ]


def test_other_texts_are_not_motions(tmp_path, kinect):
    for text, message in (
        ("Read me first.\n", "has a word in line 1 where a number was expected"),
        ("1 2 3\n4 5 6\n", r"has 3 numbers a line, expected those of MSR-Action3D \(4\), UTKinect \(61\)"),
        ("1 2 3 4\n1 2 3\n", "has 3 numbers in line 2, expected 4"),
        ("%\n", "has no numbers"),
    ):
        (tmp_path / "notes.txt").write_text(text)
        refused(tmp_path / "notes.txt", message)
    (tmp_path / "README.txt").write_text("Read me first.\n")
    (tmp_path / "joints_s01_e01.txt").write_text(lines(np.c_[np.arange(T), kinect.reshape(T, -1)]))
    assert [path.name for path in sorted(tmp_path.iterdir()) if is_motion_file(path)] == ["joints_s01_e01.txt"]


def test_utd_mhad(tmp_path, kinect):
    io = pytest.importorskip("scipy.io", reason="scipy is not installed")
    order = [KINECT.index(name) for name in ("head", "neck", "spine", "pelvis", *KINECT[4:])]
    path = tmp_path / "a1_s1_t1_skeleton.mat"
    io.savemat(path, {"d_skel": kinect[:, order].transpose(1, 2, 0)}, do_compression=True)
    motion = read(path)
    assert (motion.layout, motion.fps) == ("kinect20", 30)
    np.testing.assert_allclose(motion.joints, kinect, atol=1e-5)
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    refused(path, "is damaged or not of MATLAB")
    io.savemat(path, {"d_skel": np.zeros((20, 2, 5))})
    refused(path, r"'d_skel' has shape \[20, 2, 5\], expected \[20, 3, T\]")
    io.savemat(path, {"d_iner": np.zeros((5, 6))})
    refused(path, "has no array 'd_skel': of MATLAB's files, only those of UTD-MHAD's skeletons are read")

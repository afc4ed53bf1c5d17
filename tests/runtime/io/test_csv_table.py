"""Tables with a row per frame: spellings of columns, clocks, people, MediaPipe, OptiTrack, and damage."""

import csv
import io
import logging

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError, LayoutError
from motionrt.runtime.io.files import read

FPS = 30


@pytest.fixture(scope="module")
def kinect(wave):
    """[20, 20, 3] in the order of kinect20."""
    return (Layout.load("kinect20").map_from(Layout.load("smpl22")) @ wave.joints)[:20].astype(float)


@pytest.fixture(scope="module")
def names():
    return [aliases[0] if aliases else name for name, aliases in zip(*layout_names("kinect20"), strict=True)]


def layout_names(name):
    layout = Layout.load(name)
    return layout.joints, layout.aliases


def table(header, rows, delimiter=",") -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([header, *rows])
    return text.getvalue()


def load(tmp_path, text, name="clip.csv", encoding="utf-8", **options):
    (tmp_path / name).write_bytes(text.encode(encoding))
    return read(tmp_path / name, **options)


def timed(joints, step=1 / FPS):
    return [[round(t * step, 6), *row] for t, row in enumerate(joints.reshape(len(joints), -1).round(6).tolist())]


SPELLINGS = ["{n}_{a}", "{n}.{a}", "{n}:{a}", "{n} {a}", "{n}[{a}]", "{n}_pos_{a}", "{n}.position.{a}", "{n}_{a} (m)"]
SPELLINGS += ["{n}{A}", "{a}_{n}"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_columns(tmp_path, kinect, names, spelling):
    header = [spelling.format(n=n, a=a, A=a.upper()) for n in names for a in "xyz"]
    motion = load(tmp_path, table(["time", *header], timed(kinect)))
    assert (motion.layout, motion.fps) == ("kinect20", pytest.approx(FPS, rel=1e-3))
    np.testing.assert_allclose(motion.joints, kinect, atol=1e-5)
    np.testing.assert_allclose(motion.timestamps, np.arange(20) / FPS, atol=1e-5)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_byte_order_marks_delimiters_and_decimal_commas(tmp_path, kinect, names, encoding, delimiter):
    header = ["time", *(f"{n}_{a}" for n in names for a in "XYZ")]
    rows = [[str(cell).replace(".", ",") if delimiter == ";" else cell for cell in row] for row in timed(kinect)]
    motion = load(tmp_path, table(header, rows, delimiter), encoding=encoding)
    np.testing.assert_allclose(motion.joints, kinect, atol=1e-5)


def test_other_columns_are_ignored_and_empty_cells_are_missing(tmp_path, kinect, names):
    header = ["label", *(f"{n}_{a}" for n in names for a in "xyz"), *(f"{n}_rot_{a}" for n in names for a in "xyzw")]
    header += [f"{n}_confidence" for n in names]  # and pixels, as Kinect recorders have them, below
    header = [*(f"{n}_2D_{a}" for n in names for a in "XY"), *header]
    rows = [[*[7.0] * 40, "wave", *row, *[9.0] * 80, *[0.5] * 20] for row in kinect.reshape(20, -1).tolist()]
    rows[3][41 + 3 * 7] = ""
    rows[4][-1] = 0.25
    motion = load(tmp_path, table(header, rows), fps=25.0)
    assert motion.fps == 25 and motion.joints.shape == (20, 20, 3)
    assert np.isnan(motion.joints[3, 7, 0]) and np.isnan(motion.joints).sum() == 1
    assert motion.confidence[4, -1] == 0.25 and motion.confidence[3, 0] == 0.5
    with pytest.raises(InputError, match=r"has no column of times: pass fps \(--fps\)"):
        load(tmp_path, table(header, rows))


@pytest.mark.parametrize(
    ("column", "step", "unit"),
    [
        ("time", 1 / FPS, None),
        ("timestamp_ms", 1000 / FPS, None),
        ("CaptureTime", 1 / FPS, None),
        ("frame_time [s]", 1 / FPS, None),
        ("Time (Seconds)", 1 / FPS, None),
        ("timestamp", 1000 / FPS, "milliseconds"),
        ("timestamp", 1e6 / FPS, "microseconds"),
        ("timestamp", 1e7 / FPS, "ticks of 100 ns"),
        ("timestamp", 1e9 / FPS, "nanoseconds"),
    ],
)
def test_units_of_time(tmp_path, kinect, names, column, step, unit, caplog):
    caplog.set_level(logging.WARNING)
    header = [column, *(f"{n}_{a}" for n in names for a in "xyz")]
    motion = load(tmp_path, table(header, timed(kinect, step)))
    assert motion.fps == pytest.approx(FPS, rel=0.04)
    taken_as = [record.message.partition(" taken as ")[2] for record in caplog.records]
    assert taken_as == ([] if unit is None else [unit])


def test_implausible_times(tmp_path, kinect, names):
    header = ["time", *(f"{n}_{a}" for n in names for a in "xyz")]
    with pytest.raises(InputError, match=r"its times are 900 apart, not a usual rate in any unit: pass fps"):
        load(tmp_path, table(header, timed(kinect, 900)))


def test_several_people_with_ids_of_64_bits(tmp_path, kinect, names):
    header = ["frame", "time", "TrackingId", *(f"{n}_{a}" for n in names for a in "xyz")]
    rows = []
    for t, row in enumerate(kinect.reshape(20, -1).tolist()):
        rows.append([t, t / FPS, 72057594037931101, *row])
        if t >= 5:
            rows.append([t, t / FPS, 72057594037931102, *(x + 1 for x in row)])
    motion = load(tmp_path, table(header, rows))
    assert motion.joints.shape == (20, 2, 20, 3)
    np.testing.assert_allclose(motion.joints[:, 0], kinect, atol=1e-5)
    np.testing.assert_allclose(motion.joints[5:, 1], kinect[5:] + 1, atol=1e-5)
    assert np.isnan(motion.joints[:5, 1]).all()


@pytest.mark.parametrize("scale", [1.0, 100.0, 1000.0])
def test_the_unit_is_found_by_the_height(tmp_path, kinect, names, scale):
    header = ["time", *(f"{n}_{a}" for n in names for a in "xyz")]
    motion = load(tmp_path, table(header, timed(kinect * scale)))
    np.testing.assert_allclose(motion.joints, kinect, atol=1e-4)


def test_rows_that_are_not_frames_are_refused(tmp_path, kinect, names):
    header = ["time", *(f"{n}_{a}" for n in names for a in "xyz")]
    rows = timed(kinect)
    rows[4][0] = rows[3][0]
    again = r"the time in line 6 is not above the one before: expected a row per frame, or a column 'person'; or pass"
    with pytest.raises(InputError, match=again):
        load(tmp_path, table(header, rows))
    assert load(tmp_path, table(header, rows), fps=30.0).frames == 20
    rows[4][0] = ""
    with pytest.raises(InputError, match="has no time in line 6"):
        load(tmp_path, table(header, rows))
    people = [[number % 2, *row[1:]] for number, row in enumerate(rows)]
    with pytest.raises(InputError, match="has several people, but no column of times or frames"):
        load(tmp_path, table(["person", *header[1:]], people), fps=30.0)


def test_frames_that_are_missing_leave_a_gap(tmp_path, kinect, names):
    header = ["frame", *(f"{n}_{a}" for n in names for a in "xyz")]
    rows = [[number + 5 * (number > 9), *row[1:]] for number, row in enumerate(timed(kinect))]
    motion = load(tmp_path, table(header, rows), fps=30.0)
    assert motion.fps == 30 and motion.times[10] == pytest.approx(15 / 30)
    with pytest.raises(InputError, match="has no column of times: pass fps"):
        load(tmp_path, table(header, rows))


@pytest.fixture(scope="module")
def mediapipe(wave):
    """World landmarks [20, 33, 3]: y down, z away from the camera, the hips' middle at the origin."""
    joints = (Layout.load("mediapipe33").map_from(Layout.load("smpl22")) @ wave.joints)[:20].astype(float)
    return (joints - joints[:, 23:25].mean(axis=1, keepdims=True)) * [1, -1, -1]


@pytest.mark.parametrize("spelling", ["{name}_{a}", "{a}{number}", "landmark_{number}_{a}"])
def test_mediapipe_landmarks_turn_upright(tmp_path, mediapipe, spelling):
    names = [name.upper() for name in Layout.load("mediapipe33").joints]
    header = [spelling.format(name=n, a=a, number=k) for k, n in enumerate(names) for a in "xyz"]
    motion = load(tmp_path, table(header, mediapipe.reshape(20, -1).tolist()), fps=30.0)
    assert motion.layout == "mediapipe33"
    np.testing.assert_allclose(motion.joints, mediapipe * [1, -1, -1], atol=1e-6)
    upright = load(tmp_path, table(header, (mediapipe * [1, -1, -1]).reshape(20, -1).tolist()), fps=30.0)
    np.testing.assert_allclose(upright.joints, motion.joints, atol=1e-6)  # a recorder that turned them itself


def test_mediapipe_landmarks_of_the_image_are_refused(tmp_path, mediapipe):
    header = [f"{a}{k}" for k in range(33) for a in "xyz"]
    image = mediapipe * 0.3 + [0.5, 0.5, 0]
    with pytest.raises(InputError, match="in units of the image, without meters: write pose_world_landmarks"):
        load(tmp_path, table(header, image.reshape(20, -1).tolist()), fps=30.0)


def test_columns_without_z_are_pixels(tmp_path):
    pixels = np.arange(20 * 17 * 2, dtype=float).reshape(20, -1)
    joints = Layout.load("coco17").joints
    header = [f"{n}_{a}" for n in joints for a in "xy"]
    motion = load(tmp_path, table(header, pixels.tolist()), fps=30.0)
    assert (motion.layout, motion.joints.shape) == ("coco17", (20, 17, 2))
    np.testing.assert_array_equal(motion.joints.reshape(20, -1), pixels)


def optitrack(bones, unit="Millimeters", scale=1000.0) -> str:
    """Motive's export of one or more skeletons: {(skeleton, bone): [T, 3] meters}."""
    first = {"Format Version": "1.23", "Take Name": "wave", "Export Frame Rate": "120.0", "Length Units": unit}
    rows = [[cell for pair in first.items() for cell in pair], []]
    columns = [(k, q, axis) for k in bones for q, axis in zip("RRRRPPP", "XYZWXYZ", strict=True)]
    rows.append(["", "", *("Bone" for _ in columns)])
    rows.append(["", "", *(f"{skeleton}:{bone}" for (skeleton, bone), _, _ in columns)])
    rows.append(["", "", *("A1" for _ in columns)])
    rows.append(["", "", *({"R": "Rotation", "P": "Position"}[q] for _, q, _ in columns)])
    rows.append(["Frame", "Time (Seconds)", *(axis for _, _, axis in columns)])
    T = len(next(iter(bones.values())))
    for t in range(T):
        cells = [f"{bones[k][t]['XYZ'.index(a)] * scale:.6f}" if q == "P" else "0" for k, q, a in columns]
        rows.append([str(t), f"{t / 120:.6f}", *cells])
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


MOTIVE = (
    "Ab Chest Neck Head LShoulder LUArm LFArm LHand RShoulder RUArm RFArm RHand "
    "LThigh LShin LFoot LToe RThigh RShin RFoot RToe"
)
AS_SMPL = (
    "spine1 spine2 neck head left_collar left_shoulder left_elbow left_wrist right_collar right_shoulder right_elbow "
    "right_wrist left_hip left_knee left_ankle left_foot right_hip right_knee right_ankle right_foot"
)


def motive_bones(wave, people):
    """Positions by skeleton and bone; each person is 1 m further than the one before in all directions."""
    index = Layout.load("smpl22").joints.index
    bones = {}
    for m in range(people):
        skeleton = f"Actor{m}"
        for bone, joint in zip([skeleton, *MOTIVE.split()], ["pelvis", *AS_SMPL.split()], strict=True):
            bones[skeleton, bone] = wave.joints[:10, index(joint)] + m
    return bones


@pytest.mark.parametrize("people", [1, 2])
def test_optitrack(tmp_path, wave, people):
    index, bones = Layout.load("smpl22").joints.index, motive_bones(wave, people)
    motion = load(tmp_path, optitrack(bones))
    assert (motion.fps, motion.people, motion.frames) == (120, people, 10)
    for m in range(people):
        for joint in ("pelvis", "head", "left_shoulder", "right_wrist", "left_knee", "right_ankle"):
            got = motion.person(m).joints[:, Layout.load(motion.layout).joints.index(joint)]
            np.testing.assert_allclose(got, wave.joints[:10, index(joint)] + m, atol=1e-5)
    with pytest.raises(InputError, match="has the length unit 'furlongs', expected one of meters"):
        load(tmp_path, optitrack(bones, "Furlongs"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_unit_that_optitrack_states_is_not_guessed(tmp_path, wave, encoding, caplog):
    child = {bone: 0.5 * points for bone, points in motive_bones(wave, 1).items()}  # 0.8 m
    motion = load(tmp_path, optitrack(child, "Inches", 1 / 0.0254), encoding=encoding)
    head = motion.joints[:, Layout.load(motion.layout).joints.index("head")]
    np.testing.assert_allclose(head, child["Actor0", "Head"], atol=1e-5)
    assert not [record for record in caplog.records if "tall" in record.message]


def test_damage_is_one_line(tmp_path, kinect, names):
    header = ["time", *(f"{n}_{a}" for n in names for a in "xyz")]
    rows = timed(kinect)
    rows[4][7] = "oops"
    for text, message in (
        (table(header, rows), "has a word in line 6 where a number was expected .*'oops'"),
        (table(["a", "b"], [[1, 2]]), r"has no columns of joints, expected names such as HEAD_X.*: a, b"),
        (table(header, []), "has no frames"),
        (table([f"{n}_{a}" for n in ("apple", "pear", "plum") for a in "xyz"], [[0] * 9]), "apple, pear, plum"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            load(tmp_path, text, fps=30.0)
        assert str(caught.value).startswith(f"{tmp_path / 'clip.csv'}: ") and "\n" not in str(caught.value)
    with pytest.raises(LayoutError):
        load(tmp_path, table(header, timed(kinect)), layout="ntu25")

"""NTU RGB+D as a test set: classes, splits, and Kinect's skeleton as the generators know it."""

from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError
from motionrt.training.data import ntu

NTU, SMPL = Layout.load("ntu25"), Layout.load("smpl22")


def write(path: Path, joints: np.ndarray | None = None) -> None:
    """A .skeleton file of one body [T, 25, 3], or of nobody."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if joints is None:
        path.write_text("2\n0\n0\n")
        return
    lines = [str(len(joints))]
    for pose in joints:
        lines += ["1", "7 0 1 1 0 0 0 -0.01 0.02 2", "25"]
        lines += [f"{x:.7g} {y:.7g} {z:.7g} 260 190 1000 500 0.1 0.2 0.3 0.4 2" for x, y, z in pose]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def actor(samples: list[Motion]) -> np.ndarray:
    """A recording as a Kinect v2 would have it: [T, 25, 3], 3 m before the sensor and facing it."""
    joints = np.einsum("vw,twc->tvc", NTU.map_from(Layout.load(samples[0].layout)), samples[0].joints)[:60]
    return joints * [-1, 1, -1] + [0.1, -0.9, 3.0]


def test_there_are_120_classes_and_the_first_60_are_those_of_the_first_set() -> None:
    assert len(ntu.ACTIONS) == len(set(ntu.ACTIONS)) == 120
    assert ntu.ACTIONS[22] == "hand waving" and ntu.ACTIONS[59] == "walking apart from each other"
    assert ntu.ACTIONS[119] == "rock-paper-scissors"
    assert ntu.labels("ntu60-xview") == ntu.ACTIONS[:60] and ntu.labels("ntu120-xset") == ntu.ACTIONS


def test_the_training_subjects_are_as_many_as_published() -> None:
    assert len(ntu.TRAINING_SUBJECTS) == 53, "of 106"
    assert sum(subject <= 40 for subject in ntu.TRAINING_SUBJECTS) == 20, "of 40 in the first set"


@pytest.mark.parametrize(
    "name, tested",
    [
        ("S001C001P001R001A001", {"ntu60-xview", "ntu120-xset"}),  # subject 1 trains, camera 1 tests, odd setups test
        ("S002C002P003R002A060", {"ntu60-xsub", "ntu120-xsub"}),
        ("S002C003P001R001A010", set()),
        ("S018C001P041R001A061", {"ntu120-xsub"}),  # not of the first set
        ("S019C002P045R001A120", {"ntu120-xset"}),
    ],
)
def test_a_file_name_determines_the_test_splits(name: str, tested: set[str], tmp_path: Path) -> None:
    found = ntu.parse_name(tmp_path / f"{name}.skeleton")
    assert found is not None and found.label == ntu.ACTIONS[int(name[-3:]) - 1]
    assert {split for split, chosen in ntu.TEST_SPLITS.items() if chosen(found)} == tested


def test_files_with_other_names_are_ignored(tmp_path: Path) -> None:
    for name in ("notes", "S001C001P001R001A121", "S001C001P001R001A000", "xS001C001P001R001A001"):
        assert ntu.parse_name(tmp_path / f"{name}.skeleton") is None


def test_samples_are_found_in_any_subfolder_except_those_on_the_list(tmp_path: Path) -> None:
    for name in ("nturgb+d_skeletons/S001C001P003R001A001", "more/S001C002P003R001A002", "S001C002P003R001A003"):
        write(tmp_path / f"{name}.skeleton")
    (tmp_path / ntu.MISSING_LISTS[0]).write_text("The samples:\nS001C002P003R001A002\nS001C002P001R001A002\n")
    found, left_out = ntu.test_recordings(tmp_path, "ntu60-xsub")
    assert [one.action for one in found] == [3, 1] and left_out == 1
    with pytest.raises(InputError, match="no test sample of ntu60-xview among its files SsssC"):
        ntu.test_recordings(tmp_path / "more", "ntu60-xview")


def test_clips_face_forward_on_the_floor_at_20_frames_per_second(tmp_path: Path, actor: np.ndarray) -> None:
    write(tmp_path / "S001C001P003R001A023.skeleton", actor)
    write(tmp_path / "S001C001P003R001A024.skeleton")
    chosen, _ = ntu.test_recordings(tmp_path, "ntu60-xsub")
    clips, kept, empty = ntu.lift_recordings(chosen)
    assert empty == 1 and [one.label for one in kept] == ["hand waving"]
    joints = clips[0]
    assert joints.shape[1:] == (22, 3) and abs(len(joints) - 40) <= 1 and np.isfinite(joints).all()
    left, right = (joints[0, SMPL.joints.index(f"{side}_shoulder")] for side in ("left", "right"))
    assert left[0] - right[0] > 0.2, "faces +z: the left is where x is"
    assert abs(joints[:, :, 1].min()) < 0.15 and joints[0, SMPL.joints.index("head"), 1] > 1.2


def test_frames_without_the_person_are_trimmed_at_the_ends(tmp_path: Path, actor: np.ndarray) -> None:
    path = tmp_path / "S001C001P003R001A023.skeleton"
    write(path, actor)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([str(len(actor) + 3), "0", "0", *lines[1:], "0"]) + "\n")
    seen = ntu.load_person(path)
    assert seen is not None and seen.shape == actor.shape
    np.testing.assert_allclose(seen, actor, atol=1e-5)


def test_a_damaged_file_is_named(tmp_path: Path, actor: np.ndarray) -> None:
    path = tmp_path / "S001C001P003R001A023.skeleton"
    write(path, actor)
    path.write_text(path.read_text()[:5000])
    with pytest.raises(InputError, match="S001C001P003R001A023"):
        ntu.load_person(path)

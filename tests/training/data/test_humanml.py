import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError
from motionrt.training.data.humanml import load_humanml, load_labels, mean_and_std

WHOLE = "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0"
LENGTHS = {"000000": 80, "M000000": 80, "000001": 39, "000002": 40, "000003": 199, "000004": 200}


def write(root: Path, texts: dict[str, str], lengths: dict[str, int], joints: int = 22, split: str = "train") -> Path:
    """A folder as published: motions of these lengths, with these lines of text."""
    for name, T in lengths.items():
        (root / "new_joints").mkdir(parents=True, exist_ok=True)
        (root / "texts").mkdir(exist_ok=True)
        values = np.random.default_rng(T).normal(size=(T, joints, 3)).astype(np.float32)
        np.save(root / "new_joints" / f"{name}.npy", values)
        (root / "texts" / f"{name}.txt").write_text(texts.get(name, WHOLE) + "\n")
    (root / f"{split}.txt").write_text("\n".join(lengths) + "\n")
    return root


def test_motions_of_valid_length_are_loaded_as_published(tmp_path: Path) -> None:
    root = write(tmp_path, {}, LENGTHS)
    clips = load_humanml(root, "train")
    assert [clip.name for clip in clips] == ["000000", "M000000", "000002", "000003"]
    for clip in clips:
        assert np.array_equal(clip.joints, np.load(root / "new_joints" / f"{clip.name}.npy"))
        assert clip.captions == ("a person walks",)
        assert (clip.split, clip.source, clip.quality, clip.style) == ("train", "humanml3d", "mocap", None)


@pytest.mark.parametrize(("split", "file"), [("validation", "val"), ("test", "test")])
def test_each_split_has_its_file(tmp_path: Path, split: str, file: str) -> None:
    root = write(tmp_path, {}, {"000007": 60}, split=file)
    assert [(clip.name, clip.split) for clip in load_humanml(root, split)] == [("000007", split)]
    with pytest.raises(InputError, match=r"train\.txt: no such file; the folder must hold new_joints/ID\.npy"):
        load_humanml(root, "train")
    with pytest.raises(InputError, match="unknown split 'val'; there are train, validation, test"):
        load_humanml(root, "val")


def test_a_caption_for_a_part_makes_the_part_a_clip(tmp_path: Path) -> None:
    lines = [WHOLE, "runs#x#1.0#4.0", "jogs#x#1.0#4.0", "stops#x#0.0#2.5", "blinks#x#0.0#0.5", "idles#x#nan#nan"]
    root = write(tmp_path, {"000000": "\n".join(lines)}, {"000000": 120})
    clips = {clip.name: clip for clip in load_humanml(root, "train")}
    assert {name: clip.captions for name, clip in clips.items()} == {
        "000000": ("a person walks", "idles"),
        "000000 20:80": ("runs", "jogs"),
        "000000 0:50": ("stops",),
    }
    assert {clip.action for clip in clips.values()} == {"000000"}
    assert np.array_equal(clips["000000 20:80"].joints, clips["000000"].joints[20:80])


def test_a_motion_described_in_parts_only_is_not_a_clip_as_a_whole(tmp_path: Path) -> None:
    root = write(tmp_path, {"000000": "runs#x#0.0#3.0"}, {"000000": 120})
    assert [clip.name for clip in load_humanml(root, "train")] == ["000000 0:60"]


def test_kit_has_its_own_skeleton_rate_lengths_and_unit(tmp_path: Path) -> None:
    root = write(tmp_path, {"3": "walks#x#0.0#2.0"}, {"1": 23, "2": 24, "3": 60, "4": 200}, joints=21)
    clips = load_humanml(root, "train", kit=True)
    assert [(clip.name, len(clip.joints)) for clip in clips] == [("2", 24), ("3 0:25", 25)]
    assert np.allclose(clips[0].joints, np.load(root / "new_joints" / "2.npy") * 0.0015625)
    assert len(Layout.load("kit21").joints) == 21


def test_kit_is_not_humanml3d(tmp_path: Path) -> None:
    root = write(tmp_path, {}, {"00001": 60}, joints=21)
    with pytest.raises(InputError, match=r"00001\.npy: float32 \[60, 21, 3\], expected floating point \[T, 22, 3\]"):
        load_humanml(root, "train")


def test_motions_that_are_not_finite_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path, {}, {"000000": 60, "000001": 61})
    joints = np.load(root / "new_joints" / "000001.npy")
    joints[5, 3] = np.nan
    np.save(root / "new_joints" / "000001.npy", joints)
    with caplog.at_level("INFO"):
        assert [clip.name for clip in load_humanml(root, "train")] == ["000000"]
    assert "1 clips; skipped {'motions': 1}" in caplog.text


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("new_joints/000000.npy", None, "no such file; the folder must hold new_joints/ID.npy"),
        ("new_joints/000000.npy", b"\x93NUMPY", "not a readable array"),
        ("new_joints/000000.npy", b"", "not a readable array"),
        ("texts/000000.txt", None, "no such file; the folder must hold new_joints/ID.npy"),
        ("texts/000000.txt", b"walks", "line 1: expected caption#tokens#from#to, got 'walks'"),
        ("texts/000000.txt", b"walks#x#0.0#soon", "line 1: expected caption#tokens#from#to"),
        ("texts/000000.txt", b"walks#x#3.0#2.0", "line 1: expected caption#tokens#from#to"),
        ("texts/000000.txt", b"#x#0.0#0.0", "line 1: expected caption#tokens#from#to"),
        ("texts/000000.txt", b"\xff\xfe", "cannot be read"),
    ],
)
def test_missing_or_damaged_files_are_named_in_one_line(
    tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    root = write(tmp_path, {}, {"000000": 60})
    (root / file).unlink()
    if content is not None:
        (root / file).write_bytes(content)
    with pytest.raises(InputError) as error:
        load_humanml(root, "train")
    assert file in str(error.value) and message in str(error.value) and "\n" not in str(error.value)


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    root = write(tmp_path, {}, {"000000": 60})
    np.save(root / "new_joints" / "000000.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not a readable array"):
        load_humanml(root, "train")


def write_labels(root: Path, labels: dict[str, list[int]], packed: bool) -> None:
    about = {name: {"annotations": [{"label": found}], "labels": found} for name, found in labels.items()}
    text = json.dumps(about).encode()
    path = root / f"annotations_actions_400.json{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(text) if packed else text)
    (root / "humanml3d400_label_map.txt").write_text("walk\njump\nthrow\n")


@pytest.mark.parametrize("packed", [False, True])
def test_labels_of_motions(tmp_path: Path, packed: bool) -> None:
    write_labels(tmp_path, {"000000": [0, 2, 2], "M000000": []}, packed)
    assert load_labels(tmp_path) == (("walk", "jump", "throw"), {"000000": {0, 2}, "M000000": set()})


def test_unreadable_label_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"humanml3d400_label_map\.txt: no such file"):
        load_labels(tmp_path)
    write_labels(tmp_path, {"000000": [3]}, packed=False)
    with pytest.raises(InputError, match=r"has label 3, but humanml3d400_label_map\.txt names 3"):
        load_labels(tmp_path)
    path = tmp_path / "annotations_actions_400.json"
    path.write_text("[]")
    with pytest.raises(InputError, match="not an object of motions with `labels`"):
        load_labels(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=r"annotations_actions_400\.json: no such file, nor annotations_actions_400"):
        load_labels(tmp_path)
    (tmp_path / "annotations_actions_400.json.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match=r"\.json\.gz: not an object of motions"):
        load_labels(tmp_path)


def test_normalization_is_per_joint_and_axis_over_all_frames(tmp_path: Path) -> None:
    clips = load_humanml(write(tmp_path, {}, {"000000": 60, "000001": 150}), "train")
    mean, std = mean_and_std(clips)
    every = np.concatenate([clip.joints for clip in clips]).reshape(-1, 66)
    assert mean.shape == std.shape == (66,) and mean.dtype == std.dtype == np.float32
    assert np.allclose(mean, every.mean(0), atol=1e-6) and np.allclose(std, every.std(0), atol=1e-6)
    with pytest.raises(InputError, match="no clips"):
        mean_and_std([])


def test_the_deviation_of_constant_joints_is_not_zero(tmp_path: Path) -> None:
    root = write(tmp_path, {}, {"000000": 60})
    np.save(root / "new_joints" / "000000.npy", np.ones((60, 22, 3), np.float32))
    _, std = mean_and_std(load_humanml(root, "train"))
    assert (std > 0).all()

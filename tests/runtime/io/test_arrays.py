import zipfile
from dataclasses import replace

import numpy as np
import pytest

from motionrt.runtime.errors import InputError
from motionrt.runtime.io.files import read, write


def save(path, **changes):
    arrays = {
        "joints": np.random.default_rng(0).normal(size=(6, 22, 3)),
        "fps": 20.0,
        "layout": "smpl22",
    } | changes
    np.savez_compressed(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def refused(path, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        read(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_npz(wave):
    assert (wave.layout, wave.fps, wave.joints.shape[1:]) == ("smpl22", 20.0, (22, 3))
    assert 1.2 < wave.joints[..., 1].max() < 2
    assert "CC BY-NC" in wave.meta["licence"]


def test_npz_of_several_people_keeps_absences(tmp_path):
    joints = np.random.default_rng(0).normal(size=(4, 2, 22, 3))
    joints[2:, 1] = np.nan
    motion = read(save(tmp_path / "two.npz", joints=joints, confidence=np.ones((4, 2, 22)), timestamps=np.arange(4.0)))
    assert motion.people == 2
    assert np.isnan(motion.joints[2:, 1]).all() and np.isfinite(motion.joints[:2]).all()


def test_text_and_numbers_in_meta_are_kept(tmp_path, wave):
    replace(wave, meta={"label": "wave", "person": 3, "people": [1, 2]}).save(tmp_path / "wave.npz")
    assert read(tmp_path / "wave.npz").meta == {"label": "wave", "person": 3}


def test_a_file_is_not_overwritten_unless_allowed(tmp_path, wave):
    write(wave, tmp_path / "wave.npz", overwrite=False)
    other = replace(wave, joints=wave.joints + 1)
    with pytest.raises(FileExistsError):
        write(other, tmp_path / "wave.npz", overwrite=False)
    np.testing.assert_array_equal(read(tmp_path / "wave.npz").joints, wave.joints)
    write(other, tmp_path / "wave.npz")
    np.testing.assert_array_equal(read(tmp_path / "wave.npz").joints, other.joints)
    assert [path.name for path in tmp_path.iterdir()] == ["wave.npz"]


def test_one_frame_is_a_clip(tmp_path):
    assert read(save(tmp_path / "one.npz", joints=np.random.default_rng(0).normal(size=(1, 22, 3)))).frames == 1


def test_arguments_override_the_file(tmp_path):
    path = save(tmp_path / "bare.npz", fps=None, layout=None)
    motion = read(path, layout="bandai", fps=15, scale=0.01)
    assert (motion.layout, motion.fps) == ("bandai", 15.0)
    with np.load(path) as arrays:
        np.testing.assert_allclose(motion.joints, arrays["joints"] * 0.01, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": None}, "has no joints, only fps, layout"),
        ({"fps": None, "layout": None}, "has no fps and no layout, only joints"),
        ({"joints": np.ones((6, 21, 3))}, r"shape \[21, 3\], expected \[22, 3\] for layout smpl22"),
        ({"joints": np.ones((22, 3))}, r"shape \[22, 3\], expected \[T, V, 3\]"),
        ({"joints": np.ones((1, 10_000, 3))}, "10000 joints, the limit is 256"),
        ({"joints": np.ones((2, 17, 22, 3))}, "17 people, expected 1 to 16"),
        ({"joints": np.full((6, 22, 3), np.nan)}, "no joint is finite in any frame"),
        ({"joints": np.full((6, 3, 22, 3), [1, 2, 3])}, "no joint is finite in any frame, or all joints are in one"),
        ({"joints": np.full((6, 22, 3), {}, dtype=object)}, "array 'joints' contains Python objects"),
        ({"fps": "fast"}, "fps is fast, expected a positive number"),
        ({"fps": np.nan}, "fps is nan, expected a positive number"),
        ({"layout": "smpl23"}, "unknown skeleton layout 'smpl23', expected one of"),
        ({"confidence": np.ones((6, 20))}, r"confidence has shape \[6, 20\], expected \[6, 22\]"),
        ({"timestamps": np.ones(5)}, r"timestamps has shape \[5\], expected \[6\]"),
    ],
)
def test_malformed_npz(tmp_path, changes, message):
    refused(save(tmp_path / "bad.npz", **changes), message)


def test_truncated_npz(tmp_path):
    path = save(tmp_path / "cut.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "is not an .npz archive, or is cut short")


def test_npz_with_a_flipped_byte(tmp_path):
    path = save(tmp_path / "flip.npz")
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF
    path.write_bytes(data)
    refused(path, "array 'joints' is damaged or cut short")


def test_npz_that_is_too_large_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("motionrt.runtime.io.arrays.MAX_BYTES", 1000)
    refused(save(tmp_path / "big.npz"), "unpacks to .* bytes, the limit is 1000")


def test_npz_header_with_a_wrong_size(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (900000000000, 22, 3), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("joints.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refused(tmp_path / "lie.npz", "array 'joints' is damaged")


@pytest.mark.parametrize(("name", "message"), [("no.npz", "no such file"), ("no.xyz", "no such file")])
def test_missing_file(tmp_path, name, message):
    refused(tmp_path / name, message)


@pytest.mark.parametrize("ending", ["npz", "npy", "bvh", "skeleton", "json", "jsonl"])
def test_empty_file_and_folder(tmp_path, ending):
    (tmp_path / f"empty.{ending}").touch()
    refused(tmp_path / f"empty.{ending}", "the file is empty")
    (tmp_path / f"folder.{ending}").mkdir()
    refused(tmp_path / f"folder.{ending}", "a folder, expected files")


@pytest.mark.parametrize("ending", ["npz", "npy", "bvh", "skeleton", "json", "jsonl"])
def test_noise_in_every_format(tmp_path, ending):
    path = tmp_path / f"noise.{ending}"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    refused(path, "is not|not a text file")


def test_an_unknown_extension_names_the_known_ones(tmp_path):
    (tmp_path / "clip.xyz").write_text("x")
    refused(tmp_path / "clip.xyz", "cannot read .xyz, expected .npz, .npy, .jsonl, .bvh, .glb, .*, .mat")


def test_npy_of_humanml3d(tmp_path, wave):
    np.save(tmp_path / "000001.npy", wave.joints)
    motion = read(tmp_path / "000001.npy")
    assert (motion.layout, motion.fps) == ("smpl22", 20.0)
    np.testing.assert_array_equal(motion.joints, wave.joints)
    assert read(tmp_path / "000001.npy", fps=30).fps == 30


def test_the_layout_of_npy_follows_from_its_joints(tmp_path):
    np.save(tmp_path / "ntu.npy", np.random.default_rng(0).normal(size=(5, 2, 25, 3)))
    motion = read(tmp_path / "ntu.npy", fps=30)
    assert (motion.layout, motion.people) == ("ntu25", 2)
    refused(tmp_path / "ntu.npy", "does not store its frame rate: pass fps")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.ones((5, 23, 3)),
            r"poses of shape \[23, 3\] do not identify a layout \(no layout fits\): pass layout",
        ),
        (np.ones((5, 66)), r"shape \[5, 66\], expected \[T, V, 3\]"),
        (np.full((5, 22, 3), {}, dtype=object), "the file contains Python objects"),
        (np.full((5, 22, 3), np.inf), "no joint is finite in any frame"),
        (np.zeros((5, 22, 3)), "no joint is finite in any frame, or all joints are in one point"),
    ],
)
def test_malformed_npy(tmp_path, array, message):
    np.save(tmp_path / "bad.npy", array)
    refused(tmp_path / "bad.npy", message)


def test_truncated_npy(tmp_path):
    np.save(tmp_path / "cut.npy", np.ones((5, 22, 3)))
    whole = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-100])
    refused(tmp_path / "cut.npy", "the file is damaged or cut short")


@pytest.mark.parametrize(
    "header", [b"{'descr': '<f4', 'shape': (", b"{'descr': '<f4', 'fortran_order': False, 'shape': (9e99,)}"]
)
def test_npy_with_a_header_that_python_cannot_parse(tmp_path, header):
    path = tmp_path / "header.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(99))
    refused(path, "the file is damaged or cut short")

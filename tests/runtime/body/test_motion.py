import numpy as np
import pytest

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.body.motion_data import MAX_PEOPLE, as_array
from motionrt.runtime.errors import InputError, LayoutError


def clip(*shape, **options):
    joints = np.random.default_rng(0).normal(size=(*shape, 15, 3))
    return Motion(joints, options.pop("fps", 20), "core15", **options)


def test_one_person():
    motion = clip(7)
    assert (motion.frames, motion.people, motion.fps, motion.joints.dtype) == (7, 1, 20.0, np.float32)
    assert motion.person(0) is motion
    np.testing.assert_allclose(motion.times, np.arange(7) / 20)
    assert motion.seconds == pytest.approx(0.35)


def test_several_people():
    motion = clip(7, 3, confidence=np.ones((7, 3, 15)))
    one = motion.person(2)
    assert (motion.people, one.people, one.joints.shape, one.confidence.shape) == (3, 1, (7, 15, 3), (7, 15))
    np.testing.assert_array_equal(one.joints, motion.joints[:, 2])
    with pytest.raises(InputError, match="there is no person 3: the clip has 3"):
        motion.person(3)


def test_repr_is_short():
    assert repr(clip(7)) == "Motion(7 frames, 0.35 s at 20 a second, core15)"
    assert repr(clip(7, 3)) == "Motion(7 frames, 0.35 s at 20 a second, core15, 3 people)"


def test_timestamps_override_the_rate():
    motion = clip(3, timestamps=[5.0, 5.1, 5.5])
    np.testing.assert_allclose(motion.times, [5.0, 5.1, 5.5])
    assert motion.seconds == pytest.approx(0.55)


def test_two_dimensional_layouts_are_in_pixels():
    assert Motion(np.zeros((4, 17, 2)), 30, "coco17").frames == 4
    with pytest.raises(LayoutError, match=r"shape \[17, 3\], expected \[17, 2\] for layout coco17"):
        Motion(np.zeros((4, 17, 3)), 30, "coco17")


@pytest.mark.parametrize(
    ("joints", "options", "message"),
    [
        (np.zeros((15, 3)), {}, r"shape \[15, 3\], expected \[T, V, 3\] or \[T, M, V, 3\]"),
        (np.zeros((0, 15, 3)), {}, "no frames"),
        (np.zeros((4, 14, 3)), {}, r"\[14, 3\], expected \[15, 3\] for layout core15"),
        (np.zeros((4, 10_000, 3)), {}, "10000 joints, the limit is 256"),
        (np.zeros((4, MAX_PEOPLE + 1, 15, 3)), {}, "17 people, expected 1 to 16"),
        (np.full((4, 15, 3), "x"), {}, "joints holds str.*, expected numbers"),
        (np.full((4, 15, 3), None), {}, "joints holds object, expected numbers"),
        (np.zeros((4, 15, 3)), {"fps": 0}, "fps is 0, expected a positive number"),
        (np.zeros((4, 15, 3)), {"fps": "fast"}, "fps is fast, expected a positive number"),
        (np.zeros((4, 15, 3)), {"layout": "core16"}, "unknown skeleton layout 'core16'"),
        (np.zeros((4, 15, 3)), {"confidence": np.ones((4, 14))}, r"confidence has shape \[4, 14\]"),
        (np.zeros((4, 15, 3)), {"timestamps": [0, 1, 2]}, r"timestamps has shape \[3\], expected \[4\]"),
        (np.zeros((4, 15, 3)), {"timestamps": [0, 1, 2, np.nan]}, "timestamps are not all finite"),
    ],
)
def test_invalid_arguments_are_refused(joints, options, message):
    with pytest.raises(InputError, match=message):
        Motion(**({"joints": joints, "fps": 20, "layout": "core15"} | options))


def test_save_and_load(tmp_path):
    motion = clip(5, 2, confidence=np.ones((5, 2, 15)), timestamps=np.arange(5) / 10.0, meta={"license": "free"})
    motion.save(tmp_path / "clip.npz")
    loaded = Motion.load(tmp_path / "clip.npz")
    np.testing.assert_array_equal(loaded.joints, motion.joints)
    np.testing.assert_array_equal(loaded.confidence, motion.confidence)
    np.testing.assert_array_equal(loaded.timestamps, motion.timestamps)
    assert (loaded.fps, loaded.layout, loaded.meta) == (20.0, "core15", {"license": "free"})
    assert [path.name for path in tmp_path.iterdir()] == ["clip.npz"]


def test_save_is_atomic(tmp_path, monkeypatch):
    clip(5).save(tmp_path / "clip.npz")
    before = (tmp_path / "clip.npz").read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(InputError, match=r"clip\.npz: cannot be written: No space left"):
        clip(9).save(tmp_path / "clip.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.npz"]
    assert (tmp_path / "clip.npz").read_bytes() == before


@pytest.mark.parametrize("name", ["clip.xyz", "clip"])
def test_save_refuses_unknown_suffixes(tmp_path, name):
    with pytest.raises(InputError, match=r"cannot write .*, expected \.npz"):
        clip(5).save(tmp_path / name)


class OnGpu:
    """An array that claims to be on a GPU and cannot be read."""

    def __dlpack__(self, **settings):
        raise BufferError("no such device")

    def __dlpack_device__(self):
        return 2, 0


def test_joints_on_an_unavailable_gpu_are_refused():
    with pytest.raises(InputError, match="joints is on a GPU and cannot be read from there: "):
        as_array("joints", OnGpu(), np.float32)


def test_joints_may_be_a_tensor():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    np.testing.assert_array_equal(as_array("joints", torch.ones(2, 3), np.float32), np.ones((2, 3)))

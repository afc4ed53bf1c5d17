"""Positions recovered from HumanML3D's vectors, which the test makes from joints by the inverse of the formulas."""

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.files import read


def vectors(joints: np.ndarray, turn_rad: np.ndarray) -> np.ndarray:
    """[T, 12 V - 1] of joints [T, V, 3] at the origin at first, in frames that turn by `turn_rad` [T] (0 at first)."""
    half, V = turn_rad / 2, joints.shape[1]
    cos, sin, one, zero = np.cos(turn_rad), np.sin(turn_rad), np.ones_like(half), np.zeros_like(half)
    to_local = np.array([[cos, zero, sin], [zero, one, zero], [-sin, zero, cos]]).transpose(2, 0, 1)
    root = joints[:, 0]
    steps = np.zeros_like(root)
    steps[:-1] = (to_local[1:] @ np.diff(root, axis=0)[..., None])[..., 0]
    local = (joints[:, 1:] - root[:, None] * [1, 0, 1]) @ to_local.transpose(0, 2, 1)
    spin = np.append(np.diff(half), 0)
    rest = np.zeros((len(joints), 6 * (V - 1) + 3 * V))
    contacts = np.tile([0, 1, 0, 1], (len(joints), 1))
    return np.c_[spin, steps[:, 0], steps[:, 2], root[:, 1], local.reshape(len(joints), -1), rest, contacts]


@pytest.fixture(scope="module")
def walk(wave):
    """The sample, moved along a curve, at the origin in its first frame."""
    joints = wave.joints.astype(float)
    joints = joints - joints[:1, :1] * [1, 0, 1]
    t = np.arange(len(joints)) / 20
    return joints + np.stack([np.sin(t), 0 * t, t], axis=-1)[:, None]


def save(tmp_path, array, name="012345.npy"):
    np.save(tmp_path / name, np.asarray(array, np.float32))
    return tmp_path / name


def test_humanml3d(tmp_path, walk):
    turn = 0.8 * np.sin(np.arange(len(walk)) / 9)
    path = save(tmp_path, vectors(walk, turn))
    motion = read(path)
    assert np.load(path).shape[1] == 263
    assert (motion.layout, motion.fps) == ("smpl22", 20)
    np.testing.assert_allclose(motion.joints, walk, atol=2e-5)
    assert read(path, fps=30.0).fps == 30


def test_kit_ml_is_in_millimeters(tmp_path, walk):
    joints = Layout.load("kit21").map_from(Layout.load("smpl22")) @ walk
    joints = joints - joints[:1, :1] * [1, 0, 1]
    path = save(tmp_path, vectors(1000 * joints, np.linspace(0, 2, len(joints))))
    motion = read(path)
    assert np.load(path).shape[1] == 251
    assert (motion.layout, motion.fps) == ("kit21", 12.5)
    np.testing.assert_allclose(motion.joints, joints, atol=2e-4)


def test_normalized_vectors_and_other_widths_are_refused(tmp_path, walk):
    plain = vectors(walk, np.zeros(len(walk)))
    plain[::2, -4:] = 1 - plain[::2, -4:]
    normal = (plain - plain.mean(axis=0)) / (plain.std(axis=0) + 1e-3)
    with pytest.raises(InputError, match=r"vectors are normalized: multiply them by the data set's Std\.npy"):
        read(save(tmp_path, normal))
    with pytest.raises(InputError, match=r"has shape \[115, 67\], expected .* \[T, 263\] \(HumanML3D\)"):
        read(save(tmp_path, plain[:, :67]))

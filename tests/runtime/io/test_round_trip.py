"""What `Motion.save` writes, `Motion.load` reads: axes, units, rate and names."""

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import LayoutError

ENDINGS = [".npz", ".csv", ".bvh", ".glb"]


def in_every_layout(wave: Motion) -> list[Motion]:
    """The clip in all 3-D layouts that its 22 joints determine."""
    clips = []
    for name in Layout.names():
        try:
            if Layout.load(name).dims == 3:
                weights = Layout.load(name).map_from(Layout.load(wave.layout))
                clips.append(Motion(weights @ wave.joints[:40], wave.fps, name))
        except LayoutError:
            continue
    assert {"smpl22", "core15", "kinect20", "ntu25"} <= {clip.layout for clip in clips}
    return clips


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_saved_is_loaded(tmp_path, wave, ending):
    if ending == ".glb":
        pytest.importorskip("pygltflib", reason="pygltflib is not installed")
    for clip in in_every_layout(wave):
        path = tmp_path / f"{clip.layout}{ending}"
        clip.save(path)
        again = Motion.load(path, clip.layout)
        assert again.fps == pytest.approx(clip.fps, rel=1e-5) and again.frames == clip.frames
        assert again.layout == clip.layout
        error_m = np.linalg.norm(again.joints - clip.joints, axis=-1)
        assert error_m.mean() <= 1e-3 and error_m.max() <= 2e-2, clip.layout  # bones become rigid


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_layout_is_found_by_the_names(tmp_path, wave, ending):
    if ending == ".glb":
        pytest.importorskip("pygltflib", reason="pygltflib is not installed")
    wave.save(tmp_path / f"clip{ending}")
    assert Motion.load(tmp_path / f"clip{ending}").layout == wave.layout == "smpl22"


def test_a_glb_keeps_the_license_and_is_sampled_at_another_rate(tmp_path, wave):
    pytest.importorskip("pygltflib", reason="pygltflib is not installed")
    wave.save(tmp_path / "clip.glb")
    assert Motion.load(tmp_path / "clip.glb").meta["license"] == wave.meta["licence"]
    twice = Motion.load(tmp_path / "clip.glb", fps=2 * wave.fps)
    assert twice.fps == 2 * wave.fps and twice.frames == 2 * wave.frames - 1
    np.testing.assert_allclose(twice.joints[::2], wave.joints, atol=5e-3)
    between = (wave.joints[1:] + wave.joints[:-1]) / 2
    assert np.linalg.norm(twice.joints[1::2] - between, axis=-1).max() < 0.02

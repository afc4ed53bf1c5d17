"""Text to motion without torch gives what the networks give in torch, whole, long and edited."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import BundleError, InputError
from motionrt.runtime.generation.generator import OVERLAP_TOKENS, Generator, frames_of
from motionrt.runtime.generation.schedule import Guidance, Sampling

FEW = Sampling(steps=4, evaluations=4)


@pytest.fixture(scope="module")
def generator(coamd_bundle: Path) -> Generator:
    made = Generator.load(coamd_bundle)
    made.settings = FEW
    return made


@pytest.fixture(scope="module")
def pipeline(coamd_bundle: Path) -> Any:
    """The same in torch."""
    from motionrt.runtime.text_encoder import TextEncoder
    from motionrt.training.coamd.pipeline import CoamdPipeline

    return CoamdPipeline.load(coamd_bundle, TextEncoder.load("text"))


@pytest.mark.parametrize("cfg", [0, 1, 3.5])
@pytest.mark.parametrize("guidance", [None, Guidance(step=0.5, norm="token", last=2, preview=1)])
def test_it_is_the_torch_samplers_motion(generator: Generator, pipeline: Any, cfg: float, guidance: Any) -> None:
    settings = replace(FEW, cfg=cfg, guidance=guidance)
    generator.settings = settings
    found = generator.generate("a person bows", seconds=4.2, seed=3)
    generator.settings = FEW
    (wanted,) = pipeline.generate(["a person bows"], [84], settings, seed=3)
    assert found.frames == 84 and (found.layout, found.fps) == ("smpl22", 20.0)
    assert np.abs(found.joints - wanted).max() < 1e-3


def test_without_seconds_it_is_as_long_as_the_torch_samplers(generator: Generator, pipeline: Any) -> None:
    lengths = [generator.generate("a person runs", seed=seed).frames for seed in range(4)]
    assert lengths == [len(pipeline.generate(["a person runs"], None, FEW, seed=seed)[0]) for seed in range(4)]
    assert all(16 <= frames <= 196 for frames in lengths)


@pytest.mark.parametrize("part", [slice(45, None), slice(0, 40), slice(22, 67), "ends"])
def test_an_edit_is_the_torch_samplers_and_keeps_all_other_frames(
    generator: Generator, pipeline: Any, samples: list[Motion], part: Any
) -> None:
    joints = samples[2].joints[:90].astype(np.float32)
    wanted = (np.arange(90) < 22) | (np.arange(90) >= 67)
    if part != "ends":
        wanted = frames_of(part, 90)
    motion = Motion(joints=joints, fps=20, layout="smpl22")
    found = generator.edit(motion, "a person bows", wanted if part == "ends" else part, seed=1)
    assert np.array_equal(found.joints[~wanted], joints[~wanted])
    assert np.abs(found.joints - pipeline.edit(joints, "a person bows", wanted, FEW, seed=1)).max() < 1e-3


@pytest.mark.parametrize("mode", ["suffix", "prefix", "between", "around"])
def test_all_that_is_not_made_anew_stays_in_real_clips(shared: Path, mode: str) -> None:
    from motionrt.runtime.io.dataset import ClipSet

    generator, clips = Generator.load("default"), ClipSet.load(shared / "cmu22.npz")
    for i in range(0, len(clips), max(1, len(clips) // 5)):
        joints = clips[i].joints[:: round(clips[i].fps / 20)][:120].astype(np.float32)
        part = np.zeros(len(joints), bool)
        half, third = len(joints) // 2, len(joints) // 3
        part[
            {"suffix": slice(half, None), "prefix": slice(0, half), "between": slice(third, 2 * third)}.get(mode, 0)
        ] = True
        if mode == "around":
            part = ~((np.arange(len(joints)) >= third) & (np.arange(len(joints)) < 2 * third))
        motion = Motion(joints=joints, fps=20, layout="smpl22")
        found = generator.edit(motion, "a person waves with the right hand", part, seed=i).joints
        assert np.abs(found[~part] - joints[~part]).max() <= 1e-6
        assert (np.abs(found[part] - joints[part]).max((1, 2)) > 1e-3).mean() > 0.9, "the rest is another motion"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_precision_changes_products_and_hardly_the_motion(precision: str) -> None:
    plain = Generator.load("default").generate("a person bows", seconds=4).joints
    found = Generator.load("default", precision=precision).generate("a person bows", seconds=4).joints
    assert (np.abs(found - plain).max() == 0) == (precision == "fp32")
    assert np.linalg.norm(found - plain, axis=2).mean() < 0.02
    with pytest.raises(InputError, match="precision is 'int4', expected fp32 or int8"):
        Generator.load("default", precision="int4")


def test_a_long_motion_goes_on_where_a_window_ends(generator: Generator) -> None:
    long = generator.generate("a person walks", seconds=21)
    assert long.frames == 420
    steps = np.abs(np.diff(long.joints, axis=0)).max((1, 2))
    for seam in (196, 196 + 4 * (49 - OVERLAP_TOKENS)):
        assert steps[seam - 1] < 2 * np.quantile(steps, 0.99)
    assert np.array_equal(long.joints, generator.generate("a person walks", seconds=21).joints), "same seed, same bits"
    assert not np.array_equal(long.joints[:196], generator.generate("a person walks", seconds=21, seed=1).joints[:196])


def test_what_comes_out_tells_its_origin(generator: Generator) -> None:
    motion = generator.generate("a person waves", seconds=2)
    assert motion.meta["text"] == "a person waves" and "research" in motion.meta["license"]
    assert np.isfinite(motion.joints).all() and motion.joints.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": ""}, "text is '', expected a description"),
        ({"text": "  "}, "expected a description of a motion"),
        ({"text": 3}, "text is 3, expected a description"),
        ({"text": "x" * 10_000}, "512"),
        ({"seconds": 0}, "seconds is 0, expected a number from 0.2 to 60"),
        ({"seconds": -1}, "seconds is -1, expected"),
        ({"seconds": float("nan")}, "seconds is nan, expected"),
        ({"seconds": 1e9}, "seconds is 1000000000.0, expected"),
        ({"seconds": "6"}, "seconds is '6', expected"),
        ({"seed": -1}, "seed is -1, expected a whole number"),
        ({"seed": 0.5}, "seed is 0.5, expected a whole number"),
        ({"cfg": -1}, "cfg is -1, expected"),
        ({"guidance": float("inf")}, "guidance is inf, expected"),
        ({"quality": "film"}, "quality is 'film', expected mocap or kinect"),
    ],
)
def test_what_cannot_be_made_is_refused(generator: Generator, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generator.generate(**({"text": "a person walks", "seconds": 1} | changes))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (slice(80, 200), "regenerate has stop 200, the motion has 90 frames"),
        (slice(30, 30), "regenerate names no frame"),
        (np.zeros(90, bool), "regenerate names no frame"),
        (np.ones(80, bool), r"regenerate is bool \[80\], expected bool \[90\] or a slice"),
    ],
)
def test_an_edit_outside_the_motion_is_refused(
    generator: Generator, samples: list[Motion], part: Any, message: str
) -> None:
    motion = Motion(joints=samples[2].joints[:90], fps=20, layout="smpl22")
    with pytest.raises(InputError, match=message):
        generator.edit(motion, "a person bows", part)


def test_an_edit_of_another_motion_is_refused(generator: Generator, samples: list[Motion]) -> None:
    joints = samples[2].joints[:90]
    holed = joints.copy()
    holed[7] = np.nan
    for motion, message in (
        (Motion(joints=joints, fps=30, layout="smpl22"), "at 30 frames a second, expected 20"),
        (Motion(joints=joints[:, :15], fps=20, layout="core15"), "in layout core15, expected one in smpl22"),
        (Motion(joints=joints[:3], fps=20, layout="smpl22"), "3 frames, expected 4 to 196"),
        (Motion(joints=holed, fps=20, layout="smpl22"), "frame 7 misses joints"),
    ):
        with pytest.raises(InputError, match=message):
            generator.edit(motion, "a person bows", slice(0, 2))


def test_a_recogniser_is_no_generator() -> None:
    with pytest.raises(BundleError, match="task 'recognition', expected 'generation'"):
        Generator.load("live")


def test_it_needs_no_torch(coamd_bundle: Path) -> None:
    program = """
import sys
sys.modules["torch"] = None
import motionrt
motion = motionrt.Generator.load(sys.argv[1]).generate("a person walks", seconds=1, guidance=0.5)
assert motion.frames == 20
"""
    done = subprocess.run([sys.executable, "-c", program, str(coamd_bundle)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

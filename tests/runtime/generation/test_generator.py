"""Text to motion without torch matches the torch pipeline: whole, long and edited."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import BundleError, InputError
from motionrt.runtime.generation.generator import OVERLAP_TOKENS, Generator, frame_mask
from motionrt.runtime.generation.schedule import Guidance, Sampling
from motionrt.runtime.retrieval.retriever import Retriever

FEW = Sampling(steps=4, evaluations=4)


@pytest.fixture(scope="module")
def generator(coamd_bundle: Path) -> Generator:
    generator = Generator.load(coamd_bundle)
    generator.settings = FEW
    return generator


@pytest.fixture(scope="module")
def pipeline(coamd_bundle: Path) -> Any:
    """The same networks in torch."""
    from motionrt.runtime.text_encoder import TextEncoder
    from motionrt.training.coamd.pipeline import CoamdPipeline

    return CoamdPipeline.load(coamd_bundle, TextEncoder.load("text"))


@pytest.mark.parametrize("cfg", [0, 1, 3.5])
@pytest.mark.parametrize("guidance", [None, Guidance(step=0.5, norm="token", last=2, preview=1)])
def test_it_matches_the_torch_pipeline(generator: Generator, pipeline: Any, cfg: float, guidance: Any) -> None:
    settings = replace(FEW, cfg=cfg, guidance=guidance)
    generator.settings = settings
    found = generator.generate("a person bows", seconds=4.2, seed=3)
    generator.settings = FEW
    (wanted,) = pipeline.generate(["a person bows"], [84], settings, seed=3)
    assert found.frames == 84 and (found.layout, found.fps) == ("smpl22", 20.0)
    assert np.abs(found.joints - wanted).max() < 1e-3


def test_the_estimated_length_matches_the_torch_pipeline(generator: Generator, pipeline: Any) -> None:
    lengths = [generator.generate("a person runs", seed=seed).frames for seed in range(4)]
    assert lengths == [len(pipeline.generate(["a person runs"], None, FEW, seed=seed)[0]) for seed in range(4)]
    assert all(16 <= frames <= 196 for frames in lengths)


@pytest.mark.parametrize("part", [slice(45, None), slice(0, 40), slice(22, 67), "ends"])
def test_an_edit_matches_the_torch_pipeline_and_keeps_all_other_frames(
    generator: Generator, pipeline: Any, samples: list[Motion], part: Any
) -> None:
    joints = samples[2].joints[:90].astype(np.float32)
    wanted = (np.arange(90) < 22) | (np.arange(90) >= 67)
    if part != "ends":
        wanted = frame_mask(part, 90)
    motion = Motion(joints=joints, fps=20, layout="smpl22")
    found = generator.edit(motion, "a person bows", wanted if part == "ends" else part, seed=1)
    assert np.array_equal(found.joints[~wanted], joints[~wanted])
    assert np.abs(found.joints - pipeline.edit(joints, "a person bows", wanted, FEW, seed=1)).max() < 1e-3


@pytest.mark.parametrize("mode", ["suffix", "prefix", "between", "around"])
def test_frames_of_real_clips_outside_an_edit_are_kept(shared: Path, mode: str) -> None:
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
        assert (np.abs(found[part] - joints[part]).max((1, 2)) > 1e-3).mean() > 0.9, "edited frames differ"


def test_int8_the_default_hardly_changes_the_motion() -> None:
    found = {
        precision: Generator.load("default", precision=precision).generate("a person bows", seconds=4).joints
        for precision in ("fp32", "int8", "auto")
    }
    assert 0 < np.linalg.norm(found["fp32"] - found["int8"], axis=2).mean() < 0.02
    assert np.array_equal(found["auto"], found["int8"])
    with pytest.raises(InputError, match="precision is 'int4', expected fp32 or int8"):
        Generator.load("default", precision="int4")


def test_a_long_motion_is_continuous_between_windows(generator: Generator) -> None:
    long = generator.generate("a person walks", seconds=21)
    assert long.frames == 420
    steps = np.abs(np.diff(long.joints, axis=0)).max((1, 2))
    for seam in (196, 196 + 4 * (49 - OVERLAP_TOKENS)):
        assert steps[seam - 1] < 2 * np.quantile(steps, 0.99)
    assert np.array_equal(long.joints, generator.generate("a person walks", seconds=21).joints), "same seed, same bits"
    assert not np.array_equal(long.joints[:196], generator.generate("a person walks", seconds=21, seed=1).joints[:196])


@pytest.mark.parametrize("cpus", [1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"seconds": 3}, {"guidance": 1.0}, {"cfg": 1, "quality": "kinect"}, {"seconds": 11, "guidance": 1}]
)
def test_motions_of_a_batch_are_those_of_single_calls(
    generator: Generator, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], cpus: int
) -> None:
    monkeypatch.setattr("motionrt.runtime.generation.networks.cpus", lambda: cpus)
    texts, seeds = (
        ["a person walks", "a person bows", "someone waves", "a person bows", "a person runs"],
        [7, 0, 3, 1, 3],
    )
    found = generator.generate(texts, seeds=seeds, **options)
    assert [(motion.meta["text"], motion.meta["seed"]) for motion in found] == list(zip(texts, seeds, strict=True))
    for motion, text, seed in zip(found, texts, seeds, strict=True):
        np.testing.assert_allclose(
            motion.joints, generator.generate(text, seed=seed, **options).joints, atol=1e-5, rtol=0
        )


def test_each_motion_of_a_batch_may_have_a_duration_of_its_own(generator: Generator) -> None:
    texts, seconds = ["a person walks", "a person bows", "a person walks", "a person waves"], [11.0, 2.0, 12, None]
    found = generator.generate(texts, seconds, seed=3)
    for number, (motion, text, length) in enumerate(zip(found, texts, seconds, strict=True)):
        alone = generator.generate(text, length, seed=3 + number)
        np.testing.assert_allclose(motion.joints, alone.joints, atol=1e-5, rtol=0)


def test_without_seeds_a_batch_counts_from_seed(generator: Generator) -> None:
    found = generator.generate(("a person bows",) * 3, 1, seed=5)
    assert [motion.meta["seed"] for motion in found] == [5, 6, 7]
    assert np.abs(found[0].joints - found[1].joints).max() > 1e-3
    np.testing.assert_allclose(found[2].joints, generator.generate("a person bows", 1, seed=7).joints, atol=1e-5)


def test_a_batch_may_have_more_texts_than_are_remembered(generator: Generator) -> None:
    texts = [f"a person walks {number} steps" for number in range(70)]
    assert len(generator.generate(texts, 0.2)) == 70


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "text is an empty list, expected at least one description"),
        (["a person bows"] * 2, {"seeds": [1]}, "there are 1 seeds for 2 texts, expected one for each"),
        (["a person bows"] * 2, {"seeds": [1, -1]}, "seed 1 is -1, expected a whole number of 0 or more"),
        (["a person bows"] * 2, {"seed": 2**63 - 1}, f"seed 1 is {2**63}, expected"),
        (["a person bows"], {"seed": 0.5}, "seed is 0.5, expected"),
        (["a person bows"] * 2, {"seconds": [1]}, "there are 1 durations for 2 texts, expected one for each"),
        (["a person bows"] * 2, {"seconds": [1, 99]}, "seconds 1 is 99, expected a number from 0.2 to 60"),
        ("a person bows", {"seconds": [1]}, r"seconds is \[1\], expected a number"),
        (["a person bows", "x" * 600], {}, r"text 1 \('x+'...\) has 600 characters, at most 512 are allowed"),
        (["a person bows", " "], {}, "text 1 is ' ', expected a description of a motion"),
        (["a person bows", None], {}, "text 1 is None, expected a description of a motion"),
        (["a person bows", "\u6325\u624b"], {}, r"text 1 \(.*\) has no word that the text encoder knows"),
        ("a person bows", {"seeds": [1]}, "seeds are for a list of texts, expected seed for a single one"),
    ],
)
def test_an_invalid_batch_is_refused_in_one_line(
    generator: Generator, texts: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}") as error:
        generator.generate(texts, **options)
    assert "\n" not in str(error.value)


def test_the_best_of_several_is_the_one_that_retrieval_finds_most_like_its_description(
    generator: Generator, coamd_bundle: Path
) -> None:
    retriever = Retriever.load(coamd_bundle)
    texts = ["a person bows", "a person runs"]
    for best, text in zip(generator.generate(texts, 3, seeds=[0, 5], best_of=3), texts, strict=True):
        first = best.meta["seed"]
        tries = [generator.generate(text, 3, seed=first + i) for i in range(3)]
        likeness = retriever.motion_features(tries) @ retriever.text_features([text])[0]
        assert np.abs(best.joints - tries[int(likeness.argmax())].joints).max() < 1e-4
    alone = generator.generate("a person bows, then runs", seconds=4, best_of=2)
    assert alone.frames == 80 and alone.meta["best_of"] == 2


def test_a_motion_records_its_text_and_license(generator: Generator) -> None:
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
        ({"best_of": 0}, "best_of is 0, expected a whole number from 1 to 64"),
    ],
)
def test_invalid_arguments_are_rejected(generator: Generator, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        generator.generate(**({"text": "a person walks", "seconds": 1} | changes))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (slice(80, 200), "regenerate has stop 200, the motion has 90 frames"),
        (slice(30, 30), "regenerate selects no frame"),
        (np.zeros(90, bool), "regenerate selects no frame"),
        (np.ones(80, bool), r"regenerate is bool \[80\], expected bool \[90\] or a slice"),
    ],
)
def test_an_edit_outside_the_motion_is_rejected(
    generator: Generator, samples: list[Motion], part: Any, message: str
) -> None:
    motion = Motion(joints=samples[2].joints[:90], fps=20, layout="smpl22")
    with pytest.raises(InputError, match=message):
        generator.edit(motion, "a person bows", part)


def test_an_edit_of_an_unsuitable_motion_is_rejected(generator: Generator, samples: list[Motion]) -> None:
    joints = samples[2].joints[:90]
    damaged = joints.copy()
    damaged[7] = np.nan
    for motion, message in (
        (Motion(joints=joints, fps=30, layout="smpl22"), "at 30 frames a second, expected 20"),
        (Motion(joints=joints[:, :15], fps=20, layout="core15"), "a motion in layout core15, expected smpl22"),
        (Motion(joints=joints[:3], fps=20, layout="smpl22"), "3 frames, expected 4 to 196"),
        (Motion(joints=damaged, fps=20, layout="smpl22"), "frame 7 has missing joints"),
    ):
        with pytest.raises(InputError, match=message):
            generator.edit(motion, "a person bows", slice(0, 2))


def test_a_recognizer_bundle_is_rejected() -> None:
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
    process = subprocess.run([sys.executable, "-c", program, str(coamd_bundle)], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]


def test_a_prompt_without_an_english_word_is_refused(coamd_bundle: Path) -> None:
    generator = Generator.load(coamd_bundle)
    for prompt in ("\U0001f44b", "\u6325\u624b"):
        with pytest.raises(InputError, match="has no word that the text encoder knows, expected English"):
            generator.generate(prompt, seconds=1)
        with pytest.raises(InputError, match="expected English"), generator.stream(prompt):
            pass

"""Motions found without torch are those that the networks find in torch; a library is kept whole or refused."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import BundleError, InputError, LayoutError
from motionrt.runtime.retrieval.index import MotionIndex
from motionrt.runtime.retrieval.retriever import Retriever

TEXTS = ["a person bows", "someone runs", "a person waves with the right hand", "walks"]


@pytest.fixture(scope="module")
def tiny(coamd_bundle: Path) -> Retriever:
    return Retriever.load(coamd_bundle)


@pytest.fixture(scope="module")
def default() -> Retriever:
    return Retriever.load("default")


@pytest.fixture
def filled(default: Retriever, samples: list[Motion]) -> Retriever:
    made = Retriever(default.bundle, default._text)
    made.add_all(list(zip(samples, TEXTS, strict=True)))
    return made


def clip(joints: np.ndarray, **changes: Any) -> Motion:
    return Motion(**({"joints": joints, "fps": 20, "layout": "smpl22"} | changes))


def load_pipeline(model: str | Path) -> Any:
    from motionrt.runtime.text_encoder import TextEncoder
    from motionrt.training.coamd.pipeline import CoamdPipeline

    return CoamdPipeline.load(model, TextEncoder.load("text"))


def test_features_are_those_of_the_torch_networks(tiny: Retriever, coamd_bundle: Path, samples: list[Motion]) -> None:
    rng = np.random.default_rng(0)
    clips = [motion.joints[:T] for motion, T in zip(samples, (4, 38, 85, 66), strict=True)]
    clips += [np.concatenate([samples[0].joints] * 3)[:T] + rng.normal(0, 0.1, 3) for T in (196, 199, 300, 43)]
    pipeline = load_pipeline(coamd_bundle)
    found = tiny.motion_features([clip(joints) for joints in clips])
    assert found.dtype == np.float32 and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert np.abs(found - pipeline.motions(clips)).max() < 1e-4
    assert np.abs(tiny.text_features(TEXTS) - pipeline.texts(TEXTS)).max() < 1e-4


def test_recall_on_real_clips_is_that_of_the_torch_networks(default: Retriever, shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from motionrt.bench.accuracy.motion_data import window_examples
    from motionrt.bench.accuracy.protocols import retrieval
    from motionrt.bench.accuracy.protocols.scoring import ScoringConfig
    from motionrt.training.data.motions import load_motions

    for path in (*shared.glob("cmu22.*"), *shared.glob("mocap22.*")):
        (tmp_path / path.name).symlink_to(path)
    real = [part for one in load_motions(tmp_path) if one.split == "test" for part in window_examples(one)]

    class Runtime:
        def motions(self, clips: Any) -> np.ndarray:
            return default.motion_features([clip(joints) for joints in clips])

        def texts(self, texts: Any) -> np.ndarray:
            return default.text_features(texts)

    here, there = (
        retrieval.retrieval(model, real, config=ScoringConfig())["model"]
        for model in (Runtime(), load_pipeline("default"))
    )
    for direction, kinds in there.items():
        for kind, figures in kinds.items():
            found = [here[direction][kind][f"R@{k}"]["mean"] for k in retrieval.RECALL_AT]
            wanted = [figures[f"R@{k}"]["mean"] for k in retrieval.RECALL_AT]
            assert found == pytest.approx(wanted, abs=0.5), "but for ties; torch keeps words in 16 bits"
    assert here["text_to_motion"]["all_tolerant"]["R@10"]["mean"] > 50


def test_a_text_and_a_motion_find_what_goes_with_them(filled: Retriever, samples: list[Motion]) -> None:
    assert [filled.search(text, k=1)[0].text for text in TEXTS[1:]] == TEXTS[1:]
    for i, motion in enumerate(samples):
        first, *others = filled.search(motion, k=9)
        assert (first.index, first.text) == (i, TEXTS[i]) and first.score == pytest.approx(1, abs=1e-5)
        assert len(others) == 3 and sorted((hit.score for hit in others), reverse=True) == [h.score for h in others]


def test_nothing_is_found_where_there_is_nothing(default: Retriever) -> None:
    assert repr(default) == "Retriever('default', 0 motions)"
    assert len(default) == 0 and default.search("someone waves") == []


def test_all_at_once_is_one_at_a_time(tiny: Retriever, samples: list[Motion]) -> None:
    motions = [clip(motion.joints[:T]) for T in (60, 44, 60) for motion in samples]
    one_by_one = Retriever(tiny.bundle, tiny._text)
    for motion in motions:
        one_by_one.add(motion, "x")
    at_once = Retriever(tiny.bundle, tiny._text)
    at_once.add_all((motion, "x") for motion in motions)
    assert len(at_once) == len(one_by_one) == len(motions)
    assert np.abs(at_once.library.features - one_by_one.library.features).max() < 1e-6


def test_rate_layout_and_place_hardly_matter(filled: Retriever, samples: list[Motion]) -> None:
    joints = samples[2].joints
    T = len(joints)
    at = np.linspace(0, T - 1, 2 * T - 1)
    double = np.stack([np.interp(at, np.arange(T), x) for x in joints.reshape(T, -1).T], 1).reshape(-1, 22, 3)
    turned = joints[..., [2, 1, 0]] * np.float32([1, 1, -1]) + np.float32([5, 1, -3])
    uneven = np.delete(np.arange(T), np.arange(7, T - 1, 9))  # where the hand moves little in a frame
    kinect = Layout.load("kinect20").map_from(Layout.load("smpl22")) @ joints
    whole = filled.feature(clip(joints))
    for other, likeness in (
        (clip(double, fps=40), 0.9999),
        (clip(turned), 0.9999),
        (clip(joints[:, None]), 0.9999),
        (clip(joints[uneven], timestamps=uneven / 20 + 7), 0.99),
        (clip(kinect, layout="kinect20"), 0.5),
    ):
        assert filled.feature(other) @ whole > likeness
        assert filled.search(other, k=1)[0].text == TEXTS[2]


def test_only_the_first_196_frames_are_seen(tiny: Retriever, samples: list[Motion]) -> None:
    long = np.concatenate([samples[0].joints] * 3)
    holed = long.copy()
    holed[196:] = np.nan
    assert np.array_equal(tiny.feature(clip(long)), tiny.feature(clip(holed)))
    assert not np.array_equal(tiny.feature(clip(long)), tiny.feature(clip(long[:180])))


def test_a_joint_that_is_not_needed_may_be_missing(tiny: Retriever, samples: list[Motion]) -> None:
    layout = Layout.load("kinect20")
    joints = layout.map_from(Layout.load("smpl22")) @ samples[0].joints
    unused = ~Layout.load("smpl22").map_from(layout).any(0)
    assert unused.any()
    whole = tiny.feature(clip(joints, layout="kinect20"))
    joints[:, unused] = np.nan
    assert np.array_equal(tiny.feature(clip(joints, layout="kinect20")), whole)


def test_what_cannot_be_added_is_refused_and_nothing_is_added(tiny: Retriever, samples: list[Motion]) -> None:
    joints = samples[2].joints[:90]
    holed, times = joints.copy(), np.arange(90) / 20
    holed[7, 3] = np.nan
    times[5] = times[4]
    made = Retriever(tiny.bundle, tiny._text)
    cases: list[tuple[Any, type[InputError], str]] = [
        (clip(joints[:3]), InputError, "a motion of 3 frames at 20 a second, expected at least 4"),
        (clip(joints[:5], fps=40), InputError, "a motion of 3 frames at 20 a second, expected at least 4"),
        (clip(joints[:1]), InputError, "a motion of 1 frames"),
        (clip(holed), InputError, "frame 7 misses joints"),
        (clip(np.stack([joints, joints], 1)), InputError, "a motion of 2 people, expected one"),
        (clip(joints[:, :17, :2], layout="coco17"), LayoutError, "in layout coco17 is 2-D, expected joints in 3-D"),
        (clip(joints, timestamps=times), InputError, "timestamps do not rise at frame 5"),
        (clip(joints, fps=1e-9), InputError, "lasts 8.9e\\+10 s, expected at most 86400"),
        (clip(joints * 100), InputError, "a joint is 1.. m from where the motion begins, expected metres"),
        (clip(joints * np.float32(1e38)), InputError, "a joint is .* m from where"),
        ("a person walks", InputError, "'a person walks', expected a Motion"),
    ]
    for motion, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            made.add(motion, "x")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="^motion 1: frame 7 misses joints"):
        made.add_all([(clip(joints), "x"), (clip(holed), "y")])
    with pytest.raises(InputError, match="^motion 0: its text is 3, expected a string"):
        made.add(clip(joints), 3)  # type: ignore[arg-type]
    assert len(made) == 0


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        ("", 5, "a search for '', expected a description"),
        (3, 5, "a search for 3, expected a description"),
        ("x" * 600, 5, "512"),
        ("a person walks", 0, "k is 0, expected a whole number of 1 or more"),
        ("a person walks", 2.0, "k is 2.0, expected a whole number"),
        ("a person walks", True, "k is True, expected a whole number"),
    ],
)
def test_what_cannot_be_searched_is_refused(tiny: Retriever, query: Any, k: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny.search(query, k)


def test_of_equal_entries_the_first_added_comes_first() -> None:
    library = MotionIndex(2, "model")
    for number in range(200):
        library.add(np.float32([[1, 0] if number % 3 else [0, 1]]), [str(number)], [{}])
    hits = library.nearest(np.float32([1, 0]), 5)
    assert [hit.index for hit in hits] == [1, 2, 4, 5, 7] == [int(hit.text) for hit in hits]
    assert [hit.score for hit in library.nearest(np.float32([1, 0]), 134)] == [1.0] * 133 + [0.0]


def test_a_library_comes_back_as_it_was_saved_and_grows(
    filled: Retriever, samples: list[Motion], tmp_path: Path
) -> None:
    path = tmp_path / "motions.safetensors"
    filled.add(replace(samples[0], meta={"take": 3, "note": "ü", "weight": np.nan, "array": np.ones(2)}), "bow \ud800")
    filled.save(path)
    again = Retriever.load("default", library=path)
    assert len(again) == 5 and [p.name for p in tmp_path.iterdir()] == [path.name]
    assert again.search("someone bows") == filled.search("someone bows")
    assert (again.library.texts[4], again.library.metas[4]) == ("bow \ud800", {"take": 3, "note": "ü"})
    again.add(samples[1], "more")
    assert len(again) == 6 and np.array_equal(again.library.features[:5], filled.library.features)
    again.save(path)
    assert len(Retriever.load("default", library=path)) == 6


def test_an_empty_library_is_one(tmp_path: Path) -> None:
    MotionIndex(3, "model").save(tmp_path / "none")
    assert len(MotionIndex.read(tmp_path / "none", 3, "model")) == 0


def test_a_library_that_is_not_of_this_model_or_damaged_is_refused(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    library = MotionIndex(4, "a" * 64)
    library.add(np.eye(4, dtype=np.float32), list("wxyz"), [{}] * 4)
    library.save(good)

    def refused(message: str | None, width: int = 4, model: str = "a" * 64) -> None:
        with pytest.raises(InputError, match=message) as caught:
            MotionIndex.read(bad, width, model)
        assert str(caught.value).startswith(f"{bad}: ") and "\n" not in str(caught.value)

    refused("no such file")
    data = good.read_bytes()
    for at in range(0, len(data), 7):
        bad.write_bytes(data[:at])
        refused(None)
        bad.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        refused(None)
    bad.write_bytes(Path(__file__).read_bytes())
    refused("header of")
    bad.write_bytes(data)
    refused("made by another model", model="b" * 64)
    refused(r"features \[4, 4\] of 4 texts, expected \[N, 5\]", width=5)
    with pytest.raises(InputError, match="nowhere/library: cannot be written: No such file"):
        library.save(tmp_path / "nowhere" / "library")


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(BundleError, match="task 'recognition', expected 'generation'"):
        Retriever.load("live")


def test_it_needs_no_torch(coamd_bundle: Path, tmp_path: Path, samples: list[Motion]) -> None:
    samples[0].save(tmp_path / "bow.npz")
    program = """
import sys
sys.modules["torch"] = None
import motionrt
retriever = motionrt.Retriever.load(sys.argv[1])
retriever.add(motionrt.Motion.load(sys.argv[2]), "a person bows")
assert retriever.search("someone waves", k=5)[0].text == "a person bows"
"""
    command = [sys.executable, "-c", program, str(coamd_bundle), str(tmp_path / "bow.npz")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

"""Search without torch matches the torch networks; a library is stored whole or rejected."""

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
    retriever = Retriever(default.bundle, default._text)
    retriever.add_all(list(zip(samples, TEXTS, strict=True)))
    return retriever


def clip(joints: np.ndarray, **changes: Any) -> Motion:
    return Motion(**({"joints": joints, "fps": 20, "layout": "smpl22"} | changes))


def load_pipeline(model: str | Path) -> Any:
    from motionrt.runtime.text_encoder import TextEncoder
    from motionrt.training.coamd.pipeline import CoamdPipeline

    return CoamdPipeline.load(model, TextEncoder.load("text"))


def test_features_match_the_torch_networks(tiny: Retriever, coamd_bundle: Path, samples: list[Motion]) -> None:
    rng = np.random.default_rng(0)
    clips = [motion.joints[:T] for motion, T in zip(samples, (4, 38, 85, 66), strict=True)]
    clips += [np.concatenate([samples[0].joints] * 3)[:T] + rng.normal(0, 0.1, 3) for T in (196, 199, 300, 43)]
    pipeline = load_pipeline(coamd_bundle)
    found = tiny.motion_features([clip(joints) for joints in clips])
    assert found.dtype == np.float32 and np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert np.abs(found - pipeline.motions(clips)).max() < 1e-4
    assert np.abs(tiny.text_features(TEXTS) - pipeline.texts(TEXTS)).max() < 1e-4


def test_recall_on_real_clips_matches_the_torch_networks(default: Retriever, shared: Path, tmp_path: Path) -> None:
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
            assert found == pytest.approx(wanted, abs=0.5), "up to ties: torch stores word features in 16 bits"
    assert here["text_to_motion"]["all_tolerant"]["R@10"]["mean"] > 50


def test_texts_and_motions_find_their_match(filled: Retriever, samples: list[Motion]) -> None:
    assert [filled.search(text, k=1)[0].text for text in TEXTS[1:]] == TEXTS[1:]
    for i, motion in enumerate(samples):
        first, *others = filled.search(motion, k=9)
        assert (first.index, first.text) == (i, TEXTS[i]) and first.score == pytest.approx(1, abs=1e-5)
        assert len(others) == 3 and sorted((hit.score for hit in others), reverse=True) == [h.score for h in others]


def test_an_empty_retriever_finds_nothing(default: Retriever) -> None:
    assert repr(default) == "Retriever('default', 0 motions)"
    assert len(default) == 0 and default.search("someone waves") == []


def test_adding_all_together_equals_adding_one_by_one(tiny: Retriever, samples: list[Motion]) -> None:
    motions = [clip(motion.joints[:T]) for T in (60, 44, 60) for motion in samples]
    one_by_one = Retriever(tiny.bundle, tiny._text)
    for motion in motions:
        one_by_one.add(motion, "x")
    together = Retriever(tiny.bundle, tiny._text)
    together.add_all((motion, "x") for motion in motions)
    assert len(together) == len(one_by_one) == len(motions)
    assert np.abs(together.library.features - one_by_one.library.features).max() < 1e-6


def test_frame_rate_layout_and_position_hardly_matter(filled: Retriever, samples: list[Motion]) -> None:
    joints = samples[2].joints
    T = len(joints)
    at = np.linspace(0, T - 1, 2 * T - 1)
    double = np.stack([np.interp(at, np.arange(T), x) for x in joints.reshape(T, -1).T], 1).reshape(-1, 22, 3)
    turned = joints[..., [2, 1, 0]] * np.float32([1, 1, -1]) + np.float32([5, 1, -3])
    uneven = np.delete(np.arange(T), np.arange(7, T - 1, 9))  # at frames where the hand moves little
    kinect = Layout.load("kinect20").map_from(Layout.load("smpl22")) @ joints
    whole = filled.feature(clip(joints))
    for other, similarity in (
        (clip(double, fps=40), 0.9999),
        (clip(turned), 0.9999),
        (clip(joints[:, None]), 0.9999),
        (clip(joints[uneven], timestamps=uneven / 20 + 7), 0.99),
        (clip(kinect, layout="kinect20"), 0.5),
    ):
        assert filled.feature(other) @ whole > similarity
        assert filled.search(other, k=1)[0].text == TEXTS[2]


def test_only_the_first_196_frames_are_used(tiny: Retriever, samples: list[Motion]) -> None:
    long = np.concatenate([samples[0].joints] * 3)
    damaged = long.copy()
    damaged[196:] = np.nan
    assert np.array_equal(tiny.feature(clip(long)), tiny.feature(clip(damaged)))
    assert not np.array_equal(tiny.feature(clip(long)), tiny.feature(clip(long[:180])))


def test_an_unused_joint_may_be_missing(tiny: Retriever, samples: list[Motion]) -> None:
    layout = Layout.load("kinect20")
    joints = layout.map_from(Layout.load("smpl22")) @ samples[0].joints
    unused = ~Layout.load("smpl22").map_from(layout).any(0)
    assert unused.any()
    whole = tiny.feature(clip(joints, layout="kinect20"))
    joints[:, unused] = np.nan
    assert np.array_equal(tiny.feature(clip(joints, layout="kinect20")), whole)


def test_unsuitable_motions_are_rejected_and_nothing_is_added(tiny: Retriever, samples: list[Motion]) -> None:
    joints = samples[2].joints[:90]
    damaged, times = joints.copy(), np.arange(90) / 20
    damaged[7, 3] = np.nan
    times[5] = times[4]
    retriever = Retriever(tiny.bundle, tiny._text)
    cases: list[tuple[Any, type[InputError], str]] = [
        (clip(joints[:3]), InputError, "a motion of 3 frames at 20 Hz, expected at least 4"),
        (clip(joints[:5], fps=40), InputError, "a motion of 3 frames at 20 Hz, expected at least 4"),
        (clip(joints[:1]), InputError, "a motion of 1 frames"),
        (clip(damaged), InputError, "frame 7 has missing joints"),
        (clip(np.stack([joints, joints], 1)), InputError, "a motion of 2 people, expected one"),
        (clip(joints[:, :17, :2], layout="coco17"), LayoutError, "in layout coco17 is 2-D, expected a 3-D layout"),
        (clip(joints, timestamps=times), InputError, "timestamps do not increase at frame 5"),
        (clip(joints, fps=1e-9), InputError, "lasts 8.9e\\+10 s, expected at most 86400"),
        (clip(joints * 100), InputError, "looks like centimeters, expected meters"),
        (clip(joints * np.float32(1e38)), InputError, "looks like millimeters, expected meters"),
        ("a person walks", InputError, "'a person walks': expected a Motion"),
    ]
    for motion, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            retriever.add(motion, "x")
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="^motion 1: frame 7 has missing joints"):
        retriever.add_all([(clip(joints), "x"), (clip(damaged), "y")])
    with pytest.raises(InputError, match="^motion 0: the text is 3, expected a string"):
        retriever.add(clip(joints), 3)  # type: ignore[arg-type]
    assert len(retriever) == 0


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        ("", 5, "query is '', expected a description"),
        (3, 5, "query is 3, expected a description"),
        ("\U0001f44b", 5, "has no word that the text encoder knows, expected English"),
        ("x" * 600, 5, "512"),
        ("a person walks", 0, "k is 0, expected a whole number of 1 or more"),
        ("a person walks", 2.0, "k is 2.0, expected a whole number"),
        ("a person walks", True, "k is True, expected a whole number"),
    ],
)
def test_invalid_queries_are_rejected(tiny: Retriever, query: Any, k: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny.search(query, k)


def test_ties_are_in_the_order_of_adding() -> None:
    library = MotionIndex(2, "model")
    for number in range(200):
        library.add(np.float32([[1, 0] if number % 3 else [0, 1]]), [str(number)], [{}])
    hits = library.nearest(np.float32([1, 0]), 5)
    assert [hit.index for hit in hits] == [1, 2, 4, 5, 7] == [int(hit.text) for hit in hits]
    assert [hit.score for hit in library.nearest(np.float32([1, 0]), 134)] == [1.0] * 133 + [0.0]


def test_a_saved_library_is_read_back_and_can_grow(filled: Retriever, samples: list[Motion], tmp_path: Path) -> None:
    path = tmp_path / "motions.safetensors"
    filled.add(replace(samples[0], meta={"take": 3, "note": "ü", "weight": np.nan, "array": np.ones(2)}), "bow \ud800")
    filled.save(path)
    loaded = Retriever.load("default", library=path)
    assert len(loaded) == 5 and [p.name for p in tmp_path.iterdir()] == [path.name]
    assert loaded.search("someone bows") == filled.search("someone bows")
    assert (loaded.library.texts[4], loaded.library.metas[4]) == ("bow \ud800", {"take": 3, "note": "ü"})
    loaded.add(samples[1], "more")
    assert len(loaded) == 6 and np.array_equal(loaded.library.features[:5], filled.library.features)
    loaded.save(path)
    assert len(Retriever.load("default", library=path)) == 6


def test_an_empty_library_can_be_saved(tmp_path: Path) -> None:
    MotionIndex(3, "model").save(tmp_path / "none")
    assert len(MotionIndex.read(tmp_path / "none", 3, "model")) == 0


def test_a_damaged_library_or_one_of_another_model_is_rejected(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    library = MotionIndex(4, "a" * 64)
    library.add(np.eye(4, dtype=np.float32), list("wxyz"), [{}] * 4)
    library.save(good)

    def rejected(message: str | None, width: int = 4, model: str = "a" * 64) -> None:
        with pytest.raises(InputError, match=message) as caught:
            MotionIndex.read(bad, width, model)
        assert str(caught.value).startswith(f"{bad}: ") and "\n" not in str(caught.value)

    rejected("no such file")
    data = good.read_bytes()
    for at in range(0, len(data), 7):
        bad.write_bytes(data[:at])
        rejected(None)
        bad.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        rejected(None)
    bad.write_bytes(Path(__file__).read_bytes())
    rejected("header of")
    bad.write_bytes(data)
    rejected("made by another model", model="b" * 64)
    rejected(r"features \[4, 4\] for 4 texts, expected \[N, 5\]", width=5)
    with pytest.raises(InputError, match="nowhere/library: cannot be written: No such file"):
        library.save(tmp_path / "nowhere" / "library")


def test_a_recognition_model_is_rejected() -> None:
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
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]

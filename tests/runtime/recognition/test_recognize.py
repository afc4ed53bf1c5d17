"""`motionrt.recognize`: segments of whatever the user has."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

import motionrt
from motionrt import InputError, Motion, Recognizer, Segment
from motionrt.runtime.io import pose

from .. import tiny
from ..tiny_zero_shot import LEFT as ZERO_SHOT_LEFT

LEFT, RIGHT = tiny.LABELS[1:]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def motion() -> Motion:
    return Motion(np.concatenate([tiny.poses(20), tiny.poses(40, "left"), tiny.poses(20)]), tiny.FPS, tiny.LAYOUT)


def labels(segments: list[Segment]) -> list[str]:
    return [segment.label for segment in segments]


def test_a_motion_has_segments_with_labels_and_times(bundle: Path, motion: Motion) -> None:
    segments = motionrt.recognize(motion, bundle)
    assert labels(segments) == ["none", LEFT, "none"]
    before, action, after = segments
    assert before.start == 0 and before.end == action.start == pytest.approx(1.0, abs=0.3)
    assert action.end == after.start == pytest.approx(3.0, abs=0.3) and after.end == pytest.approx(3.95)
    assert all(segment.person == 0 and 0.5 < segment.score <= 1 for segment in segments)
    with pytest.raises(FrozenInstanceError):
        action.label = RIGHT  # type: ignore[misc]


def test_a_file_gives_the_same_as_its_motion(bundle: Path, motion: Motion, tmp_path: Path) -> None:
    motion.save(path := tmp_path / "clip.npz")
    expected = motionrt.recognize(motion, bundle)
    assert motionrt.recognize(path, bundle) == motionrt.recognize(str(path), bundle) == expected


def test_several_people_have_segments_of_their_own(bundle: Path) -> None:
    joints = np.stack([tiny.poses(40, "left"), tiny.poses(40, "right") + np.float32([2, 0, 0])], axis=1)
    segments = motionrt.recognize(Motion(joints, tiny.FPS, tiny.LAYOUT), bundle)
    actions = {(segment.person, segment.label) for segment in segments if segment.label != "none"}
    assert actions == {(0, LEFT), (1, RIGHT)}


def test_a_recognizer_is_used_and_not_changed(bundle: Path, motion: Motion) -> None:
    recognizer = Recognizer.load(bundle)
    recognizer.step(tiny.poses(1)[0], 0.0)
    assert labels(motionrt.recognize(motion, recognizer)) == ["none", LEFT, "none"]
    assert recognizer.counters["frames"] == 1


def test_labels_may_be_any_text_for_a_zero_shot_model(zero_shot_bundle: Path, motion: Motion) -> None:
    assert ZERO_SHOT_LEFT in labels(motionrt.recognize(motion, zero_shot_bundle, labels=[ZERO_SHOT_LEFT, "sit"]))


def test_it_stops_after_some_seconds(bundle: Path, motion: Motion) -> None:
    [segment] = motionrt.recognize(motion, bundle, seconds=0.5)
    assert segment.label == "none" and segment.end == 0.5


def test_a_webcam_is_recognized_until_it_ends(bundle: Path, motion: Motion, monkeypatch: pytest.MonkeyPatch) -> None:
    class Images:
        def __iter__(self):  # type: ignore[no-untyped-def]
            return ((k / tiny.FPS, joints) for k, joints in enumerate(motion.joints))

        def close(self) -> None: ...

    class Model:
        layout = tiny.LAYOUT

        def estimate(self, image: np.ndarray, t: float) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
            return [(image, image[:, :2], np.ones(len(image), np.float32))]

        def close(self) -> None: ...

    opened: list[object] = []
    monkeypatch.setattr("motionrt.runtime.io.source.open_video", lambda source: opened.append(source) or Images())
    monkeypatch.setattr(pose.PoseEstimator, "load", classmethod(lambda cls, name: cls(Model())))
    assert labels(motionrt.recognize(0, bundle)) == ["none", LEFT, "none"] and opened == [0]


def test_ctrl_c_ends_it_with_the_segments_so_far(bundle: Path, motion: Motion, monkeypatch: pytest.MonkeyPatch) -> None:
    from motionrt.runtime.io.source import Source

    snapshots = Source.snapshots

    def interrupted(self: Source):  # type: ignore[no-untyped-def]
        for snapshot in snapshots(self):
            yield snapshot
            if snapshot[0] > 2.0:
                raise KeyboardInterrupt

    monkeypatch.setattr(Source, "snapshots", interrupted)
    assert labels(motionrt.recognize(motion, bundle)) == ["none", LEFT]


def test_few_labels_of_a_model_are_recognized(bundle: Path, motion: Motion) -> None:
    assert LEFT in labels(motionrt.recognize(motion, bundle))
    assert labels(motionrt.recognize(motion, bundle, labels=[RIGHT])) == ["none"]


def test_a_source_that_cannot_be_recognized_is_refused_in_one_line(bundle: Path, tmp_path: Path) -> None:
    Motion(tiny.poses(1), tiny.FPS, tiny.LAYOUT).save(one := tmp_path / "one.npz")
    Motion(tiny.poses(9), tiny.FPS, tiny.LAYOUT).save(good := tmp_path / "good.npz")
    for source, message in ((tmp_path / "missing.npz", "missing.npz: no such file"), (one, r"one.npz: 1 frame\(s\)")):
        with pytest.raises(InputError, match=message) as refused:
            motionrt.recognize(source, bundle)
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="label 'wave' is not one of model 'tiny'"):
        motionrt.recognize(good, bundle, labels=["wave"])


@pytest.mark.parametrize("kind", ["path", "name", "array", "lists"])
def test_a_whole_clip_may_be_a_file_or_an_array(bundle: Path, motion: Motion, tmp_path: Path, kind: str) -> None:
    motion.save(path := tmp_path / "clip.npz")
    clip = {"path": path, "name": str(path), "array": motion.joints, "lists": motion.joints.tolist()}[kind]
    recognizer = Recognizer.load(bundle)
    expected = recognizer.recognize(motion)
    np.testing.assert_array_equal(recognizer.recognize(clip).probs, expected.probs)  # type: ignore[arg-type]


def test_an_array_may_be_of_another_layout_and_rate(bundle: Path) -> None:
    joints = np.repeat(tiny.poses(40, "right"), 2, axis=0)
    recognizer = Recognizer.load(bundle)
    assert recognizer.recognize(joints, layout=tiny.LAYOUT, fps=2 * tiny.FPS).label == RIGHT
    with pytest.raises(InputError, match=r"shape \[15, 3\], expected \[22, 3\] for layout smpl22"):
        recognizer.recognize(joints, layout="smpl22")

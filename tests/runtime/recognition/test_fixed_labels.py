"""Some labels of a model, and thresholds for a number of false alarms, on a small network that sees raised wrists."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt import Decision, InputError, Motion, Recognizer

from .. import tiny

LEFT, RIGHT = tiny.LABELS[1:]
PARTS = [tiny.poses(20), tiny.poses(30, "left"), tiny.poses(30, "right"), tiny.poses(20)]
ALARMS = {
    "per_minute": [0.25, 1, 4],
    "on": [[1, 1, 1], [1, 1, 0.9], [1, 0.9, 0.5]],
    "off": [[0, 0, 0], [0, 0, 0.8], [0, 0.2, 0.2]],
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


def with_decision(path: Path, **changes: Any) -> Path:
    return tiny.tiny_bundle(path, decision={**tiny.manifest()["decision"], **changes})


def play(recognizer: Recognizer) -> list[Decision]:
    joints = np.concatenate(PARTS)
    return [recognizer.step(pose, timestamp=k / tiny.FPS) for k, pose in enumerate(joints)]


def onsets(decisions: list[Decision]) -> list[str | None]:
    return [out.event_label for out in decisions if out.event == "onset"]


def test_only_chosen_labels_are_told_in_their_order(bundle: Path) -> None:
    recognizer = Recognizer.load(bundle, labels=[RIGHT, LEFT])
    assert recognizer.labels == (RIGHT, LEFT, "none")
    decisions = play(recognizer)
    assert onsets(decisions) == [LEFT, RIGHT]
    for out, wanted in zip(decisions, play(Recognizer.load(bundle)), strict=True):
        assert out.labels == recognizer.labels and (out.label, out.event_label) == (wanted.label, wanted.event_label)
        np.testing.assert_allclose(out.probs, wanted.probs[[2, 1, 0]], atol=1e-6)
        assert {label for label, _ in out.top()} == {RIGHT, LEFT, "none"}


def test_another_action_counts_as_none(bundle: Path) -> None:
    recognizer = Recognizer.load(bundle, labels=[RIGHT, "none"])
    decisions = play(recognizer)
    assert recognizer.labels == (RIGHT, "none") and onsets(decisions) == [RIGHT]
    assert decisions[45].label == "none" and decisions[45].probs[1] > 0.99
    for out, every in zip(decisions, play(Recognizer.load(bundle)), strict=True):
        np.testing.assert_allclose(out.probs, [every.probs[2], every.probs[0] + every.probs[1]], atol=1e-6)


def test_the_manifest_says_how_much_of_another_action_counts(tmp_path: Path) -> None:
    recognizer = Recognizer.load(with_decision(tmp_path / "tiny", others=0, smooth_s=0), labels=[RIGHT])
    left, right, none = 20 * (1.8 - 1 - 0.2), 20 * (0.95 - 1 - 0.2), 0.0  # logits of a raised left hand
    assert left > 10
    expected = np.exp([right, none]) / np.exp([right, none]).sum()
    np.testing.assert_allclose(play(recognizer)[45].probs, expected, rtol=1e-3)


def test_a_clip_is_decided_among_the_chosen_labels(bundle: Path) -> None:
    left, right = (Motion(np.concatenate([PARTS[0], part]), tiny.FPS, tiny.LAYOUT) for part in PARTS[1:3])
    recognizer = Recognizer.load(bundle, labels=[RIGHT])
    out = recognizer.recognize(left)
    assert (out.label, out.labels) == ("none", (RIGHT, "none"))
    assert out.score == pytest.approx(1, abs=0.02) and out.probs.sum() == pytest.approx(1)
    assert recognizer.recognize(right).label == RIGHT


def test_labels_are_chosen_while_people_are_tracked(bundle: Path) -> None:
    recognizer = Recognizer.load(bundle)
    start = recognizer.step(tiny.poses(1)[0], 0.0)
    recognizer.set_labels([LEFT])
    out = recognizer.step(tiny.poses(1)[0], 0.05)
    assert (start.labels, out.labels, out.label) == (tiny.LABELS, (LEFT, "none"), "none")
    assert recognizer.clone().labels == (LEFT, "none")
    assert recognizer.step_people(np.full((1, tiny.V, 3), np.nan), 0.1)[0].label == "none"
    recognizer.set_labels(tiny.LABELS)
    assert recognizer.labels == (LEFT, RIGHT, "none")
    assert onsets(play(recognizer.clone())) == [LEFT, RIGHT]


def test_choosing_all_labels_of_a_model_changes_no_bit(samples: list[Motion]) -> None:
    every = Recognizer.load("live")
    chosen = Recognizer.load("live", labels=every.labels)
    motion = samples[0]
    for t, pose in zip(motion.times, motion.joints, strict=True):
        a, b = (one.step(pose, t, layout=motion.layout) for one in (every, chosen))
        assert a.labels == b.labels and a.event == b.event
        np.testing.assert_array_equal(a.probs, b.probs)


@pytest.mark.parametrize("backend", ["native", "onnx"])
def test_other_labels_of_a_real_model_count_as_none(backend: str, samples: list[Motion]) -> None:
    every = Recognizer.load("live", backend)
    few = Recognizer.load("live", backend, labels=["wave", "bow"])
    motion, none = samples[0], every.labels.index("none")
    kept = [every.labels.index(label) for label in ("wave", "bow")]
    for t, pose in zip(motion.times, motion.joints, strict=True):
        a, b = (one.step(pose, t, layout=motion.layout).probs for one in (every, few))
        np.testing.assert_allclose(b[:2], a[kept], atol=1e-6)
        np.testing.assert_allclose(b[2], a[none] + np.delete(a, [*kept, none]).sum(), atol=1e-5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["raise hand"],
            "label 'raise hand' is not one of model 'tiny', the nearest are 'raise left hand', 'raise rig",
        ),
        ([" Raise left hand"], "label 'Raise left hand' is not one of model 'tiny', the nearest are 'raise left hand'"),
        ([LEFT, LEFT], "label 'raise left hand' is repeated"),
        ([], "no labels, expected some of model 'tiny'"),
        (["none"], "no labels, expected some of model 'tiny'"),
        (LEFT, "labels is 'raise left hand', expected a list of texts"),
        ([3], "label 0 is '3', expected a string"),
    ],
)
def test_a_wrong_choice_is_refused_in_one_line(bundle: Path, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        Recognizer.load(bundle, labels=labels)
    assert "\n" not in str(refused.value)
    recognizer = Recognizer.load(bundle)
    with pytest.raises(InputError, match=message):
        recognizer.set_labels(labels)
    assert recognizer.labels == tiny.LABELS


def test_without_a_none_label_there_must_be_a_choice(tmp_path: Path) -> None:
    bundle = tiny.tiny_bundle(tmp_path / "tiny", none=None)
    with pytest.raises(
        InputError, match="one label, expected at least two: model 'tiny' has no label for other motion"
    ):
        Recognizer.load(bundle, labels=[LEFT])
    recognizer = Recognizer.load(bundle, labels=[RIGHT, LEFT])
    assert recognizer.labels == (RIGHT, LEFT) and play(recognizer)[45].label == LEFT
    out = recognizer.recognize(Motion(PARTS[2], tiny.FPS, tiny.LAYOUT))
    assert out.label == RIGHT and out.probs.sum() == pytest.approx(1)


def test_thresholds_follow_from_the_false_alarms_that_are_allowed(tmp_path: Path) -> None:
    bundle = with_decision(tmp_path / "tiny", alarms=ALARMS)

    def told(alarms_per_minute: float | None, **options: Any) -> list[str | None]:
        return onsets(play(Recognizer.load(bundle, alarms_per_minute=alarms_per_minute, **options).clone()))

    assert told(None) == [LEFT, RIGHT]
    assert (told(0.25), told(1), told(2), told(np.float32(4))) == ([], [RIGHT], [LEFT, RIGHT], [LEFT, RIGHT])
    assert told(1, labels=[LEFT]) == [] and told(4, labels=[RIGHT]) == [RIGHT]
    cautious = with_decision(tmp_path / "cautious", alarms={**ALARMS, "default": 1})
    assert onsets(play(Recognizer.load(cautious).clone())) == [RIGHT]
    assert onsets(play(Recognizer.load(cautious, alarms_per_minute=2))) == [LEFT, RIGHT]
    for wrong in (0.2, 5, 0, -1, float("nan")):
        with pytest.raises(InputError, match=r"alarms_per_minute is .*, model 'tiny' has thresholds for 0\.25 to 4"):
            told(wrong)
    with pytest.raises(InputError, match="alarms_per_minute is 'few', expected a number"):
        told("few")  # type: ignore[arg-type]


def test_a_model_may_have_no_thresholds_by_false_alarms(bundle: Path) -> None:
    for model in (bundle, "zero-shot"):
        with pytest.raises(
            InputError, match="alarms_per_minute is 0.5, but model .* has no thresholds by false alarms"
        ):
            Recognizer.load(model, alarms_per_minute=0.5)

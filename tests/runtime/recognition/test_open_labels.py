"""Labels defined by texts or examples, on a small network that sees how high the wrists are."""

import gc
import threading
import time
import weakref
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt import BundleError, Decision, InputError, Motion, Recognizer
from motionrt.runtime.bundles.safetensors import pack
from motionrt.runtime.recognition.matcher import Matcher
from motionrt.runtime.recognition.open_labels import MAX_LABELS, OpenLabels
from motionrt.runtime.text_encoder import TextEncoder

from .. import tiny, tiny_zero_shot
from ..tiny_zero_shot import LEFT, RIGHT, STILL

BOTH = "raise both hands"
load_text = cache(TextEncoder.load)


@pytest.fixture
def bundle(zero_shot_bundle: Path) -> Path:
    return zero_shot_bundle


@pytest.fixture(autouse=True)
def one_text_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded once for all tests."""
    monkeypatch.setattr(TextEncoder, "load", classmethod(lambda cls, threads=None: load_text()))


@pytest.fixture
def recognizer(bundle: Path) -> Recognizer:
    recognizer = Recognizer.load(bundle)
    recognizer.background = False
    return recognizer


def open_labels(recognizer: Recognizer) -> OpenLabels:
    assert isinstance(recognizer.label_strategy, OpenLabels)
    return recognizer.label_strategy


def play(recognizer: Recognizer, joints: np.ndarray, start: float = 0.0, person: int = 0) -> list[Decision]:
    return [recognizer.step(pose, start + k / tiny.FPS, person) for k, pose in enumerate(joints)]


def clip(raised: str | None, frames: int = 40) -> Motion:
    joints = tiny.poses(frames, "left" if raised == "both" else raised)
    if raised == "both":
        joints = np.maximum(joints, tiny.poses(frames, "right"))
    return Motion(joints, tiny.FPS, tiny.LAYOUT)


def events(decisions: list[Decision]) -> list[tuple[str | None, str | None]]:
    return [(out.event, out.event_label) for out in decisions if out.event]


def finish_matching(recognizer: Recognizer) -> None:
    """Match every pending request, then end the thread."""
    labels = open_labels(recognizer)
    assert labels.thread is not None
    labels.streams.requests.close()
    labels.thread.join()


def logits(recognizer: Recognizer) -> np.ndarray:
    return open_labels(recognizer).streams.logits_PK


def test_it_starts_with_its_training_labels(recognizer: Recognizer) -> None:
    assert recognizer.labels == (LEFT, RIGHT, "none") and recognizer.name == "tiny"
    assert recognizer.recognize(clip("left")).label == LEFT and recognizer.recognize(clip("right")).label == RIGHT
    out = recognizer.recognize(clip(None))
    assert out.label == "none" and out.labels == recognizer.labels and out.probs.sum() == pytest.approx(1)


def test_logits_follow_the_formula(tmp_path: Path) -> None:
    """scale (s_none - s) - none for texts; prototype_scale (offset - d) of the nearest example, plus the log of the
    label's share in it, for examples; the larger one if both exist."""
    background = {text: {"label": text} for text in (STILL, RIGHT)}
    recognizer = Recognizer.load(tiny_zero_shot.zero_shot_bundle(tmp_path / "tiny", background=background))
    recognizer.enroll(LEFT, [clip("right"), clip(None)])
    recognizer.enroll("third", [clip("left")])
    recognizer.set_labels([LEFT, RIGHT])
    features = np.array([[0.8, -0.05, 0, 0], [0.1, -0.1, 0.1, -0.2], [-0.1, 0.7, 0, 0]], np.float32)
    places = np.array([(*tiny_zero_shot.PLACES[text], 0, 0) for text in (LEFT, RIGHT, STILL)])
    left, right, still = (((features - place) ** 2).mean(1) for place in places)
    examples = np.concatenate(list(open_labels(recognizer).examples.values()))
    least = ((features[:, None] - examples) ** 2).mean(2).min(1)
    head, bias = (getattr(open_labels(recognizer).streams.vocabulary, name) for name in ("head_HD", "bias_H"))
    shares = np.exp(features @ head.T + bias)
    near, other = 40 * (0.2 - least) + np.log(shares / shares.sum(1, keepdims=True)).T
    none = np.minimum(still, right)
    expected = [np.maximum(40 * (none - left) - 2, near), 40 * (none - right) - 2, other, np.zeros(3)]
    labels = open_labels(recognizer)
    found = labels.matcher.logits(features, labels.streams.vocabulary)
    assert recognizer.labels == (LEFT, RIGHT, "third", "none") and found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack(expected, 1), atol=2e-4)


def test_an_action_starts_and_ends_in_a_stream(recognizer: Recognizer) -> None:
    joints = np.concatenate([tiny.poses(20), tiny.poses(40, "left"), tiny.poses(40)])
    assert events(play(recognizer, joints)) == [("onset", LEFT), ("offset", LEFT)]


def test_any_text_can_become_a_label_while_people_are_tracked(recognizer: Recognizer) -> None:
    before = play(recognizer, tiny.poses(40, "left"))
    assert before[-1].label == LEFT and events(before) == [("onset", LEFT)]
    recognizer.set_labels([" jump ", RIGHT, "sit"])
    assert recognizer.labels == ("jump", RIGHT, "sit", "none") and recognizer.counters["frames"] == 40
    after = play(recognizer, tiny.poses(40, "right"), start=2.0)
    assert after[0].labels == recognizer.labels and after[0].probs.shape == (4,) and after[0].status == "ok"
    assert events(after) == [("onset", RIGHT)] and after[-1].label == RIGHT, "the other action ends without an event"
    assert recognizer.counters == {"frames": 80, "dropped": 0, "resets": 0, "lost": 0}
    recognizer.set_labels([RIGHT])
    assert play(recognizer, tiny.poses(4, "right"), start=4.0)[-1].labels == (RIGHT, "none")


def test_a_description_is_matched_together_with_its_label(recognizer: Recognizer) -> None:
    """The place of a text is the sum of the places of its sentences."""
    recognizer.set_labels(["arm"])
    plain = recognizer.recognize(clip("left"))
    recognizer.set_labels(["arm"], {"arm": LEFT})
    described = recognizer.recognize(clip("left")).probs
    recognizer.set_labels(["arm"], {"arm": {"hands": LEFT}})
    np.testing.assert_array_equal(recognizer.recognize(clip("left")).probs, described)
    recognizer.set_labels([LEFT], {LEFT: {}})
    assert plain.probs[0] != described[0] and recognizer.recognize(clip("left")).label == LEFT


def test_training_labels_keep_their_descriptions(tmp_path: Path) -> None:
    labels = {"arm": {"label": "arm", "hands": LEFT}, RIGHT: {"label": RIGHT}}
    recognizer = Recognizer.load(tiny_zero_shot.zero_shot_bundle(tmp_path / "tiny", labels=labels))
    known = recognizer.recognize(clip("left")).probs
    recognizer.set_labels(["arm", RIGHT])
    np.testing.assert_array_equal(recognizer.recognize(clip("left")).probs, known)
    recognizer.set_labels(["arm", RIGHT], {"arm": "something else"})
    assert recognizer.recognize(clip("left")).probs[0] != known[0]


def test_matching_in_the_background_gives_the_same_logits(bundle: Path, recognizer: Recognizer) -> None:
    background = Recognizer.load(bundle)
    assert background.background
    for person, raised in enumerate(("left", "right", None)):
        for either in (recognizer, background):
            play(either, tiny.poses(33, raised), person=person)
    finish_matching(background)
    np.testing.assert_array_equal(logits(background), logits(recognizer))
    assert (logits(background)[:2].argmax(1) == [0, 1]).all()


def test_inline_matching_gives_the_same_bits_every_time(recognizer: Recognizer) -> None:
    joints = np.concatenate([tiny.poses(20), tiny.poses(40, "right")])
    first = play(recognizer, joints)
    recognizer.reset()
    for one, other in zip(first, play(recognizer, joints), strict=True):
        np.testing.assert_array_equal(one.probs, other.probs)


def test_the_last_half_second_is_matched_four_times_a_second(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched: list[np.ndarray] = []
    compute = Matcher.logits

    def record(self: Matcher, features_BF: np.ndarray, vocabulary: Any) -> np.ndarray:
        matched.append(features_BF)
        return compute(self, features_BF, vocabulary)

    monkeypatch.setattr(Matcher, "logits", record)
    play(recognizer, np.concatenate([tiny.poses(20), tiny.poses(20, "left")]))
    assert [features.shape for features in matched] == [(1, tiny.D)] * 8, "40 frames at 20 a second"
    heights = [float(features[0, 0]) for features in matched]
    assert heights[2] == heights[3] < heights[4] < heights[5] < heights[6] == heights[7], "the window is ten frames"
    matched.clear()
    poses = np.stack([tiny.poses(5), tiny.poses(5, "left")], 1)
    for k, pose in enumerate(poses):
        recognizer.step_people(pose, 10 + k / tiny.FPS, people=[5, 6])
    assert [features.shape for features in matched] == [(2, tiny.D)], "people are matched together"


def test_a_lost_person_starts_again_with_none(recognizer: Recognizer) -> None:
    assert play(recognizer, tiny.poses(40, "left"))[-1].label == LEFT
    back = recognizer.step(tiny.poses(1, "left")[0], 5.0)
    assert (back.event, back.event_label) == ("offset", LEFT) and back.label == "none"
    recognizer.reset(0)
    assert recognizer.step(tiny.poses(1, "left")[0], 6.0).top(1) == [("none", pytest.approx(1, abs=1e-6))]


def test_a_match_of_a_previous_person_is_discarded(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = Recognizer.load(bundle)
    matched, proceed, compute = threading.Event(), threading.Event(), Matcher.logits

    def late(self: Matcher, features_BF: np.ndarray, vocabulary: Any) -> np.ndarray:
        result = compute(self, features_BF, vocabulary)
        matched.set()
        proceed.wait(10)
        return result

    monkeypatch.setattr(Matcher, "logits", late)
    play(recognizer, tiny.poses(12, "left"))
    assert matched.wait(10)
    recognizer.reset()
    play(recognizer, tiny.poses(1), start=9.0)
    finish = threading.Thread(target=finish_matching, args=(recognizer,))
    finish.start()
    proceed.set()
    finish.join()
    assert logits(recognizer)[0].tolist() == [-30, -30, 0]


def test_labels_change_from_another_thread_between_two_frames(bundle: Path) -> None:
    recognizer = Recognizer.load(bundle)
    lists = [[LEFT], [LEFT, RIGHT, "jump"], [f"text {k}" for k in range(30)]]
    stop = threading.Event()

    def change() -> None:
        k = 0
        while not stop.is_set():
            recognizer.set_labels(lists[k % 3])
            k += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for k in range(400):
            out = recognizer.step(tiny.poses(1, "left")[0], k / tiny.FPS)
            assert out.status == "ok" and len(out.probs) == len(out.labels) and out.label in out.labels
    finally:
        stop.set()
        thread.join()
    assert recognizer.counters == {"frames": 400, "dropped": 0, "resets": 0, "lost": 0}


def test_the_thread_ends_with_its_recognizer(bundle: Path) -> None:
    recognizer = Recognizer.load(bundle)
    play(recognizer, tiny.poses(3))
    thread = open_labels(recognizer).thread
    assert thread is not None and thread.is_alive() and thread.daemon
    gone = weakref.ref(recognizer)
    del recognizer
    gc.collect()
    thread.join(10)
    assert gone() is None and not thread.is_alive()


def test_an_error_on_the_thread_is_raised_by_the_next_frame(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer = Recognizer.load(bundle)

    def fail(*arguments: Any) -> None:
        raise BundleError("it cannot be run")

    monkeypatch.setattr(Matcher, "logits", fail)
    play(recognizer, tiny.poses(5))  # the fifth frame is the first to be matched
    thread = open_labels(recognizer).thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(BundleError, match="it cannot be run"):
        recognizer.step(tiny.poses(1)[0])


def test_a_gesture_is_learned_from_examples(recognizer: Recognizer) -> None:
    assert recognizer.recognize(clip("both")).label != BOTH
    recognizer.enroll(BOTH, [clip("both"), clip("both", 20), clip("both", 7)])
    assert recognizer.labels == (BOTH, "none"), "it does not compete with the default labels"
    recognizer.set_labels([LEFT, RIGHT])
    assert recognizer.labels == (LEFT, RIGHT, BOTH, "none"), "unless asked"
    for raised, label in (("both", BOTH), ("left", LEFT), (None, "none")):
        assert recognizer.recognize(clip(raised)).label == label
    assert events(play(recognizer, clip("both").joints)) == [("onset", BOTH)]
    recognizer.set_labels([RIGHT])
    assert recognizer.labels == (RIGHT, BOTH, "none"), "a gesture stays until it is removed"
    recognizer.set_labels([])
    assert recognizer.labels == (BOTH, "none") and recognizer.recognize(clip("both")).label == BOTH
    with pytest.raises(InputError, match="no labels, and nothing is enrolled, expected 1 to 1000"):
        recognizer.forget(BOTH)
    recognizer.set_labels([RIGHT, BOTH])
    recognizer.forget(BOTH)
    assert recognizer.labels == (RIGHT, BOTH, "none"), "it has a text"
    with pytest.raises(InputError, match=f"'{BOTH}' is not enrolled, there is nothing"):
        recognizer.forget(BOTH)


def test_enrolling_again_adds_examples(recognizer: Recognizer) -> None:
    for _ in range(2):
        recognizer.enroll(BOTH, [clip("both", 15), clip("both", 10)])
    assert len(open_labels(recognizer).examples[BOTH]) == 4
    with pytest.raises(InputError, match=f"{BOTH!r} would have 204 examples, expected at most 200"):
        for _ in range(4):
            recognizer.enroll(BOTH, [clip("both", 7)] * 50)


def test_a_long_recording_is_several_examples_without_its_quiet_parts(recognizer: Recognizer) -> None:
    still, moved = clip(None, 40).joints, clip("both", 40).joints
    joints = np.concatenate([still, moved, still])
    recognizer.enroll(BOTH, [Motion(joints, tiny.FPS, tiny.LAYOUT)])
    examples = open_labels(recognizer).examples[BOTH]
    assert 1 < len(examples) < 12
    assert examples[:, :2].min(1).max() > 0.7, "both wrists are up"
    assert recognizer.recognize(Motion(joints, tiny.FPS, tiny.LAYOUT)).label == BOTH
    assert BOTH in [label for _, label in events(play(recognizer, joints))]


def test_examples_of_none_are_of_no_gesture(recognizer: Recognizer) -> None:
    recognizer.enroll(BOTH, [clip("both")])
    before = recognizer.recognize(clip("left")).probs
    recognizer.enroll("none", [clip("left")] * 3)
    assert recognizer.labels == (BOTH, "none")
    assert recognizer.recognize(clip("left")).label == "none" and recognizer.recognize(clip("both")).label == BOTH
    assert recognizer.recognize(clip("left")).probs[0] <= before[0]
    recognizer.forget(BOTH)
    assert recognizer.labels == (LEFT, RIGHT, "none"), "the default labels are back"


def test_gestures_are_saved_and_loaded(bundle: Path, recognizer: Recognizer, tmp_path: Path) -> None:
    path = tmp_path / "gestures.npz"
    with pytest.raises(InputError, match="nothing is enrolled, no file was written"):
        recognizer.save_gestures(path)
    recognizer.enroll(BOTH, [clip("both"), clip("both", 9)])
    recognizer.enroll("ünïcode", [clip("left")])
    recognizer.save_gestures(path)
    other = Recognizer.load(bundle)
    other.enroll("mine", [clip(None)])
    other.load_gestures(path)
    assert other.labels == ("mine", BOTH, "ünïcode", "none")
    assert other.recognize(clip("both")).label == BOTH
    assert sorted(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="expected a name ending in .npz"):
        recognizer.save_gestures(tmp_path / "gestures.json")
    with pytest.raises(InputError, match="cannot be written"):
        recognizer.save_gestures(tmp_path / "nowhere" / "gestures.npz")


def test_gestures_are_shared_with_c_as_safetensors(recognizer: Recognizer, bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "gestures.safetensors"
    recognizer.enroll("mine", [clip("left"), clip("left", 9)])
    recognizer.save_gestures(path)
    other = Recognizer.load(bundle)
    other.load_gestures(path)
    found, expected = (open_labels(one).examples["mine"] for one in (other, recognizer))
    np.testing.assert_array_equal(found, expected)
    data = path.read_bytes()
    for damaged, message in (
        (data[:-4], "ends at byte"),
        (data.replace(b"F32", b"I32"), "features of 'mine' are"),
        (pack({"mine": expected}), "made with the encoder of another model"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=message):
            other.load_gestures(path)


def test_gestures_of_another_encoder_are_refused(recognizer: Recognizer, tmp_path: Path) -> None:
    other = Recognizer.load(tiny_zero_shot.zero_shot_bundle(tmp_path / "other", encoder_sha256="f" * 64))
    other.enroll("mine", [clip("left")])
    other.save_gestures(tmp_path / "gestures.npz")
    with pytest.raises(
        InputError, match=r"made with the encoder of another model \('tiny', sha256 ffff.*, expected eeee"
    ):
        recognizer.load_gestures(tmp_path / "gestures.npz")
    assert recognizer.labels == (LEFT, RIGHT, "none")


BAD_GESTURES: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"labels": np.array([], "U1"), "counts": np.array([], int)}, "expected labels with 1 to 200"),
    "a label twice": ({"labels": np.array(["a", "a"]), "counts": [1, 1]}, "expected labels with 1 to 200"),
    "labels of numbers": ({"labels": np.array([1])}, "expected labels with 1 to 200"),
    "201 examples": ({"counts": [201], "features": np.zeros((201, 4), np.float32)}, "expected labels with 1 to 200"),
    "no example": ({"counts": [0], "features": np.zeros((0, 4), np.float32)}, "expected labels with 1 to 200"),
    "too few examples": ({"counts": [2]}, r"features are \[1, 4\], expected finite ones \[2, 4\]"),
    "another width": ({"features": np.zeros((1, 5), np.float32)}, r"features are \[1, 5\].*\[1, 4\]"),
    "not finite": ({"features": np.full((1, 4), np.nan, np.float32)}, "expected finite ones"),
    "Python objects": ({"labels": np.array(["a"], object)}, "contains Python objects"),
    "another array": ({"more": 1}, "expected counts, encoder, features, labels"),
    "None": ({"labels": np.array(["None"])}, "means no action"),
}


@pytest.mark.parametrize("name", BAD_GESTURES)
def test_a_file_without_gestures_is_refused(recognizer: Recognizer, tmp_path: Path, name: str) -> None:
    changes, message = BAD_GESTURES[name]
    good = {"labels": np.array(["a"]), "counts": [1], "features": np.zeros((1, 4), np.float32), "encoder": "e" * 64}
    np.savez(tmp_path / "g.npz", **(good | changes))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message) as refused:
        recognizer.load_gestures(tmp_path / "g.npz")
    assert "\n" not in str(refused.value) and recognizer.labels == (LEFT, RIGHT, "none")


BAD_LABELS: dict[str, tuple[Any, Any, str]] = {
    "none at all": ([], None, "no labels, and nothing is enrolled, expected 1 to 1000"),
    "one twice": (["wave", " wave"], None, "label 'wave' is repeated"),
    "the reserved one": (["wave", "none"], None, "label 'none' means no action and is always included"),
    "1,001": ([f"text {k}" for k in range(MAX_LABELS + 1)], None, "1001 labels, expected 1 to 1000"),
    "10,000 characters": (["wave", "x" * 10_000], None, r"label 1 \('xx.*\.\.\.\) has 10000 characters, at most 512"),
    "a number": (["wave", 3], None, "label 1 is '3', expected a string"),
    "blank": (["wave", " "], None, "label 1 is empty"),
    "one text": ("wave", None, "labels is 'wave', expected a list of texts"),
    "nothing": (None, None, "labels is 'None', expected a list of texts"),
    "a description of another": (["wave"], {"jump": "up"}, "a description of 'jump', which is not one of the labels"),
    "a description that is a number": (["wave"], {"wave": 3}, "the description of 'wave' is '3', expected a string"),
    "descriptions in a list": (["wave"], ["up"], "descriptions are a list, expected a dict"),
    "an unknown body part": (
        ["wave"],
        {"wave": {"tail": "wags"}},
        "has 'tail', expected some of motion",
    ),
}


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("known", None, "matcher.known: missing, expected [3, 8, 384]"),
        ("known", np.zeros((2, 8, 384), np.float32), "matcher.known: [2, 8, 384], expected [3, 8, 384]"),
        ("projection", np.zeros((4, 5), np.float32), "matcher.projection: [4, 5], expected [4, 4]"),
        ("noises", np.zeros(4, np.float32), "matcher.noises: [4], expected ['any', 4]"),
    ],
)
def test_weights_that_do_not_fit_are_refused(bundle: Path, name: str, array: Any, message: str) -> None:
    good = tiny_zero_shot.load(bundle)
    others = {key: weight for key, weight in good.weights.items() if key != f"matcher.{name}"}
    bad = replace(good, weights=others if array is None else {**others, f"matcher.{name}": array})
    with pytest.raises(BundleError) as refused:
        Matcher(bad, load_text())
    assert message in str(refused.value)


@pytest.mark.parametrize("name", BAD_LABELS)
def test_invalid_labels_are_refused_in_one_line(recognizer: Recognizer, name: str) -> None:
    labels, descriptions, message = BAD_LABELS[name]
    play(recognizer, tiny.poses(30, "left"))
    with pytest.raises(InputError, match=message) as refused:
        recognizer.set_labels(labels, descriptions)
    assert "\n" not in str(refused.value) and recognizer.labels == (LEFT, RIGHT, "none")
    assert recognizer.step(tiny.poses(1, "left")[0]).label == LEFT


BAD_EXAMPLES: dict[str, tuple[Any, str]] = {
    "none": ([], "examples of 'mine' are 0 motions, expected a list of 1 to 50 motions"),
    "too many": ([clip("left")] * 51, "are 51 motions"),
    "one motion": (clip("left"), "are Motion, expected a list"),
    "arrays": ([tiny.poses(9)], "are list, expected a list"),
    "one frame": (
        [clip("left"), clip("left", 1)],
        r"example 2 of 'mine': the clip has 1 frame\(s\), expected at least 2",
    ),
    "nobody": (
        [Motion(np.full((9, tiny.V, 3), np.nan), tiny.FPS, tiny.LAYOUT)],
        "example 1 of 'mine': nobody is visible",
    ),
}


@pytest.mark.parametrize("name", BAD_EXAMPLES)
def test_invalid_examples_are_refused_in_one_line(recognizer: Recognizer, name: str) -> None:
    motions, message = BAD_EXAMPLES[name]
    with pytest.raises(InputError, match=message) as refused:
        recognizer.enroll(" mine ", motions)
    assert "\n" not in str(refused.value) and recognizer.labels == (LEFT, RIGHT, "none")


def test_a_thousand_labels_are_matched(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, texts = TextEncoder.encode, [f"text {k}" for k in range(MAX_LABELS - 1)]

    def quick(self: TextEncoder, texts: Any) -> Any:
        """The same features for all new texts, to save time."""
        return encode(self, [text if text in (LEFT, STILL) else "text" for text in texts])

    monkeypatch.setattr(TextEncoder, "encode", quick)
    recognizer.set_labels([*texts, LEFT])
    out = recognizer.recognize(clip("left"))
    assert len(out.probs) == MAX_LABELS + 1 and out.label == LEFT
    with pytest.raises(InputError, match="1001 labels"):
        recognizer.enroll("mine", [clip("left")])


def test_a_known_text_is_not_encoded_again(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    encode = TextEncoder.encode

    def record(self: TextEncoder, texts: Any) -> Any:
        encoded.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(TextEncoder, "encode", record)
    recognizer.set_labels(["jump", LEFT])
    recognizer.set_labels([RIGHT, "jump", "sit"])
    assert encoded == ["jump", "sit"], "the features of training labels are in the bundle"
    monkeypatch.setattr("motionrt.runtime.recognition.matcher.CACHE_SIZE", 4)
    recognizer.set_labels(["run", "sit"])
    recognizer.set_labels(["hop"])
    recognizer.set_labels(["sit"])
    recognizer.set_labels(["clap"])
    assert encoded == ["jump", "sit", "run", "hop", "clap"]
    recognizer.set_labels(["jump"])
    assert encoded[5:] == ["jump"], "it was the least recently used"


@pytest.mark.parametrize("label", ["\U0001f44b", "\u6325\u624b", "\u043f\u0440\u044b\u0436\u043e\u043a", "!?"])
def test_a_label_without_an_english_word_is_refused(label: str, recognizer: Recognizer) -> None:
    with pytest.raises(InputError, match="label .* has no word that the text encoder knows, expected English"):
        recognizer.set_labels(["jump", label])
    assert recognizer.labels == (LEFT, RIGHT, "none")
    recognizer.set_labels(["jump", label], {label: "a person waves"})  # described in English
    recognizer.enroll(label + " mine", [clip("left")])  # a gesture may have any name
    assert recognizer.labels == ("jump", label, label + " mine", "none")


def test_a_label_of_unknown_words_is_logged_once(recognizer: Recognizer, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        recognizer.set_labels(["jump", "asdfqwer"])
    assert caplog.messages == ["the text encoder knows no word of label 'asdfqwer', expected English"]


def test_labels_that_cannot_be_distinguished_are_logged(
    recognizer: Recognizer, caplog: pytest.LogCaptureFixture
) -> None:
    recognizer.set_labels(["jump", "a person waves", "sit", "Jump"])
    recognizer.set_labels(["jump", "a person waves", "Jump", "the person waves"])
    assert caplog.messages == [
        "labels 'jump' and 'Jump' mean the same to the text encoder (cosine 1.000): they cannot be distinguished",
        "labels 'jump' and 'Jump' mean the same to the text encoder (cosine 1.000), and 1 more pairs: they cannot be "
        "distinguished",
    ]
    caplog.clear()
    recognizer.set_labels(["jump", "Jump"], {"Jump": "a person leaps high into the air"})
    recognizer.set_labels(["wave right hand", "wave left hand", "turn left", "turn right", "raise hand", "waving"])
    assert caplog.messages == []


def test_the_labels_of_live_cause_no_message(caplog: pytest.LogCaptureFixture) -> None:
    zero_shot, live = Recognizer.load("zero-shot"), Recognizer.load("live")
    names = [label for label in live.labels if label != "none"]
    assert len(names) == 57
    zero_shot.set_labels(names)
    zero_shot.set_labels([f"a person does {name}" for name in names])
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["", " \n"])
def test_a_gesture_needs_a_name(name: str, recognizer: Recognizer) -> None:
    with pytest.raises(InputError, match="the gesture's name is empty"):
        recognizer.enroll(name, [clip("left")])


def test_fixed_labels_take_no_texts_and_no_examples(tmp_path: Path) -> None:
    fixed = Recognizer.load(tiny.tiny_bundle(tmp_path / "fixed"))
    for action in (
        lambda: fixed.set_labels([LEFT, RIGHT], {LEFT: "an arm goes up"}),
        lambda: fixed.enroll("wave", [clip("left")]),
        lambda: fixed.forget("wave"),
        lambda: fixed.save_gestures(tmp_path / "g.npz"),
        lambda: fixed.load_gestures(tmp_path / "g.npz"),
    ):
        with pytest.raises(InputError, match="labels of model 'tiny' are fixed, model 'zero-shot'"):
            action()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text_sha256": "0" * 64}, "trained with another text encoder than 'text'"),
        ({"text_sha256": "short"}, 'matching: text_sha256: "short", expected 64 lower-case hex digits'),
        ({"every_s": 0}, "matching: every_s: 0, expected a number from 0.01 to 60"),
        ({"background": []}, r"matching: background: \[\], expected an object"),
        ({"background": {}}, "matching: background: expected 1 to 10000 labels"),
        ({"labels": {"wave": {"head": "nods"}}}, "matching: labels: wave: expected sentences on label, .*the first"),
        ({"labels": {"wave": {"label": "wave", "tail": "wags"}}}, "matching: labels: wave: expected sentences on"),
        ({"labels": {"wave": {"label": 3}}}, "matching: labels: wave: label: 3, expected a text"),
        ({"scale": "much"}, 'matching: scale: "much", expected a number'),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Recognizer.load(tiny_zero_shot.zero_shot_bundle(tmp_path / "b", **changes))


def test_no_frame_waits_for_a_change_of_labels(bundle: Path) -> None:
    """Texts are encoded before the lock is taken."""
    recognizer = Recognizer.load(bundle)
    held: list[float] = []

    class Timed:
        def __enter__(self) -> None:
            lock.acquire()
            self.start = time.thread_time()

        def __exit__(self, *error: object) -> None:
            held.append(1e3 * (time.thread_time() - self.start))
            lock.release()

    streams = open_labels(recognizer).streams
    lock = streams.lock
    streams.lock = Timed()  # type: ignore[assignment]
    for k in range(5):
        recognizer.set_labels([f"text {k} {i}" for i in range(8)])
    assert len(held) == 5 and sorted(held)[2] < 1.0

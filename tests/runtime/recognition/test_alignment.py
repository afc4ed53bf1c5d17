"""Matching by alignment: cosines in the parts of a space, and what counts as background."""

from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.bundles.bundle import Bundle
from motionrt.runtime.bundles.schema import ZeroShotManifest
from motionrt.runtime.errors import BundleError
from motionrt.runtime.recognition.alignment import Alignment
from motionrt.runtime.recognition.matcher import Matcher
from motionrt.runtime.text_encoder import TextEncoder

from ..tiny_zero_shot import LEFT, RIGHT, STILL, aligned_bundle

F, S, W, PARTS, SHARES = 5, 3, 7, (4, 2), (0.7, 0.3)


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return TextEncoder.load()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_an_error_is_one_minus_the_weighted_mean_of_cosines() -> None:
    rng = np.random.default_rng(0)
    shapes = (F, 6), (6,), (S, W, 6), (S, 6)
    motion, motion_bias, text, text_bias = (rng.normal(size=shape) for shape in shapes)
    alignment = Alignment(motion, motion_bias, text, text_bias, PARTS, SHARES)
    z, sentences, mask = rng.normal(size=F), rng.normal(size=(S, W)), np.array([1.0, 0, 1])
    (found,) = alignment.condition(sentences[None], mask[None])
    of_motion = z @ motion + motion_bias
    of_text = sum(sentences[s] @ text[s] + text_bias[s] for s in (0, 2))
    wanted = 1 - 0.7 * cosine(of_motion[:4], of_text[:4]) - 0.3 * cosine(of_motion[4:], of_text[4:])
    assert alignment.errors(z[None], found)[0, 0] == pytest.approx(wanted)


def matcher(path: Path, text: TextEncoder, **changes: float | None) -> Matcher:
    return Matcher(Bundle.load(aligned_bundle(path, **changes), ZeroShotManifest), text)


def test_a_bundle_with_a_space_has_no_graphs_of_a_matcher_and_tells_labels_apart(
    text: TextEncoder, tmp_path: Path
) -> None:
    aligned = matcher(tmp_path / "tiny", text)
    vocabulary = aligned.vocabulary({LEFT: {"label": LEFT}, RIGHT: {"label": RIGHT}}, {})
    features = np.array([[0.8, -0.05, 0, 0], [-0.05, 0.8, 0, 0], [-0.05, -0.05, 0, 0]], np.float32)
    assert aligned.logits(features, vocabulary).argmax(1).tolist() == [0, 1, 2]


def test_labels_from_training_that_are_not_chosen_are_rivals_unless_they_are_alike(
    text: TextEncoder, tmp_path: Path
) -> None:
    raised_right = np.array([[-0.05, 0.8, 0, 0]], np.float32)
    alone = matcher(tmp_path / "alone", text)
    with_rivals = matcher(tmp_path / "rivals", text, rivals=0.999)
    nearly_all_alike = matcher(tmp_path / "alike", text, rivals=-1.0)
    logits = [
        one.logits(raised_right, one.vocabulary({LEFT: {"label": LEFT}}, {}))[0, 0]
        for one in (alone, with_rivals, nearly_all_alike)
    ]
    assert logits[1] < logits[0] - 0.1 and logits[2] == pytest.approx(logits[0], abs=1e-3)


def test_a_new_label_gets_its_bonus_and_a_label_from_training_does_not(text: TextEncoder, tmp_path: Path) -> None:
    feature, texts = np.array([[0.5, 0.3, 0, 0]], np.float32), {LEFT: {"label": LEFT}, "lift": {"label": "lift"}}
    plain, with_bonus = (matcher(tmp_path / f"{new}", text, new=new) for new in (0.0, 0.5))
    before, after = (one.logits(feature, one.vocabulary(texts, {}))[0] for one in (plain, with_bonus))
    np.testing.assert_allclose(after - before, [0, 0.5 * plain.settings.scale, 0], atol=1e-4)


def test_a_space_that_does_not_fit_is_refused(text: TextEncoder, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="parts: .*expected widths, one for each share"):
        aligned_bundle(tmp_path / "a", parts=[4], shares=[0.5, 0.5])
        Bundle.load(tmp_path / "a")
    with pytest.raises(BundleError, match="matcher.motion.weight: .*expected"):
        matcher(tmp_path / "b", text, parts=[3])


def test_standing_still_is_the_background(text: TextEncoder, tmp_path: Path) -> None:
    assert list(matcher(tmp_path / "tiny", text).settings.background) == [STILL]

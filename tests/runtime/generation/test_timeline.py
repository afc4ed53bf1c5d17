"""Descriptions of several actions."""

from typing import Any

import numpy as np
import pytest

from motionrt.runtime.errors import InputError
from motionrt.runtime.generation.generator import OUT_OF_RANGE, Generator
from motionrt.runtime.generation.timeline import parse_timeline, split_sequence, split_together


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator.load("default")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a person walks forward, then bows", ["a person walks forward", "a person bows"]),
        ("A man walks. Then he waves. He runs.", ["A man walks", "a person waves", "a person runs"]),
        ("someone jumps and then turns left", ["someone jumps", "a person turns left"]),
        ("a person walks.", ["a person walks."]),
        ("a person strengthens their arms", ["a person strengthens their arms"]),
    ],
)
def test_a_sequence_is_split_into_its_actions(text: str, parts: list[str]) -> None:
    assert split_sequence(text) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a person walks and waves", ("a person walks", "a person waves")),
        ("a woman lifts both arms while jogging", ("a person jogs", "a woman lifts both arms")),
        ("a man runs while putting a hand up", ("a man runs", "a person puts a hand up")),
        ("a person walks and turns left", None),
        ("a person waves and claps", None),
        ("a person walks", None),
    ],
)
def test_legs_and_arms_are_told_apart(text: str, parts: Any) -> None:
    assert split_together(text) == parts


def test_a_timeline_is_read() -> None:
    wanted = [("a person walks", 2.0), ("a person waves", 1.5)]
    assert parse_timeline("0-2 walks; 2-3.5 waves") == wanted == parse_timeline([(0, 2, "walks"), (2, 3.5, "waves")])


@pytest.mark.parametrize(
    ("timeline", "message"),
    [
        ("walks", 'expected "0-2 walks; 2-4 waves"'),
        ("0-2 walks; waves", 'expected "0-2 walks; 2-4 waves"'),
        ("0-2 walks; 3-4 waves", "from 3 to 4 s, expected it to begin at 2 s"),
        ("0-0 walks", "from 0 to 0 s"),
        ([], "timeline is empty"),
        ([1, 2], r"timeline is \[1, 2\], expected \(begin, end, text\)"),
        ("0-40 walks; 40-70 waves", "the timeline's length is 70"),
        ("0-0.1 walks", "part 0 of the timeline is 0.1"),
    ],
)
def test_a_timeline_of_another_form_is_rejected(generator: Generator, timeline: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        generator.generate(timeline=timeline)


def test_a_timeline_is_kept_and_goes_on_where_the_body_is(generator: Generator) -> None:
    motion = generator.generate(timeline="0-2 walks forward; 2-4 raises both hands", seed=1)
    assert (
        motion.frames == 80 and motion.meta["timeline"] == "0-2 a person walks forward; 2-4 a person raises both hands"
    )
    up = (motion.joints[:, 20:, 1] > motion.joints[:, 16:18, 1]).all(1)
    assert not up[:36].any() and up[50:].any()
    steps = np.linalg.norm(np.diff(motion.joints[:, 0, [0, 2]], axis=0), axis=1)
    assert steps[38:50].max() <= 1.2 * steps[:38].max()
    assert np.linalg.norm(motion.joints[35, 0, [0, 2]]) > 0.5
    with pytest.raises(InputError, match="timeline goes with neither text nor seconds nor seeds"):
        generator.generate("a person walks", timeline="0-2 walks")  # type: ignore[call-overload]
    with pytest.raises(InputError, match="text is None, expected a description of a motion, or a timeline"):
        generator.generate()


def test_several_actions_are_seen_and_one_is_generated_as_before(generator: Generator) -> None:
    texts = ["a person walks and raises both hands", "a person walks", "a person jumps, then walks"]
    motions = generator.generate(texts, seconds=4, seeds=[0, 5, 2])
    assert [motion.frames for motion in motions] == [80] * 3 and [motion.meta["text"] for motion in motions] == texts
    legs = sorted(set(range(22)) - {16, 17, 18, 19, 20, 21})
    walk = generator.generate("a person walks", seconds=4, seed=0)
    assert np.array_equal(motions[0].joints[:, legs], walk.joints[:, legs])
    assert (motions[0].joints[:, 20:, 1] > motions[0].joints[:, 16:18, 1]).all(1).sum() > 20
    assert np.abs(motions[1].joints - generator.generate(texts[1], seconds=4, seed=5).joints).max() < 1e-4
    assert np.array_equal(motions[2].joints, generator.generate(texts[2], seconds=4, seed=2).joints)
    plain = generator.generate(texts[0], seconds=4, seed=0, split=False)
    assert "timeline" not in plain.meta and not np.array_equal(plain.joints, motions[0].joints)


def test_a_description_unlike_the_training_has_little_confidence(generator: Generator) -> None:
    assert [name for name, _ in generator.nearest_actions("someone is running", k=2)][0] == "run"
    assert generator.nearest_actions("someone is running", k=100)[-1][1] < OUT_OF_RANGE
    known, unknown = "a person waves with the right hand", "a person plays the guitar"
    motions = generator.generate([known, unknown, f"{known}, then plays the guitar"], seconds=2)
    found = [motion.meta["confidence"] for motion in motions]
    assert found[0] > 0.7 and found[1] < OUT_OF_RANGE
    assert found[2] == pytest.approx(found[1]), "that of the least known action"
    assert generator.edit(motions[0], unknown, slice(10, 20)).meta["confidence"] == pytest.approx(found[1])
    with pytest.raises(InputError, match="has no word that the text encoder knows, expected English"):
        generator.nearest_actions("挥手")

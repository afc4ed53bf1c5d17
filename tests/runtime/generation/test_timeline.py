"""Descriptions of several actions."""

from typing import Any

import numpy as np
import pytest

from motionrt.runtime.body.canonical import SMPL, heading
from motionrt.runtime.errors import InputError
from motionrt.runtime.generation.generator import OUT_OF_RANGE, Generator
from motionrt.runtime.generation.timeline import (
    leaves_floor,
    parse_timeline,
    split_circle,
    split_count,
    split_half_turn,
    split_sequence,
    split_together,
)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator.load("default")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a person walks forward, then bows", ["a person walks forward", "a person bows"]),
        ("A man walks. Then he waves. He runs.", ["A man walks", "a person waves", "a person runs"]),
        ("someone jumps and then turns left", ["someone jumps", "a person turns left"]),
        ("jumps twice and bows", ["a person jumps twice", "a person bows"]),
        ("a man runs and turns around", ["a man runs", "a person turns around"]),
        ("a man turns around and faces the other way", ["a man turns around and faces the other way"]),
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


@pytest.mark.parametrize(
    ("text", "once"),
    [
        ("a person bows once", ("a person bows", 1)),
        ("a man kicks two times with the left leg", ("a man kicks with the left leg", 2)),
        ("someone claps, 10 times", ("someone claps", 10)),
        ("a boxer throws three punches", ("a boxer throws a punch", 3)),
        ("a person does two overhead lifts", ("a person does an overhead lift", 2)),
        ("a person waves with both hands at once", ("a person waves with both hands at once", 0)),
        ("a person bows once more", ("a person bows once more", 0)),
        ("a person takes three steps", ("a person takes three steps", 0)),
        ("a person jumps 11 times", ("a person jumps 11 times", 0)),
    ],
)
def test_an_action_is_told_from_its_count(text: str, once: Any) -> None:
    assert split_count(text) == once


def test_half_turns_and_circles_are_told_from_other_turns() -> None:
    assert split_half_turn("a man turns around slowly") == ["a man turns to the left slowly"] * 2
    assert split_half_turn("a person turns left") == ["a person turns left"]
    assert split_circle("a woman jogs around in a big circle") == ("a woman jogs", 1)
    assert split_circle("a person walks a full circle to the right") == ("a person walks", -1)
    assert split_circle("a person walks clockwise in circles") == ("a person walks", -1)
    assert split_circle("a person walks counterclockwise in a circle") == ("a person walks", 1)
    assert split_circle("a person draws a circle") is None


def test_jumps_and_stairs_leave_the_floor() -> None:
    assert all(map(leaves_floor, ("a person hops", "someone is jumping", "a man walks up the stairs")))
    assert not any(map(leaves_floor, ("a person steps aside", "a person runs", "a woman picks up a box")))


def test_a_counted_action_is_repeated_and_lasts_as_long_as_is_said(generator: Generator) -> None:
    twice = generator.generate("a person raises both hands twice", seed=1)
    assert twice.meta["timeline"] == "0-1.6 a person raises both hands; 1.6-3.2 a person raises both hands"
    up = (twice.joints[:, 20:, 1] > twice.joints[:, 16:18, 1]).all(1).astype(int)
    assert (np.diff(up, prepend=0) == 1).sum() == 2
    once = generator.generate("a person raises both hands once", seed=1)
    np.testing.assert_allclose(once.joints, twice.joints[:32], atol=1e-5)
    assert generator.generate("a person raises both hands twice", seconds=6, seed=1).frames == 120


def test_a_walk_in_a_circle_ends_where_it_began(generator: Generator) -> None:
    joints = generator.generate("a person walks in a circle to the right", seed=1).joints
    facing, at = heading(joints, SMPL), joints[:, 0, [0, 2]]
    assert abs(np.degrees(facing[-1] - facing[0]) - 360) < 45 and abs(facing[0]) < 1e-3
    assert np.linalg.norm(at[-1]) < 0.1 and at[:, 0].min() < -1 and at[:, 0].max() < 0.2


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

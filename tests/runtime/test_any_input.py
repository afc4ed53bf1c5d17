"""Whatever is done to a recording, it is recognized as before or reported: never silent nonsense.

A change turns a clip into what somebody might hand in. `SAME` changes must not matter; any other must be refused, or
logged in a warning.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motionrt import Decision, InputError, Motion, Recognizer
from motionrt.runtime.body.layout import Layout

SCORE = 0.05  # by which the score of a clip may change
PEOPLE = 6
CONVENTIONS = json.loads((Path(__file__).parent / "body" / "joint_names.json").read_text(encoding="utf-8"))[
    "conventions"
]
COMPLETE = {name for name, convention in CONVENTIONS.items() if convention["layout"] == "smpl22"}  # with neck and toes

Change = Callable[[Motion], Motion]
load = cache(Recognizer.load)


@dataclass(frozen=True)
class Case:
    """A change of a clip.

    `mirrored`: left and right are exchanged in the label, too; the score may change.
    """

    name: str
    change: Change
    mirrored: bool = False

    def __repr__(self) -> str:
        return self.name


def scaled(factor: float) -> Case:
    return Case(f"scaled by {factor:g}", lambda motion: replace(motion, joints=motion.joints * np.float32(factor)))


def shifted(x: float, z: float) -> Case:
    return Case(
        f"shifted by {x:g}, {z:g}", lambda motion: replace(motion, joints=motion.joints + np.float32([x, 0, z]))
    )


def turned(angle: float) -> Case:
    """Turned about the vertical."""
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], np.float32)
    return Case(f"turned by {angle:.2f}", lambda motion: replace(motion, joints=motion.joints @ matrix.T))


def axes(order: tuple[int, int, int], signs: tuple[int, int, int]) -> Case:
    """Other axes, right-handed as ours: a change of sign turns those that are not."""
    if np.linalg.det(np.eye(3)[list(order)]) * np.prod(signs) < 0:
        signs = (-signs[0], *signs[1:])
    return Case(
        f"axes {order} {signs}",
        lambda motion: replace(motion, joints=motion.joints[..., list(order)] * np.float32(signs)),
    )


def mirrored() -> Case:
    def change(motion: Motion) -> Motion:
        swapped = motion.joints[..., Layout.load(motion.layout).mirror, :] * np.float32([-1, 1, 1])
        return replace(motion, joints=swapped)

    return Case("mirrored", change, mirrored=True)


def in_slot(slot: int, filling: float) -> Case:
    """In one of six slots of a sensor, of which the others hold one point."""

    def change(motion: Motion) -> Motion:
        joints = np.full((motion.frames, PEOPLE, *motion.joints.shape[1:]), filling, np.float32)
        joints[:, slot] = motion.joints
        return replace(motion, joints=joints)

    return Case(f"in slot {slot} among {filling:g}", change)


def timed(factor: float) -> Case:
    """With timestamps in another unit."""
    return Case(f"times by {factor:g}", lambda motion: replace(motion, timestamps=motion.times * factor))


def numbered() -> Case:
    return Case("frame numbers", lambda motion: replace(motion, timestamps=np.arange(motion.frames) * 1.0))


def starting(at: float) -> Case:
    return Case(f"starting at {at:g} s", lambda motion: replace(motion, timestamps=motion.times + at))


def renamed(convention: str, seed: int) -> Case:
    """In the joint names of a convention, in any order, as a file would hold them."""

    def change(motion: Motion) -> Motion:
        layout = Layout.load(CONVENTIONS[convention]["layout"])
        joints = layout.map_from(Layout.load(motion.layout)) @ motion.joints
        columns = {name: joints[:, layout.joints.index(at)] for at, name in CONVENTIONS[convention]["joints"].items()}
        columns |= {name: np.full_like(joints[:, 0], 99.0) for name in CONVENTIONS[convention]["others"]}
        names = list(columns)
        np.random.default_rng(seed).shuffle(names)
        found, order = Layout.match(names, dims=3)
        return replace(motion, joints=np.stack([columns[names[i]] for i in order], axis=1), layout=found.name)

    return Case(f"as {convention}", change)


def is_no_size_of_people(factor: float) -> bool:
    """Exclude factors that turn an adult into a child or a giant: no unit does that."""
    return not 0.15 < factor < 2.7


SAME = st.one_of(
    st.builds(shifted, st.floats(-20, 20), st.floats(-20, 20)),
    st.builds(turned, st.floats(-np.pi, np.pi)),
    st.just(mirrored()),
    st.builds(in_slot, st.integers(0, PEOPLE - 1), st.sampled_from([0.0, 1.0, -3.5])),
    st.builds(starting, st.sampled_from([-5.0, 3600.0, 1.7e9])),
    st.builds(renamed, st.sampled_from(sorted(COMPLETE)), st.integers(0, 100)),
)
ANY = st.one_of(
    st.builds(scaled, st.sampled_from([0.001, 0.01, 0.0254, 0.1, 3.28, 10, 39.37, 100, 1000, 1e6])),
    st.builds(scaled, st.floats(-9, 9).map(lambda exponent: 10**exponent).filter(is_no_size_of_people)),
    st.builds(
        axes,
        st.sampled_from([(0, 2, 1), (1, 2, 0), (2, 0, 1), (1, 0, 2), (0, 1, 2)]),
        st.tuples(*[st.sampled_from([-1, 1])] * 3),
    ),
    st.builds(timed, st.sampled_from([1e-3, 1e3, 1e6, 1e7, 1e9])),
    st.just(numbered()),
)


def swap_sides(label: str) -> str:
    sides = {"left": "right", "right": "left"}
    return " ".join(sides.get(word, word) for word in label.split())


def is_as_before(before: Decision, after: Decision, case: Case) -> bool:
    label = swap_sides(before.label) if case.mirrored else before.label
    return after.label == label and (case.mirrored or abs(after.score - before.score) < SCORE)


@contextmanager
def warnings() -> Iterator[list[str]]:
    """Collects what is logged: hypothesis runs many examples with one `caplog`."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("motionrt")
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def recognize(motion: Motion) -> Decision:
    return load("live").clone().recognize(motion)


@pytest.fixture(scope="module")
def expected(samples: list[Motion]) -> list[Decision]:
    found = [recognize(motion) for motion in samples]
    assert len({decision.label for decision in found}) >= 3
    return found


examples = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@examples
@given(data=st.data(), case=SAME)
def test_what_does_not_matter_changes_nothing(
    data: st.DataObject, case: Case, samples: list[Motion], expected: list[Decision]
) -> None:
    i = data.draw(st.integers(0, len(samples) - 1))
    with warnings() as found:
        after = recognize(case.change(samples[i]))
    assert is_as_before(expected[i], after, case), (expected[i], after)
    assert found == []


@examples
@given(data=st.data(), start=st.integers(0, 60), frames=st.integers(1, 40))
def test_zeros_for_a_while_are_missing_joints(
    data: st.DataObject, start: int, frames: int, samples: list[Motion]
) -> None:
    motion = data.draw(st.sampled_from(samples))
    found = []
    for missing in (0, np.nan):
        joints = motion.joints.copy()
        joints[start : start + frames] = missing
        found.append(recognize(replace(motion, joints=joints)).probs)
    np.testing.assert_array_equal(*found)


@examples
@given(data=st.data(), case=ANY)
def test_anything_else_is_recognized_as_before_or_reported(
    data: st.DataObject, case: Case, samples: list[Motion], expected: list[Decision]
) -> None:
    i = data.draw(st.integers(0, len(samples) - 1))
    with warnings() as found:
        try:
            after = recognize(case.change(samples[i]))
        except InputError as error:
            assert "\n" not in str(error)
            return
    assert found or is_as_before(expected[i], after, case), (expected[i], after)


@examples
@given(data=st.data(), case=ANY)
def test_a_stream_starts_no_other_action_without_a_report(
    data: st.DataObject, case: Case, samples: list[Motion]
) -> None:
    motion = data.draw(st.sampled_from(samples))
    recognizer, alone = load("live").clone(), load("live").clone()
    onsets, before = set(), set()
    with warnings() as found:
        for t, joints, pose in zip(motion.times, case.change(motion).joints, motion.joints, strict=True):
            out = alone.step(pose, t, layout=motion.layout)
            before |= {out.event_label} if out.event == "onset" else set()
            try:
                out = recognizer.step(joints, t, layout=motion.layout)
            except InputError:
                return
            onsets |= {out.event_label} if out.event == "onset" else set()
    assert found or onsets <= before, (onsets, before)

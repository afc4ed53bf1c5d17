"""Labels, training clips and validation clips."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from motionrt.training.data import vocabulary
from motionrt.training.data.clips import LabeledClip, clip_sets

VALIDATION = {  # labeled clips of the data folder's sets
    **{"bandai": 325, "nw-ucla": 194, "msr-action3d": 114, "utkinect": 40, "florence3d": 42, "utd-mhad": 183},
    **{"kinder-gator": 120, "iri-gesture": 36, "irds": 61, "hdm05": 36, "lafan1-g1": 191, "jhmdb": 144},
}


def bandai(content: str = "bow", take: int = 1, set_: int = 2, style: str = "normal") -> dict[str, Any]:
    return {"content": content, "take": take, "set": set_, "style": style}


def kinect(ds: str, subject: int, view: int = 1, action: str = "wave") -> dict[str, Any]:
    return {"ds": ds, "action": action, "subject": subject, "view": view}


def test_there_are_57_labels_and_none_is_not_one_of_them() -> None:
    labels = vocabulary.labels()
    assert len(labels) == len(set(labels)) == 57
    assert list(labels) == sorted(labels)
    assert not {vocabulary.NONE, vocabulary.ONE_HAND, vocabulary.FALL} & set(labels)
    assert set(vocabulary.FALLS) <= set(labels)


def test_mirrored_labels_are_labels_and_mirror_back() -> None:
    for name, other in vocabulary.MIRRORED.items():
        assert name != other and vocabulary.MIRRORED[other] == name
        assert {name, other} <= set(vocabulary.open_labels())
    sided = {name for name in vocabulary.open_labels() if "left" in name or "right" in name}
    assert sided == set(vocabulary.MIRRORED), "a label that names a side must change when a clip is mirrored"


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (bandai("walk-back"), "walk"),
        (bandai("dance-short"), "dance"),
        (bandai("respond"), None),
        (kinect("utkinect", 1, action="clap hands"), "clap"),
        (kinect("msr-action3d", 1, action="jogging"), "run"),
        (kinect("nw-ucla", 1, action="an action that came later"), None),
        ({"trial": "01_02", "desc": "playground - climb"}, None),
        ({"id": "b", "label": "walk", "desc": "a person walks"}, "walk"),
        ({"ds": "cmu", "label": "dance"}, "dance"),
        ({"ds": "cmu", "label": "basketball"}, None),
        ({"ds": "utd-mhad", "label": "arm curl"}, "bend elbow"),
        ({"ds": "utd-mhad", "label": "knock"}, None),
        ({"ds": "hdm05", "label": "put down"}, None),
        ({"ds": "lafan1-g1", "label": "fall and get up"}, vocabulary.FALL),
        ({"ds": "irds", "label": "raise left hand"}, vocabulary.ONE_HAND),
    ],
)
def test_a_record_has_the_label_of_its_set(record: dict[str, Any], name: str | None) -> None:
    assert vocabulary.label(record) == name


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (bandai("walk-back"), "walk backwards"),
        (bandai("wave-left-hand"), "wave"),
        (bandai("walk-left"), None),
        ({"ds": "utd-mhad", "action": "jogging in place", "label": "run"}, "run in place"),
        ({"ds": "utd-mhad", "label": "knock"}, "knock"),
        ({"ds": "iri-gesture", "label": "point to the left"}, "point left"),
        ({"ds": "iri-gesture", "label": "random"}, None),
        (
            {"ds": "irds", "action": "shoulder abduction left", "label": "raise arm to the side"},
            "raise left arm to the side",
        ),
        ({"ds": "ase", "action": "Sword_ParryLeft", "label": "sword and shield"}, "parry"),
        ({"ds": "lafan1-g1", "label": "fall and get up"}, vocabulary.FALL),
    ],
)
def test_a_record_has_a_label_of_the_open_vocabulary(record: dict[str, Any], name: str | None) -> None:
    assert vocabulary.open_label(record) == name


def test_sets_without_a_validation_fold_hold_out_a_quarter_of_their_clips() -> None:
    records = [{"ds": "ase", "id": f"clip {i}", "label": "sword attack"} for i in range(400)]
    held_out = [record for record in records if vocabulary.is_open_held_out(record)]
    assert 60 < len(held_out) < 140
    for record in records:
        assert vocabulary.is_open_trainable(record) != vocabulary.is_open_validation(record)
    assert vocabulary.is_open_held_out({"ds": "utd-mhad", "label": "knock", "subject": 4})


@pytest.mark.parametrize(
    ("record", "unknown", "usable"),
    [
        (bandai("respond"), True, True),
        (bandai("dance-short"), False, True),
        ({"ds": "utd-mhad", "label": "knock"}, True, True),
        ({"ds": "hdm05", "label": "put down"}, False, False),
        ({"ds": "hdm05", "label": "an action that came later"}, False, False),
        ({"ds": "hdm05", "label": "hop"}, False, True),
        ({"ds": "cmu", "label": "basketball"}, False, False),
        (bandai("bow"), False, True),
        ({"id": "a", "label": "crawl", "desc": "a person crawls"}, True, True),
        ({"id": "b", "label": "walk", "desc": "a person walks"}, False, True),
        ({"id": "c", "desc": "Run/Jog"}, False, False),
        ({"id": "f", "desc": "run/jog"}, False, True),
        ({"id": "d", "desc": None}, False, False),
        ({"id": "e"}, False, False),
    ],
)
def test_only_what_surely_has_no_label_is_unknown(record: dict[str, Any], unknown: bool, usable: bool) -> None:
    assert vocabulary.is_unknown(record) is unknown
    assert vocabulary.is_usable(record) is usable


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (bandai(), "bandai"),
        (kinect("utkinect", 1), "utkinect"),
        ({"ds": "irds", "label": "side step"}, "irds"),
        ({"ds": "cmu", "label": "walk"}, "other"),
        ({"id": "a"}, "other"),
    ],
)
def test_a_record_names_its_set(record: dict[str, Any], name: str) -> None:
    assert vocabulary.source(record) == name
    assert name in vocabulary.sources()


@pytest.mark.parametrize(
    ("record", "held_out", "in_validation"),
    [
        (bandai(take=7), False, False),
        (bandai(take=8), True, True),
        (bandai(take=24), True, True),
        (bandai(set_=1, style="old"), True, True),
        (bandai(set_=2, style="old"), False, False),
        (bandai(set_=1, style="active"), False, False),
        (kinect("nw-ucla", 2, view=1), True, True),
        (kinect("nw-ucla", 9, view=2), True, True),
        (kinect("nw-ucla", 2, view=3), True, False),  # the same person, seen by the camera of the test view
        (kinect("nw-ucla", 1, view=1), False, False),
        (kinect("msr-action3d", 3), True, True),
        (kinect("msr-action3d", 2), False, False),
        (kinect("utkinect", 8), True, True),
        (kinect("florence3d", 3), False, False),
        (kinect("a set without a fold", 2), False, False),
    ],
)
def test_folds_are_those_of_the_vocabulary(record: dict[str, Any], held_out: bool, in_validation: bool) -> None:
    assert vocabulary.is_held_out(record) is held_out
    assert vocabulary.is_validation(record) is in_validation


def test_the_small_folder_has_clips_of_every_kind(clips: list[LabeledClip]) -> None:
    """The other tests rely on this."""
    kinds = Counter(
        (vocabulary.is_held_out(c.record), vocabulary.is_validation(c.record), c.label is not None) for c in clips
    )
    labeled = {(True, True, True), (True, False, True), (False, False, True)}
    assert set(kinds) == labeled | {(True, True, False), (True, False, False), (False, False, False)}
    assert {clip.source for clip in clips} == {
        "bandai",
        "nw-ucla",
        "msr-action3d",
        "utkinect",
        "florence3d",
        "other",
    }


def test_the_real_folds(shared: Path) -> None:
    records = [record for clip_set in clip_sets(shared) for record in clip_set.clips]
    validation = [r for r in records if vocabulary.is_validation(r)]
    assert all(vocabulary.is_held_out(r) for r in validation)
    labeled = Counter(vocabulary.source(r) for r in validation if vocabulary.label(r))
    assert labeled == VALIDATION
    assert {vocabulary.source(r) for r in records} <= set(vocabulary.sources())
    trained = [r for r in records if not vocabulary.is_held_out(r)]
    found = {vocabulary.label(r) for r in trained} - {None, vocabulary.ONE_HAND, vocabulary.FALL}
    assert found == set(vocabulary.labels())
    people = {(r["ds"], r["subject"]) for r in validation if "subject" in r and "ds" in r}
    assert not people & {(r["ds"], r["subject"]) for r in trained if "ds" in r and "subject" in r}

"""The labels of `live` and the validation folds (`vocabulary.json`), and the open vocabulary (`open_labels.json`)."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any
from zlib import crc32

NONE = "none"
BACKGROUND = "standing still"  # the text that represents no action
ONE_HAND = "raise one hand"  # of a record that does not tell which; see `clips.labeled`
ONE_ARM = "raise one arm to the side"  # the same in the open vocabulary; see `open_clips`
MIRRORED = {
    "point left": "point right",
    "point right": "point left",
    "raise left arm to the side": "raise right arm to the side",
    "raise left hand": "raise right hand",
    "raise right arm to the side": "raise left arm to the side",
    "raise right hand": "raise left hand",
    "swipe left": "swipe right",
    "swipe right": "swipe left",
    "turn left": "turn right",
    "turn right": "turn left",
}
TURNS = ("turn left", "turn right")
SHIPPED_SAMPLES = ("12_01",)  # recordings of other sources that ship with the package
VALIDATION_STYLES = ("old", "proud", "angry")  # of Bandai's first set
KINECT_SETS = ("nw-ucla", "msr-action3d", "utkinect", "florence3d")
FALL = "fall and get up"  # a clip that shows both
FALLS = ("lie down", "get up")
NEAR_LABELS = (  # too near to labels to be unknown
    *("walk", "run", "jog", "kick", "punch", "sit", "get up", "signal", "jump", "dance", "danc", "basketball"),
    *("exercise", "activities", "squat", "martial", "soccer"),
)


@cache
def _vocabulary() -> dict[str, Any]:
    return json.loads(files(__package__).joinpath("vocabulary.json").read_text())


@cache
def _open() -> dict[str, Any]:
    return json.loads(files(__package__).joinpath("open_labels.json").read_text())


def labels() -> tuple[str, ...]:
    """The actions, sorted."""
    table = _vocabulary()
    tables = [table["kinect20"], table["bandai22"], table["other"], *table["sets"].values()]
    names = {name for names in tables for name in names.values()} | set(FALLS)
    return tuple(sorted(names - {None, NONE, ONE_HAND, FALL}))


def sources() -> tuple[str, ...]:
    """The data sets with labels, those of `kinect20` apart from each other."""
    return (*KINECT_SETS, "bandai", *_vocabulary()["sets"], "other")


def source(record: dict[str, Any]) -> str:
    """The data set of a clip, see `sources`; "other" if its record names none."""
    if "content" in record:
        return "bandai"
    name = str(record.get("ds", "other"))
    return "other" if name == "cmu" else name


def terms(source: str) -> str:
    """A data set's name, and the terms that it states for its motion."""
    return json.loads(files(__package__).joinpath("terms.json").read_text())["terms"][source]


def label(record: dict[str, Any]) -> str | None:
    """The label of a clip; None if the vocabulary has none for it."""
    name = _mapped(record)
    return None if name == NONE else name


def is_unknown(record: dict[str, Any]) -> bool:
    """True if a clip's action has no label, so that the correct prediction is `none`."""
    if source(record) == "bandai" or source(record) in KINECT_SETS:
        return _mapped(record) is None
    if source(record) != "other":
        return _mapped(record) == NONE
    words = f"{record.get('label') or ''} {record.get('desc') or ''}".lower()
    return bool(words.strip()) and not any(word in words for word in NEAR_LABELS)


def _mapped(record: dict[str, Any]) -> str | None:
    table, name = _vocabulary(), source(record)
    if name == "bandai":
        return table["bandai22"].get(record["content"])
    if name in KINECT_SETS:
        return table["kinect20"].get(record["action"])
    if name == "other":
        return table["other"].get(record.get("label") or record.get("desc"))
    return table["sets"].get(name, {}).get(record.get("label"))


def is_usable(record: dict[str, Any]) -> bool:
    """True if a clip is useful for training: it has a label, or certainly none of the labels."""
    return label(record) is not None or is_unknown(record)


def recording(record: dict[str, Any]) -> str:
    """The recording that a clip of source `other` was cut from; a recording can have several clips."""
    return str(record.get("cmu_trial") or record.get("trial") or record.get("id"))


def is_held_out(record: dict[str, Any]) -> bool:
    """True if a clip must not be trained on: a validation clip, or any clip of a validation subject."""
    if source(record) == "bandai":
        return record["take"] % 8 == 0 or (record["set"] == 1 and record["style"] in VALIDATION_STYLES)
    if (
        source(record) == "other"
    ):  # no fold in the vocabulary: a fixed quarter of the recordings, and the shipped samples
        return crc32(recording(record).encode()) % 4 == 0 or recording(record) in SHIPPED_SAMPLES
    if source(record) == "jhmdb":
        return record["split1"] == "test"
    fold = _vocabulary()["validation"].get(source(record))
    return fold is not None and record["subject"] in fold["subjects"]


def is_trainable(record: dict[str, Any]) -> bool:
    """True if a clip is useful for training and not held out."""
    return not is_held_out(record) and is_usable(record)


def is_validation(record: dict[str, Any]) -> bool:
    """True if a clip belongs to its set's validation fold."""
    if source(record) == "jhmdb":
        return is_held_out(record)
    fold = _vocabulary()["validation"].get(source(record))
    return fold is not None and is_held_out(record) and ("views" not in fold or record["view"] in fold["views"])


def open_labels() -> tuple[str, ...]:
    """The labels of the open vocabulary, sorted: `labels`, and actions that have none there."""
    return tuple(sorted(_open()["alternates"].keys() - {BACKGROUND}))


def alternates(label: str) -> list[str]:
    """Other names of a label of the open vocabulary or `BACKGROUND`."""
    names: list[str] = _open()["alternates"][label]
    return names


def open_label(record: dict[str, Any]) -> str | None:
    """The label of a clip in the open vocabulary; None if it has none."""
    table: dict[str, str | None] = _open()["sets"].get(source(record), {})
    own = (record.get(key) for key in ("content", "action", "label", "desc"))
    return next((table[name] for name in own if name in table), label(record))


def is_open_held_out(record: dict[str, Any]) -> bool:
    """As `is_held_out`; of sets without a validation fold, it is also a fixed quarter of the clips."""
    if source(record) in (*_vocabulary()["validation"], "other", "jhmdb"):
        return is_held_out(record)
    return crc32(str(record.get("id") or record.get("file")).encode()) % 4 == 0


def is_open_trainable(record: dict[str, Any]) -> bool:
    """True if a clip is not held out and has a label of the open vocabulary, or certainly none."""
    return not is_open_held_out(record) and (open_label(record) is not None or is_unknown(record))


def is_open_validation(record: dict[str, Any]) -> bool:
    """True if a clip belongs to its set's validation fold, or is held out of a set that has none."""
    has_fold = source(record) in _vocabulary()["validation"]
    return is_validation(record) if has_fold else is_open_held_out(record)

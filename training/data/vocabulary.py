"""The labels of `live` and the validation folds, from `vocabulary.json`."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any
from zlib import crc32

NONE = "none"
MIRRORED = {
    "raise left hand": "raise right hand",
    "raise right hand": "raise left hand",
    "turn left": "turn right",
    "turn right": "turn left",
}
SOURCES = ("nw-ucla", "msr-action3d", "utkinect", "florence3d", "bandai")
UNMAPPED_SETS = frozenset(
    ("cmumore22", "gestures20", "hdm22", "irds25", "irigesture_mp33", "jhmdb15", "kindergator20", "lafan22w")
    + ("robotmix22", "styles22", "utdmhad20", "yoga_mp33")
)  # data sets whose labels are not mapped to the vocabulary yet
OTHER_LABELS = {"walk": "walk", "run": "run", "run/jog": "run"}
SHIPPED_SAMPLES = ("12_01",)  # recordings of other sources that ship with the package
VALIDATION_STYLES = ("old", "proud", "angry")  # of Bandai's first set
NEAR_LABELS = ("walk", "run", "jog", "kick", "punch", "sit", "get up", "signal")  # too near to labels to be unknown


@cache
def _vocabulary() -> dict[str, Any]:
    return json.loads(files(__package__).joinpath("vocabulary.json").read_text())


def labels() -> tuple[str, ...]:
    """The forty actions, sorted."""
    table = _vocabulary()
    return tuple(sorted({name for key in ("kinect20", "bandai22") for name in table[key].values() if name}))


def source(record: dict[str, Any]) -> str:
    """The collection of a clip: nw-ucla, msr-action3d, utkinect, florence3d, bandai or other."""
    return record.get("ds") or ("bandai" if "content" in record else "other")


def label(record: dict[str, Any]) -> str | None:
    """The label of a clip; None if the vocabulary has none for it."""
    table = _vocabulary()
    if "ds" in record:
        return table["kinect20"].get(record["action"])
    return table["bandai22"].get(record.get("content"))


def is_unknown(record: dict[str, Any]) -> bool:
    """True if a clip's action has no label, so that the correct prediction is `none`."""
    if source(record) != "other":
        return label(record) is None
    words = f"{record.get('label') or ''} {record.get('desc') or ''}".lower()
    return bool(words.strip()) and not any(word in words for word in NEAR_LABELS)


def training_label(record: dict[str, Any]) -> str | None:
    """The label a clip is trained with: its own or, for walks and runs of other sources, the obvious one.

    Without these, all motion of other sources would be `none`.
    """
    text = record.get("label") or record.get("desc")
    return label(record) or (OTHER_LABELS.get(text) if text and source(record) == "other" else None)


def is_usable(record: dict[str, Any]) -> bool:
    """True if a clip is useful for training: it has a label, or certainly none of the labels."""
    return training_label(record) is not None or is_unknown(record)


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
    fold = _vocabulary()["validation"].get(source(record))
    return fold is not None and record["subject"] in fold["subjects"]


def is_trainable(record: dict[str, Any]) -> bool:
    """True if a clip is useful for training and not held out."""
    return not is_held_out(record) and is_usable(record)


def is_validation(record: dict[str, Any]) -> bool:
    """True if a clip belongs to its set's validation fold."""
    fold = _vocabulary()["validation"].get(source(record))
    return fold is not None and is_held_out(record) and ("views" not in fold or record["view"] in fold["views"])

"""Seen and unseen classes of zero-shot models (`zero_shot_splits.json`), and sentences that describe classes.

Source of the published splits: SynSE (Gupta et al. 2021), SMIE (Zhou et al. 2023) and PURLS (Zhu et al. 2024), from
their released code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ...runtime.bundles.schema import SLOTS
from ...runtime.errors import InputError
from .vocabulary import BACKGROUND as BACKGROUND
from .vocabulary import label as vocabulary_label
from .vocabulary import open_labels

VOCABULARY = "vocabulary"  # the data set of the labels of the open vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Ascending class numbers from 0, in the order of the data set or of `open_labels()`."""

    name: str
    seen: tuple[int, ...]
    unseen: tuple[int, ...]


@cache
def _read(name: str) -> dict[str, Any]:
    return json.loads(files(__package__).joinpath(name).read_text())


def class_names(dataset: str) -> tuple[str, ...]:
    """Class names of a data set, in its order.

    Raises:
        InputError: not a data set of `splits`.
    """
    if dataset == VOCABULARY:
        return open_labels()
    split = next(iter(splits(dataset).values()))
    names = _read("class_names.json")["ntu120" if dataset == "ntu60" else dataset]
    return tuple(names[: len(split.seen) + len(split.unseen)])


def splits(dataset: str = VOCABULARY) -> dict[str, Split]:
    """All splits of a data set, by name.

    Args:
        dataset: "ntu60", "ntu120", "pku-mmd" or "vocabulary".
    Raises:
        InputError: another data set.
    """
    tables = _read("zero_shot_splits.json")
    if dataset == VOCABULARY:
        index = {label: i for i, label in enumerate(open_labels())}
        return {
            name: _split(name, [index[label] for label in unseen], len(index))
            for name, unseen in tables[VOCABULARY]["splits"].items()
        }
    if dataset not in tables["published"]:
        known = ", ".join((*tables["published"], VOCABULARY))
        raise InputError(f"no zero-shot splits of {dataset!r}, expected one of {known}")
    table = tables["published"][dataset]
    return {name: _split(name, unseen, table["classes"]) for name, unseen in table["unseen"].items()}


def unseen_labels(split: str | None) -> frozenset[str]:
    """Labels of the open vocabulary that are unseen in a split; empty without a split."""
    return frozenset(open_labels()[k] for k in splits()[split].unseen) if split else frozenset()


@cache
def descriptions() -> dict[str, str]:
    """A sentence on the motion of each label of the open vocabulary and of `BACKGROUND`."""
    return _read("descriptions.json")["labels"]


def part_sentences(label: str) -> dict[str, str]:
    """A sentence on each part of the body, for a label of the open vocabulary, a Kinect set's action or `BACKGROUND`.

    Raises:
        InputError: another label.
    """
    table = _read("parts.json")
    parts: list[str] | None = table["actions"].get(label) or table["actions"].get(
        vocabulary_label({"ds": "nw-ucla", "action": label})
    )
    if parts is None:
        raise InputError(f"parts.json has no sentences on {label!r}")
    return dict(zip(table["parts"], parts, strict=True))


def sentences(label: str) -> dict[str, str]:
    """All sentences on a label of the open vocabulary or `BACKGROUND`, by slot (see `SLOTS`)."""
    return dict(zip(SLOTS, (label, descriptions()[label], *part_sentences(label).values()), strict=True))


def attributes() -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Attributes of motion [A]: of each label of the open vocabulary and of `BACKGROUND`; of other actions."""
    table = _read("attributes.json")
    labels, others = (
        {name: [row.get(attribute, 0.0) for attribute in table["attributes"]] for name, row in table[key].items()}
        for key in ("labels", "others")
    )
    return labels, others


def similar_labels() -> list[list[str]]:
    """Groups of labels too similar for one to be seen and another unseen."""
    groups: list[list[str]] = _read("zero_shot_splits.json")[VOCABULARY]["alike"]
    return groups


def _split(name: str, unseen: list[int], classes: int) -> Split:
    hidden = sorted(unseen)
    seen = tuple(k for k in range(classes) if k not in hidden)
    return Split(name=name, seen=seen, unseen=tuple(hidden))

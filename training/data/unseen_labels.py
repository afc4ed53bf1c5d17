"""Which classes zero-shot models see in training and which they do not, as data: `zero_shot_splits.json`.

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
from .vocabulary import label as ours
from .vocabulary import labels

VOCABULARY = "vocabulary"  # the data set of our own labels
BACKGROUND = "standing still"  # what is no action, and matched to tell


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Classes by their number from 0, rising: of a published data set as it counts them, of our own as `labels()`."""

    name: str
    seen: tuple[int, ...]
    unseen: tuple[int, ...]


@cache
def _read(name: str) -> dict[str, Any]:
    return json.loads(files(__package__).joinpath(name).read_text())


def class_names(dataset: str) -> tuple[str, ...]:
    """What the classes of a data set are called, in its order.

    Raises:
        InputError: another one than of `splits`.
    """
    if dataset == VOCABULARY:
        return labels()
    split = next(iter(splits(dataset).values()))
    names = _read("class_names.json")["ntu120" if dataset == "ntu60" else dataset]
    return tuple(names[: len(split.seen) + len(split.unseen)])


def splits(dataset: str = VOCABULARY) -> dict[str, Split]:
    """All splits of a data set, by name.

    Args:
        dataset: "ntu60", "ntu120", "pku-mmd" or "vocabulary".
    Raises:
        InputError: another one.
    """
    tables = _read("zero_shot_splits.json")
    if dataset == VOCABULARY:
        place = {label: i for i, label in enumerate(labels())}
        return {
            name: _split(name, [place[label] for label in unseen], len(place))
            for name, unseen in tables[VOCABULARY]["splits"].items()
        }
    if dataset not in tables["published"]:
        known = ", ".join((*tables["published"], VOCABULARY))
        raise InputError(f"no zero-shot splits of {dataset!r}, expected one of {known}")
    table = tables["published"][dataset]
    return {name: _split(name, unseen, table["classes"]) for name, unseen in table["unseen"].items()}


def unseen_labels(split: str | None) -> frozenset[str]:
    """Our labels that are unseen in a split; none where there is no split."""
    return frozenset(labels()[k] for k in splits()[split].unseen) if split else frozenset()


@cache
def descriptions() -> dict[str, str]:
    """What the body does in each of our labels and in `BACKGROUND`, a sentence each."""
    return _read("descriptions.json")["labels"]


def part_sentences(label: str) -> dict[str, str]:
    """What each part of the body does in one of our labels, a Kinect set's own action or `BACKGROUND`.

    Raises:
        InputError: another label.
    """
    table = _read("parts.json")
    found: list[str] | None = table["actions"].get(label) or table["actions"].get(ours({"ds": "", "action": label}))
    if found is None:
        raise InputError(f"parts.json has no sentences on {label!r}")
    return dict(zip(table["parts"], found, strict=True))


def sentences(label: str) -> dict[str, str]:
    """All that is said of one of our labels or `BACKGROUND`, by `SLOTS`."""
    return dict(zip(SLOTS, (label, descriptions()[label], *part_sentences(label).values()), strict=True))


def similar_labels() -> list[list[str]]:
    """Our labels that are too much alike for one to be seen and another not."""
    found: list[list[str]] = _read("zero_shot_splits.json")[VOCABULARY]["alike"]
    return found


def _split(name: str, unseen: list[int], classes: int) -> Split:
    hidden = sorted(unseen)
    seen = tuple(k for k in range(classes) if k not in hidden)
    return Split(name=name, seen=seen, unseen=tuple(hidden))

"""Checks of label names and of the descriptions that go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ..bundles.schema import SLOTS
from ..errors import InputError
from ..text_encoder import check_text
from .decision import Descriptions
from .labels import check_names

NONE = "none"

Text = Mapping[str, str]
"""Sentences that describe a label, by slot: some of `SLOTS`."""


def resolve_labels(
    labels: Sequence[str], descriptions: Descriptions | None = None, known: Mapping[str, Text] = MappingProxyType({})
) -> dict[str, Text]:
    """Labels, stripped of surrounding spaces, with the sentences that describe them.

    Args:
        known: sentences for labels without a description, in lower case.
    Raises:
        InputError: a text that cannot be a label, a repeated label, or a description that is not valid or whose label
            is missing.
    """
    check_names(labels)
    for i, name in enumerate(labels):
        check_text(name, f"label {i}")
    names = [name.strip() for name in labels]
    for name in names:
        if name.lower() == NONE:
            raise InputError(f"label {name!r} means no action and is always included")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"label {twice!r} is repeated")
    if not isinstance(descriptions, Mapping | None):
        raise InputError(f"descriptions are a {type(descriptions).__name__}, expected a dict of labels and texts")
    described = {str(name).strip(): _sentences(str(name), text) for name, text in (descriptions or {}).items()}
    unknown = described.keys() - set(names)
    if unknown:
        raise InputError(f"there is a description of {min(unknown)!r}, which is not one of the labels")
    return {
        name: {SLOTS[0]: name, **described[name]} if name in described
        else known.get(name) or known.get(name.lower(), {SLOTS[0]: name})
        for name in names
    }  # fmt: skip


def check_gesture_name(name: str) -> str:
    """The name of a gesture, stripped of surrounding spaces. Raises InputError unless it can be a label."""
    check_text(name, "the gesture's name")
    return next(iter(resolve_labels([name])))


def _sentences(label: str, description: str | Text) -> Text:
    """The sentences of a description, by slot."""
    if not isinstance(description, Mapping):
        description = {SLOTS[1]: description}
    if not description.keys() <= set(SLOTS[1:]):
        other = min(map(str, description.keys() - set(SLOTS[1:])))
        raise InputError(f"the description of {label!r} has {other!r}, expected some of {', '.join(SLOTS[1:])}")
    for slot, text in description.items():
        check_text(text, f"the description of {label!r}" + (f" ({slot})" if len(description) > 1 else ""))
    return dict(description)

"""Descriptions of several actions: one after the other, or of legs and arms at once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import InputError

Timeline = str | Sequence[tuple[float, float, str]]
_AFTER = re.compile(
    r"\s*(?:[.;!?]+\s+|,?\s+(?:and\s+)?(?:then|afterwards|after that)\s+)(?:(?:and\s+)?then,?\s+)?", re.I
)
_WITH = re.compile(r",?\s+(?:and|while|as they|as he|as she)\s+", re.I)
_PRONOUN = re.compile(r"(?:they|he|she|it)\s+", re.I)
_SUBJECT = re.compile(r"(?:an?|the|some\s?one|somebody|two|three|his|her|their)\b", re.I)
_LEGS = re.compile(
    r"\b(?:walk|stroll|step|march|run|runn|jog|jogg|sprint|turn|stand|sit|kneel|squat)(?:s|ing|ting)?\b", re.I
)
_ARMS = re.compile(
    r"\b(?:wav|rais|lift|putt?|clap|clapp|punch|drink|point|throw|salut|greet|call|beckon)(?:e?s|ing)?\b", re.I
)


def parse_timeline(timeline: Timeline) -> list[tuple[str, float]]:
    """Descriptions and seconds of the parts of a timeline, "0-2 walks; 2-4 waves" or (begin, end, text) of each.

    Raises:
        InputError: not of this form, or a part does not begin where the one before it ends.
    """
    if isinstance(timeline, str):
        found = [re.fullmatch(r"\s*([\d.]+)\s*-\s*([\d.]+)\s*s?:?\s+(.*\S)\s*", one) for one in timeline.split(";")]
        try:
            parts = [(float(one[1]), float(one[2]), one[3]) for one in found if one]
        except ValueError:
            parts = []
        if not parts or len(parts) < len(found):
            raise InputError(f'timeline is {timeline!r}, expected "0-2 walks; 2-4 waves"')
    else:
        try:
            parts = [(float(begin), float(end), str(text)) for begin, end, text in timeline]
        except (TypeError, ValueError):
            raise InputError(f"timeline is {timeline!r}, expected (begin, end, text) of each part") from None
    last = 0.0
    for begin, end, text in parts:
        if begin != last or not end > begin:
            raise InputError(f"timeline has {text!r} from {begin:g} to {end:g} s, expected it to begin at {last:g} s")
        last = end
    if not parts:
        raise InputError("timeline is empty, expected at least one part")
    return [(with_subject(text), end - begin) for begin, end, text in parts]


def split_sequence(text: str) -> list[str]:
    """Descriptions of actions that follow each other, "a person walks, then waves", each with a subject."""
    parts = [part.strip(" .;!?,") for part in _AFTER.split(text)]
    parts = [part for part in parts if part]
    return [with_subject(part) for part in parts] if len(parts) > 1 else [text]


def split_together(text: str) -> tuple[str, str] | None:
    """Descriptions of legs and of arms that move at once, "walks and waves"; None: not of this form."""
    parts = [with_subject(part) for part in _WITH.split(text)]
    if len(parts) != 2:
        return None
    legs, arms = ([bool(words.search(part)) for part in parts] for words in (_LEGS, _ARMS))
    if legs == [True, False] and arms == [False, True]:
        return parts[0], parts[1]
    return (parts[1], parts[0]) if legs == [False, True] and arms == [True, False] else None


def with_subject(text: str) -> str:
    """The description, about a person if it has no subject: "waves" -> "a person waves"."""
    text = _PRONOUN.sub("", text.strip(), count=1) if _PRONOUN.match(text.strip()) else text.strip()
    text = re.sub(r"^(\w+)ing\b", lambda word: _third_person(word[1]), text)
    return text if _SUBJECT.match(text) else f"a person {text}"


def _third_person(stem: str) -> str:
    """Verb for a person, of the stem of its -ing form: "wav" -> "waves", "clapp" -> "claps", "walk" -> "walks"."""
    if re.search(r"([bdgmnprt])\1$", stem):
        return f"{stem[:-1]}s"
    if re.search(r"(?:[^aeiou][aeiou]s|av|danc|mov|driv|rid|writ|salut)$", stem):
        return f"{stem}es"
    return f"{stem}{'es' if re.search(r'(?:s|sh|ch|x)$', stem) else 's'}"

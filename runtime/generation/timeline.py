"""Descriptions of several actions: one after the other, some of them several times, or of legs and arms at once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import InputError

Timeline = str | Sequence[tuple[float, float, str]]
_AFTER = re.compile(
    r"\s*(?:[.;!?]+\s+|,?\s+(?:and\s+)?(?:then|afterwards|after that)\s+)(?:(?:and\s+)?then,?\s+)?", re.I
)
_AND = re.compile(  # after a count, and around a half turn, which is made of two turns
    r"(?:(?<=\bonce)|(?<=\btwice)|(?<=\btimes)|(?<=\bturns around)),?\s+and\s+(?!faces?\b)"
    r"|,?\s+and\s+(?=turns?\s+(?:around|back)\b)",
    re.I,
)
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = rf"(?P<number>{'|'.join(_NUMBERS)}|10|[1-9])"
_ADVERBS = ("once", "twice", "thrice")
_TIMES = re.compile(
    rf",?\s+(?:(?P<adverb>(?<!\bat )once(?!\s+(?:again|more)\b)|twice|thrice)|{_NUMBER}\s+times?)\b", re.I
)
_PLURAL = re.compile(
    rf"\b(?P<verb>do(?:es)?|makes?|performs?|throws?)\s+{_NUMBER}\s+(?P<noun>(?:[\w-]+\s+)?[\w-]+s)\b", re.I
)
_HALF_TURN = re.compile(r"\b(?:turns?\s+(?:around|back)|makes?\s+a\s+half\s+turn)\b", re.I)
_CIRCLE = re.compile(
    r"(?<=\w)\s+(?:a?round\s+)?(?:in\s+(?:an?\s+)?(?:\w+\s+)?circles?|an?\s+(?:full|whole)\s+circle)\b", re.I
)
_GO = re.compile(r"\b(?:walk|stroll|march|run|jog|sprint)(?:e?s|n?ing|ging)?\b", re.I)
_SIDE = re.compile(r"\s+(?:to (?:the|his|her|their) (?:left|right)|(?:counter-?)?clockwise)\b", re.I)
_CLOCKWISE = re.compile(r"\bto (?:the|his|her|their) right\b|(?<!counter)(?<!counter-)\bclockwise\b", re.I)
_LEAVES = re.compile(r"\b(?:jump|hop|leap|skip|climb|stair|ladder|step(?:s|ping)? up|flip|somersault|handstand)", re.I)
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
    parts = [part.strip(" .;!?,") for after in _AFTER.split(text) for part in _AND.split(after)]
    parts = [part for part in parts if part]
    return [with_subject(part) for part in parts] if len(parts) > 1 else [text]


def split_count(text: str) -> tuple[str, int]:
    """Description of an action once, and how often, up to 10: "jumps twice" -> "jumps", 2; 0: the text does not say."""
    found = _TIMES.search(text) or _PLURAL.search(text)
    if found is None:
        return text, 0
    named, once = found.groupdict(), ""
    if noun := named.get("noun"):
        noun = re.sub(r"(?<=ch|sh|ss)es$|(?<=x)es$|s$", "", noun)
        once = f"{named['verb']} {'an' if noun[0] in 'aeiou' else 'a'} {noun}"
    word = (named.get("adverb") or named["number"]).lower()
    times = int(word) if word.isdigit() else 1 + (_ADVERBS if word in _ADVERBS else _NUMBERS).index(word)
    return f"{text[: found.start()]}{once}{text[found.end() :]}".strip(), times


def split_half_turn(text: str) -> list[str]:
    """The text, or a half turn as two turns to the left: "turns around"."""
    left = _HALF_TURN.sub("turns to the left", text, count=1)
    return [text] if left == text else [left, left]


def split_circle(text: str) -> tuple[str, int] | None:
    """Description of a walk in a circle as one straight ahead, and 1 to the left or -1; None: not of this form."""
    straight = _CIRCLE.sub("", text, count=1)
    if straight == text or not _GO.search(text):
        return None
    side = -1 if _CLOCKWISE.search(straight) else 1
    return _SIDE.sub("", straight), side


def leaves_floor(text: str) -> bool:
    """Whether a description is of a person who is in the air or on stairs for a while."""
    return _LEAVES.search(text) is not None


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

"""Captions of a clip: its action, sentences that describe it, and one sentence per part of the body.

The sentences are in `captions.json`. Bandai's have a slot for the clip's style, which is filled with each of the
style's phrases; all others are complete. Actions that differ only by side ("wave-left-hand") are stored for the right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any

PARTS = ("head", "arms", "hands", "hips", "legs", "feet")

_KEYS_OF_PLAIN_SETS = {  # the field that describes a clip; sentences have slots {who} and {their} only
    "cmumore22": ("desc",),
    "hdm22": ("action",),
    "kindergator20": ("action",),
    "lafan22w": ("desc",),
    "rests": ("action",),  # parts of clips of all sets
    "robotmix22": ("desc",),
    "styles22": ("desc",),
    "utdmhad20": ("action",),
}
_SENTENCES_OF_A_GAIT = 12

_TURN = re.compile(r" (and turns (left|right|around)|(while moving )?in a circle to the (left|right))")
_STYLED = re.compile(r"{(styled|adverb|manner|walk)}")
_SIDE = re.compile(r"\b(left|right)(?=(?:s|most|wards?|hand|handed)?\b)", re.IGNORECASE)
_CLOCKWISE = re.compile(r"\b((?:counter|anti)[- ]?)?clockwise\b", re.IGNORECASE)


def action(source: str, record: Mapping[str, Any]) -> str | None:
    """Name of a clip's action, common to all sets; None if there is no description.

    Args:
        source: the clip set, "bandai22", "hdm22", ...
        record: the clip's record in the set's JSON file.
    """
    entry, swapped = _entry(source, record)
    name = entry.get("action")
    return mirror_text(name) if name and swapped else name


def captions(source: str, record: Mapping[str, Any], turn: str = "") -> tuple[str, ...]:
    """At least eight different English sentences that describe a clip; empty if there is no description.

    Args:
        source: the clip set, "bandai22", "hdm22", ...
        record: the clip's record in the set's JSON file.
        turn: how the person turns, one of `turns()`; told in the sets whose descriptions leave it open.
    """
    entry, swapped = _entry(source, record)
    sentences = entry.get("sentences", ())
    if "gait" in entry:
        sentences = tuple(_describe_gait(entry, turn))
    elif sentences and source in _KEYS_OF_PLAIN_SETS:
        sentences = tuple(_fill_subjects(sentences, _turn_phrases(turn)["spot"] if entry.get("turns") else ()))
    if "style" in record:
        style = _data()["styles"].get(record["style"])
        sentences = tuple(_fill_slots(sentences, style, entry["kind"])) if sentences and style else ()
    return tuple(dict.fromkeys(mirror_text(text) if swapped else text for text in sentences))


def parts(action: str) -> dict[str, str]:
    """A sentence on each of `PARTS` in an action.

    Args:
        action: a name returned by `action`, or a label of `vocabulary.json`.

    Raises:
        KeyError: there are no sentences for that action.
    """
    table = _data()["parts"]
    if action in table:
        return dict(table[action])
    if mirror_text(action) in table:
        return {part: mirror_text(text) for part, text in table[mirror_text(action)].items()}
    raise KeyError(f"no sentences about the parts of the body in {action!r}; known are {', '.join(sorted(table))}")


def actions() -> tuple[str, ...]:
    """Every action that has sentences about the parts of the body, sorted."""
    table = _data()["parts"]
    return tuple(sorted({*table, *map(mirror_text, table)}))


def turns() -> tuple[str, ...]:
    """Return the words for how a person turns in a clip; the empty one is for going straight."""
    return ("", *dict.fromkeys(side for turn in _data()["turns"] for side in (turn, mirror_text(turn))))


def mirror_text(text: str) -> str:
    """Swap left and right, and clockwise and counterclockwise, preserving case.

    Swapping twice restores the text, except that other spellings of "counterclockwise" become this one.
    """
    text = _SIDE.sub(lambda side: _match_case("left" if side[1].lower() == "right" else "right", side[1]), text)
    return _CLOCKWISE.sub(lambda way: _match_case("clockwise" if way[1] else "counterclockwise", way[0]), text)


def _match_case(word: str, like: str) -> str:
    return word.upper() if like.isupper() else word.capitalize() if like[0].isupper() else word


@cache
def _data() -> dict[str, Any]:
    return json.loads(files(__package__).joinpath("captions.json").read_text(encoding="utf-8"))


def _entry(source: str, record: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The stored entry of a clip, and whether it describes the clip's mirror image."""
    names = {
        "bandai22": ("content",),
        "kinect20": ("action",),
        "cmu22": ("id", "trial"),  # a window of a trial, else the trial
        "mocap22": ("desc",),
        **_KEYS_OF_PLAIN_SETS,
    }
    table = _data().get(source, {})
    for name in names.get(source, ()):
        key = record.get(name) or ""
        if source == "lafan22w":  # its descriptions end with the turn, which is measured
            key = _TURN.sub("", key)
        for stored in dict.fromkeys((key, mirror_text(key))):
            entry = table.get(stored)
            if isinstance(entry, str):
                entry = table[entry]
            if entry is not None:
                return entry, stored != key
    return {}, False


def _fill_slots(sentences: list[str], style: Mapping[str, list[str]], kind: str) -> Iterator[str]:
    """Every sentence with every phrase of the style that fits its slot, cycling through the subjects."""
    phrases = {
        "styled": style["subject"],
        "adverb": style["adverb"],
        "manner": [*style["manner"], *style.get(kind, ())],
        "walk": style["walk"],
    }
    subjects = style.get("who", _data()["who"])
    turn = count()
    for sentence in sentences:
        for slot in _STYLED.findall(sentence):
            for phrase in phrases[slot]:
                text = sentence.replace(f"{{{slot}}}", phrase)
                who = phrase if slot == "styled" else subjects[next(turn) % len(subjects)]
                yield " ".join(text.replace("{who}", who).replace("{their}", _possessive(who)).split())


def _fill_subjects(sentences: Sequence[str], turns: Sequence[str]) -> Iterator[str]:
    """Sentences with their subjects, every other with one of the turns if there are some."""
    subjects = _data()["who"]
    for i, sentence in enumerate(sentences):
        who = subjects[i % len(subjects)]
        turn = f" {turns[i // 2 % len(turns)]}" if turns and i % 2 == 0 else ""
        yield sentence.replace("{who}", who).replace("{their}", _possessive(who)) + turn


def _describe_gait(entry: Mapping[str, Any], turn: str) -> Iterator[str]:
    """Sentences such as "a man walks forward slowly and turns left" or "a man turns left while walking slowly"."""
    gait, ways, phrases = _data()["gaits"][entry["gait"]], _data()["ways"][entry["way"]], _turn_phrases(turn)
    subjects = _data()["who"]

    def choose(texts: Sequence[str], i: int) -> str:
        return texts[i % len(texts)] if texts else ""

    for i in range(_SENTENCES_OF_A_GAIT):
        who, way, manner = (choose(texts, i) for texts in (subjects, ways, gait["manner"]))
        if phrases["head"] and i % 4 == 3:
            text = f"{who} {choose(phrases['head'], i // 4)} while {choose(gait['doing'], i // 4)} {way} {manner}"
        else:
            text = f"{who} {choose(gait['verb'], i)} {way} {manner} {choose(phrases['tail'], i)}"
        yield " ".join(text.split())


def _turn_phrases(turn: str) -> Mapping[str, Sequence[str]]:
    """Phrases of a turn: `tail` after a gait, `head` before one, `spot` after anything else."""
    table = _data()["turns"]
    if not turn:
        return {"tail": (), "head": (), "spot": ()}
    if turn in table:
        return table[turn]
    return {place: [mirror_text(text) for text in texts] for place, texts in table[mirror_text(turn)].items()}


def _possessive(who: str) -> str:
    last = who.split()[-1]
    return {"man": "his", "guy": "his", "woman": "her", "lady": "her", "figure": "its"}.get(last, "their")

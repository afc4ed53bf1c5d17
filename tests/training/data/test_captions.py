"""Captions of every clip: enough sentences, all of them English, one action per kind of motion."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from motionrt.training.data import captions, vocabulary

PLAIN_SETS = {
    "cmumore22": "desc",
    "hdm22": "action",
    "kindergator20": "action",
    "lafan22w": "desc",
    "robotmix22": "desc",
    "styles22": "desc",
    "utdmhad20": "action",
}
SETS = ("bandai22", "cmu22", "mocap22", "kinect20", *PLAIN_SETS)
RESTS = {"rests": "action"}
WITH_A_DESCRIPTION = {"cmumore22": 0.9, "lafan22w": 0.9, "styles22": 0.98}  # shares; everywhere else all clips
CONTENTS, STYLES, KINECT_ACTIONS = 24, 19, 43
FINER_THAN_THE_LABEL = {  # `live` takes these for one label; they look and read differently
    "walk-back": "walk backward",
    "walk-left": "walk left",
    "walk-right": "walk right",
    "byebye": "wave both hands",
}
SIDE = re.compile(r"\b(left|right)\b")
DATA: dict[str, Any] = json.loads(files(captions.__package__).joinpath("captions.json").read_text(encoding="utf-8"))


def contents() -> list[str]:
    stored = list(DATA["bandai22"])
    return sorted({*stored, *map(captions.mirror_text, stored)})


def records() -> Iterator[tuple[str, dict[str, Any]]]:
    """A record of everything described: every content in every style, every action, every trial, every description."""
    for content in contents():
        for style in DATA["styles"]:
            yield "bandai22", {"content": content, "style": style}
    for source, field in (
        ("kinect20", "action"),
        ("cmu22", "trial"),
        ("mocap22", "desc"),
        *(PLAIN_SETS | RESTS).items(),
    ):
        for name in DATA[source]:
            yield source, {field: name}


@cache
def described() -> list[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """The records with their captions."""
    return [
        (source, record, captions.captions(source, record, turn))
        for source, record in records()
        for turn in (captions.turns() if source in PLAIN_SETS else ("",))
    ]


def real(shared: Path, source: str) -> list[dict[str, Any]]:
    path = shared / f"{source}.json"
    if not path.is_file():
        pytest.skip(f"{source} is not in {shared}")
    return json.loads(path.read_text())["clips"]


def names_a_side(text: str) -> bool:
    return SIDE.search(text) is not None


def faults(text: str) -> list[str]:
    """Faults that no caption may have."""
    words = re.findall(r"[\w'-]+", text)
    return [
        fault
        for fault, found in {
            "longer than 30 words": len(words) > 30,
            "a doubled word": any(a == b for a, b in zip(words, words[1:], strict=False)),
            "two articles": re.search(r"\b(a|an|the) (a|an|the)\b", text),
            "a before a vowel": re.search(r"(?<!letter )\ba [aeio]", text) or re.search(r"\ban (?!x\b)[^aeiou]", text),
            "a slot": re.search(r"[{}]", text),
            "capitals": text != text.lower(),
            "punctuation or space at an end": re.search(r"^\W|\W$", text),
            "odd spaces": re.search(r"\s\s|\s,", text),
            "a right that is no side": re.search(r"\bright (away|after|before|now|angles?|behind|in front)\b", text),
        }.items()
        if found
    ]


@pytest.mark.parametrize("source", SETS)
def test_every_clip_has_eight_captions_and_an_action(shared: Path, source: str) -> None:
    records = real(shared, source)
    known = [record for record in records if captions.action(source, record)]
    assert len(known) >= WITH_A_DESCRIPTION.get(source, 1) * len(records)
    for record in known:
        texts = captions.captions(source, record)
        assert len(texts) == len(set(texts)) >= 8, record
        assert captions.action(source, record) in captions.actions(), record


def test_everything_described_has_eight_captions_and_an_action() -> None:
    assert len(contents()) == CONTENTS and len(DATA["styles"]) == STYLES and len(DATA["kinect20"]) == KINECT_ACTIONS
    for source, record, texts in described():
        assert len(texts) == len(set(texts)) >= 8, record
        assert captions.action(source, record) in captions.actions(), record


def test_no_caption_reads_like_a_template() -> None:
    for _, _, texts in described():
        for text in texts:
            assert not faults(text), (faults(text), text)


def test_the_check_of_captions_finds_faults() -> None:
    for text in ("a person walks walks on", "a a man waves", "a person waves {manner}", "A man waves", "a man waves."):
        assert faults(text)


def test_a_style_has_four_phrasings_and_each_is_used() -> None:
    for name, style in DATA["styles"].items():
        for content, kind in (("walk", "walking"), ("wave-right-hand", "standing")):
            texts = captions.captions("bandai22", {"content": content, "style": name})
            phrases = {*style["subject"], *style["adverb"], *style["manner"], *style[kind]} - {""}
            assert len(phrases) >= 4
            for phrase in phrases:
                words = re.escape(phrase).replace(r"\{their\}", "(his|her|its|their)")
                assert any(re.search(rf"\b{words}\b", text) for text in texts), (name, phrase)


def test_only_the_normal_style_has_plain_sentences() -> None:
    """A plain sentence, "a person walks forward", describes ordinary walking."""
    for content in contents():
        plain = set(captions.captions("bandai22", {"content": content, "style": "normal"}))
        for style in set(DATA["styles"]) - {"normal"}:
            assert not plain & set(captions.captions("bandai22", {"content": content, "style": style})), (
                content,
                style,
            )


def test_styled_sentences_have_one_slot_for_the_style_and_one_for_who() -> None:
    for content, entry in DATA["bandai22"].items():
        for sentence in entry["sentences"]:
            slots = Counter(re.findall(r"{(\w+)}", sentence))
            styled = slots.pop("styled", 0)
            assert styled + slots.pop("adverb", 0) + slots.pop("manner", 0) + slots.pop("walk", 0) == 1, (
                content,
                sentence,
            )
            assert slots.pop("who", 0) == 1 - styled, (content, sentence)
            assert set(slots) <= {"their"}, (content, sentence)


def test_subjects_and_pronouns_agree() -> None:
    others = {"his": "woman|lady", "her": "man|guy", "its": "person|man|woman|someone|somebody"}
    for _, _, texts in described():
        for text in texts:
            for pronoun, subjects in others.items():
                assert not re.search(rf"\b({subjects})\b.*\b{pronoun}\b", text), text


def test_no_caption_has_someone_twice() -> None:
    """ "someone waves at someone" reads badly."""
    for _, _, texts in described():
        for text in texts:
            assert len(re.findall(r"\b(someone|somebody)\b(?! (like|who|without|very|has))", text)) <= 1, text


def test_no_caption_names_the_wrong_side_and_most_name_the_correct_one() -> None:
    """Of a hand that is raised or waved, some captions leave open which, as people do."""
    for content in filter(names_a_side, contents()):
        side, other = ("left", "right") if "left" in content else ("right", "left")
        named = []
        for style in DATA["styles"]:
            for text in captions.captions("bandai22", {"content": content, "style": style}):
                assert not re.search(rf"\b{other}\b", text), (content, text)
                named.append(re.search(rf"\b{side}\b", text) is not None)
        assert all(named) or ("hand" in content and sum(named) > 0.6 * len(named)), content


def test_one_action_has_one_name_in_all_sets() -> None:
    def name(source: str, **record: str) -> str | None:
        return captions.action(source, record)

    assert name("bandai22", content="wave-left-hand") == name("kinect20", action="high arm wave") == "wave"
    assert name("bandai22", content="walk") == name("cmu22", trial="02_01") == name("kinect20", action="walk") == "walk"
    assert name("bandai22", content="byebye") == name("kinect20", action="wave hands") == "wave both hands"
    assert name("bandai22", content="kick") == name("mocap22", desc="a person does a roundhouse kick") == "kick"
    assert name("bandai22", content="slash") == name("cmu22", trial="02_07") == "swing sword"


def test_actions_have_the_names_of_the_recognizers_labels() -> None:
    for content in contents():
        record = {"content": content}
        label = FINER_THAN_THE_LABEL.get(content, vocabulary.label(record))
        assert label is None or captions.action("bandai22", record) == label
    for kinect in DATA["kinect20"]:
        record = {"ds": "msr-action3d", "action": kinect}
        assert captions.action("kinect20", record) == vocabulary.label(record)


@pytest.mark.parametrize("turn", captions.turns())
def test_a_walk_is_never_described_without_its_turn(turn: str) -> None:
    """In every sentence that it turns, and in most to which side; no sentence of a straight walk has a turn."""
    way = re.compile(r"\b(turn(s|ing)?|curv(e|ing)|veer(s|ing)|bears?|circles?|loop|u-turn|winding|direction)\b")
    side, other = ("right", "left") if "right" in turn else ("left", "right")
    for entry in DATA["lafan22w"]:
        if not re.search(r"\b(walks|runs|jogs)\b", entry):
            continue
        texts = captions.captions("lafan22w", {"desc": entry}, turn)
        assert len(texts) >= 8 and {way.search(text) is not None for text in texts} == {turn != ""}, texts
        if turn not in ("", "winding"):
            told = [bool(re.search(rf"\b{side}\b|clockwise", text)) for text in texts]
            assert sum(told) > 0.4 * len(told) and not any(re.search(rf"\b{other}\b", text) for text in texts), texts


def test_the_turn_of_a_description_is_left_out() -> None:
    """The measured turn goes before the description's."""
    told = captions.captions("lafan22w", {"desc": "a person walks forward and turns left"})
    assert told == captions.captions("lafan22w", {"desc": "a person walks forward"})


def test_a_window_has_its_own_captions_or_those_of_its_trial() -> None:
    trial = captions.captions("cmu22", {"trial": "01_06"})
    assert captions.captions("cmu22", {"trial": "01_06", "id": "000000"}) == trial
    window = captions.captions("cmu22", {"trial": "01_06", "id": "001870"})
    assert len(window) >= 8 and not set(window) & set(trial)


@pytest.mark.parametrize(
    ("source", "record"),
    [
        ("bandai22", {"content": "swim", "style": "normal"}),
        ("bandai22", {}),
        ("kinect20", {"ds": "nw-ucla", "action": "swim"}),
        ("cmu22", {"trial": "99_99", "desc": "walk"}),
        ("mocap22", {"desc": None}),
        ("a set that came later", {"action": "walk"}),
    ],
)
def test_clips_without_a_description_have_no_captions(source: str, record: dict[str, Any]) -> None:
    assert captions.action(source, record) is None
    assert captions.captions(source, record) == ()


def test_an_unknown_style_has_no_captions() -> None:
    assert captions.captions("bandai22", {"content": "walk", "style": "drunk"}) == ()


def test_every_action_and_label_has_a_sentence_on_each_part_of_the_body() -> None:
    named = {captions.action(source, record) for source, record in records()}
    assert named <= set(captions.actions())
    for action in {*captions.actions(), *vocabulary.labels()}:
        texts = captions.parts(action)
        assert tuple(texts) == captions.PARTS == ("head", "arms", "hands", "hips", "legs", "feet")
        for text in texts.values():
            assert not faults(text), (faults(text), text)
        if not names_a_side(action):
            assert not any(map(names_a_side, texts.values())), f"{action} may be done with either side"


def test_parts_of_a_mirrored_action_are_mirrored() -> None:
    mirrored = {**vocabulary.MIRRORED, "walk left": "walk right"}
    described = mirrored.keys() & captions.actions()
    assert described >= {"turn left", "raise right hand", "swipe left", "walk left"}
    for name, other in ((name, mirrored[name]) for name in described):
        assert captions.parts(name) == {
            part: captions.mirror_text(text) for part, text in captions.parts(other).items()
        }
        assert captions.parts(name) != captions.parts(other)


def test_parts_of_an_unknown_action_are_rejected_by_name() -> None:
    with pytest.raises(KeyError, match="'yodel'; known are answer phone, .*basketball"):
        captions.parts("yodel")


def test_returned_parts_can_be_modified() -> None:
    captions.parts("walk")["head"] = "changed"
    assert captions.parts("walk")["head"] != "changed"


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("a person raises the left hand", "a person raises the right hand"),
        ("Left, then RIGHT, then right", "Right, then LEFT, then left"),
        ("a left-handed man", "a right-handed man"),
        ("the lefthand side", "the righthand side"),
        ("she leans leftwards and to the rightmost bar", "she leans rightwards and to the leftmost bar"),
        ("turns clockwise", "turns counterclockwise"),
        ("Counterclockwise circles", "Clockwise circles"),
        ("stands upright and frightened, bright lefty", "stands upright and frightened, bright lefty"),
        ("a person walks", "a person walks"),
    ],
)
def test_sides_are_swapped_as_whole_words(text: str, swapped: str) -> None:
    assert captions.mirror_text(text) == swapped
    assert captions.mirror_text(swapped) == text


@pytest.mark.parametrize("word", ["anticlockwise", "counter-clockwise", "counter clockwise", "anti-clockwise"])
def test_every_spelling_of_counterclockwise_is_known(word: str) -> None:
    assert captions.mirror_text(f"turns {word} twice") == "turns clockwise twice"


def test_mirroring_twice_restores_every_caption() -> None:
    sided = 0
    for _, _, texts in described():
        for text in texts:
            other = captions.mirror_text(text)
            assert captions.mirror_text(other) == text
            assert (other != text) == (names_a_side(text) or "clockwise" in text), text
            sided += names_a_side(text)
    assert sided > 1000


def test_a_phrase_of_a_style_has_no_side() -> None:
    """ "no strength left" would come out of a mirror as "no strength right"."""
    for name, style in DATA["styles"].items():
        for phrase in (phrase for phrases in style.values() for phrase in phrases):
            assert not names_a_side(phrase), (name, phrase)


def test_the_file_names_its_license_and_has_no_unused_entry(shared: Path) -> None:
    assert "Apache-2.0" in DATA["license"]
    used = {
        source: {record.get(key) for record in real(shared, source) for key in keys}
        for source, keys in {"kinect20": ["action"], "cmu22": ["id", "trial"], "mocap22": ["desc"]}.items()
    }
    for source, names in used.items():
        assert set(DATA[source]) <= names
    real_contents = {record["content"] for record in real(shared, "bandai22")}
    assert set(contents()) == real_contents and len(real_contents) == CONTENTS
    assert set(DATA["styles"]) == {record["style"] for record in real(shared, "bandai22")}

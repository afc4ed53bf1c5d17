"""Splits for zero-shot: as many classes as their names say, on one side each."""

import pytest

from motionrt.runtime.bundles.schema import SLOTS
from motionrt.runtime.errors import InputError
from motionrt.training.data.captions import mirror_text
from motionrt.training.data.unseen_labels import (
    BACKGROUND,
    descriptions,
    part_sentences,
    sentences,
    similar_labels,
    splits,
)
from motionrt.training.data.vocabulary import MIRRORED, alternates, labels, open_labels

COUNTS = {"ntu60": 60, "ntu120": 120, "pku-mmd": 51}
PROTOCOLS = {
    "ntu60": {"synse-55-5", "synse-48-12", "purls-40-20", "purls-30-30", "smie-55-5-a", "smie-55-5-b", "smie-55-5-c"},
    "ntu120": {
        *("synse-110-10", "synse-96-24", "purls-80-40", "purls-60-60"),
        *("smie-110-10-a", "smie-110-10-b", "smie-110-10-c"),
    },
    "pku-mmd": {"smie-46-5-a", "smie-46-5-b", "smie-46-5-c"},
}


@pytest.mark.parametrize("dataset", COUNTS)
def test_published_splits_match_their_names(dataset: str) -> None:
    found = splits(dataset)
    assert set(found) == PROTOCOLS[dataset]
    for name, split in found.items():
        seen, unseen = map(int, name.split("-")[1:3])
        assert (len(split.seen), len(split.unseen)) == (seen, unseen)
        assert sorted(split.seen + split.unseen) == list(range(COUNTS[dataset]))


def test_known_unseen_classes() -> None:
    assert splits("ntu60")["synse-55-5"].unseen == (10, 11, 19, 26, 56)
    assert splits("ntu120")["smie-110-10-b"].unseen == (5, 12, 14, 15, 17, 42, 67, 82, 100, 119)
    assert sum(splits("ntu60")["purls-30-30"].unseen) == 819 and sum(splits("ntu120")["purls-60-60"].unseen) == 3480


def test_each_label_of_the_open_vocabulary_is_unseen_in_a_split() -> None:
    ours = splits()
    assert len(ours) == 5 and {k for split in ours.values() for k in split.unseen} == set(range(len(open_labels())))
    for split in ours.values():
        assert len(split.unseen) >= 25
        assert sorted(split.seen + split.unseen) == list(range(len(open_labels())))


def test_similar_labels_are_unseen_together() -> None:
    names = open_labels()
    pairs = [*similar_labels(), *(list(pair) for pair in MIRRORED.items())]
    for split in splits().values():
        unseen = {names[k] for k in split.unseen}
        for group in pairs:
            assert set(group) <= set(names)
            assert unseen.isdisjoint(group) or unseen.issuperset(group), (split.name, group)


def test_labels_that_share_their_main_word_are_unseen_together() -> None:
    names = open_labels()
    words = "wave", "kick", "throw", "tennis", "swing", "pick up", "left hand", "draw", "swipe", "jump", "walk", "run"
    for word in words:
        sharing = {name for name in names if word in name}
        for split in splits().values():
            unseen = {names[k] for k in split.unseen}
            assert unseen.isdisjoint(sharing) or unseen.issuperset(sharing), (split.name, word)


def test_the_open_vocabulary_has_the_labels_of_live_and_other_names_for_all() -> None:
    assert set(labels()) < set(open_labels())
    names = [name for label in (*open_labels(), BACKGROUND) for name in (label, *alternates(label))]
    assert len(set(names)) == len(names), "no name has two meanings"
    assert all(3 <= len(alternates(label)) <= 5 for label in open_labels())


def test_every_label_has_its_own_description() -> None:
    texts = descriptions()
    assert set(texts) == {*open_labels(), BACKGROUND} and len(set(texts.values())) == len(texts)
    assert all(30 < len(text) < 200 and text == text.strip(" .") for text in texts.values())


def test_every_label_has_a_sentence_in_every_slot() -> None:
    for label in (*open_labels(), BACKGROUND):
        texts = sentences(label)
        assert tuple(texts) == SLOTS and texts["label"] == label and texts["motion"] == descriptions()[label]
        assert len(set(texts.values())) == len(SLOTS) and texts["feet"] == part_sentences(label)["feet"]
    with pytest.raises(InputError, match="no sentences on 'somersault'"):
        part_sentences("somersault")


def test_sentences_name_a_side_only_if_the_label_does_and_mirror_with_it() -> None:
    for label in (*open_labels(), BACKGROUND):
        texts, mirrored = sentences(label), sentences(MIRRORED.get(label, label)).values()
        swapped = [mirror_text(text).replace("left angle", "right angle") for text in texts.values()]
        assert any(text not in swapped for text in texts.values()) == (label in MIRRORED or label == "wave sideways")
        if label != "wave sideways":  # from left to right, again and again
            assert swapped == list(mirrored), label


def test_another_data_set_is_rejected() -> None:
    with pytest.raises(InputError, match="'ntu61', expected one of ntu60, ntu120, pku-mmd, vocabulary"):
        splits("ntu61")

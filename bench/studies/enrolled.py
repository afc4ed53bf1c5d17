"""Accuracy of gestures enrolled from a few recordings, on people other than those who were recorded.

`python -m motionrt.bench.studies.enrolled DATA --out bench/results/enrolled.json` measures ways to tell enrolled labels
apart by the mean features of whole clips. The penalty of the head and the threshold of acceptance were chosen on the
sets of `CHOSEN_ON`; the hand gestures of `irigesture_mp33` only test the choice.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import InputError
from ...runtime.io.dataset import ClipSet
from ...runtime.progress import progress
from ...runtime.recognition.matcher import Matcher
from ...runtime.recognition.open_labels import OpenLabels
from ...runtime.recognition.recognizer import Recognizer
from ..report import print_report

CHOSEN_ON = ("utdmhad20", "hdm22")
SETS = (*CHOSEN_ON, "irigesture_mp33")
NO_GESTURES = ("random", "stand")  # labels of motion that is no gesture
SHOTS = (1, 3, 5, 10)
DRAWS = 10
RIDGE = 4.0  # penalty: about that of the same accuracy on CHOSEN_ON

Method = Callable[[Matcher, dict[str, np.ndarray], np.ndarray], np.ndarray]


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help=f"folder of the clip sets {', '.join(SETS)}")
    parser.add_argument("--model", default="zero-shot", help="name or path of a zero-shot bundle")
    parser.add_argument("--out", type=Path, help="file to write")
    args = parser.parse_args()
    recognizer = Recognizer.load(args.model)
    labels = recognizer.label_strategy
    if not isinstance(labels, OpenLabels):
        raise InputError(f"the labels of model {recognizer.name!r} are fixed, expected a zero-shot model")
    report = {
        "benchmark": "enrolled",
        "model": recognizer.name,
        "protocol": f"clips of half of the people are enrolled, those of the others tested; macro top-1, {DRAWS} "
        "draws; the encoder was trained on clips of these sets, most of them with these labels",
        "chosen_on": list(CHOSEN_ON),
        "sets": {name: measure(labels, ClipSet.load(args.data / name)) for name in SETS},
    }
    print_report(report, args.out)


def measure(labels: OpenLabels, clip_set: ClipSet) -> dict[str, Any]:
    """Accuracy in percent of each method and number of examples, and how much of what is accepted."""
    kept, rows = [], []
    gestures = [i for i, clip in enumerate(clip_set.clips) if clip["label"] not in NO_GESTURES]
    for i in progress(gestures, clip_set.name):
        with suppress(InputError):
            rows.append(labels.clip_feature(clip_set[i]))
            kept.append(clip_set.clips[i])
    features_ND = np.stack(rows)
    label_N, person_N = (np.array([str(clip[key]) for clip in kept]) for key in ("label", "subject"))
    found: dict[str, dict[str, list[float]]] = {name: {} for name in METHODS}
    accepted: dict[str, dict[str, list[float]]] = {"enrolled": {}, "others": {}}
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        people = rng.permutation(np.unique(person_N))
        is_enrolled_N = np.isin(person_N, people[: len(people) // 2])
        both = sorted(set(label_N[is_enrolled_N]) & set(label_N[~is_enrolled_N]))
        order = rng.permutation(len(label_N))
        for shots in SHOTS:
            rows_of = {name: order[(is_enrolled_N & (label_N == name))[order]][:shots] for name in both}
            examples = {name: features_ND[index] for name, index in rows_of.items()}
            tested_N = ~is_enrolled_N & np.isin(label_N, both)
            for name, method in METHODS.items():
                best = np.array(both)[method(labels.matcher, examples, features_ND[tested_N]).argmax(1)]
                right = [np.mean(best[label_N[tested_N] == label] == label) for label in both]
                found[name].setdefault(str(shots), []).append(100 * float(np.mean(right)))
            some = both[draw % 3 :: 3]  # enrolled alone
            vocabulary = labels.matcher.vocabulary({}, {name: examples[name] for name in some})
            is_some = labels.matcher.logits(features_ND[tested_N], vocabulary).argmax(1) < len(some)
            known = np.isin(label_N[tested_N], some)
            accepted["enrolled"].setdefault(str(shots), []).append(100 * float(is_some[known].mean()))
            accepted["others"].setdefault(str(shots), []).append(100 * float(is_some[~known].mean()))
    means = {name: {shots: float(np.mean(v)) for shots, v in table.items()} for name, table in found.items()}
    return {
        "labels": len(set(label_N)),
        "people": len(set(person_N)),
        "clips": len(label_N),
        "top1": means,
        "accepted": {
            name: {shots: float(np.mean(v)) for shots, v in table.items()} for name, table in accepted.items()
        },
    }


def prototypes(matcher: Matcher, examples: dict[str, np.ndarray], x_BD: np.ndarray) -> np.ndarray:
    """The nearest mean of a label's projected examples."""
    means = np.stack([matcher.project(rows).mean(0) for rows in examples.values()])
    return -((matcher.project(x_BD)[:, None] - means) ** 2).mean(2)


def nearest(matcher: Matcher, examples: dict[str, np.ndarray], x_BD: np.ndarray) -> np.ndarray:
    """The nearest projected example."""
    z_BF = matcher.project(x_BD)
    scores = [-((z_BF[:, None] - matcher.project(rows)) ** 2).mean(2).min(1) for rows in examples.values()]
    return np.stack(scores, 1)


def ridge(matcher: Matcher, examples: dict[str, np.ndarray], x_BD: np.ndarray) -> np.ndarray:
    """Ridge regression of the labels on features."""
    x_ND = np.concatenate(list(examples.values()))
    mean_D = x_ND.mean(0)
    target_NK = np.repeat(np.eye(len(examples)), [len(rows) for rows in examples.values()], 0) - 1 / len(examples)
    inner_NN = (x_ND - mean_D) @ (x_ND - mean_D).T + RIDGE * np.eye(len(x_ND))
    found: np.ndarray = (x_BD - mean_D) @ ((x_ND - mean_D).T @ np.linalg.solve(inner_NN, target_NK))
    return found


def shipped(matcher: Matcher, examples: dict[str, np.ndarray], x_BD: np.ndarray) -> np.ndarray:
    """The matcher: logistic regression on features."""
    return matcher.logits(x_BD, matcher.vocabulary({}, examples))[:, :-1]


METHODS: dict[str, Method] = {"prototypes": prototypes, "nearest": nearest, "ridge": ridge, "shipped": shipped}


if __name__ == "__main__":
    main()

"""Accuracy of a recognizer on the labeled clips of a folder, each stepped frame by frame. Needs no torch."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....runtime.body.motion import Motion
from ....runtime.bundles.schema import ClipManifest
from ....runtime.errors import InputError
from ....runtime.io.atomic_write import atomic_write
from ....runtime.io.dataset import ClipSet
from ....runtime.progress import progress
from ....runtime.recognition.recognizer import Recognizer
from ....training.data import ntu, vocabulary
from ....training.data.clips import SET_ASIDE, clip_sets, fingerprint, labeled
from ....training.data.recordings import load_recordings
from ....training.data.whole_clips import KINETICS, WholeClip, load_split

MIN_CLIPS = 5  # a class with fewer clips is left out of the macro average, unless all have fewer


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """The recognizer's label for one clip; `fingerprint` identifies the clip by its content."""

    target: str
    label: str
    source: str
    fingerprint: str


def live(recognizer: Recognizer, data: Path) -> dict[str, Any]:
    """Every clip with a label that the model has, copies once, except those that the model trained on or set aside.

    The sets of which it set clips aside are its own, the others are new to it. Pictures, which have no depth, and clips
    of small collections, of which no people are kept out, are not measured.
    """
    seen: set[str] = set()
    excluded, own = set_aside(recognizer), set()

    def choose(clip_set: ClipSet, i: int) -> list[tuple[str | None, Motion]]:
        name, source = fingerprint(clip_set, i), vocabulary.source(clip_set.clips[i])
        if name in excluded:
            own.add(source)
        if clip_set.layout.dims == 2 or source == "other" or name in seen:
            return []
        seen.add(name)
        return [(target, motion) for target, motion in labeled(clip_set, i) if target in recognizer.labels]

    predictions, left_out = predict_clips(recognizer, data, choose)
    protocol = (
        "clips with a label of the model, each stepped whole; left out: clips that the model set aside; own sets: "
        "those of which it did, new sets: the others"
    )
    return {
        "protocol": protocol,
        "left_out": left_out,
        **summarize(predictions),
        "own_sets": brief([p for p in predictions if p.source in own]),
        "new_sets": brief([p for p in predictions if p.source not in own]),
    }


def brief(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The first figures of `summarize`."""
    figures = summarize(predictions) if predictions else {"n": 0}
    return {key: value for key, value in figures.items() if key in ("n", "top1", "macro_top1", "macro_classes")}


def recordings(recognizer: Recognizer, data: Path) -> dict[str, Any]:
    """Every recording of a folder, with the labels of its records; `none` is right for those that the model lacks.

    Raises:
        InputError: no recording has a label of the model and was not trained on.
    """
    folder, excluded = load_recordings(data), set_aside(recognizer)
    measured = [one for one in folder.recordings if one.fingerprint not in excluded]
    left_out = len(folder.recordings) - len(measured)
    known: list[Prediction] = []
    none: list[Prediction] = []
    for one in progress(measured, "clips"):
        target = one.label if one.label in recognizer.labels else None
        label = recognizer.recognize(one.motion).label
        source = one.subject or "unknown"
        prediction = Prediction(
            target=target or vocabulary.NONE, label=label, source=source, fingerprint=one.fingerprint
        )
        (known if target else none).append(prediction)
    if not known:
        raise InputError(
            f"{data}: none of the {len(measured)} clips has a label of {recognizer.name}, besides {left_out} that it "
            f"was trained on; its labels: {', '.join(recognizer.labels)}"
        )
    scores = summarize(known)
    scores["per_subject"] = scores.pop("per_set")
    return {
        "protocol": "labeled recordings, each stepped whole; left out: those that the model was trained on",
        "left_out": left_out,
        "unusable": folder.problems,
        **scores,
        "none": top1([prediction.label == vocabulary.NONE for prediction in none]),
    }


def nw_ucla(recognizer: Recognizer, data: Path) -> dict[str, Any]:
    """View 3 of NW-UCLA, with and without the clips whose joints equal those of a clip of view 1 or 2."""
    trained = {
        fingerprint(clip_set, i)
        for clip_set in clip_sets(data)
        for i, record in enumerate(clip_set.clips)
        if record.get("ds") == "nw-ucla" and record["view"] != 3
    }
    predictions, left_out = predict_tested(
        recognizer, data, lambda record: record.get("ds") == "nw-ucla" and record["view"] == 3
    )
    protocol = "NW-UCLA cross-view: trained on views 1 and 2, tested on the clips of view 3, each stepped whole"
    new = [prediction for prediction in predictions if prediction.fingerprint not in trained]
    return {
        "protocol": protocol,
        "left_out": left_out,
        **summarize(predictions),
        "without_copies": summarize(new),
    }


def utd_mhad(recognizer: Recognizer, data: Path) -> dict[str, Any]:
    """The clips of UTD-MHAD's subjects 2, 4, 6 and 8, with all 27 actions."""
    predictions, _ = predict_tested(
        recognizer, data, lambda record: record.get("ds") == "utd-mhad" and record["subject"] % 2 == 0
    )
    protocol = "UTD-MHAD cross-subject: trained on subjects 1, 3, 5, 7, tested on 2, 4, 6, 8, each clip stepped whole"
    return {"protocol": protocol, **summarize(predictions)}


def jhmdb(recognizer: Recognizer, data: Path) -> dict[str, Any]:
    """The test clips of JHMDB's first split whose label the model has, in 2-D."""
    labels = set(recognizer.labels)
    predictions, _ = predict_tested(
        recognizer,
        data,
        lambda record: record.get("ds") == "jhmdb" and record["split1"] == "test" and record["label"] in labels,
        key="label",
    )
    tested = len({prediction.target for prediction in predictions})
    protocol = f"JHMDB, split 1, {tested} of its 21 labels, 2-D joints, each clip stepped whole"
    return {"protocol": protocol, **summarize(predictions)}


def predict_tested(
    recognizer: Recognizer, data: Path, is_tested: Callable[[dict[str, Any]], bool], key: str = "action"
) -> tuple[list[Prediction], int]:
    """`predict_clips` of the clips whose record is tested, labeled by its field `key`."""

    def choose(clip_set: ClipSet, i: int) -> list[tuple[str | None, Motion]]:
        record = clip_set.clips[i]
        return [(record[key], clip_set[i])] if is_tested(record) else []

    return predict_clips(recognizer, data, choose)


def predict_clips(
    recognizer: Recognizer, data: Path, choose: Callable[[ClipSet, int], list[tuple[str | None, Motion]]]
) -> tuple[list[Prediction], int]:
    """Predictions for what `choose` makes of every clip, motions with a label, and the number of those left out.

    Clips that the model was trained on, or that were set aside with them, are left out; motions without a label do not
    count.

    Raises:
        InputError: no clip remains.
    """
    clips = [(clip_set, i) for clip_set in clip_sets(data) for i in range(len(clip_set))]
    predictions, left_out, excluded = [], 0, set_aside(recognizer)
    for clip_set, i in progress(clips, "clips"):
        name, source = fingerprint(clip_set, i), vocabulary.source(clip_set.clips[i])
        for target, motion in choose(clip_set, i):
            if target is None:
                continue
            if name in excluded:
                left_out += 1
                continue
            label = recognizer.recognize(motion).label
            predictions.append(Prediction(target=target, label=label, source=source, fingerprint=name))
    if not predictions:
        aside = f" except {left_out} that the model set aside" if left_out else ""
        raise InputError(f"{data}: no clip of this benchmark in the folder's clip sets{aside}")
    return predictions, left_out


def ntu_clips(recognizer: Recognizer, data: Path, *, split: str, scores: Path | None = None) -> dict[str, Any]:
    """Whole recordings of a test split of NTU RGB+D, for a recognizer of its classes.

    Networks of whole clips get people that are filtered and ordered as published.

    Args:
        scores: file to write, see `write_scores`.
    Raises:
        InputError: the recognizer lacks a class, or the folder has no recording of the split.
    """
    if missing := [label for label in ntu.labels(split) if label not in recognizer.labels]:
        raise InputError(f"{recognizer.name} has no label {missing[0]!r}, expected those of {split}")
    clips, _ = load_split(data, split, tested=True)
    _, skipped = ntu.recordings(data, split, tested=True)
    report = recognize_whole(recognizer, clips, scores)
    report["per_subject"] = report.pop("per_set")
    protocol = f"whole recordings of the test split {split}; left out: those without a skeleton"
    return {"protocol": protocol, **report, "left_out": skipped + report["left_out"]}


def kinetics_clips(recognizer: Recognizer, data: Path, *, scores: Path | None = None) -> dict[str, Any]:
    """Kinetics-Skeleton's validation clips, for a recognizer of its classes. Raises InputError: a label is missing."""
    clips, labels = load_split(data, KINETICS, tested=True)
    if missing := [label for label in labels if label not in recognizer.labels]:
        raise InputError(f"{recognizer.name} has no label {missing[0]!r}, expected those of {data}")
    report = recognize_whole(recognizer, clips, scores)
    return {"protocol": "whole validation clips; left out: those without a person", **report}


def recognize_whole(recognizer: Recognizer, clips: Sequence[WholeClip], scores: Path | None) -> dict[str, Any]:
    """`summarize`, top-5 and the number of clips without anybody."""
    published = isinstance(recognizer.bundle.manifest, ClipManifest)
    predictions, rows, names, empty = [], [], [], 0
    for clip in progress(clips, "clips"):
        try:
            decision = recognizer.recognize(clip.motion() if published else clip.path)
        except InputError as error:
            if "no body" not in str(error) and "nobody is visible" not in str(error):
                raise
            empty += 1
            continue
        source = f"subject {clip.subject}"
        predictions.append(Prediction(target=clip.label, label=decision.label, source=source, fingerprint=""))
        rows.append(decision.probs)
        names.append(clip.path.stem)
    if not predictions:
        raise InputError(f"nobody is visible in any of the {empty} clips")
    targets = [prediction.target for prediction in predictions]
    if scores is not None:
        write_scores(scores, names, targets, recognizer.labels, np.array(rows))
    return {"left_out": empty, **summarize(predictions), **top5(recognizer.labels, targets, np.array(rows))}


def write_scores(
    path: Path, names: Sequence[str], targets: Sequence[str], labels: Sequence[str], probs_NC: np.ndarray
) -> None:
    """Write an .npz file with `names` and `targets` [N], `labels` [C] and `scores` [N, C], logarithms of probabilities.

    The sum of the scores of several recognizers is that of their ensemble: logits are weighted in the bundles.
    """
    scores_NC = np.log(np.maximum(probs_NC, np.finfo(np.float32).tiny)).astype(np.float32)
    try:
        with atomic_write(path) as file:
            np.savez(file, names=names, targets=targets, labels=labels, scores=scores_NC)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def saved_scores(paths: Sequence[Path], split: str) -> dict[str, Any]:
    """Accuracy of the ensemble of saved scores. Raises InputError: a file is damaged, or of other clips or labels."""
    total_NC, first = np.zeros((), np.float32), None
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as file:
                about = [file[key].tolist() for key in ("names", "targets", "labels")]
                scores_NC = np.asarray(file["scores"], np.float32)
        except (OSError, ValueError, KeyError, EOFError, TypeError) as error:
            raise InputError(f"{path}: expected the scores of `motionrt eval --scores` ({error})") from None
        first = first or about
        if about != first or scores_NC.shape != (len(about[0]), len(about[2])):
            raise InputError(f"{path}: scores of other clips or labels than {paths[0]}")
        total_NC = total_NC + scores_NC
    assert first is not None
    _, targets, labels = first
    predictions = [
        Prediction(target=target, label=labels[i], source="", fingerprint="")
        for target, i in zip(targets, total_NC.argmax(1), strict=True)
    ]
    report = summarize(predictions)
    del report["per_set"]
    protocol = f"sum of the saved scores of {len(paths)} recognizers on {split}"
    return {"protocol": protocol, **report, **top5(labels, targets, total_NC)}


def top5(labels: Sequence[str], targets: Sequence[str], scores_NC: np.ndarray) -> dict[str, float]:
    """Percentage of rows whose target has one of the five highest scores."""
    best_N5 = np.argsort(-scores_NC, 1, kind="stable")[:, :5]
    hits = [target in {labels[i] for i in best} for target, best in zip(targets, best_N5, strict=True)]
    return {"top5": 100 * float(np.mean(hits))}


def summarize(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Top-1 in percent: overall, mean over the classes with enough clips, per set, per class."""
    by_set: dict[str, list[bool]] = defaultdict(list)
    by_class: dict[str, list[bool]] = defaultdict(list)
    for prediction in predictions:
        by_set[prediction.source].append(prediction.label == prediction.target)
        by_class[prediction.target].append(prediction.label == prediction.target)
    per_class = {name: top1(hits) for name, hits in sorted(by_class.items())}
    min_clips = MIN_CLIPS if any(figure["n"] >= MIN_CLIPS for figure in per_class.values()) else 1
    averaged = [figure["top1"] for figure in per_class.values() if figure["n"] >= min_clips]
    mistakes = Counter((p.target, p.label) for p in predictions if p.label != p.target)
    return {
        **top1([p.label == p.target for p in predictions]),
        "macro_top1": float(np.mean(averaged)) if averaged else None,
        "macro_classes": len(averaged),
        "macro_min_clips": min_clips,
        "per_set": {name: top1(hits) for name, hits in sorted(by_set.items())},
        "per_class": per_class,
        "mistakes": [[*pair, count] for pair, count in mistakes.most_common()],
    }


def top1(hits: Sequence[bool]) -> dict[str, Any]:
    return {"n": len(hits), "top1": 100 * float(np.mean(hits)) if hits else None}


def set_aside(recognizer: Recognizer) -> Set[str]:
    """Fingerprints of the clips that this model must not be evaluated on."""
    manifest, path = recognizer.bundle.manifest, recognizer.bundle.path
    if SET_ASIDE not in manifest.files:
        return frozenset()
    return frozenset(json.loads((path / SET_ASIDE).read_text()))

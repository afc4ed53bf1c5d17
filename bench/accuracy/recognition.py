"""`motionrt eval BENCHMARK`: how right a recogniser is on the clips of a folder, stepped. Needs no torch."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import InputError
from ...runtime.io.dataset import ClipSet
from ...runtime.progress import progress
from ...runtime.recognition.recognizer import Recognizer
from ...training.data import vocabulary
from ...training.data.clips import SET_ASIDE, clip_sets, fingerprint
from .continuous import continuous

MIN_CLIPS = 5  # a class with fewer clips does not enter the macro average, unless all have fewer


def evaluate(benchmark: str, model: str, data: Path, backend: str = "auto", precision: str = "fp32") -> dict[str, Any]:
    """Run a benchmark.

    Args:
        benchmark: "live", "nw-ucla" or "continuous".
        model: name or path of a bundle.
        data: folder of clip sets.
        backend, precision: as in Recognizer.load.
    Returns:
        A JSON object with protocol, model, weights_sha256, backend, precision, n and the benchmark's figures, in
        percent.
    Raises:
        InputError: unknown benchmark, or no clip of it in the folder.
    """
    if benchmark not in BENCHMARKS:
        raise InputError(f"unknown benchmark {benchmark!r}; there are {', '.join(BENCHMARKS)}")
    recognizer = Recognizer.load(model, backend, precision=precision)
    about = {
        "benchmark": benchmark,
        "model": model,
        "weights_sha256": recognizer.bundle.manifest.files["weights.safetensors"].sha256,
        "backend": recognizer.backend,
        "precision": precision,
    }
    return about | BENCHMARKS[benchmark](recognizer, data)


def live(recognizer: Recognizer, data: Path) -> dict[str, Any]:
    """Every clip with a label of the vocabulary, copies once, but for those the model trained on or had set aside."""
    seen: set[str] = set()

    def label(clip_set: ClipSet, i: int) -> str | None:
        name = fingerprint(clip_set, i)
        if name in seen:
            return None
        seen.add(name)
        return vocabulary.label(clip_set.clips[i])

    said, left_out = answers(recognizer, data, label)
    protocol = "clips with a label of the vocabulary, each stepped whole; left out: clips that the model set aside"
    return {"protocol": protocol, "left_out": left_out, **figures(said)}


def nw_ucla(recognizer: Recognizer, data: Path) -> dict[str, Any]:
    """View 3 of NW-UCLA; beside it without the clips whose joints are those of a clip of view 1 or 2 in the folder."""
    trained = {
        fingerprint(clip_set, i)
        for clip_set in clip_sets(data)
        for i, record in enumerate(clip_set.clips)
        if record.get("ds") == "nw-ucla" and record["view"] != 3
    }

    def label(clip_set: ClipSet, i: int) -> str | None:
        record = clip_set.clips[i]
        return record["action"] if record.get("ds") == "nw-ucla" and record["view"] == 3 else None

    said, left_out = answers(recognizer, data, label)
    protocol = "NW-UCLA cross-view: trained on views 1 and 2, tested on the clips of view 3, each stepped whole"
    new = [answer for answer in said if answer.fingerprint not in trained]
    return {"protocol": protocol, "left_out": left_out, **figures(said), "without_copies": figures(new)}


BENCHMARKS: dict[str, Callable[[Recognizer, Path], dict[str, Any]]] = {
    "live": live,
    "nw-ucla": nw_ucla,
    "continuous": continuous,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What was said of one clip; `fingerprint` names it by its content."""

    wanted: str
    said: str
    source: str
    fingerprint: str


def answers(
    recognizer: Recognizer, data: Path, label: Callable[[ClipSet, int], str | None]
) -> tuple[list[Answer], int]:
    """The recogniser's answers for the clips to which `label` gives a label, and how many were left out.

    Clips that the model was trained on, or that were set aside with them, are left out.

    Raises:
        InputError: no clip is left.
    """
    labelled = [
        (clip_set, i, wanted, fingerprint(clip_set, i))
        for clip_set in clip_sets(data)
        for i in range(len(clip_set))
        if (wanted := label(clip_set, i)) is not None
    ]
    aside = set_aside(recognizer)
    chosen = [clip for clip in labelled if clip[3] not in aside]
    if not chosen:
        left_out = f" but {len(labelled)} that the model set aside" if labelled else ""
        raise InputError(f"{data}: no clip of this benchmark in the folder's clip sets{left_out}")
    said = [
        Answer(
            wanted=wanted,
            said=recognizer.recognize(clip_set[i]).label,
            source=vocabulary.source(clip_set.clips[i]),
            fingerprint=name,
        )
        for clip_set, i, wanted, name in progress(chosen, "clips")
    ]
    return said, len(labelled) - len(chosen)


def figures(answers: Sequence[Answer]) -> dict[str, Any]:
    """Top-1 in percent: overall, mean over the classes with enough clips, per set, per class."""
    by_set: dict[str, list[bool]] = defaultdict(list)
    by_class: dict[str, list[bool]] = defaultdict(list)
    for answer in answers:
        by_set[answer.source].append(answer.said == answer.wanted)
        by_class[answer.wanted].append(answer.said == answer.wanted)
    per_class = {name: top1(hits) for name, hits in sorted(by_class.items())}
    least = MIN_CLIPS if any(figure["n"] >= MIN_CLIPS for figure in per_class.values()) else 1
    enough = [figure["top1"] for figure in per_class.values() if figure["n"] >= least]
    mistakes = Counter((answer.wanted, answer.said) for answer in answers if answer.said != answer.wanted)
    return {
        **top1([answer.said == answer.wanted for answer in answers]),
        "macro_top1": float(np.mean(enough)) if enough else None,
        "macro_classes": len(enough),
        "macro_min_clips": least,
        "per_set": {name: top1(hits) for name, hits in sorted(by_set.items())},
        "per_class": per_class,
        "mistakes": [[*pair, count] for pair, count in mistakes.most_common()],
    }


def top1(hits: Sequence[bool]) -> dict[str, Any]:
    return {"n": len(hits), "top1": 100 * float(np.mean(hits)) if hits else None}


def set_aside(recognizer: Recognizer) -> Set[str]:
    """Fingerprints of the clips that this model may not be evaluated on."""
    manifest, path = recognizer.bundle.manifest, recognizer.bundle.path
    if SET_ASIDE not in manifest.files:
        return frozenset()
    return frozenset(json.loads((path / SET_ASIDE).read_text()))

"""How a model is measured: one function a protocol. Models come as callables, results are JSON objects.

Every figure is `{"mean", "low", "high", "n", "over"}`: `over` "repeats" is +- 1.96 sigma / sqrt(n) of a measurement
repeated with other batches, halves and pairs (captions are drawn anew for each set of generations); `over` "clips" is
a 95 % bootstrap interval. Rates are percent.

Shapes: T frames, V joints, N clips, D width of the evaluator's space, W text width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...runtime.body.layout import Layout
from ...runtime.errors import InputError
from ...training.metrics import features, motion
from ...training.metrics.statistics import bootstrap, paired_difference, repeat_all, summary
from .bag_of_joints import BagOfJoints
from .scoring import (
    STEP,
    Embedder,
    Example,
    Generate,
    GenerationSet,
    Measuring,
    as_json,
    checked,
    clip_differences,
    clip_scores,
    compare_sets,
    counts,
    described,
    draw_captions,
    fid_difference,
    generation_set,
    physics,
    repeat_scores,
    several,
)

RECALL_AT = (1, 2, 3, 5, 10)
DIRECTIONS = ("text_to_motion", "motion_to_text")
EDITS = {
    "prefix": "the first half is given",
    "suffix": "the second half is given",
    "inpaint": "the first and the last quarter are given",
    "outpaint": "the middle half is given",
}
BLEND = 8  # frames beside a seam that an edit may change

Edit = Callable[[Sequence[np.ndarray], Sequence[str], Sequence[np.ndarray], int], Sequence[np.ndarray]]
"""clips [T, V, 3], texts, masks [T] bool of the frames to make anew, seed -> clips as long."""
Reconstruct = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
"""clips [T, V, 3] -> clips as long."""
Classify = Callable[[Sequence[np.ndarray], Sequence[str]], Sequence[str]]
"""clips [T, V, 3], labels to choose from -> a label a clip."""
Encode = Callable[[Sequence[str]], np.ndarray]
"""texts -> features [N, W]."""


def text_to_motion(
    evaluator: Embedder,
    real: Sequence[Example],
    generate: Generate,
    measuring: Measuring | None = None,
    training: Sequence[np.ndarray] = (),
) -> dict[str, Any]:
    """Motion generated for the captions and lengths of real clips, beside those clips.

    FID is between equal halves: the features of one half of the real clips against motion generated for the other
    half, and beside it against that other half's real motion, the floor; on at most `pca_dims` principal directions
    of all the real features, and on all.

    Args:
        evaluator: was trained on none of `real`, and is not the network that guides `generate`.
        training: clips that the generator was trained on, for the distance to the nearest; empty leaves it out.
    Returns:
        protocol, counts, `real`, `generated`, `difference` (generated - real by clip) and `ratio` (generated / real).
    Raises:
        InputError: too few clips or distinct descriptions, or a generated clip that is shorter than was asked.
    """
    measuring = measuring or Measuring()
    sets = [generation_set(evaluator, real, generate, measuring, i) for i in range(measuring.generations)]
    report = compare_sets(evaluator, real, sets, measuring, training)
    if measuring.several_texts:
        report["generated"]["multimodality"] = several(evaluator, real, generate, measuring).json()
        report["counts"]["multimodality_texts"] = min(measuring.several_texts, len(real))
    return {"protocol": "text-to-motion: " + described(measuring)} | report


def guidance(
    evaluator: Embedder,
    real: Sequence[Example],
    before: Generate,
    after: Generate,
    measuring: Measuring | None = None,
) -> dict[str, Any]:
    """What a change of the generator changes: `after` - `before`, for the same captions, lengths and seeds.

    Returns:
        protocol, counts, `before`, `after` and `difference`: R-precision and matching distance by clip, FID by repeat.
    """
    measuring = measuring or Measuring()
    sides = {}
    for name, generate in (("before", before), ("after", after)):
        sides[name] = [generation_set(evaluator, real, generate, measuring, i) for i in range(measuring.generations)]
    embedded = evaluator.motions([example.joints for example in real])
    scored = {name: repeat_scores(real, embedded, sets, measuring) for name, sets in sides.items()}
    by_clip = {name: clip_scores(real, sets, measuring) for name, sets in sides.items()}
    groups = [example.group for example in real]
    difference = clip_differences(by_clip["before"], by_clip["after"], groups)
    fid = repeat_all(
        lambda rng: fid_difference(embedded, sides["before"], sides["after"], measuring, rng),
        measuring.repeats,
        measuring.seed,
    )
    return {
        "protocol": "two generators on the same captions, lengths and seeds: " + described(measuring),
        "counts": counts(real, measuring),
        "before": as_json(scored["before"]),
        "after": as_json(scored["after"]),
        "difference": difference | as_json(fid),
    }


def reconstruction(
    reconstruct: Reconstruct, real: Sequence[Example], measuring: Measuring | None = None
) -> dict[str, Any]:
    """How far joints come back from where they were, and what becomes of the motion.

    Returns:
        protocol, counts, `mpjpe_mm` (relative to the pelvis), `world_mpjpe_mm`, and by side `real` and `made` what can
        be measured of a motion itself.
    """
    measuring = measuring or Measuring()
    layout, groups = Layout.load(measuring.layout), [example.group for example in real]
    clips = [example.joints for example in real]
    made = checked(reconstruct(clips), [len(joints) for joints in clips])
    pairs = list(zip(made, clips, strict=True))
    errors = {
        name: np.array([motion.mpjpe(found, wanted, root) for found, wanted in pairs])
        for name, root in (("mpjpe_mm", layout.root), ("world_mpjpe_mm", None))
    }
    return {
        "protocol": "motion put through the auto-encoder, every clip whole",
        "counts": {"clips": len(real), "recordings": len(set(groups)), "frames": sum(map(len, clips))},
        **{name: bootstrap(values, groups).json() for name, values in errors.items()},
        **{
            side: {
                name: bootstrap(values, groups).json() for name, values in physics(moved, measuring.fps, layout).items()
            }
            for side, moved in (("real", clips), ("made", made))
        },
    }


def editing(
    evaluator: Embedder,
    real: Sequence[Example],
    edit: Edit,
    kind: str,
    measuring: Measuring | None = None,
) -> dict[str, Any]:
    """Real clips of which a part is made anew for their caption, scored whole as in `text_to_motion`.

    Besides: `kept_mpjpe_mm`, how far joints are from where they were in frames more than 8 from a seam that were to
    stay; `new_mpjpe_mm`, the same in frames made anew; `seam_jitter`, m/s^3 in the 8 frames around the seams.

    Args:
        kind: "prefix" (the first half is given), "suffix" (the second), "inpaint" (the first and the last quarter),
            "outpaint" (the middle half); see `edit_mask`.
    """
    measuring = measuring or Measuring()
    masks = [edit_mask(kind, len(example.joints)) for example in real]
    clips = [example.joints for example in real]

    def generate(texts: Sequence[str], lengths: Sequence[int], seed: int) -> Sequence[np.ndarray]:
        return edit(clips, texts, masks, seed)

    sets = [generation_set(evaluator, real, generate, measuring, i) for i in range(measuring.generations)]
    report = compare_sets(evaluator, real, sets, measuring, ())
    groups = [example.group for example in real]
    for name, measured in edit_errors(clips, sets, masks, measuring.fps).items():
        report["generated"][name] = bootstrap(measured, groups).json()
    jitters = [seam_jitter(joints, mask, measuring.fps) for joints, mask in zip(clips, masks, strict=True)]
    report["real"]["seam_jitter"] = bootstrap(np.array(jitters), groups).json()
    return {"protocol": f"editing, {kind}: {EDITS[kind]}, " + described(measuring)} | report


def edit_mask(kind: str, frames: int) -> np.ndarray:
    """The frames [T] bool to make anew: halves and quarters of frames // 4 tokens, rounded down.

    Raises:
        InputError: another kind, or a clip of fewer than 4 tokens.
    """
    tokens = frames // STEP
    if kind not in EDITS:
        raise InputError(f"unknown edit {kind!r}; there are {', '.join(EDITS)}")
    if tokens < 4:
        raise InputError(f"a clip of {frames} frames, expected at least {4 * STEP} to edit")
    half, quarter = tokens // 2, tokens // 4
    token = np.arange(tokens)
    middle = (token >= quarter) & (token < tokens - quarter)
    new = {"prefix": token >= half, "suffix": token < half, "inpaint": middle, "outpaint": ~middle}[kind]
    return np.pad(np.repeat(new, STEP), (0, frames - tokens * STEP), mode="edge")


def retrieval(
    model: Embedder,
    real: Sequence[Example],
    training: Sequence[Example] = (),
    encode: Encode | None = None,
    measuring: Measuring | None = None,
) -> dict[str, Any]:
    """R@k and median rank, text to motion and back, of a model, of chance, and of the bag-of-joints baseline.

    `all`: the whole gallery, only the own item is right; `all_tolerant`: so is every item of the same description;
    `batch`: random batches of distinct descriptions, left out where there are not enough.

    Args:
        training: with `encode`, what the baseline is fitted to; else there is no baseline.
        encode: features [N, W] of texts for the baseline.
    Returns:
        protocol, counts and `model`, `chance`, `bag_of_joints`, each {"text_to_motion": {"all": {"R@1": …, "MedR": …},
        …}, …}; `difference`: R@k over the whole gallery, with tolerance, of the model - that of the baseline, by clip.
    """
    measuring = measuring or Measuring()
    if len(real) < 2:
        raise InputError(f"{len(real)} clips, expected at least 2 to retrieve from")
    clips, captions = [example.joints for example in real], all_captions(real)
    ranks = {"model": all_ranks(real, model.motions(clips), captions, model.texts(captions), measuring)}
    if encode is not None and training:
        baseline = fit_baseline(training, encode, measuring)
        texts = baseline.texts(encode(captions))
        ranks["bag_of_joints"] = all_ranks(real, baseline.motions(clips), captions, texts, measuring)
    ranks["chance"] = chance_ranks(real, captions, measuring)
    report: dict[str, Any] = {name: retrieval_figures(found) for name, found in ranks.items()}
    if "bag_of_joints" in ranks:
        groups = [example.group for example in real]
        report["difference"] = {
            direction: {
                f"R@{k}": paired_difference(
                    recall_by_clip(ranks["bag_of_joints"], direction, k),
                    recall_by_clip(ranks["model"], direction, k),
                    groups,
                ).json()
                for k in RECALL_AT
            }
            for direction in DIRECTIONS
        }
    return {
        "protocol": f"retrieval among {len(real)} clips and a caption of each, drawn anew for {measuring.repeats} "
        f"repeats; batches of {measuring.batch} distinct descriptions",
        "counts": counts(real, measuring) | {"training_clips": len(training) if encode else 0},
    } | report


def recognition(
    classify: Classify,
    clips: Sequence[np.ndarray],
    labels: Sequence[Collection[str]],
    known: Sequence[str],
    groups: Sequence[Hashable] | None = None,
) -> dict[str, Any]:
    """Top-1: the label said of a clip is one of its own (with several labels a clip: any-match).

    Args:
        clips: [T, V, 3] each.
        labels: the right ones of every clip, at least one.
        known: all labels to choose from.
        groups: subjects or recordings, for the interval; None: every clip for itself.
    Returns:
        protocol, counts, `top1`, `macro_top1` (mean over labels of the share of their clips that are right),
        `chance` (a random label), `per_label`.
    Raises:
        InputError: no clip, a clip without label or with one that is not known, an answer that is not known.
    """
    for i, own in enumerate(labels):
        if not own or not set(own) <= set(known):
            raise InputError(f"clip {i}: labels {sorted(own)}, expected at least one and only known ones")
    said = list(classify(clips, known)) if len(clips) else []
    if not set(said) <= set(known):
        raise InputError(f"the model said {sorted(set(said) - set(known))[0]!r}, which is not one of the known labels")
    right = features.hits(said, labels)
    per_label = {
        label: right[[i for i, own in enumerate(labels) if label in own]]
        for label in known
        if any(label in own for own in labels)
    }
    several_each = any(len(own) > 1 for own in labels)
    return {
        "protocol": f"recognition among {len(known)} labels, a clip is right if "
        + ("one of its labels is said" if several_each else "its label is said"),
        "counts": {"clips": len(clips), "labels": len(known), "labels_with_clips": len(per_label)},
        "top1": bootstrap(100.0 * right, groups).json(),
        "macro_top1": 100 * float(np.mean([hit.mean() for hit in per_label.values()])),
        "chance": 100 * float(np.mean([len(own) for own in labels])) / len(known),
        "per_label": {label: {"n": len(hit), "top1": 100 * float(hit.mean())} for label, hit in per_label.items()},
    }


def edit_errors(
    clips: Sequence[np.ndarray], sets: Sequence[GenerationSet], masks: Sequence[np.ndarray], fps: float
) -> dict[str, np.ndarray]:
    """By clip, mean over sets: errors in what was to stay and in what was made anew, jitter at the seams."""
    found: dict[str, list[list[float]]] = {"kept_mpjpe_mm": [], "new_mpjpe_mm": [], "seam_jitter": []}
    for one in sets:
        rows: dict[str, list[float]] = {name: [] for name in found}
        for made, joints, new in zip(one.clips, clips, masks, strict=True):
            kept = ~near(new)
            far = kept if kept.any() else ~new  # a short clip has no frame so far from a seam
            rows["kept_mpjpe_mm"].append(motion.mpjpe(made[far], joints[far], root=None))
            rows["new_mpjpe_mm"].append(motion.mpjpe(made[new], joints[new], root=None))
            rows["seam_jitter"].append(seam_jitter(made, new, fps))
        for name, row in rows.items():
            found[name].append(row)
    return {name: np.mean(rows, axis=0) for name, rows in found.items()}


def near(new_T: np.ndarray, frames: int = BLEND) -> np.ndarray:
    """[T] bool: made anew, or within so many frames of what was."""
    return np.asarray(np.lib.stride_tricks.sliding_window_view(np.pad(new_T, frames), 2 * frames + 1).any(1))


def seam_jitter(joints_TV3: np.ndarray, new_T: np.ndarray, fps: float) -> float:
    """Jitter in the 8 frames around every seam, m/s^3, mean over seams."""
    seams = np.flatnonzero(np.diff(new_T.astype(int))) + 1
    return float(np.mean([motion.jitter(joints_TV3[max(0, seam - 4) : seam + 4], fps) for seam in seams]))


def fit_baseline(training: Sequence[Example], encode: Encode, measuring: Measuring) -> BagOfJoints:
    """Fitted to the mean features of every clip's captions."""
    captions = all_captions(training)
    known = dict(zip(captions, encode(captions), strict=True))
    text_NW = np.stack([np.mean([known[caption] for caption in example.captions], axis=0) for example in training])
    return BagOfJoints([example.joints for example in training], text_NW, measuring.fps)


def all_captions(real: Sequence[Example]) -> list[str]:
    return sorted({caption for example in real for caption in example.captions})


def all_ranks(
    real: Sequence[Example],
    motion_ND: np.ndarray,
    captions: Sequence[str],
    caption_ND: np.ndarray,
    measuring: Measuring,
) -> list[dict[tuple[str, str], np.ndarray]]:
    """A repeat: ranks [N] by (direction, kind of gallery); 0 where a clip was in no batch."""
    place = {caption: i for i, caption in enumerate(captions)}
    names: dict[Hashable, int] = {}
    number = np.array([names.setdefault(example.description, len(names)) for example in real])
    alike_NN = number[:, None] == number
    repeats = []
    for i in range(measuring.repeats):
        rng = np.random.default_rng((measuring.seed, i))
        text_ND = caption_ND[[place[caption] for caption in draw_captions(real, rng)]]
        ranks = {}
        for direction, query, gallery in zip(DIRECTIONS, (text_ND, motion_ND), (motion_ND, text_ND), strict=True):
            ranks[direction, "all"] = features.gallery_ranks(query, gallery)
            ranks[direction, "all_tolerant"] = features.gallery_ranks(query, gallery, alike_NN)
            if len(names) >= measuring.batch:
                ranks[direction, "batch"] = features.batched_ranks(
                    query, gallery, rng, number.tolist(), measuring.batch
                )
        repeats.append(ranks)
    return repeats


def chance_ranks(
    real: Sequence[Example], captions: Sequence[str], measuring: Measuring
) -> list[dict[tuple[str, str], np.ndarray]]:
    """Ranks of random embeddings, others for each repeat; clips that share a caption share its embedding."""
    found = []
    for i in range(measuring.repeats):
        rng = np.random.default_rng((measuring.seed, 4, i))
        motion_ND, caption_ND = (rng.normal(size=(n, 16)) for n in (len(real), len(captions)))
        found += all_ranks(
            real, motion_ND, captions, caption_ND, replace(measuring, repeats=1, seed=measuring.seed + i)
        )
    return found


def retrieval_figures(repeats: Sequence[dict[tuple[str, str], np.ndarray]]) -> dict[str, Any]:
    """R@k and MedR by direction and kind of gallery, with their intervals over repeats."""
    report: dict[str, Any] = {direction: {} for direction in DIRECTIONS}
    for direction, kind in repeats[0]:
        found = [ranks[direction, kind][ranks[direction, kind] > 0] for ranks in repeats]
        figures = {f"R@{k}": summary([features.recall(ranks, k) for ranks in found]).json() for k in RECALL_AT}
        report[direction][kind] = figures | {"MedR": summary([features.median_rank(r) for r in found]).json()}
    return report


def recall_by_clip(repeats: Sequence[dict[tuple[str, str], np.ndarray]], direction: str, k: int) -> np.ndarray:
    """[N] % of the repeats in which a clip's right answer ranked k or better in the whole gallery, with tolerance."""
    return 100 * np.mean([ranks[direction, "all_tolerant"] <= k for ranks in repeats], axis=0)

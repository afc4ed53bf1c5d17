"""Protocols on synthetic models: good models score better than bad ones, and every score is in its place."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from motionrt.bench.accuracy.protocols.editing import edit_mask, editing
from motionrt.bench.accuracy.protocols.generation import compare_generators, text_to_motion
from motionrt.bench.accuracy.protocols.retrieval import retrieval
from motionrt.bench.accuracy.protocols.scoring import Example, ScoringConfig, make_examples
from motionrt.bench.accuracy.protocols.text_labels import recognition
from motionrt.runtime.errors import InputError

from .synthetic import HEAD, Reader, action_of, clip, code, example, follows_prompt, ignores_prompt

REAL = [example(action, 40 + 4 * (action % 3), seed) for action in range(12) for seed in range(4)]
QUICK = ScoringConfig(repeats=5, batch=8, diversity_pairs=20)


def check(report: dict[str, Any]) -> None:
    """The report is JSON, and every estimate lies in its interval."""
    json.dumps(report, allow_nan=False)

    def walk(node: object) -> None:
        if isinstance(node, dict) and "low" in node:
            assert node["over"] in ("repeats", "clips") and node["n"] >= 2
            assert node["low"] <= node["mean"] + 1e-9
            assert node["high"] is None or node["mean"] <= node["high"] + 1e-9
        elif isinstance(node, dict):
            for value in node.values():
                walk(value)

    walk(report)


@pytest.fixture(scope="module")
def good() -> dict[str, Any]:
    training = [clip(action, 40, seed) for action in range(12) for seed in (50, 51)]
    config = ScoringConfig(
        repeats=5,
        batch=8,
        diversity_pairs=20,
        generations=2,
        multimodality_texts=3,
        multimodality_samples=6,
        multimodality_pairs=5,
    )
    return text_to_motion(Reader(), REAL, follows_prompt, config, training)


@pytest.fixture(scope="module")
def poor() -> dict[str, Any]:
    return text_to_motion(Reader(), REAL, ignores_prompt, QUICK)


def test_a_generator_that_follows_prompts_scores_like_real_motion(good: dict[str, Any]) -> None:
    check(good)
    for side in ("real", "generated"):
        assert good[side]["r_precision_1"]["mean"] == 100
        assert good[side]["fid"]["mean"] < 0.01
        assert good[side]["clip_like_score"]["mean"] > 0.99
        assert good[side]["mm_dist"]["mean"] < 0.01
        assert good[side]["upright"]["mean"] == 100
        assert good[side]["bone_length_drift"]["mean"] == pytest.approx(0, abs=1e-6)
    assert good["ratio"]["r_precision_1"]["mean"] == good["ratio"]["r_precision_3"]["low"] == 1
    assert good["ratio"]["diversity"] == pytest.approx(1, abs=0.1)
    assert good["ratio"]["jitter"]["mean"] == pytest.approx(1, abs=0.3)
    assert not any(good["difference"]["r_precision_1"][end] for end in ("low", "high"))
    assert good["generated"]["multimodality"]["mean"] < 0.02
    assert good["generated"]["nearest_training_mm"]["mean"] > 0


def test_counts_describe_the_measurement(good: dict[str, Any]) -> None:
    assert good["counts"] == {
        "clips": 48,
        "recordings": 48,
        "descriptions": 12,
        "captions": 24,
        "repeats": 5,
        "generations": 2,
        "batch": 8,
        "pca_dims": 3,
        "training_clips": 24,
        "multimodality_texts": 3,
    }
    assert "batches of 8 distinct descriptions" in good["protocol"] and "5 repeats over 2 sets" in good["protocol"]


def test_a_generator_that_ignores_prompts_scores_badly(poor: dict[str, Any]) -> None:
    check(poor)
    assert poor["generated"]["r_precision_1"]["mean"] < 40 < poor["real"]["r_precision_1"]["mean"]
    assert poor["generated"]["fid"]["mean"] > 3 * poor["real"]["fid"]["mean"]
    assert poor["generated"]["fid_pca"]["mean"] == pytest.approx(poor["generated"]["fid"]["mean"], rel=1e-6)
    assert poor["generated"]["diversity"]["mean"] < 0.2 * poor["real"]["diversity"]["mean"]
    assert poor["difference"]["r_precision_1"]["high"] < 0 and poor["ratio"]["r_precision_1"]["high"] < 0.5
    assert poor["difference"]["mm_dist"]["low"] > 0
    assert "multimodality" not in poor["generated"] and "nearest_training_mm" not in poor["generated"]


def test_the_floor_is_between_real_halves_of_the_size_of_generated_motion() -> None:
    """Real motion passed off as generated has the floor's distance, not zero."""
    own = [Example(joints=e.joints, captions=(f"{i}",), description=e.description, group=i) for i, e in enumerate(REAL)]

    class Numbers(Reader):
        def texts(self, texts: Sequence[str]) -> np.ndarray:
            return np.stack([code(int(REAL[int(text)].description)) for text in texts])  # type: ignore[call-overload]

    report = text_to_motion(Numbers(), own, lambda texts, lengths, seed: [own[int(t)].joints for t in texts], QUICK)
    assert report["generated"]["fid"] == report["real"]["fid"] and report["real"]["fid"]["mean"] > 0
    assert report["ratio"]["fid"] == 1 and report["difference"]["jitter"]["high"] == 0


def test_motion_quality_is_measured_where_the_evaluator_is_blind() -> None:
    def shakes(texts: Sequence[str], lengths: Sequence[int], seed: int) -> list[np.ndarray]:
        return [j + 0.02 * (np.arange(len(j)) % 2)[:, None, None] for j in follows_prompt(texts, lengths, seed)]

    report = text_to_motion(Reader(), REAL, shakes, QUICK)
    assert report["generated"]["r_precision_1"]["mean"] == 100
    assert report["ratio"]["jitter"]["low"] > 3 and report["difference"]["jitter"]["low"] > 0


def test_copies_of_training_clips_are_detected() -> None:
    training = [clip(action, 44, 100) for action in range(12)]
    report = text_to_motion(
        Reader(),
        REAL,
        lambda texts, n, seed: [training[action_of(text)].repeat(2, 0) for text in texts],
        QUICK,
        training,
    )
    assert report["ratio"]["nearest_training_mm"]["high"] < 0.8
    assert report["generated"]["nearest_training_piece_mm"]["n"] == len(REAL)


def test_a_seed_reproduces_everything() -> None:
    assert text_to_motion(Reader(), REAL, follows_prompt, QUICK) == text_to_motion(
        Reader(), REAL, follows_prompt, QUICK
    )


@pytest.mark.parametrize(
    "generate, message",
    [
        (
            lambda texts, lengths, seed: follows_prompt(texts, lengths, seed)[:-1],
            "47 clips were generated, expected 48",
        ),
        (
            lambda texts, lengths, seed: follows_prompt(texts, [20] * 48, seed),
            "generated clip 0 has 20 frames, expected 40",
        ),
        (
            lambda texts, lengths, seed: [j * np.nan for j in follows_prompt(texts, lengths, seed)],
            "generated clip 0: frame 0",
        ),
    ],
)
def test_a_malformed_generated_clip_is_named(generate: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        text_to_motion(Reader(), REAL, generate, QUICK)


def test_too_few_descriptions_are_refused() -> None:
    with pytest.raises(InputError, match="12 distinct descriptions, expected at least the 32 of a batch"):
        text_to_motion(Reader(), REAL, follows_prompt, ScoringConfig(repeats=2))


def test_generators_are_compared_by_paired_differences() -> None:
    report = compare_generators(Reader(), REAL, ignores_prompt, follows_prompt, QUICK)
    check(report)
    assert report["difference"]["r_precision_1"]["low"] > 0
    assert report["difference"]["mm_dist"]["high"] < 0
    assert report["difference"]["fid_pca"]["high"] < 0
    assert report["after"]["r_precision_1"]["mean"] == 100 > report["before"]["r_precision_1"]["mean"]
    nothing = compare_generators(Reader(), REAL, follows_prompt, follows_prompt, QUICK)
    assert nothing["difference"]["r_precision_1"]["low"] == nothing["difference"]["r_precision_1"]["high"] == 0
    assert nothing["difference"]["fid_pca"]["mean"] == 0


def test_clips_in_no_batch_are_left_out_of_paired_scores() -> None:
    real = [example(action) for action in range(15)]
    report = compare_generators(
        Reader(), real, ignores_prompt, follows_prompt, ScoringConfig(repeats=2, batch=8, diversity_pairs=5)
    )
    assert 8 <= report["difference"]["r_precision_1"]["n"] < 15 == report["difference"]["mm_dist"]["n"]


@pytest.mark.parametrize(
    "kind, expected",
    [("prefix", ".....#####"), ("suffix", "#####....."), ("inpaint", "..######.."), ("outpaint", "##......##")],
)
def test_edit_masks_are_halves_and_quarters_of_tokens(kind: str, expected: str) -> None:
    mask = edit_mask(kind, 40)
    assert "".join(".#"[int(new)] for new in mask[::4]) == expected
    assert (mask.reshape(10, 4) == mask[::4, None]).all(), "whole tokens"
    assert len(edit_mask(kind, 43)) == 43


def test_an_edit_that_keeps_the_input_and_one_that_does_not() -> None:
    def keeps(
        clips: Sequence[np.ndarray], texts: Sequence[str], masks: Sequence[np.ndarray], seed: int
    ) -> list[np.ndarray]:
        assert all(len(c) == len(m) for c, m in zip(clips, masks, strict=True)) and len(texts) == len(clips)
        return [np.where(new[:, None, None], joints + 0.1, joints) for joints, new in zip(clips, masks, strict=True)]

    report = editing(Reader(), REAL, keeps, "prefix", QUICK)
    check(report)
    assert report["protocol"].startswith("editing, prefix: the first half is kept")
    assert report["generated"]["kept_mpjpe_mm"]["mean"] == pytest.approx(0, abs=1e-9)
    assert report["generated"]["new_mpjpe_mm"]["mean"] == pytest.approx(100 * np.sqrt(3))
    assert report["generated"]["seam_jitter"]["mean"] > 10 * report["real"]["seam_jitter"]["mean"]
    assert report["generated"]["r_precision_1"]["mean"] == 100

    def moves(
        clips: Sequence[np.ndarray], texts: Sequence[str], masks: Sequence[np.ndarray], seed: int
    ) -> list[np.ndarray]:
        return [joints + 0.1 for joints in clips]

    assert editing(Reader(), REAL, moves, "inpaint", QUICK)["generated"]["kept_mpjpe_mm"]["mean"] == pytest.approx(
        100 * np.sqrt(3)
    )


def test_a_blend_of_eight_frames_next_to_a_seam_is_not_an_error() -> None:
    def edit(blend: int) -> Any:
        def blend_edit(
            clips: Sequence[np.ndarray], texts: Sequence[str], masks: Sequence[np.ndarray], seed: int
        ) -> list[np.ndarray]:
            edited = [joints.copy() for joints in clips]
            for joints, new in zip(edited, masks, strict=True):
                joints[int(np.argmax(new)) - blend : int(np.argmax(new))] += 0.1
            return edited

        return blend_edit

    def kept(blend: int) -> float:
        return editing(Reader(), REAL, edit(blend), "prefix", QUICK)["generated"]["kept_mpjpe_mm"]["mean"]

    assert kept(8) == 0 < kept(9)


def test_the_shortest_clips_can_be_edited() -> None:
    real = [example(action, 16) for action in range(12)]
    for kind in ("prefix", "suffix", "inpaint", "outpaint"):
        check(editing(Reader(), real, lambda clips, texts, masks, seed: clips, kind, QUICK))
    with pytest.raises(InputError, match="a clip of 12 frames, expected at least 16"):
        edit_mask("prefix", 12)
    with pytest.raises(InputError, match="unknown edit 'middle', expected one of prefix, suffix, inpaint, outpaint"):
        edit_mask("middle", 40)


def one_hot(texts: Sequence[str]) -> np.ndarray:
    return np.stack([np.eye(12)[action_of(text)] for text in texts])


def test_a_good_retriever_beats_chance_and_the_baseline() -> None:
    training = [example(action, 40, 10 + seed) for action in range(12) for seed in range(8)]
    report = retrieval(Reader(), REAL, training, one_hot, QUICK)
    check(report)
    assert report["counts"]["training_clips"] == 96 and report["counts"]["clips"] == 48
    for direction in ("text_to_motion", "motion_to_text"):
        found = report["model"][direction]
        assert found["batch"]["R@1"]["mean"] == 100 and found["batch"]["MedR"]["mean"] == 1
        assert found["all_tolerant"]["R@1"]["mean"] == 100, "any of the four clips of an action counts"
        assert found["all"]["R@5"]["mean"] == 100 and found["all"]["R@1"]["mean"] < 60, "only the matching clip counts"
        baseline = report["bag_of_joints"][direction]["batch"]["R@1"]["mean"]
        assert baseline > 2 * report["chance"][direction]["batch"]["R@1"]["mean"], "statistics carry information"
        assert set(report["difference"][direction]) == {"R@1", "R@2", "R@3", "R@5", "R@10"}


def test_a_random_retriever_scores_like_chance() -> None:
    class Random(Reader):
        def motions(self, clips: Sequence[np.ndarray]) -> np.ndarray:
            return np.random.default_rng(0).normal(size=(len(clips), 16))

        def texts(self, texts: Sequence[str]) -> np.ndarray:
            return np.random.default_rng(1).normal(size=(len(texts), 16))

    real = [
        Example(joints=clip(1, 20), captions=(f"{i}",), description=i // 10, group=i) for i in range(400)
    ]  # ten of each description, each with its own caption
    report = retrieval(Random(), real, config=ScoringConfig(repeats=20))
    check(report)
    assert "bag_of_joints" not in report and "difference" not in report
    for direction in ("text_to_motion", "motion_to_text"):
        chance = {kind: figures["R@3"]["mean"] for kind, figures in report["chance"][direction].items()}
        assert chance["batch"] == pytest.approx(300 / 32, rel=0.15)
        assert chance["all"] == pytest.approx(300 / 400, rel=0.25)
        assert chance["all_tolerant"] == pytest.approx(100 * (1 - 390 / 400 * 389 / 399 * 388 / 398), rel=0.15)
        assert report["chance"][direction]["all"]["MedR"]["mean"] == pytest.approx(200, rel=0.1)
        for kind, figures in report["model"][direction].items():
            expected = report["chance"][direction][kind]["MedR"]["mean"]
            assert figures["MedR"]["mean"] == pytest.approx(expected, rel=0.3)


def test_retrieval_without_enough_descriptions_has_no_batches() -> None:
    report = retrieval(Reader(), REAL, config=ScoringConfig(repeats=2))
    assert "batch" not in report["model"]["text_to_motion"] and "batch" not in report["chance"]["motion_to_text"]
    with pytest.raises(InputError, match="1 clips, expected at least 2"):
        retrieval(Reader(), REAL[:1])


def test_recognition_counts_any_of_a_clips_labels() -> None:
    clips = [example(action).joints for action in (0, 1, 2, 3)]
    own = [{"a"}, {"a", "b"}, {"c"}, {"b"}]
    report = recognition(lambda clips, known: ["a", "b", "a", "c"], clips, own, ("a", "b", "c", "d"))
    check(report)
    assert report["top1"]["mean"] == 50
    assert report["per_label"] == {
        "a": {"n": 2, "top1": 100.0},
        "b": {"n": 2, "top1": 50.0},
        "c": {"n": 1, "top1": 0.0},
    }
    assert report["macro_top1"] == 50 and report["chance"] == pytest.approx(100 * 5 / 4 / 4)
    assert report["counts"] == {"clips": 4, "labels": 4, "labels_with_clips": 3}
    assert "one of its labels" in report["protocol"]
    with pytest.raises(InputError, match="the model predicted 'e', which is not one of the known labels"):
        recognition(lambda clips, known: ["e"] * 4, clips, own, ("a", "b", "c"))
    with pytest.raises(InputError, match="clip 1: labels"):
        recognition(lambda clips, known: ["a"] * 4, clips, own, ("a", "c"))
    with pytest.raises(InputError, match="0 predictions for 0 clips"):
        recognition(lambda clips, known: [], [], [], ("a",))


def test_clips_become_examples_of_whole_tokens() -> None:
    class Recording:
        def __init__(self, frames: int):
            self.joints, self.captions, self.name = clip(1, frames), ("someone does 1",), f"clip of {frames}"
            self.action, self.style = "one", "proud"

    found = make_examples([Recording(frames) for frames in (43, 16, 15)])
    assert [len(e.joints) for e in found] == [40, 16]
    assert found[0].description == ("one", "proud") and found[0].group == "clip of 43"
    assert HEAD  # the skeleton that the clips have

"""The paired experiment: folds of people, equal initial weights and clips for all variants, paired differences."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from motionrt.bench.studies import cocodiff  # noqa: E402
from motionrt.bench.studies.cocodiff import FOLDS, VARIANTS, folds, kinect_clips, paired_interval, recipe_of, report  # noqa: E402
from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.training.data.clips import LabeledClip  # noqa: E402
from motionrt.training.recognition.recipes import StreamGcnRecipe  # noqa: E402

TINY = {"steps": "2", "batch": "4", "channels": "8", "precision": "no"}


@pytest.fixture(scope="module")
def clips(data: Path) -> list[LabeledClip]:
    return kinect_clips(data, Layout.load("core15"))


@pytest.fixture
def seeded(data: Path) -> Callable[[int], StreamGcnRecipe]:
    """The recipe of a tiny run with a seed."""
    recipe = recipe_of(data, TINY)
    return lambda seed: replace(recipe, loop=replace(recipe.loop, seed=seed))


def test_every_person_of_the_kinect_sets_is_in_one_fold(shared: Path) -> None:
    clips = kinect_clips(shared / "kinect20.npz", Layout.load("core15"))
    fold_of = folds(clips)
    assert len(clips) == 2016 and {clip.source for clip in clips} == {source for source, _ in fold_of}
    people = defaultdict(set)
    for (source, subject), fold in fold_of.items():
        people[source].add(fold)
        assert isinstance(subject, int)
    assert all(found == set(range(FOLDS)) for found in people.values()), "every set is in every fold"
    sizes = Counter(fold_of[clip.source, clip.record["subject"]] for clip in clips)
    assert max(sizes.values()) < 1.25 * min(sizes.values())


def test_variants_of_a_seed_differ_only_in_the_helper(
    clips: list[LabeledClip], seeded: Callable[[int], StreamGcnRecipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    fit = cocodiff.fit

    def spy(model: Any, task: Any, config: Any, run: Path, *others: Any) -> Any:
        network = getattr(model, "recognizer", model)
        weights = {name: value.clone() for name, value in network.state_dict().items()}
        seen[run.name] = weights, [sample.frames for step in range(2) for sample in task.batch(step, 4)], task.clips
        return fit(model, task, config, run, *others)

    monkeypatch.setattr(cocodiff, "fit", spy)
    for variant in VARIANTS:
        cocodiff.train(clips, seeded(1), variant, tmp_path / variant)
    cocodiff.train(clips, seeded(2), "off", tmp_path / "other seed")
    weights, frames, training = seen.pop("off")
    others, other_frames, other_training = seen.pop("other seed")
    assert not torch.equal(weights["head.weight"], others["head.weight"])
    assert {clip.record["subject"] for clip in training} != {clip.record["subject"] for clip in other_training}
    for found, found_frames, _ in seen.values():
        assert all(torch.equal(found[name], value) for name, value in weights.items())
        assert all((a == b).all() for a, b in zip(frames, found_frames, strict=True))
    assert len(seen) == len(VARIANTS) - 1


def test_training_and_test_people_are_disjoint_and_every_clip_is_tested_once(
    clips: list[LabeledClip], seeded: Callable[[int], StreamGcnRecipe], tmp_path: Path
) -> None:
    found = [cocodiff.train(clips, seeded(seed), "off", tmp_path / str(seed)) for seed in range(FOLDS)]
    assert sum(one["n"] for one in found) == len(clips)
    assert all(one["n"] + one["trained"] == len(clips) for one in found)
    assert all(sum(map(sum, one["confusion"])) == one["n"] for one in found)


def test_a_finished_run_is_read_and_one_with_other_settings_is_refused(
    clips: list[LabeledClip], seeded: Callable[[int], StreamGcnRecipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cocodiff.train(clips, seeded(0), "on", tmp_path / "run")
    with pytest.raises(InputError, match="other settings"):
        cocodiff.train(clips, seeded(0), "off", tmp_path / "run")
    monkeypatch.setattr(cocodiff, "fit", lambda *args: pytest.fail("trained again"))
    assert cocodiff.train(clips, seeded(0), "on", tmp_path / "run") == first


def test_intervals_are_students_t_over_paired_differences() -> None:
    found = paired_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found["mean"] == 3 and found["n"] == 5
    assert found["low"] == pytest.approx(3 - 2.776 * 1.5811388 / 5**0.5, abs=1e-4) and found["improves"]
    assert not paired_interval([1.0, -1.0, 1.0, -1.0, 2.0])["improves"]
    assert not paired_interval([-1.0, -1.1, -0.9])["improves"], "a certain decline is not an improvement"


def test_differences_are_taken_within_a_seed(data: Path) -> None:
    def one(seed: int, top1: float, cpu_s: float | None) -> dict[str, Any]:
        return {"seed": seed, "n": 10, "top1": top1, "macro_top1": top1 / 2, "cpu_s": cpu_s, "confusion": []}

    off = [one(0, 50.0, 10.0), one(1, 70.0, 10.0), one(2, 60.0, 10.0)]
    found = report({"off": off, "on": [one(1, 71.0, 12.0), one(0, 53.0, None)]}, recipe_of(data, TINY))
    on = found["variants"]["on"]
    assert on["gain"]["top1"]["differences"] == [1.0, 3.0] and on["gain"]["macro_top1"]["mean"] == 1.0
    assert on["cpu_ratio"] == pytest.approx(1.2) and found["clips"] == 30
    assert "gain" not in found["variants"]["off"] and "confusion" not in on["seeds"][0]


def test_the_command_trains_pairs_first_and_writes_the_report(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    settings = [f"{key}={value}" for key, value in TINY.items()]
    arguments = [str(data), str(tmp_path / "runs"), "-o", str(out), "--seeds", "2", *settings]
    monkeypatch.setattr(sys, "argv", ["cocodiff", *arguments])
    cocodiff.main()
    printed = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if ": top-1" in line]
    pairs = [f"{variant}, seed {seed}" for seed in (0, 1) for variant in ("off", "on")]
    assert printed[:4] == pairs and len(printed) == 2 * len(VARIANTS)
    found = json.loads(out.read_text())
    assert list(found["variants"]) == list(VARIANTS)
    assert all(len(found["variants"][name]["gain"]["top1"]["differences"]) == 2 for name in VARIANTS if name != "off")

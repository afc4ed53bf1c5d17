"""Accuracy on a set that was left out: which clips count, and what is told of mistakes and of unknown actions."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from motionrt.bench.accuracy.protocols.onsets import reported_labels
from motionrt.bench.studies.leave_one_set_out import average, labels_by_set, measure_clips, measure_onsets, reliability
from motionrt.runtime.body.motion import Motion
from motionrt.training.data.clips import clip_sets

WALK = Motion(np.zeros((6, 22, 3), np.float32), 20, "smpl22")


def fake_recognizer(label: Callable[[Motion], str], onset: int | None = None) -> Any:
    """A recognizer that returns `label(motion)` for every clip, and an onset in the frame with this number."""
    steps: list[float] = []

    def step(joints: np.ndarray, timestamp: float, layout: str) -> Any:
        steps.append(timestamp)
        return SimpleNamespace(event="onset" if len(steps) - 1 == onset else None, event_label="bow")

    bundle = SimpleNamespace(manifest=SimpleNamespace(frontend=SimpleNamespace(flat=False)))
    return SimpleNamespace(
        bundle=bundle, recognize=lambda motion: SimpleNamespace(label=label(motion)), step=step, reset=steps.clear
    )


def test_every_set_has_its_labels(data: Path) -> None:
    assert labels_by_set(clip_sets(data)) == {
        "bandai": {"bow", "run", "walk", "wave"},
        "nw-ucla": {"bow", "walk"},
        "msr-action3d": {"wave"},
        "utkinect": {"run"},
        "florence3d": {"bow"},
    }


def test_only_clips_whose_label_another_set_has_are_measured(data: Path) -> None:
    sets = clip_sets(data)
    found = measure_clips(fake_recognizer(lambda motion: "bow"), "nw-ucla", sets)
    assert (found["n"], found["top1"], found["shared_labels"]) == (18, pytest.approx(50.0), 2)
    assert set(found["per_set"]) == {"nw-ucla"}
    assert found["own_share_of_labels"] == pytest.approx(50.0), "two of the four labels of the others"
    kinect = [clip_set for clip_set in sets if clip_set.name == "kinect"]
    alone = measure_clips(fake_recognizer(lambda motion: "bow"), "nw-ucla", kinect)
    assert (alone["n"], alone["top1"]) == (9, 100.0), "nobody else walks"


def test_mistakes_within_the_sets_own_labels_are_told_apart(data: Path) -> None:
    def answer(motion: Motion) -> str:
        """Wrong: three times `walk` for bow, three times `wave`, else `none`."""
        if motion.meta["action"] != "bend":
            return "walk"
        return {1: "walk", 2: "wave", 3: "none"}[motion.meta["subject"]]

    found = measure_clips(fake_recognizer(answer), "nw-ucla", clip_sets(data))
    assert found["top1"] == pytest.approx(50.0) and found["wrong_within_own_labels"] == pytest.approx(50.0)
    perfect = measure_clips(fake_recognizer(lambda motion: "wave"), "msr-action3d", clip_sets(data))
    assert perfect["top1"] == 100 and perfect["wrong_within_own_labels"] is None


def test_onsets_are_counted_in_known_and_unknown_clips(data: Path) -> None:
    sets = clip_sets(data)
    found = measure_onsets(fake_recognizer(lambda motion: "bow", onset=3), "bandai", sets)
    assert (found["unknown_clips"], found["unknown_with_onset"]) == (2, 100.0)
    assert found["right"] + found["wrong"] == pytest.approx(100) and 0 < found["right"] < 100, "some of them bow"
    silent = measure_onsets(fake_recognizer(lambda motion: "bow"), "bandai", sets)
    assert silent["right"] == silent["wrong"] == silent["unknown_with_onset"] == 0
    assert measure_onsets(fake_recognizer(lambda motion: "bow"), "nw-ucla", sets)["unknown_with_onset"] is None


@pytest.mark.parametrize(("onset", "wanted"), [(None, set()), (0, {"bow"}), (5, {"bow"}), (6, set())])
def test_an_onset_in_any_frame_of_a_clip_counts(onset: int | None, wanted: set[str]) -> None:
    recognizer = fake_recognizer(lambda motion: "bow", onset)
    assert reported_labels(recognizer, WALK) == wanted
    assert reported_labels(recognizer, WALK) == wanted, "every clip starts anew"


def test_a_model_for_pictures_gets_pictures(data: Path) -> None:
    layouts: set[str] = set()

    def answer(motion: Motion) -> str:
        layouts.add(motion.layout)
        assert motion.joints.shape[1:] == (17, 2) and np.ptp(motion.joints[0, :, 1]) > 50, "pixels"
        assert motion.joints[0, 15:, 1].mean() > motion.joints[0, 0, 1], "the ankles are below the nose, y points down"
        return "bow"

    recognizer = fake_recognizer(answer)
    recognizer.bundle.manifest.frontend.flat = True
    assert measure_clips(recognizer, "nw-ucla", clip_sets(data))["n"] == 18 and layouts == {"coco17"}


def test_figures_of_several_runs_are_averaged() -> None:
    rows = [{"n": 3, "top1": 10.0, "of": {"x": None}}, {"n": 3, "top1": 20.0, "of": {"x": 4.0}}]
    assert average(rows) == {"n": 3, "top1": 15.0, "of": {"x": 4.0}}


def test_reliability_is_the_mean_over_the_sets_left_out(data: Path) -> None:
    figures = {"bow": {"n": 3, "top1": 50.0}, "walk": {"n": 2, "top1": 100.0}}
    other = {"bow": {"n": 1, "top1": 100.0}}
    table = reliability({"sets": {"nw-ucla": {"per_class": figures}, "bandai": {"per_class": other}}}, clip_sets(data))
    assert table["bow"] == {"loso": 75.0, "sets": ["bandai", "florence3d", "nw-ucla"]}
    assert table["wave"]["loso"] is None and table["walk"]["loso"] == 100

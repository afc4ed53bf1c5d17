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

from motionrt.bench.studies.leave_one_set_out import has_onset, labels_by_set, measure
from motionrt.runtime.body.motion import Motion
from motionrt.training.data.clips import clip_sets

WALK = Motion(np.zeros((6, 22, 3), np.float32), 20, "smpl22")


def fake_recognizer(label: Callable[[Motion], str], onset: int | None = None) -> Any:
    """A recognizer that returns `label(motion)` for every clip, and an onset in the frame with this number."""
    steps: list[float] = []

    def step(joints: np.ndarray, timestamp: float, layout: str) -> Any:
        steps.append(timestamp)
        return SimpleNamespace(event="onset" if len(steps) - 1 == onset else None)

    return SimpleNamespace(recognize=lambda motion: SimpleNamespace(label=label(motion)), step=step, reset=steps.clear)


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
    found = measure(fake_recognizer(lambda motion: "bow"), "nw-ucla", sets)
    assert (found["n"], found["top1"], found["shared_labels"]) == (18, pytest.approx(50.0), 2)
    assert set(found["per_set"]) == {"nw-ucla"}
    assert found["own_share_of_labels"] == pytest.approx(50.0), "two of the four labels of the others"
    kinect = [clip_set for clip_set in sets if clip_set.name == "kinect"]
    alone = measure(fake_recognizer(lambda motion: "bow"), "nw-ucla", kinect)
    assert (alone["n"], alone["top1"]) == (9, 100.0), "nobody else walks"


def test_mistakes_within_the_sets_own_labels_are_told_apart(data: Path) -> None:
    def answer(motion: Motion) -> str:
        """Wrong: three times `walk` for bow, three times `wave`, else `none`."""
        if motion.meta["action"] != "bend":
            return "walk"
        return {1: "walk", 2: "wave", 3: "none"}[motion.meta["subject"]]

    found = measure(fake_recognizer(answer), "nw-ucla", clip_sets(data))
    assert found["top1"] == pytest.approx(50.0) and found["wrong_within_own_labels"] == pytest.approx(50.0)
    perfect = measure(fake_recognizer(lambda motion: "wave"), "msr-action3d", clip_sets(data))
    assert perfect["top1"] == 100 and perfect["wrong_within_own_labels"] is None


def test_onsets_on_unknown_actions_are_counted(data: Path) -> None:
    sets = clip_sets(data)
    found = measure(fake_recognizer(lambda motion: "bow", onset=3), "bandai", sets)
    assert (found["unknown_clips"], found["unknown_with_onset"]) == (2, 100.0)
    assert measure(fake_recognizer(lambda motion: "bow"), "bandai", sets)["unknown_with_onset"] == 0
    assert measure(fake_recognizer(lambda motion: "bow"), "nw-ucla", sets)["unknown_with_onset"] is None


@pytest.mark.parametrize(("onset", "wanted"), [(None, False), (0, True), (5, True), (6, False)])
def test_an_onset_in_any_frame_of_a_clip_counts(onset: int | None, wanted: bool) -> None:
    recognizer = fake_recognizer(lambda motion: "bow", onset)
    assert has_onset(recognizer, WALK) is wanted
    assert has_onset(recognizer, WALK) is wanted, "every clip starts anew"

"""The recipe nwucla-ctrgcn: network inputs, resumed runs and rejected settings."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from safetensors.torch import load_file  # noqa: E402

from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.recognition.clips import scale_axes  # noqa: E402
from motionrt.training.data import augment  # noqa: E402
from motionrt.training.models.ctr_gcn import CTRGCN, NWUCLA_PARENTS, CTRGCNConfig  # noqa: E402
from motionrt.training.recipes import train  # noqa: E402
from motionrt.training.recognition.ctr_gcn import (  # noqa: E402
    FRAMES,
    STREAMS,
    CtrGcnTask,
    load_views,
    stream_input,
    top1,
    whole_sample,
)
from motionrt.training.recognition.recipes import nwucla_ctrgcn  # noqa: E402
from motionrt.training.runs import read_network  # noqa: E402
from motionrt.training.settings import override  # noqa: E402

TINY = {"steps": "4", "batch": "4", "channels": "8,8", "precision": "no", "checkpoint_every": "2"}


@pytest.fixture
def start(data: Path, tmp_path: Path) -> Callable[..., Path]:
    """Start, or resume, a tiny run in a folder of its own."""

    def start(**changes: str) -> Path:
        return train("nwucla-ctrgcn", {**TINY, "data": str(data), "run": str(tmp_path / "run"), **changes})

    return start


@pytest.fixture
def task(data: Path) -> CtrGcnTask:
    clips = load_views(data, 1, 2)
    labels = tuple(sorted({clip.record["action"] for clip in clips}))
    return CtrGcnTask(clips=clips, labels=labels, stream="joint", layout=Layout.load("kinect20"), seed=3)


def test_every_axis_of_a_clip_is_scaled_to_minus_one_to_one(task: CtrGcnTask) -> None:
    joints = task.clips[0].joints
    found = scale_axes(joints)
    np.testing.assert_allclose(found.min((0, 1)), -1, atol=1e-6)
    np.testing.assert_allclose(found.max((0, 1)), 1, atol=1e-6)
    np.testing.assert_allclose(scale_axes(2.5 * joints + [4, -1, 2]), found, atol=1e-4)
    assert np.isfinite(scale_axes(np.zeros((3, 20, 3), np.float32))).all()


def test_streams_are_differences_to_the_parent_and_to_the_next_frame() -> None:
    joints = np.random.default_rng(0).normal(size=(FRAMES, 20, 3)).astype(np.float32)
    found = {stream: stream_input(joints, stream).transpose(1, 2, 0) for stream in STREAMS}
    np.testing.assert_allclose(found["joint"], joints, atol=1e-6)
    for joint, parent in enumerate(NWUCLA_PARENTS):
        wanted = joints[:, joint] - joints[:, parent] if parent >= 0 else np.zeros((FRAMES, 3))
        np.testing.assert_allclose(found["bone"][:, joint], wanted, atol=1e-5)
    for stream in ("joint", "bone"):
        motion = found[f"{stream}_motion"]
        np.testing.assert_allclose(motion[:-1], found[stream][1:] - found[stream][:-1], atol=1e-5)
        assert not motion[-1].any()


def test_bones_are_those_of_the_layout_apart_from_the_root() -> None:
    def edges(parents: tuple[int, ...]) -> set[frozenset[int]]:
        return {frozenset((joint, parent)) for joint, parent in enumerate(parents) if parent >= 0}

    assert edges(NWUCLA_PARENTS) == edges(Layout.load("kinect20").parents)


@pytest.mark.parametrize("frames", [1, 7, 52, 130])
def test_clips_of_any_length_are_resampled_to_the_same_length(frames: int) -> None:
    joints = np.random.default_rng(0).normal(size=(frames, 20, 3)).astype(np.float32)
    x = stream_input(joints, "joint")
    assert x.shape == (3, FRAMES, 20) and x.dtype == np.float32
    np.testing.assert_allclose(x[:, [0, -1]].transpose(1, 2, 0), joints[[0, -1]], atol=1e-6)


def test_an_epoch_has_every_clip_once_and_the_next_in_another_order(task: CtrGcnTask) -> None:
    epochs: list[list[int]] = []

    class Spy(CtrGcnTask):
        def sample(self, clip: Any, rng: Any) -> Any:
            epochs[-1].append(next(i for i, one in enumerate(self.clips) if one is clip))
            return super().sample(clip, rng)

    spy = Spy(**{name: getattr(task, name) for name in ("clips", "labels", "stream", "layout", "seed")})
    for _ in range(2):
        epochs.append([])
        for step in range(3 * (len(epochs) - 1), 3 * len(epochs)):
            spy.batch(step, 4)
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12)) and epochs[0] != epochs[1]


def test_samples_are_reproducible_and_augmented(task: CtrGcnTask) -> None:
    once, again, later = task.batch(0, 12), task.batch(0, 12), task.batch(1, 12)
    assert all(np.array_equal(a.x, b.x) and a.target == b.target for a, b in zip(once, again, strict=True))
    assert not any(np.array_equal(a.x, b.x) for a in once for b in later)
    assert {sample.target for sample in once} == {0, 1}


def test_clips_are_not_augmented_for_testing(task: CtrGcnTask) -> None:
    clip = task.clips[0]
    found = whole_sample(clip, "joint", task.labels)
    assert task.labels[found.target] == clip.label
    np.testing.assert_array_equal(found.x, stream_input(scale_axes(clip.joints), "joint"))
    turned = replace(clip, joints=augment.rotate(clip.joints, 0.5, np.zeros(2)))
    assert np.abs(whole_sample(turned, "joint", task.labels).x - found.x).max() > 0.01


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stream=bones", "stream=bones: expected joint, bone, joint_motion, bone_motion"),
        ("channels=8,4", "channels: expected numbers of at least 8"),
        ("hold_out=99", "hold_out=99: no training subject of that number"),
        ("batch=1000", "batch=1000: more than the 12 clips to train on"),
        ("steps=0", "steps: expected a number above 0"),
    ],
)
def test_an_invalid_setting_is_rejected_before_anything_is_written(
    start: Callable[..., Path], tmp_path: Path, setting: str, message: str
) -> None:
    key, value = setting.split("=")
    with pytest.raises(InputError, match=message):
        start(**{key: value})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stream", STREAMS)
def test_a_run_saves_weights_metrics_and_its_settings(start: Callable[..., Path], stream: str) -> None:
    run = start(stream=stream, hold_out="2", steps="2")
    about = json.loads((run / "recipe.json").read_text())
    assert about["recipe"]["stream"] == stream and about["labels"] == ["bend", "walk around"]
    assert about["model"]["people"] == 1 and about["model"]["parents"] == list(NWUCLA_PARENTS)
    assert load_file(run / "model.safetensors")["fc.weight"].shape == (2, 8)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 2 and 0 <= last["top1"] <= 100


def test_a_run_resumes_to_the_loss_and_weights_it_would_have_had(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = ({"run": str(tmp_path / name), "subset": "8"} for name in ("whole", "cut"))
    wanted = start(**whole)
    batch = CtrGcnTask.batch

    def interrupted(task: CtrGcnTask, step: int, size: int) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        return batch(task, step, size)

    with monkeypatch.context() as patch:
        patch.setattr(CtrGcnTask, "batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(**cut)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    found = start(**cut)
    losses = [json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["loss"] for run in (wanted, found)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    again = load_file(found / "model.safetensors")
    for name, value in load_file(wanted / "model.safetensors").items():
        torch.testing.assert_close(again[name], value, atol=1e-7, rtol=1e-6, msg=name)


def test_a_run_of_another_stream_is_not_resumed(start: Callable[..., Path]) -> None:
    start(steps="1")
    with pytest.raises(InputError, match="holds a run with other settings"):
        start(steps="1", stream="bone")


def test_real_clips_are_learned(shared: Path, tmp_path: Path) -> None:
    """A small network knows a third of 64 clips of NW-UCLA after ten passes over them; one in ten it would guess."""
    settings = {"steps": "40", "batch": "16", "channels": "16,32", "precision": "no", "lr": "0.02", "subset": "64"}
    run = train("nwucla-ctrgcn", {**settings, "data": str(shared), "run": str(tmp_path / "run")})
    network, about = read_network(run, CTRGCN, CTRGCNConfig)
    task = override(nwucla_ctrgcn(), {**settings, "data": str(shared)}).job(run).task
    assert len(task.clips) == 64 and len({clip.label for clip in task.clips}) == len(about["labels"]) == 10
    assert top1(network, [whole_sample(clip, "joint", about["labels"]) for clip in task.clips])["top1"] > 33


def test_the_recipe_defaults_to_the_joint_stream() -> None:
    assert nwucla_ctrgcn().stream == "joint" and nwucla_ctrgcn().hold_out is None

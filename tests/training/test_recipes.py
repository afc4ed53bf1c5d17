"""Recipes by name: their settings, the run's folder they leave, and what is refused."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from safetensors.torch import load_file  # noqa: E402

from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.training import recipes  # noqa: E402
from motionrt.training.data import vocabulary  # noqa: E402
from motionrt.training.data.choreography import RULES  # noqa: E402
from motionrt.training.data.clips import clip_sets, fingerprint  # noqa: E402
from motionrt.training.recipes import train  # noqa: E402
from motionrt.training.recognition.recipes import live, nwucla_stream, training_fingerprints  # noqa: E402
from motionrt.training.recognition.tasks import ClipTask, LiveTask  # noqa: E402
from motionrt.training.settings import override, parse_value  # noqa: E402

TINY = {"steps": "4", "batch": "2", "channels": "8,8", "precision": "no", "checkpoint_every": "2"}
LIVE = {"body": "12", "choreography": "1"}


@pytest.fixture
def start(data: Path, tmp_path: Path) -> Callable[..., Path]:
    """Start, or resume, a tiny run of a recipe in a folder of its own."""

    def start(recipe: str, **changes: str) -> Path:
        return train(recipe, {**TINY, "data": str(data), "run": str(tmp_path / recipe), **changes})

    return start


def test_settings_replace_fields_of_the_recipe_and_its_parts() -> None:
    changed = override(
        live(), {"steps": "7", "lr": "0.5", "facing_s": "0", "channels": "8,16", "subset": "5", "leave_out": "bandai"}
    )
    wanted = replace(
        live(),
        loop=replace(live().loop, steps=7, lr=0.5),
        frontend=replace(live().frontend, facing_s=0.0),
        channels=(8, 16),
        subset=5,
        leave_out="bandai",
    )
    assert changed == wanted
    assert override(live(), {}) == live()
    boned = override(nwucla_stream(), {"bones": ",".join(["0.5"] * 20)})
    assert boned.frontend == replace(nwucla_stream().frontend, bones=(0.5,) * 20)
    assert override(changed, {"subset": "None", "leave_out": "none"}).subset is None


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int, 3),
        ("0.5", float, 0.5),
        ("a/b", str, "a/b"),
        ("none", int | None, None),
        ("4", int | None, 4),
        ("8,16", tuple[int, ...], (8, 16)),
    ],
)
def test_text_becomes_a_value_of_the_fields_type(text: str, kind: Any, value: Any) -> None:
    found = parse_value("key", text, kind)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("dead", {}, "unknown recipe 'dead'; there are live, live-2d, nwucla-stream"),
        ("live", {"stepz": "3"}, "recipe live has no setting 'stepz'; there are .*steps"),
        ("live", {"loop": "3"}, "has no setting 'loop'"),
        ("live", {"name": "other"}, "has no setting 'name'"),
        ("live", {"steps": "many"}, "steps=many: expected int"),
        ("live", {"channels": "8,x"}, "channels=8,x: expected"),
        ("live", {"bones": "0,0.5"}, "bones: expected 15 lengths from 0 to 10 m"),
        ("live", {"layout": "octopus"}, "unknown skeleton layout 'octopus'"),
        ("live", {"data": "nowhere"}, "nowhere: no clip set here"),
    ],
)
def test_bad_settings_are_rejected_in_one_line(
    start: Callable[..., Path], tmp_path: Path, recipe: str, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        start(recipe, **settings)
    assert "\n" not in str(refused.value)
    assert not any(tmp_path.iterdir()), "nothing is left behind"


def test_data_without_a_clip_of_the_recipe_is_rejected(start: Callable[..., Path], data: Path, tmp_path: Path) -> None:
    only = tmp_path / "only"
    only.mkdir()
    for name in ("bandai.npz", "bandai.json"):
        (only / name).write_bytes((data / name).read_bytes())
    with pytest.raises(InputError, match="only: no clip that recipe nwucla-stream trains on"):
        start("nwucla-stream", data=str(only))


def test_live_trains_on_no_clip_that_is_held_out(data: Path) -> None:
    layout = Layout.load("core15")
    task, validation, labels = override(live(), {"data": str(data)}).load_data(layout)
    assert isinstance(task, LiveTask) and labels == (*vocabulary.labels(), "none")
    assert task.clips and not any(vocabulary.is_held_out(clip.record) for clip in task.clips)
    assert all(clip.label or vocabulary.is_unknown(clip.record) for clip in task.clips)
    assert validation and all(vocabulary.is_validation(clip.record) and clip.label for clip in validation)


def test_a_source_can_be_excluded(data: Path) -> None:
    layout = Layout.load("core15")
    settings = {"data": str(data), "choreography": "0"}
    task, validation, _ = override(live(), {**settings, "leave_out": "bandai"}).load_data(layout)
    assert isinstance(task, LiveTask)
    assert {clip.source for clip in task.clips} == {"nw-ucla", "msr-action3d", "utkinect", "florence3d", "other"}
    assert "bandai" in {clip.source for clip in validation}
    both = override(live(), {**settings, "leave_out": "bandai,nw-ucla"}).load_data(layout)[0]
    assert isinstance(both, LiveTask)
    assert {clip.source for clip in both.clips} == {"msr-action3d", "utkinect", "florence3d", "other"}


def test_choreography_adds_clips_to_every_label_with_a_rule(data: Path) -> None:
    task, _, labels = override(live(), {"data": str(data), "choreography": "2"}).load_data(Layout.load("core15"))
    assert isinstance(task, LiveTask)
    found = Counter(clip.label for clip in task.clips if clip.source == "choreography")
    assert found == {label: 2 for label in labels if label in RULES} and len(found) == len(RULES)


def test_nwucla_trains_on_views_one_and_two_without_the_subject_held_out(data: Path) -> None:
    layout = Layout.load("kinect20")
    recipe = override(nwucla_stream(), {"data": str(data), "hold_out": "2", "batch": "4"})
    task, validation, labels = recipe.load_data(layout)
    assert isinstance(task, ClipTask) and labels == ("bend", "walk around")
    assert sorted((c.record["subject"], c.record["view"]) for c in task.clips) == sorted(
        [(s, v) for s in (1, 3) for v in (1, 2)] * 2
    )
    assert sorted((c.record["subject"], c.record["view"]) for c in validation) == [(2, 1)] * 2 + [(2, 2)] * 2
    every, nobody, _ = override(nwucla_stream(), {"data": str(data), "batch": "4"}).load_data(layout)
    assert isinstance(every, ClipTask) and len(every.clips) == 12 and nobody == []


def test_fingerprints_are_those_of_labeled_clips_outside_the_validation_folds(data: Path) -> None:
    aside, without_bandai = (set(training_fingerprints(data, leave_out)) for leave_out in (None, "bandai"))
    for clip_set in clip_sets(data):
        for i, record in enumerate(clip_set.clips):
            name = fingerprint(clip_set, i)
            if vocabulary.is_validation(record):
                assert name not in aside
            elif vocabulary.label(record):
                assert name in aside
                assert (name in without_bandai) == (vocabulary.source(record) != "bandai")


@pytest.mark.parametrize(
    "setting",
    ["steps=0", "batch=0", "batch=1000", "lr=nan", "rate_hz=0", "validate_every=0", "channels=2", "threads=-1",
     "precision=foo", "workers=-1", "leave_out=nwucla", "hold_out=99", "subset=-3", "body=2",
     "body_blocks=1", "choreography=-1"],
)  # fmt: skip
def test_an_invalid_setting_is_rejected_before_anything_is_written(data: Path, tmp_path: Path, setting: str) -> None:
    key, value = setting.split("=")
    recipe = "live" if key == "leave_out" else "nwucla-stream"
    with pytest.raises(InputError, match=key):
        recipes.train(recipe, {"data": str(data), "run": str(tmp_path / "run"), key: value})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["live", "nwucla-stream"])
def test_a_run_saves_weights_metrics_and_its_settings(start: Callable[..., Path], data: Path, recipe: str) -> None:
    run = start(recipe, **({"hold_out": "2"} if recipe == "nwucla-stream" else LIVE))
    about = json.loads((run / "recipe.json").read_text())
    assert about["recipe"]["loop"]["steps"] == 4 and about["recipe"]["data"] == str(data)
    classes = len(vocabulary.labels()) + 1 if recipe == "live" else 2
    assert len(about["labels"]) == about["model"]["classes"] == classes
    assert load_file(run / "model.safetensors")["head.weight"].shape == (classes, 12 if recipe == "live" else 8)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 4 and 0 <= last["top1"] <= 100 and 0 <= last["macro_top1"] <= 100
    assert (run / "confusion.png").is_file()
    assert (run / "set_aside.json").is_file() == (recipe == "live")


def test_a_run_resumes_to_the_weights_it_would_have_had(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_file(start("nwucla-stream", run=str(tmp_path / "whole"), subset="8") / "model.safetensors")
    batch = ClipTask.batch

    def interrupted(task: ClipTask, step: int, size: int) -> Any:
        if step == 3:
            raise KeyboardInterrupt
        return batch(task, step, size)

    with monkeypatch.context() as patch:
        patch.setattr(ClipTask, "batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start("nwucla-stream", run=str(tmp_path / "cut"), subset="8")
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    resumed = load_file(start("nwucla-stream", run=str(tmp_path / "cut"), subset="8") / "model.safetensors")
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-7, rtol=1e-6, msg=name)


def test_a_run_from_before_a_setting_existed_is_resumed(start: Callable[..., Path]) -> None:
    path = start("nwucla-stream") / "recipe.json"
    about = json.loads(path.read_text())
    del about["recipe"]["frontend"]["bones"]
    path.write_text(json.dumps(about))
    start("nwucla-stream")
    with pytest.raises(InputError, match="holds a run with other settings"):
        start("nwucla-stream", bones=",".join(["0.5"] * 20))


def test_a_run_with_other_settings_is_not_resumed(start: Callable[..., Path]) -> None:
    run = start("nwucla-stream")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with pytest.raises(InputError, match="nwucla-stream: holds a run with other settings; .* run=PATH"):
        start("nwucla-stream", lr="0.1")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before

"""Accuracy on labeled clips: which clips are measured, and how they are counted."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from motionrt.bench.accuracy.protocols.labeled_clips import Prediction, live, nw_ucla, predict_clips, summarize
from motionrt.bench.accuracy.registry import Options, evaluate
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import BundleError, InputError
from motionrt.runtime.recognition.recognizer import Recognizer
from motionrt.training.data import vocabulary
from motionrt.training.data.clips import clip_sets, fingerprint

from ..conftest import clip_folder

write_set = clip_folder["write_set"]
KNOWN = 40  # clips with a label that the bundle has, copies once


def prediction(target: str, label: str, source: str = "bandai") -> Prediction:
    return Prediction(target=target, label=label, source=source, fingerprint="")


def fake_recognizer(label: Callable[[Motion], str]) -> Any:
    """A recognizer without a network that returns `label(motion)` for every clip."""
    bundle = SimpleNamespace(manifest=SimpleNamespace(files={}), path=Path("nowhere"))
    labels = (*vocabulary.labels(), vocabulary.NONE)
    return SimpleNamespace(bundle=bundle, labels=labels, recognize=lambda motion: SimpleNamespace(label=label(motion)))


def test_accuracy_is_counted_by_clip_by_class_and_by_set() -> None:
    found = summarize(
        [
            *[prediction("bow", "bow")] * 4,
            *[prediction("bow", "walk", "nw-ucla")] * 1,
            *[prediction("walk", "walk", "nw-ucla")] * 2,
            *[prediction("walk", "bow")] * 3,
            *[prediction("walk", "none")] * 1,
            *[prediction("run", "run")] * 2,
        ]
    )
    assert found["n"] == 13 and found["top1"] == pytest.approx(100 * 8 / 13)
    assert found["macro_top1"] == pytest.approx((100 * 4 / 5 + 100 * 2 / 6) / 2), "`run` has fewer than five clips"
    assert (found["macro_classes"], found["macro_min_clips"]) == (2, 5)
    assert found["per_class"]["run"] == {"n": 2, "top1": 100.0}
    assert found["per_class"]["walk"] == {"n": 6, "top1": pytest.approx(100 / 3)}
    assert found["per_set"] == {
        "bandai": {"n": 10, "top1": pytest.approx(60.0)},
        "nw-ucla": {"n": 3, "top1": pytest.approx(200 / 3)},
    }
    assert found["mistakes"][0] == ["walk", "bow", 3]
    assert sorted(found["mistakes"][1:]) == [["bow", "walk", 1], ["walk", "none", 1]]


def test_small_classes_enter_the_macro_average_if_all_are_small() -> None:
    found = summarize([prediction("bow", "bow"), prediction("walk", "bow"), prediction("walk", "walk")])
    assert found["macro_top1"] == pytest.approx(75.0)
    assert (found["macro_classes"], found["macro_min_clips"]) == (2, 1)


def test_live_is_measured_on_every_labeled_clip(data: Path) -> None:
    """A recognizer that always answers bow is correct on the clips that the vocabulary labels bow, in every set."""
    found = live(fake_recognizer(lambda motion: "bow"), data)
    records = {fingerprint(s, i): record for s in clip_sets(data) for i, record in enumerate(s.clips)}
    targets = [vocabulary.label(record) for record in records.values() if vocabulary.label(record)]
    assert found["n"] == len(targets) == 48, "one of 49 is a copy"
    assert found["top1"] == pytest.approx(100 * targets.count("bow") / len(targets))
    assert {name: figure["top1"] for name, figure in found["per_class"].items()} == {
        "bow": 100.0,
        "run": 0.0,
        "walk": 0.0,
        "wave": 0.0,
    }
    assert {name: figure["n"] for name, figure in found["per_set"].items()} == {
        "bandai": 25,
        "florence3d": 2,
        "msr-action3d": 2,
        "nw-ucla": 17,
        "utkinect": 2,
    }


def test_falls_are_measured_by_their_parts_and_pictures_not_at_all(tmp_path: Path, samples: list[Motion]) -> None:
    standing = samples[0].joints[:1]
    height = np.concatenate([np.ones(30), np.linspace(1, 0.1, 15), np.full(30, 0.1)]).astype(np.float32)
    fall = standing * np.stack([np.ones_like(height), height, np.ones_like(height)], 1)[:, None]
    record = {"ds": "lafan1-g1", "label": "fall and get up", "subject": 5}
    write_set(tmp_path, "falls", Layout.load("smpl22"), [(fall, record)], fps=20)
    flat = np.zeros((20, 15, 3), np.float32)
    flat[:, 1:, 1] = 0.3
    write_set(tmp_path, "pictures", Layout.load("jhmdb15"), [(flat, {"ds": "jhmdb", "label": "wave"})], fps=20)
    lengths: list[int] = []
    found = live(fake_recognizer(lambda motion: lengths.append(len(motion.joints)) or "lie down"), tmp_path)  # type: ignore[func-returns-value]
    assert found["n"] == 1 and found["per_class"] == {"lie down": {"n": 1, "top1": 100.0}}
    assert len(lengths) == 1 and 15 <= lengths[0] < len(fall)


def test_a_bundle_is_not_measured_on_clips_that_it_set_aside(bundle: Path, data: Path, aside: list[str]) -> None:
    found = evaluate("live", Options(model=str(bundle), data=data))
    recognizer, hits = Recognizer.load(bundle), []
    seen: set[str] = set()
    for clip_set in clip_sets(data):
        for i, record in enumerate(clip_set.clips):
            name = vocabulary.label(record)
            if name in recognizer.labels and fingerprint(clip_set, i) not in {*aside, *seen}:
                seen.add(fingerprint(clip_set, i))
                hits.append(recognizer.recognize(clip_set[i]).label == name)
    assert found["n"] == len(hits) == KNOWN - len(aside)
    assert found["top1"] == pytest.approx(100 * sum(hits) / len(hits))
    assert found["per_class"]["wave"]["n"] == 2, "those of another set remain"
    assert "run" not in found["per_class"], "the model does not have this label"
    assert found["benchmark"] == "live" and found["model"] == str(bundle)
    assert found["weights_sha256"] == recognizer.bundle.manifest.files["weights.safetensors"].sha256
    assert "set aside" in found["protocol"] or "left out" in found["protocol"]
    json.dumps(found, allow_nan=False)


def test_nw_ucla_is_measured_on_view_three_with_and_without_copies(data: Path) -> None:
    found = nw_ucla(fake_recognizer(lambda motion: "walk around"), data)
    assert found["n"] == 6 and found["top1"] == pytest.approx(50.0)
    assert found["per_class"] == {"bend": {"n": 3, "top1": 0.0}, "walk around": {"n": 3, "top1": 100.0}}
    assert found["per_set"] == {"nw-ucla": {"n": 6, "top1": pytest.approx(50.0)}}
    without = found["without_copies"]
    assert (without["n"], without["top1"]) == (5, pytest.approx(40.0)), "one clip has the joints of its view 1"
    assert "view 3" in found["protocol"]


def test_each_clip_is_recognized_once(data: Path) -> None:
    actions: list[str] = []
    nw_ucla(fake_recognizer(lambda motion: actions.append(motion.meta["action"]) or "bend"), data)  # type: ignore[func-returns-value]
    assert sorted(actions) == ["bend"] * 3 + ["walk around"] * 3


def test_an_unknown_model_and_an_empty_folder_are_refused(bundle: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model named 'dead'"):
        evaluate("live", Options(model="dead", data=data))
    for benchmark in ("live", "nw-ucla", "continuous"):
        with pytest.raises(InputError, match=f"{tmp_path.name}: has no \\*.npz, \\*.json; benchmark {benchmark} needs"):
            evaluate(benchmark, Options(model=str(bundle), data=tmp_path))
    (tmp_path / "a.npz").touch()
    (tmp_path / "b.json").touch()
    for benchmark in ("live", "nw-ucla", "continuous"):
        with pytest.raises(InputError, match=f"{tmp_path.name}: no clip set here"):
            evaluate(benchmark, Options(model=str(bundle), data=tmp_path))


def test_a_folder_without_a_clip_of_the_benchmark_is_refused(data: Path) -> None:
    with pytest.raises(InputError, match="no clip of this benchmark"):
        predict_clips(fake_recognizer(lambda motion: "bow"), data, lambda clip_set, i: [])


WITHOUT_TORCH = """
import json, sys
from importlib.abc import MetaPathFinder
from pathlib import Path

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "accelerate", "onnx", "onnxscript"):
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, Blocked())
from motionrt.bench.accuracy.registry import Options, evaluate
found = [evaluate(name, Options(model=sys.argv[1], data=Path(sys.argv[2]))) for name in ("live", "nw-ucla")]
print(json.dumps([report["n"] for report in found]))
"""


def test_evaluation_works_without_torch(bundle: Path, data: Path, aside: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(bundle), str(data)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{json.dumps([KNOWN - len(aside), 6])}\n", "only the report goes to standard output"

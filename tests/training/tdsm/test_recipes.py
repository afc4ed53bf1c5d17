"""The recipe `tdsm`: spaces, sentences, calibration, and a run from clips or from published features to a bundle."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from motionrt.export import export_zero_shot  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.bundles.schema import SLOTS  # noqa: E402
from motionrt.runtime.cli import main  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.runtime.recognition.recognizer import Recognizer  # noqa: E402
from motionrt.runtime.text_encoder import TextEncoder  # noqa: E402
from motionrt.training.data.unseen_labels import class_names, sentences, splits  # noqa: E402
from motionrt.training.models.tdsm import ZeroShot, ZeroShotConfig  # noqa: E402
from motionrt.training.recipes import train  # noqa: E402
from motionrt.training.tdsm.calibration import calibrate_logits, calibrate_prototypes, discriminants, init_spaces  # noqa: E402
from motionrt.training.tdsm.sentences import LabelSentences, drop_sentences  # noqa: E402
from motionrt.training.tdsm.tasks import MatchTask, load_published  # noqa: E402
from motionrt.training.tdsm.validation import macro_accuracy  # noqa: E402

TINY = {"width": "8", "depth": "1", "heads": "2", "steps": "2", "batch": "4", "copies": "1", "validate_every": "1"}


@pytest.fixture
def clouds() -> tuple[np.ndarray, np.ndarray]:
    """Three classes that differ along the first of five axes, along which they vary least."""
    draw, target = np.random.default_rng(0), np.repeat([0, 1, 2], 200)
    features = draw.normal(size=(600, 5)) * [0.1, 3, 3, 3, 3]
    features[:, 0] += target
    return features.astype(np.float32), target


def test_discriminants_maximize_class_differences_relative_to_variation(clouds: Any) -> None:
    features, target = clouds
    mean, projection = discriminants(features, target, 2)
    first, second = ((features - mean) @ projection).T
    spread = [np.std([of[target == k].mean() for k in range(3)]) / of[target == 0].std() for of in (first, second)]
    assert spread[0] > 0.7 > 0.2 > spread[1] and projection.shape == (5, 2)
    assert abs(projection[0, 0]) > 5 * np.abs(projection[1:, 0]).max()


def test_a_network_gets_small_features_and_centered_sentences(clouds: Any) -> None:
    features, target = clouds
    config = ZeroShotConfig(
        encoded=5, feature=2, text=384, pooled=8 * 384, tokens=8, width=8, depth=1, heads=2, cross=True
    )
    network = ZeroShot(config)
    described = LabelSentences.encode(
        [sentences("wave"), sentences("bow"), {"label": "jump", "feet": "they leave the floor"}], load()
    )
    init_spaces(network, features, target, described, 0.3)
    assert float(network.project(torch.from_numpy(features)).std()) == pytest.approx(0.3, rel=1e-3)
    words, _ = network.embed_sentences(*described)
    there = described.present.bool()
    assert described.present.sum(1).tolist() == [8, 8, 2] and not words[~there].any()
    assert words.sum(0).abs().max() < 1e-3 and float(words[there].square().mean()) == pytest.approx(1, rel=1e-3)
    own = load().encode([sentences("wave")["hips"]]).pooled[0]
    np.testing.assert_allclose(described.features[0, SLOTS.index("hips")], own, atol=1e-6)


def load() -> TextEncoder:
    return TextEncoder.load("text")


def test_some_sentences_are_dropped_but_never_all() -> None:
    there = torch.ones(2000, 8)
    there[:1000, 3:] = 0
    kept = drop_sentences(there, np.random.default_rng(0), 0.5)
    assert (kept <= there).all() and (kept.sum(1) >= 1).all()
    everything = (kept == there).all(1).float()
    assert everything[1000:].mean() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(drop_sentences(there, np.random.default_rng(1), 1.0), there)


def test_classes_are_equally_likely_and_draws_reproducible() -> None:
    target = np.array([0] * 98 + [1] * 2)
    task = MatchTask(z_NF=np.arange(100.0)[:, None], target_N=target, seed=3)
    drawn = task.batch(5, 400)
    assert np.mean([sample.target for sample in drawn]) == pytest.approx(0.5, abs=0.1)
    assert [float(s.z[0]) for s in task.batch(5, 9)] == [float(s.z[0]) for s in task.batch(5, 9)]
    assert [float(s.z[0]) for s in task.batch(6, 9)] != [float(s.z[0]) for s in task.batch(5, 9)]


def test_calibrated_logits_separate_labels_and_background() -> None:
    draw, target = np.random.default_rng(0), np.repeat([0, 1, 2], 50)  # the last is the background
    errors = 0.5 + 0.02 * draw.normal(size=(150, 3))
    errors[np.arange(150), target] -= 0.1
    errors[:, 2] -= 0.04  # explains everything a little better
    found = calibrate_logits(errors, target)
    logits = np.pad(found["scale"] * (errors[:, -1:] - errors[:, :-1]) - found["none"], ((0, 0), (0, 1)))
    assert (logits.argmax(1) == target).mean() > 0.95 and found["scale"] > 20 and found["none"] < 0


def test_calibrated_prototypes_separate_labels() -> None:
    draw, target = np.random.default_rng(0), np.repeat([0, 1, 2, 3], 20)
    z = (np.eye(4)[target] + 0.05 * draw.normal(size=(80, 4))).astype(np.float32)
    found = calibrate_prototypes(z, target)
    inside, outside = 0.05**2, 0.5
    assert inside < found["prototype_offset"] < outside and found["prototype_scale"] > 20


def test_classes_have_equal_weight() -> None:
    assert macro_accuracy(np.array([0, 0, 0, 0, 2]), np.array([0, 0, 0, 1, 2])) == pytest.approx(100 * 2 / 3)


@pytest.mark.slow
def test_a_run_becomes_a_recognizer(data: Path, tmp_path: Path, samples: list[Motion]) -> None:
    run = train("tdsm", {**TINY, "data": str(data), "run": str(tmp_path / "runs" / "tdsm")})
    about = json.loads((run / "recipe.json").read_text())
    assert about["labels"] == ["bow", "run", "walk", "wave"] and about["model"]["encoded"] == 192
    kept = sorted(path.name for path in run.parent.iterdir())
    assert len(kept) == 2 and kept[0].startswith("features-") and (run / "model.safetensors").is_file()
    bundle = export_zero_shot(run, tmp_path / "mine")
    assert set(bundle.manifest.matching.labels["bow"]) == set(SLOTS) and "research" in bundle.manifest.license
    recognizer = Recognizer.load(bundle.path)
    assert recognizer.recognize(samples[0]).labels == ("bow", "run", "walk", "wave", "none")
    again = train("tdsm", {**TINY, "data": str(tmp_path), "run": str(tmp_path / "runs" / "again")})
    assert (again / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes(), "nothing is encoded"


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Those of three seen and two unseen classes of NTU RGB+D, a class at a place of its own."""
    folder, draw = tmp_path / "ntu", np.random.default_rng(0)
    folder.mkdir()
    for name, numbers, classes in (("train", "train_label", [0, 1, 2]), ("ztest", "z_label", [10, 56])):
        of = np.repeat(classes, 12)
        np.save(folder / f"{name}.npy", (np.eye(60)[of][:, None] + 0.1 * draw.normal(size=(len(of), 1, 60))))
        np.save(folder / f"{numbers}.npy", of)
    return folder


@pytest.mark.slow
def test_published_features_are_trained_on_and_exported(
    features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"drink water": {"motion": "one hand lifts a cup to the mouth"}}
    (features / "sentences.json").write_text(json.dumps(more))
    loaded = load_published(features, "ntu60", "synse-55-5")
    assert (
        set(loaded.trained.labels) == {"drink water", "eat meal", "brush teeth"}
        and loaded.trained.features_ND.ndim == 2
    )
    assert set(loaded.held_out.labels) == {"reading", "touch pocket of other person"} and len(loaded.candidates) == 57
    assert loaded.texts["drink water"] == {"label": "drink water", **more["drink water"]}
    settings = {"features": str(features), "run": str(tmp_path / "run"), **TINY}
    run = train("tdsm", settings)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 <= last["top1"] <= 100 and not (run / "matching.json").exists()
    assert main(["export", str(run), "-o", str(tmp_path / "mine")]) == 0
    chosen = ["--labels", "drink water,reading", "--json"]
    capsys.readouterr()
    assert main(["recognize", str(features / "ztest.npy"), "--model", str(tmp_path / "mine"), *chosen]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 24 and all(set(row["errors"]) == {"drink water", "reading"} for row in rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "smie"}, "split=smie: expected one of synse-55-5"),
        ({"dataset": "ntu"}, "no zero-shot splits of 'ntu'"),
        ({"split": "purls-30-30"}, "has class 0, which is not on that side of purls-30-30"),
        ({"features": "nowhere"}, "nowhere: train.npy and train_label.npy cannot be read"),
        ({"width": "9"}, "width=9: expected a multiple of the 2 heads"),
        ({"whole": "2"}, "whole=2.0: expected a share"),
        ({"others": "0"}, "others: expected a number above 0"),
        ({"heads": "0"}, "heads: expected a number above 0"),
    ],
)
def test_invalid_settings_and_data_are_rejected(features: Path, tmp_path: Path, change: Any, message: str) -> None:
    settings = {"features": str(features), "run": str(tmp_path / "run"), **TINY, **change}
    with pytest.raises(InputError, match=message) as refused:
        train("tdsm", settings)
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


def test_features_of_wrong_shapes_are_rejected(features: Path) -> None:
    np.save(features / "ztest.npy", np.zeros((24, 50)))
    with pytest.raises(InputError, match=r"ztest.npy: \[24, 50\] features, \[24\] classes; expected \[N, 60\]"):
        load_published(features, "ntu60", "synse-55-5")
    np.save(features / "ztest.npy", np.zeros((24, 60)))
    np.save(features / "z_label.npy", np.array([10]))
    with pytest.raises(InputError, match=r"ztest.npy: \[24, 60\] features, \[1\] classes; expected"):
        load_published(features, "ntu60", "synse-55-5")


@pytest.mark.parametrize("text", ["{", "[1]", '{"somersault": {"head": "ducks"}}', '{"reading": 3}'])
def test_invalid_sentences_are_rejected(features: Path, text: str) -> None:
    (features / "sentences.json").write_text(text)
    with pytest.raises(InputError, match=r"sentences.json: expected sentences by motion, head") as refused:
        load_published(features, "ntu60", "synse-55-5")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("dataset", ["ntu60", "ntu120", "pku-mmd", "vocabulary"])
def test_every_class_of_a_data_set_has_a_name(dataset: str) -> None:
    names, split = class_names(dataset), next(iter(splits(dataset).values()))
    assert len(set(names)) == len(names) == len(split.seen) + len(split.unseen)


@pytest.mark.parametrize("array", [np.zeros((0, 5)), np.array(["a", "b"]), np.full((36, 4), np.nan)])
def test_arrays_without_features_are_rejected(features: Path, array: np.ndarray) -> None:
    np.save(features / "train.npy", array)
    with pytest.raises(InputError, match=r"train.npy") as refused:
        load_published(features, "ntu60", "synse-55-5")
    assert "\n" not in str(refused.value)

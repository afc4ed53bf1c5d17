"""TDSM as published, by command: two steps on features and texts from files, resumed, tested, exported, imported."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from safetensors.torch import save_file  # noqa: E402

from motionrt.export.official import official_state  # noqa: E402
from motionrt.runtime.bundles.isolation import load_isolated  # noqa: E402
from motionrt.runtime.bundles.schema import MatcherManifest  # noqa: E402
from motionrt.runtime.cli import main  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.training.data.unseen_labels import class_names  # noqa: E402
from motionrt.training.models.tdsm import SIZES, CrossDiT, CrossDiTConfig, alpha_bar  # noqa: E402
from motionrt.training.tdsm.matching import fixed_noises  # noqa: E402
from motionrt.training.tdsm.published import find_split  # noqa: E402

UNSEEN = (10, 11, 19, 26, 56)  # of synse-55-5
F, L, W = 6, 5, 8

pytestmark = pytest.mark.slow  # exports


@pytest.fixture
def features(tmp_path: Path) -> Path:
    folder, random = tmp_path / "features", np.random.default_rng(0)
    folder.mkdir()
    for name, labels, classes in (("train", "train_label", (0, 1, 2)), ("ztest", "z_label", UNSEEN)):
        target = np.repeat(classes, 4)
        np.save(folder / f"{name}.npy", random.normal(size=(len(target), 1, F)).astype(np.float32))
        np.save(folder / f"{labels}.npy", target)
    for name in ("texts.npz", "texts2.npz"):
        words, pooled = random.normal(size=(60, L, W // 2)), random.normal(size=(60, W // 2))
        np.savez(folder / name, words=words.astype(np.float32), pooled=pooled.astype(np.float32))
    return folder


def test_a_run_is_trained_resumed_and_tested_by_command(
    features: Path, tmp_path: Path, train_and_resume: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"features={features}", "steps=2", "batch=4", "width=16", "depth=2", "heads=2", "prediction=sample"]
    train_and_resume("tdsm-published", *settings, f"run={tmp_path / 'run'}")
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(metrics) == 2 and all(0 <= row["top1"] <= 100 for row in metrics)
    config = json.loads((tmp_path / "run" / "recipe.json").read_text())["model"]
    assert (config["feature"], config["tokens"], config["text"], config["pooled"]) == (F, L, W, W)
    capsys.readouterr()
    command = ["eval", "tdsm", "--model", str(tmp_path / "run"), "--data", str(features), "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["dataset"], report["split"]) == ("ntu60", "synse-55-5")
    assert (report["n"], report["classes"], len(report["top1_by_draw"])) == (20, 5, 10)
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "bundle")]) == 0
    capsys.readouterr()
    assert main([*command[:3], str(tmp_path / "bundle"), *command[4:]]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert exported["top1"] == report["top1_by_draw"][0]
    assert (exported["split"], exported["n"], exported["classes"]) == ("synse-55-5", 20, 5)


def test_an_official_network_gives_the_published_decisions(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The class whose text predicts the three noises best, one class and noise at a time; from accelerate's folder."""
    config = CrossDiTConfig(feature=F, text=W, tokens=L, width=16, depth=2, heads=2, compat="reference")
    monkeypatch.setitem(SIZES, "xl", config)
    torch.manual_seed(0)
    model = CrossDiT(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    (tmp_path / "best").mkdir()
    save_file(official_state(model), tmp_path / "best" / "model.safetensors")
    assert main(["import", "tdsm", str(tmp_path / "best"), "-o", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    command = ["eval", "tdsm", "--model", str(tmp_path / "run"), "--data", str(features), "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)

    z, label = (np.load(features / f"{name}.npy") for name in ("ztest", "z_label"))
    files = [np.load(features / name) for name in ("texts.npz", "texts2.npz")]
    words, pooled = (torch.from_numpy(np.concatenate([f[key] for f in files], -1)) for key in ("words", "pooled"))
    signal, right, expected = float(alpha_bar()[25]), [], []
    for feature, target in zip(torch.from_numpy(z[:, 0]), label, strict=True):
        errors = []
        for k in UNSEEN:
            noises = fixed_noises(3, F)
            noisy = signal**0.5 * feature + (1 - signal) ** 0.5 * noises
            with torch.no_grad():
                found = model(noisy, torch.full((3,), 25), words[[k] * 3], pooled[[k] * 3])
            errors.append(float((found - noises).pow(2).mean(1).sum()))
        expected.append(errors)
        right.append(UNSEEN[int(np.argmin(errors))] == target)
    assert report["top1_by_draw"][0] == pytest.approx(100 * np.mean(right))
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "no")]) == 2
    assert "`motionrt import tdsm CHECKPOINT --text features:FOLDER` makes a bundle" in capsys.readouterr().err

    texts, out = f"features:{features}", tmp_path / "bundle"
    assert main(["import", "tdsm", str(tmp_path / "best"), "--text", texts, "-o", str(out)]) == 0
    assert load_isolated(out, MatcherManifest).manifest.unseen == tuple(class_names("ntu60")[k] for k in UNSEEN)
    capsys.readouterr()
    assert main([*command[:3], str(out), *command[4:]]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == report["top1_by_draw"][0]
    assert main(["recognize", str(features / "ztest.npy"), "--model", str(out), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [class_names("ntu60")[k] for k in UNSEEN]
    found = [[row["errors"][name] for name in names] for row in rows]
    np.testing.assert_allclose(found, np.array(expected) / 3, rtol=1e-4)
    assert [row["label"] for row in rows] == [names[k] for k in np.argmin(expected, 1)]


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an official network with random weights, for the texts of `features`."""
    config = CrossDiTConfig(feature=F, text=W, tokens=L, width=16, depth=1, heads=2, compat="reference")
    monkeypatch.setitem(SIZES, "xl", config)
    save_file(official_state(CrossDiT(config)), tmp_path / "model.safetensors")
    return str(tmp_path / "model.safetensors")


def test_a_bundle_recognizes_features_among_chosen_labels_and_refuses_others(
    features: Path, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "matcher")
    assert main(["import", "tdsm", checkpoint, "--text", f"features:{features}", "-o", out]) == 0
    assert main(["models", out]) == 0 and "drink water" in capsys.readouterr().out
    command = ["recognize", str(features / "train.npy"), "--model", out, "--labels", "drink water, throw"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and "train.npy 0: " in lines[0]
    assert all("drink water" in line and "throw" in line for line in lines)
    for name, z in (("wide", np.zeros((3, 7))), ("nan", np.full((1, F), np.nan)), ("empty", np.zeros((0, F)))):
        np.save(features / f"{name}.npy", z)
    for name, options, message in (
        ("nowhere.npy", [], "nowhere.npy: cannot be read as .npy"),
        ("texts.npz", [], "texts.npz: not an array of numbers"),
        ("wide.npy", [], "wide.npy: features [3, 7], expected [N, 6]"),
        ("nan.npy", [], "nan.npy: a feature is not finite"),
        ("empty.npy", [], "empty.npy: features [0, 6], expected [N, 6]"),
        ("ztest.npy", ["--labels", "drink water,fly"], "label 'fly' is not one of model 'matcher', the nearest"),
        ("ztest.npy", ["--layout", "ntu25"], "--layout is not for"),
        ("ztest.npy", ["--csv", "a.csv"], "--csv is not for"),
    ):
        assert main(["recognize", str(features / name), "--model", out, *options]) == 2
        error = capsys.readouterr().err.strip()
        assert message in error and "\n" not in error


def test_imports_that_do_not_fit_are_refused_in_one_line(
    features: Path, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("one\ntwo\n")
    small = tmp_path / "small"
    small.mkdir()
    np.savez(small / "texts.npz", words=np.zeros((2, L + 1, W)), pooled=np.zeros((2, W)))
    texts = ["--text", f"features:{features}"]
    for options, message in (
        (["--labels", str(names)], "without --text: expected --text features:FOLDER"),
        (["--text", "clip:x"], "--text clip:x: expected --text features:FOLDER"),
        (["--text", f"features:{small}"], "small: texts of 6 tokens of 8 and 8 pooled, "),
        ([*texts, "--labels", str(names)], "names.txt: 2 labels, the network has 60"),
        (["--mean", checkpoint], "--mean is not for kind tdsm"),
    ):
        assert main(["import", "tdsm", checkpoint, *options, "-o", str(tmp_path / "no")]) == 2
        error = capsys.readouterr().err.strip()
        assert message in error and "\n" not in error and not (tmp_path / "no").exists()
    np.savez(small / "texts.npz", words=np.zeros((2, L, W)), pooled=np.zeros((2, W)))
    command = ["import", "tdsm", checkpoint, "--text", f"features:{small}", "-o", str(tmp_path / "two")]
    assert main(command) == 2 and "2 classes, expected 60, 120, 51, or --labels" in capsys.readouterr().err
    assert main([*command, "--labels", str(names)]) == 0
    assert main(["eval", "tdsm", "--model", str(tmp_path / "two"), "--data", str(features)]) == 2
    assert "for texts of 2 classes, expected 60 of ntu60" in capsys.readouterr().err


def test_texts_that_do_not_fit_are_refused(features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(features / "texts2.npz", words=np.zeros((7, L, W)), pooled=np.zeros((7, W)))
    assert main(["train", "tdsm-published", f"features={features}", f"run={tmp_path / 'run'}"]) == 2
    assert "texts2.npz: words [7, 5, 8], pooled [7, 8]; expected [60, L, W]" in capsys.readouterr().err
    np.save(features / "z_label.npy", np.repeat((10, 11, 19, 26, 57), 4))
    assert main(["eval", "tdsm", "--model", str(features), "--data", str(features)]) == 2
    assert "no recipe.json" in capsys.readouterr().err
    with pytest.raises(InputError, match="10, 11, 19, 26, 57 are the unseen classes of no split of ntu60"):
        find_split(features, 60)
    for setting, message in (("prediction=x", "expected epsilon, sample, v_pred"), ("depth=1", "needs features=F")):
        assert main(["train", "tdsm-published", setting, f"run={tmp_path / 'run'}"]) == 2
        assert message in capsys.readouterr().err

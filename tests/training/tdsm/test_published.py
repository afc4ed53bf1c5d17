"""TDSM as published: two steps on features and texts from files, resumed, and the zero-shot test by command."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from safetensors.torch import save_file  # noqa: E402

from motionrt.export.official import official_state  # noqa: E402
from motionrt.runtime.cli import main  # noqa: E402
from motionrt.runtime.errors import InputError  # noqa: E402
from motionrt.training.models.tdsm import SIZES, CrossDiT, CrossDiTConfig, alpha_bar  # noqa: E402
from motionrt.training.tdsm.matching import fixed_noises  # noqa: E402
from motionrt.training.tdsm.published import find_split  # noqa: E402

UNSEEN = (10, 11, 19, 26, 56)  # of synse-55-5
F, L, W = 6, 5, 8


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
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "no")]) == 2
    assert "a run of tdsm-published; it has no encoder of motion" in capsys.readouterr().err


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
    signal, right = float(alpha_bar()[25]), []
    for feature, target in zip(torch.from_numpy(z[:, 0]), label, strict=True):
        errors = []
        for k in UNSEEN:
            noises = fixed_noises(3, F)
            noisy = signal**0.5 * feature + (1 - signal) ** 0.5 * noises
            with torch.no_grad():
                found = model(noisy, torch.full((3,), 25), words[[k] * 3], pooled[[k] * 3])
            errors.append(float((found - noises).pow(2).mean(1).sum()))
        right.append(UNSEEN[int(np.argmin(errors))] == target)
    assert report["top1_by_draw"][0] == pytest.approx(100 * np.mean(right))
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "no")]) == 2
    assert "an imported tdsm; it has no encoder of motion" in capsys.readouterr().err


def test_texts_that_do_not_fit_are_refused(features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(features / "texts2.npz", words=np.zeros((7, L, W)), pooled=np.zeros((7, W)))
    assert main(["train", "tdsm-published", f"features={features}", f"run={tmp_path / 'run'}"]) == 2
    assert "texts2.npz: words [7, 5, 8], pooled [7, 8]; expected [60, L, W]" in capsys.readouterr().err
    np.save(features / "z_label.npy", np.repeat((10, 11, 19, 26, 57), 4))
    assert main(["eval", "tdsm", "--model", str(tmp_path / "run"), "--data", str(features)]) == 2
    assert "no recipe.json" in capsys.readouterr().err
    with pytest.raises(InputError, match="10, 11, 19, 26, 57 are the unseen classes of no split of ntu60"):
        find_split(features)
    for setting, message in (("prediction=x", "expected epsilon, sample, v_pred"), ("depth=1", "needs features=F")):
        assert main(["train", "tdsm-published", setting, f"run={tmp_path / 'run'}"]) == 2
        assert message in capsys.readouterr().err

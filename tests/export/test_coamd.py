"""CoAMD's runs are exported to one generation bundle, whose networks nearly match those of the runs."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

import torch

from motionrt.export.coamd import metrics_of
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.bundles import bundle as bundles
from motionrt.runtime.bundles.bundle import Bundle
from motionrt.runtime.bundles.int8 import dequantize, network_weights, quantize_rows
from motionrt.runtime.bundles.schema import GenerationManifest
from motionrt.runtime.cli import main
from motionrt.runtime.errors import BundleError, InputError
from motionrt.runtime.generation.generator import Generator
from motionrt.runtime.text_encoder import TextEncoder
from motionrt.training.coamd.pipeline import NETWORKS, CoamdPipeline
from motionrt.training.coamd.recipes import average_weights
from motionrt.training.models.coamd import SIZES, Size
from motionrt.training.recipes import train


@pytest.fixture(scope="module")
def runs(coamd_runs: Path) -> Path:
    return coamd_runs


@pytest.fixture(scope="module")
def bundle(exported_coamd: Path) -> Path:
    return exported_coamd


def test_the_frozen_bundle_is_up_to_date(bundle: Path, coamd_bundle: Path) -> None:
    """Other tests use it. After a change of the graphs run this test with FREEZE=1 in the environment."""
    if os.environ.get("FREEZE"):
        shutil.rmtree(coamd_bundle, ignore_errors=True)
        shutil.copytree(bundle, coamd_bundle)
    exported, frozen = (Bundle.load(path, GenerationManifest) for path in (bundle, coamd_bundle))
    assert frozen.manifest.graphs == exported.manifest.graphs
    assert frozen.manifest.model == exported.manifest.model
    shapes = [{name: array.shape for name, array in of.weights.items()} for of in (frozen, exported)]
    assert shapes[0] == shapes[1]


def test_the_bundles_networks_match_those_of_the_runs_up_to_rounding(
    runs: Path, bundle: Path, samples: list[Motion]
) -> None:
    text = TextEncoder.load("text")
    trained, shipped = (CoamdPipeline.load(source, text) for source in (runs, bundle))
    clips = [sample.joints.astype(np.float32) for sample in samples]
    cosine = (trained.motions(clips) * shipped.motions(clips)).sum(1)
    assert cosine.min() > 0.98
    for name in ("autoencoder", "generator", "recognizer", "lengths"):
        network, other = getattr(trained, name), getattr(shipped, name)
        least = 0.9995 if name == "autoencoder" else 0.99
        for key, weight in network.state_dict().items():
            found = other.state_dict()[key]
            assert (found - weight).abs().max() <= (1 - least) * weight.abs().max() + 1e-12, key


def test_the_command_line_exports_coamd(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("motionrt.export.export_coamd", lambda *arguments: seen.append(arguments))
    assert main(["export", str(runs), "-o", str(tmp_path / "out")]) == 0
    assert seen == [(runs, tmp_path / "out")]


def test_the_manifest_names_the_training_data(bundle: Path) -> None:
    manifest = Bundle.load(bundle, GenerationManifest).manifest
    assert (manifest.layout, manifest.fps) == ("smpl22", 20.0)
    assert manifest.actions and all(set(of) == {"mocap", "kinect"} for of in manifest.actions.values())
    counts = [sum(of.values()) for of in manifest.actions.values()]
    assert counts == sorted(counts, reverse=True) and counts[-1] > 0
    card = (bundle / "MODEL_CARD.md").read_text()
    assert all(f"| {action} |" in card for action in manifest.actions)


def test_models_lists_the_actions_with_their_clips(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundles, "MODELS", bundle.parent)
    assert main(["models"]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    actions = Bundle.load(bundle, GenerationManifest).manifest.actions
    assert row.split()[:8] == ["tiny", "generation", f"{len(actions)}", "actions", "smpl22", "at", "20", "Hz"]
    assert main(["models", bundle.name]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(" ".join([action, *map(str, of.values())]) in printed for action, of in actions.items())
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["actions"] == actions


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("text_sha256", "0" * 64, "trained with another text encoder than this one"),
        ("text_sha256", "short", 'text_sha256: "short", expected 64 lower-case hex digits'),
        ("actions", {"walk": {"mocap": -1}}, "actions: walk: mocap: -1, expected a whole number"),
        ("model", {}, "model: generator is missing"),
        ("sampler", {"steps": 1, "evaluations": 8, "cfg": 2, "solver": "dopri5"}, 'solver: "dopri5", expected euler'),
        ("sampler", {"steps": 0, "evaluations": 8, "cfg": 2}, "sampler: steps: 0, expected a whole number from 1"),
        ("qualities", [], "qualities: \\[\\], expected a list of 1 to"),
        ("graphs", {}, "graphs: condition is missing"),
    ],
)
def test_a_manifest_that_does_not_match_is_refused(
    bundle: Path, tmp_path: Path, key: str, value: Any, message: str
) -> None:
    changed = shutil.copytree(bundle, tmp_path / "changed")
    manifest = json.loads((changed / "manifest.json").read_text())
    (changed / "manifest.json").write_text(json.dumps(manifest | {key: value}))
    with pytest.raises(BundleError, match=message):
        CoamdPipeline.load(changed, TextEncoder.load("text"))


def test_a_generator_that_started_from_a_bundle_needs_no_other_runs(
    bundle: Path, motion_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = CoamdPipeline.load(bundle)
    configs = {name: getattr(start, name).config for name in NETWORKS}
    monkeypatch.setitem(SIZES, "small", Size(**configs))
    settings = {"init": str(bundle), "data": str(motion_data), "autoencoder": str(tmp_path / "none")}
    short = {"steps": "2", "batch": "2", "precision": "no", "keep": "0.25"}
    train("coamd-generator", settings | short | {"run": str(tmp_path / "coamd-generator")})
    tuned = CoamdPipeline.load(tmp_path)
    for name in NETWORKS:
        weights = zip(getattr(start, name).parameters(), getattr(tuned, name).parameters(), strict=True)
        assert all(bool((a == b).all()) for a, b in weights) == (name != "generator")
    metrics = metrics_of(tmp_path)
    assert (metrics["generator"]["step"], metrics["generator"]["keep"]) == (2, 0.25)
    assert metrics["autoencoder"] == Bundle.load(bundle, GenerationManifest).manifest.metrics["autoencoder"]


def test_a_generator_that_includes_guidance_takes_no_other(
    bundle: Path, motion_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = {name: getattr(CoamdPipeline.load(bundle), name).config for name in NETWORKS}
    monkeypatch.setitem(SIZES, "small", Size(**configs))
    settings = {
        "data": str(motion_data),
        "autoencoder": str(tmp_path / "none"),
        "guided": "2.5",
        "steps": "1",
        "precision": "no",
    }
    train("coamd-generator", settings | {"init": str(bundle), "run": str(tmp_path / "coamd-generator")})
    student = CoamdPipeline.load(tmp_path)
    assert (student.guided, student.sampler.cfg, student.generator.config.dropout) == (2.5, 1, 0)
    with pytest.raises(InputError, match="its generator includes guidance, expected its teacher"):
        train("coamd-generator", settings | {"init": str(tmp_path), "run": str(tmp_path / "again")})
    more = {"init": str(tmp_path), "teacher": str(bundle), "run": str(tmp_path / "more" / "coamd-generator")}
    train("coamd-generator", settings | more)
    with pytest.raises(InputError, match="teacher=x: expected guided=, the cfg to learn from it"):
        train("coamd-generator", settings | {"guided": "0", "teacher": "x", "run": str(tmp_path / "again")})
    with pytest.raises(InputError, match="guided=2.5: expected a cfg of 0 to 100, and init="):
        train("coamd-generator", settings | {"run": str(tmp_path / "again")})

    exported = shutil.copytree(bundle, tmp_path / "student")
    manifest = json.loads((exported / "manifest.json").read_text())
    manifest["sampler"]["cfg"] = 1
    (exported / "manifest.json").write_text(json.dumps(manifest | {"guided": 2.5}))
    assert CoamdPipeline.load(exported).guided == 2.5
    generator = Generator.load(exported)
    assert generator.generate("a person walks", 1).frames == 20
    with pytest.raises(InputError, match="cfg=3: tiny includes guidance, of 2.5, and takes no other"):
        generator.generate("a person walks", 1, cfg=3)


def test_weights_are_averaged_with_those_of_the_start() -> None:
    model = torch.nn.Linear(1, 1)
    start = {"weight": torch.tensor([[1.0]]), "bias": torch.tensor([0.0])}
    model.load_state_dict({"weight": torch.tensor([[3.0]]), "bias": torch.tensor([8.0])})
    average_weights(model, start, 0.25)
    assert (float(model.weight), float(model.bias)) == (2.5, 6.0)


def test_a_missing_run_is_named(runs: Path, tmp_path: Path) -> None:
    part = shutil.copytree(runs, tmp_path / "part")
    shutil.rmtree(part / "coamd-mar")
    with pytest.raises(InputError, match="part: no coamd-mar, expected the finished runs"):
        CoamdPipeline.load(part, TextEncoder.load("text"))


def test_quantized_rows_are_within_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
    weight[2] = 0
    integers, scale = quantize_rows(weight)
    assert integers.dtype == np.int8 and scale.shape == (5, 1, 1)
    found = dequantize({"w.integers": integers, "w.scale": scale, "scale": np.float16([1.5]), "w.bias": weight[0, 0]})
    assert set(found) == {"w", "w.integers", "w.scale", "scale", "w.bias"}
    assert set(network_weights(found)) == {"w", "scale", "w.bias"}
    assert (np.abs(found["w"] - weight) <= 0.501 * scale).all()
    assert found["scale"].dtype == np.float32 and (found["w.bias"] == weight[0, 0]).all()

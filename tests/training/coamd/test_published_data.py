"""Recipes of CoAMD on folders of HumanML3D and KIT-ML as published: two steps, resumed, exported and evaluated."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from torch import Tensor, nn  # noqa: E402

from motionrt.bench.accuracy import motion_data  # noqa: E402
from motionrt.bench.accuracy.protocols.scoring import ScoringConfig  # noqa: E402
from motionrt.export import coamd as coamd_export  # noqa: E402
from motionrt.export import coamd_graphs  # noqa: E402
from motionrt.export.coamd_graphs import onnx_graphs  # noqa: E402
from motionrt.runtime.body.layout import Layout  # noqa: E402
from motionrt.runtime.body.motion import Motion  # noqa: E402
from motionrt.runtime.cli import main  # noqa: E402
from motionrt.training.data.humanml import PublishedSampler, load_humanml  # noqa: E402
from motionrt.training.loop import LoopConfig, rate_schedule  # noqa: E402
from motionrt.training.models import coamd  # noqa: E402

TEXT = {"text": 384, "heads": 2, "width": 16}
TINY = coamd.Size(  # the sizes of tests/bundles/coamd-tiny
    autoencoder=coamd.AutoEncoderConfig(width=16, latent=8, dilations=(3,), dropout=0.0),
    generator=coamd.GeneratorConfig(latent=8, depth=2, head_width=24, head_depth=2, qualities=2, **TEXT),
    recognizer=coamd.MotionRecognizerConfig(
        patch=4, depth=1, hidden=16, feature=384, words="features", timestep=False, **TEXT
    ),
)
TWO_STEPS = ("steps=2", "batch=2", "precision=no")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(coamd.SIZES, "small", TINY)


def write(root: Path, layout: str, frames: tuple[int, ...], sample: Motion) -> Path:
    """A folder of parts of a recording of these lengths; all splits have them."""
    for part in ("new_joints", "texts"):
        (root / part).mkdir(parents=True)
    body = Layout.load(layout).map_from(Layout.load(sample.layout)) @ sample.joints
    body += np.random.default_rng(0).normal(0, 0.01, body.shape)
    body *= 1 if layout == "smpl22" else 640  # KIT-ML's unit is 1/640 m
    for i, T in enumerate(frames):
        np.save(root / "new_joints" / f"{i:06}.npy", np.resize(body[i:], (T, *body.shape[1:])).astype(np.float32))
        (root / "texts" / f"{i:06}.txt").write_text(f"a person walks {i}#x#0.0#0.0\n")
    for split in ("train", "val", "test"):
        (root / f"{split}.txt").write_text("".join(f"{i:06}\n" for i in range(len(frames))))
    labels = {f"{i:06}": {"labels": [i % 2]} for i in range(len(frames))}
    (root / "annotations_actions_400.json").write_text(json.dumps(labels))
    (root / "humanml3d400_label_map.txt").write_text("walk\nstroll\n")
    return root


@pytest.fixture(scope="module")
def humanml(samples: list[Motion], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "HumanML3D", "smpl22", (64, 90, 101, 47), samples[0])


@pytest.fixture
def run(train_and_resume: Callable[..., None]) -> Callable[..., list[float]]:
    """Train two steps by command, interrupted after the first; returns the losses."""

    def run(recipe: str, data: Path, folder: Path, *settings: str) -> list[float]:
        train_and_resume(recipe, f"data={data}", f"run={folder / recipe}", *TWO_STEPS, *settings)
        return [json.loads(line)["loss"] for line in (folder / recipe / "metrics.jsonl").read_text().splitlines()]

    return run


def unguided(self: nn.Module, tokens: Tensor, counts: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return 0 * tokens, 0 * counts * target.sum(1)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("layout", ["smpl22", pytest.param("kit21", marks=pytest.mark.slow)])
def test_networks_of_a_published_folder_become_a_bundle_that_is_evaluated(
    layout: str,
    samples: list[Motion],
    tmp_path: Path,
    coamd_bundle: Path,
    run: Callable[..., list[float]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(motion_data, "PUBLISHED_CONFIG", ScoringConfig(repeats=2, batch=2, published=True))
    kit, joints = layout == "kit21", len(Layout.load(layout).joints)
    data = write(tmp_path / "data", layout, (64, 90, 101, 47), samples[0])
    losses = run("coamd-ae", data, tmp_path)
    losses += run("coamd-generator", data, tmp_path, f"autoencoder={tmp_path / 'coamd-ae'}", "padding=batch")
    losses += run("coamd-mar", data, tmp_path) + run("coamd-evaluator", data, tmp_path)
    assert len(losses) == 8 and np.isfinite(losses).all()
    record = json.loads((tmp_path / "coamd-ae" / "recipe.json").read_text())
    assert len(record["model"]["parents"]) == joints and len(record["mean"]) == 3 * joints
    graphs = {file.name: file.read_bytes() for file in coamd_bundle.glob("*.onnx") if "int8" not in file.name}
    others = ("decode", "encode", "motion", "guide") if kit else ()  # graphs depend on sizes only
    monkeypatch.setattr(coamd_export, "onnx_graphs", lambda pipeline: graphs | onnx_graphs(pipeline, others))
    monkeypatch.setattr(coamd_graphs, "GRADIENTS", {})  # takes longest to export, and nothing here is guided
    monkeypatch.setattr(coamd_graphs.ExportedCoamd, "guide", unguided)
    bundle, clip, edited = (str(tmp_path / name) for name in ("bundle", "clip.npz", "edited.npz"))
    assert main(["export", str(tmp_path), "-o", bundle]) == 0
    assert main(["generate", "a person walks", "--model", bundle, "--seconds", "4", "-o", clip]) == 0
    motion = Motion.load(clip)
    assert (motion.layout, motion.fps) == (layout, 12.5 if kit else 20.0)
    assert motion.joints.shape[1:] == (joints, 3) and np.isfinite(motion.joints).all()
    command = ["edit", clip, "a person walks", "--regenerate", "1.0:2.0", "--parts", "arms", "--model", bundle]
    assert main([*command, "-o", edited]) == 0 and Motion.load(edited).joints.shape == motion.joints.shape
    capsys.readouterr()
    assert main(["search", "a walk", "--library", str(tmp_path), "--model", bundle, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["hits"]) == 2
    settings = ["--evaluator", str(tmp_path / "coamd-evaluator"), "--data", str(data), "--json"]
    for benchmark, side in (("t2m", "generated"), ("reconstruction", "reconstructed")):
        benchmark = f"{'kit' if kit else 'humanml3d'}-{benchmark}"
        assert main(["eval", benchmark, "--model", bundle, *settings]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["counts"]["clips"] == 4 and np.isfinite(report[side]["fid_full"]["mean"])
    if not kit:
        assert main(["eval", "humanml3d-400", "--model", bundle, "--data", str(data), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["counts"]["motions"] == 4


def test_samples_are_those_of_the_released_loaders(humanml: Path) -> None:
    clips = load_humanml(humanml, "train")
    sampler = PublishedSampler(clips=clips, seed=0, labels={clip.action: ("walk", "run") for clip in clips})
    samples = [clip for step in range(20) for clip in sampler.batch(step, 8)]
    lengths = {(clip.name.split()[0], len(clip.joints)) for clip in samples}
    assert lengths == {(f"{i:06}", T - less) for i, T in enumerate((64, 88, 100, 44)) for less in (0, 4)}
    assert {clip.action for clip in samples} == {"walk", "run"}
    windows = PublishedSampler(clips=clips, seed=0, window=64).batch(0, 64)
    assert {len(clip.joints) for clip in windows} == {64} and not {c.name for c in windows if c.name[5] == "3"}


@pytest.fixture
def optimizer() -> Iterator[torch.optim.Optimizer]:
    yield torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=2.0, betas=(0.9, 0.99))


def test_the_published_rate_falls_at_milestones(optimizer: torch.optim.Optimizer) -> None:
    schedule = rate_schedule(optimizer, LoopConfig(steps=10, lr=2.0, warmup=0.2, gamma=0.1, milestones=(5, 8)))
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1, 2, 2, 2, 2, 0.2, 0.2, 0.2, 0.02, 0.02])
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)

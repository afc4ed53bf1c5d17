"""Recipes of CoAMD on folders of HumanML3D and KIT-ML as published: two steps, resumed, and evaluated."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from motionrt.runtime.cli import main  # noqa: E402
from motionrt.training.data.humanml import PublishedSampler, load_humanml  # noqa: E402
from motionrt.training.loop import LoopConfig, rate_schedule  # noqa: E402
from motionrt.training.models import coamd  # noqa: E402

TINY = coamd.Size(
    autoencoder=coamd.AutoEncoderConfig(width=16, latent=8, dilations=(3,), dropout=0.0),
    generator=coamd.GeneratorConfig(latent=8, text=384, width=16, depth=1, heads=2, head_width=16, head_depth=1),
    recognizer=coamd.MotionRecognizerConfig(
        width=16, depth=1, heads=2, hidden=16, feature=384, words="features", text=384, timestep=False
    ),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(coamd.SIZES, "small", TINY)


def write(root: Path, joints: int, frames: tuple[int, ...]) -> Path:
    """A folder of walks of these lengths; all splits have them."""
    for part in ("new_joints", "texts"):
        (root / part).mkdir(parents=True)
    random = np.random.default_rng(0)
    for i, T in enumerate(frames):
        walk = random.normal(size=(joints, 3)) + np.cumsum(random.normal(0, 0.02, (T, joints, 3)), 0)
        np.save(root / "new_joints" / f"{i:06}.npy", walk.astype(np.float32))
        (root / "texts" / f"{i:06}.txt").write_text(f"a person walks {i}#x#0.0#0.0\n")
    for split in ("train", "val", "test"):
        (root / f"{split}.txt").write_text("".join(f"{i:06}\n" for i in range(len(frames))))
    labels = {f"{i:06}": {"labels": [i % 2]} for i in range(len(frames))}
    (root / "annotations_actions_400.json").write_text(json.dumps(labels))
    (root / "humanml3d400_label_map.txt").write_text("walk\nstroll\n")
    return root


@pytest.fixture(scope="module")
def humanml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "HumanML3D", 22, (64, 90, 101, 47))


def run(recipe: str, data: Path, folder: Path, *settings: str) -> list[float]:
    """Train two steps by command; the losses."""
    common = [f"data={data}", f"run={folder / recipe}", "steps=2", "batch=2", "precision=no", "validate_every=1"]
    assert main(["train", recipe, *common, *settings]) == 0
    return [json.loads(line)["loss"] for line in (folder / recipe / "metrics.jsonl").read_text().splitlines()]


def test_every_network_trains_resumes_and_is_evaluated_on_humanml3d(
    humanml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(run("coamd-ae", humanml, tmp_path, "checkpoint_every=1")) == 2
    assert len(run("coamd-ae", humanml, tmp_path)) == 2, "a finished run has nothing left to do"
    losses = run("coamd-generator", humanml, tmp_path, f"autoencoder={tmp_path / 'coamd-ae'}", "padding=batch")
    assert np.isfinite(losses).all()
    assert np.isfinite(run("coamd-mar", humanml, tmp_path)).all()
    capsys.readouterr()
    command = ["eval", "humanml3d-400", "--model", str(tmp_path), "--data", str(humanml), "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["motions"] == 4


def test_kit_has_its_own_skeleton(tmp_path: Path) -> None:
    data = write(tmp_path / "KIT-ML", 21, (70, 80))
    assert np.isfinite(run("coamd-ae", data, tmp_path)).all()
    record = json.loads((tmp_path / "coamd-ae" / "recipe.json").read_text())
    assert len(record["model"]["parents"]) == 21 and len(record["mean"]) == 63


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

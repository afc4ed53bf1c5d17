import json
from dataclasses import asdict
from pathlib import Path
from runpy import run_path

import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.training.data.clips import clip_sets, fingerprint

LABELS = ("bow", "walk", "wave", "none")  # of the small bundle; `run` is unknown to it

clip_folder = run_path(str(Path(__file__).parents[1] / "training" / "clip_folder.py"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, samples: list[Motion]) -> Path:
    """A small data folder in the format of the data sets; see `tests/training/clip_folder.py`."""
    folder: Path = clip_folder["write_folder"](tmp_path_factory.mktemp("data"), samples)
    return folder


@pytest.fixture(scope="session")
def aside(data: Path) -> list[str]:
    """Fingerprints of the clips that the small bundle must not be tested on: all takes of Bandai's `wave`."""
    bandai = next(clip_set for clip_set in clip_sets(data) if clip_set.name == "bandai")
    return [fingerprint(bandai, i) for i, r in enumerate(bandai.clips) if r["content"] == "wave-right-hand"]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, aside: list[str]) -> Path:
    """A bundle with a small untrained network, exported from the folder of a run."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from safetensors.torch import save_file

    from motionrt.export import export_run
    from motionrt.training.models.stream_gcn import StreamGCN, StreamGCNConfig
    from motionrt.training.recognition.recipes import live

    torch.set_num_threads(1)
    torch.manual_seed(0)
    run = tmp_path_factory.mktemp("run")
    parents = Layout.load("core15").parents
    config = StreamGCNConfig(parents=parents, classes=len(LABELS), fps=20.0, channels=(8,))
    model = StreamGCN(config)
    with torch.no_grad():
        model.pool.normal_()  # so that its predictions vary
    save_file(model.state_dict(), run / "model.safetensors")
    about = {"recipe": asdict(live()), "labels": LABELS, "model": asdict(config)}
    (run / "recipe.json").write_text(json.dumps(about))
    (run / "set_aside.json").write_text(json.dumps(aside))
    return export_run(run, tmp_path_factory.mktemp("bundle") / "small").path

import gc
import os
import signal
from collections import Counter, defaultdict
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import motionrt
from motionrt.runtime.body.motion import Motion

# limits of tests with a slow marker or fixture, seconds; of all others: tests/pytest.ini
TIMEOUTS_S = {"slow": 300, "shared": 300, "coamd_runs": 900}

# tests interrupt processes with SIGINT, which a shell ignores in what it runs in the background
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# and with SIGHUP, which `nohup` ignores; unlike that, a handler ends with this process
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# on a busy machine, examples take long
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# several test processes share the cores: threads would wait for each other longer than they compute
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# without a GPU, kernels run in Triton's interpreter, which must be chosen before the first import of triton
if find_spec("torch") and not import_module("torch").cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    longest: Counter[Path] = Counter()  # limit in a file, of a test or of fixtures for all
    seconds: defaultdict[Path, float] = defaultdict(float)  # about how long the other tests take
    for item in items:
        names = {*item.keywords, *getattr(item, "fixturenames", ())}
        limit = max((limit for name, limit in TIMEOUTS_S.items() if name in names), default=0)
        if limit and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(limit))
        longest[item.path] = max(longest[item.path], limit)
        seconds[item.path] += 3 if limit else 0.15
    if hasattr(config, "workerinput"):  # one of several processes: the longest files first, so that all end together
        items.sort(key=lambda item: -(longest[item.path] / 15 + seconds[item.path]))


def pytest_collection_finish() -> None:
    gc.freeze()  # modules and thousands of tests stay: the collector need not look at them again and again


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run all tests of a file in one process, and all files that share trained runs or an export in the same one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            text = (config.rootpath / file).read_text()
            if "coamd_runs" in text or "exported_coamd" in text:
                return "coamd"
            return "bench" if file.startswith("bench/") and "bundle: Path" in text else file

    config.option.loadscopereorder = False  # keeps the order of `pytest_collection_modifyitems`
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def one_table_of_operators() -> None:
    """Make the table of PyTorch's ONNX exporter once; for each graph it would take a sixth of the time."""
    if find_spec("torch") and find_spec("onnxscript"):
        registry = import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
        registry.from_torchlib = classmethod(cache(registry.from_torchlib.__func__))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the data sets: $MOTIONRT_SHARED, or shared/data next to the checkout; skips if it is missing."""
    named = os.environ.get("MOTIONRT_SHARED")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}; MOTIONRT_SHARED names another folder")
    return folder


@pytest.fixture(scope="session")
def samples() -> list[Motion]:
    """The bundled recordings, with a bow that is slow enough to be mistaken for rest."""
    folders = Path(motionrt.__path__[0]) / "runtime" / "samples", Path(__file__).parent / "recordings"
    paths = {path.name: path for folder in folders for path in sorted(folder.glob("*.npz"))}
    return [Motion.load(paths[name]) for name in sorted(paths)]


@pytest.fixture(scope="session")
def zero_shot_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that recognizes the raised wrist from texts and examples: see `runtime/tiny_zero_shot.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        module = import_module("runtime.tiny_zero_shot")
    folder: Path = module.zero_shot_bundle(tmp_path_factory.mktemp("models") / "zero-shot")
    return folder


@pytest.fixture(scope="session")
def motion_data(tmp_path_factory: pytest.TempPathFactory, samples: list[Motion]) -> Path:
    """A small folder of training data for a generator."""
    clip_folder = run_path(str(Path(__file__).parent / "training" / "clip_folder.py"))
    folder: Path = clip_folder["write_motions"](tmp_path_factory.mktemp("motions"), samples)
    return folder


@pytest.fixture(scope="session")
def coamd_runs(motion_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training runs of tiny CoAMD networks after two steps, with random weights so that every part has an effect."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from safetensors.torch import load_file, save_file

    from motionrt.training.models.coamd import SIZES, AutoEncoderConfig, GeneratorConfig, MotionRecognizerConfig, Size
    from motionrt.training.recipes import train

    torch.set_num_threads(1)
    text = {"text": 384, "heads": 2, "width": 16}
    tiny = Size(
        autoencoder=AutoEncoderConfig(width=16, latent=8, dilations=(3,), dropout=0.0),
        generator=GeneratorConfig(latent=8, depth=2, head_width=24, head_depth=2, qualities=2, **text),
        recognizer=MotionRecognizerConfig(
            patch=4, depth=1, hidden=16, feature=384, words="features", timestep=False, **text
        ),
    )
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "small", tiny)
        for recipe in ("coamd-ae", "coamd-mar", "coamd-generator", "coamd-evaluator"):
            settings = {"steps": "2", "batch": "4", "precision": "no", "data": str(motion_data)}
            settings |= {"autoencoder": str(runs / "coamd-ae")} if recipe == "coamd-generator" else {}
            train(recipe, settings | {"run": str(runs / recipe)})
    for recipe in ("coamd-mar", "coamd-generator"):
        weights = load_file(runs / recipe / "model.safetensors")
        matrices = {name: w + 0.05 * torch.randn_like(w) if w.ndim == 2 else w for name, w in weights.items()}
        save_file(matrices, runs / recipe / "model.safetensors")
    return runs


@pytest.fixture(scope="session")
def exported_coamd(coamd_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those runs as a bundle, which takes a minute to export."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from motionrt.export import export_coamd

    return export_coamd(coamd_runs, tmp_path_factory.mktemp("bundle") / "tiny").path


@pytest.fixture(scope="session")
def coamd_bundle() -> Path:
    """A tiny bundle exported earlier; `tests/export/test_coamd.py` checks that it is up to date."""
    return Path(__file__).parent / "bundles" / "coamd-tiny"

"""`motionrt bench recognize`: no measurement without parity, one network step per frame, an exact roofline."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.bench.speed import baselines, environment, parity, plot, recognize, roofline, scaling
from motionrt.bench.speed.workloads import samples as shipped
from motionrt.runtime.backends import factory
from motionrt.runtime.bundles.bundle import Bundle
from motionrt.runtime.cli import main
from motionrt.runtime.errors import InputError, MotionError
from motionrt.runtime.progress import ProgressBar
from motionrt.runtime.recognition.recognizer import Recognizer

SMALL = replace(
    recognize.quick(),
    parity_frames=200,
    warm_up=3,
    steps=20,
    runs=3,
    paced_frames=3,
    together=5,
    rounds=2,
    round_s=0.001,
    cold_starts=1,
    peak_s=0.01,
)
LATENCY = {"n", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"}


class Wrong:
    """A backend that makes one mistake."""

    name = "wrong"

    def __init__(self, backend: Any, mistake: str) -> None:
        self.backend, self.mistake = backend, mistake

    def streams(self, people: int) -> Any:
        return WrongStreams(self.backend.streams(people), self.mistake)

    def clip(self, frames: np.ndarray) -> Any:
        return self.backend.clip(frames)


class WrongStreams:
    def __init__(self, streams: Any, mistake: str) -> None:
        self.streams, self.mistake, self.started, self.frames = streams, mistake, set[int](), 0
        self.capacity = streams.capacity

    def begin(self, slot: int) -> None:
        if self.mistake != "a stream is not reset" or slot not in self.started:
            self.streams.begin(slot)
        self.started.add(slot)

    def step(self, slots: np.ndarray, frames: np.ndarray) -> Any:
        logits, features = self.streams.step(slots, frames)
        self.frames += 1
        if self.mistake == "a little off":
            logits = logits + np.float32(2e-4)
        if self.mistake == "people mixed up":
            logits = logits[::-1]
        if self.mistake == "off once, late" and self.frames == 150:
            logits = logits + np.float32(2e-4)
        return logits, features


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The measured backend makes the mistake named by the parameter; the reference does not."""
    create = factory.create

    def create_wrong(name: str, bundle: Bundle) -> Any:
        return Wrong(create("onnx", bundle), request.param) if name == "auto" else create(name, bundle)

    monkeypatch.setattr(factory, "create", create_wrong)


@pytest.mark.parametrize(
    "wrong",
    ["a little off", "off once, late", "a stream is not reset", "people mixed up"],
    indirect=True,
)
def test_no_number_is_printed_while_parity_fails(wrong: None, bundle: Path, capfd: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    status = main(["bench", "recognize", "--quick", "--json", "--model", str(bundle), "-o", str(file)])
    out, err = capfd.readouterr()
    assert (status, out) == (1, "") and not file.exists()
    lines = err.strip().splitlines()
    assert lines[-1].startswith("motionrt: ") and "parity: logits of wrong differ" in lines[-1]


def test_nan_logits_fail_parity(bundle: Path) -> None:
    loaded = Bundle.load(bundle)
    onnx = factory.create("onnx", loaded)
    recorder = parity.record(loaded, onnx, shipped(), 30)
    recorder.steps[20][2][0, 0] = np.nan
    assert parity.compare_steps(recorder, onnx) == parity.compare_clips(recorder, onnx) == np.inf


def test_parity_is_measured_on_several_people_together_with_resets(bundle: Path) -> None:
    loaded = Bundle.load(bundle)
    onnx = factory.create("onnx", loaded)
    found = parity.parity(loaded, onnx, onnx, shipped(), 1000)
    assert found["frames"] >= 1000 and found["begins"] >= 5 and found["together"] >= 50
    assert set(found["against"]) == {"step graph", "clip graph"}
    assert 0 < found["max_abs"] <= parity.TOLERANCE, "the step and the clip graph round differently"


def test_the_report_has_the_promised_fields(
    bundle: Path, capfd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognize, "quick", lambda: SMALL)
    file = tmp_path / "report.json"
    command = ["bench", "recognize", "--quick", "--json", "--model", str(bundle), "-o", str(file)]
    assert main(command) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert json.loads(file.read_text()) == report
    assert report["parity_max_abs"] == report["parity"]["max_abs"] <= 1e-4
    assert 0 < report["p50_ms"] <= report["p99_ms"] <= report["step"]["max_ms"]
    assert len(report["step"]["runs"]) == 3 and report["step"]["n"] == 60
    p99 = sorted(run["p99_ms"] for run in report["step"]["runs"])
    assert report["p99_ms"] == p99[1], "the median of the runs"
    assert report["paced"]["rate_hz"] == 30 and report["together"]["people"] == 8
    assert report["baselines"]["recognizer_step"]["times_recognizer_step"] == 1
    assert {"onnx_step", "onnx_window"} <= set(report["baselines"])
    for figures in (report["paced"], report["together"], *report["baselines"].values()):
        assert set(figures) >= LATENCY
    assert set(report["left_out"]) == {"torch_step", "ctr_gcn_torch", "ctr_gcn_onnx"}
    bound = report["roofline"]
    assert bound["fraction"] == pytest.approx(bound["floor_ms"] / bound["network_p50_ms"])
    assert report["cold_start"]["median_ms"] > report["cold_start"]["without_interpreter_ms"] > 0
    manifest = Bundle.load(bundle).manifest
    assert report["environment"]["weights_sha256"] == manifest.files["weights.safetensors"].sha256
    assert report["environment"]["threads"] == 1


def test_the_report_is_printed_as_tables(bundle: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognize, "quick", lambda: SMALL)
    assert main(["bench", "recognize", "--quick", "--model", str(bundle)]) == 0
    out = capfd.readouterr().out
    parts = ("saturated, 3 runs", "paced at 30 Hz", "8 people", "window re-run", "lower bound", "left out of --quick")
    for part in parts:
        assert part in out


def test_baselines_that_need_torch_take_part(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from motionrt.training.models.ctr_gcn import CTRGCN, CTRGCNConfig

    network = CTRGCN(CTRGCNConfig(classes=3, channels=(16, 32))).eval().requires_grad_(False)
    monkeypatch.setattr(baselines, "_ctr_gcn", lambda: (network, torch.randn(1, 3, 8, 25, 2)))
    loaded = Bundle.load(bundle)
    native, onnx = (factory.create(name, loaded) for name in ("native", "onnx"))
    calls, left_out = recognize.baseline_calls(loaded, native, onnx, lambda i: None, slow=True)
    assert set(calls) == set(baselines.TITLES) and left_out == {}
    for call in calls.values():
        call(0)
        call(1)


def test_a_ctr_gcn_with_wrong_onnx_output_is_left_out(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Any:
        raise RuntimeError("CTR-GCN in ONNX Runtime differs\nfrom PyTorch")

    pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr(baselines, "ctr_gcn_onnx", fails)
    loaded = Bundle.load(bundle)
    onnx = factory.create("onnx", loaded)
    calls, left_out = recognize.baseline_calls(loaded, onnx, onnx, lambda i: None, slow=True)
    assert "ctr_gcn_onnx" not in calls and "ctr_gcn_torch" in calls
    assert left_out == {"ctr_gcn_onnx": "CTR-GCN in ONNX Runtime differs from PyTorch"}


def test_the_torch_baseline_computes_what_the_bundle_computes(bundle: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from motionrt.training.models.stream_gcn import StreamGCN

    loaded, seen = Bundle.load(bundle), []
    frames = baselines.network_frames(loaded, shipped()[:1])[:5]
    step = baselines.torch_step(loaded, frames)
    original = StreamGCN.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamGCN, "step", lambda self, *args: seen.append(original(self, *args)) or seen[-1])  # type: ignore[func-returns-value]
        for i in range(5):
            step(i)
    expected, _ = factory.create("onnx", loaded).clip(frames)
    assert torch.cat([logits for logits, _, _ in seen]).numpy() == pytest.approx(expected, abs=1e-4)


def test_a_timed_step_is_one_network_step_per_person(bundle: Path) -> None:
    """So no latency in the report is that of a frame without a network step."""
    loaded = Bundle.load(bundle)
    poses = baselines.sensor_poses(shipped())
    for feed, people in ((baselines.one_by_one, 1), (baselines.one_by_one, 3), (baselines.all_at_once, 8)):
        recorder = parity.Recorder(factory.create("onnx", loaded))
        call = feed(Recognizer(loaded, recorder), poses, people)
        for i in range(450):
            call(i)
            assert recorder.frames == people * (i + 1)


WITHOUT_TORCH = """
import json, sys
from dataclasses import replace
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "onnxscript", "matplotlib"):
            raise ModuleNotFoundError(f"{name} was imported", name=name)

sys.meta_path.insert(0, Blocked())
from motionrt.bench.speed import recognize
once = dict.fromkeys(("runs", "paced_frames", "together", "rounds", "cold_starts"), 1)
small = dict(parity_frames=50, steps=5, round_s=0, peak_s=0.01, **once)
reports = [recognize.bench_recognize(sys.argv[1], replace(recognize.quick(), slow=slow, **small)) for slow in (0, 1)]
print(json.dumps([report["left_out"] for report in reports]))
"""


def test_it_works_without_torch(bundle: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    quick, full = json.loads(done.stdout)
    assert set(quick.values()) == {recognize.NOT_QUICK}
    assert full == dict.fromkeys(quick, "torch is not installed")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channels": (8, 12, 12), "dilations": (1, 3), "kernel": 3, "classes": 7},
        {"channels": (16,)},
        {"channels": (16,), "body": 40, "body_blocks": 2},
    ],
)
def test_the_rooflines_arithmetic_is_what_torch_counts(changes: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from torch.utils.flop_counter import FlopCounterMode

    from motionrt.runtime.body.layout import Layout
    from motionrt.training.models.stream_gcn import StreamGCN, StreamGCNConfig, fold

    config = StreamGCNConfig(**{"parents": Layout.load("kinect20").parents, "classes": 41, "fps": 20.0, **changes})
    network = fold(StreamGCN(config).eval()).requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        network.step(torch.zeros(1, config.joints, 3), network.new_state())
    cost = roofline.step_cost(asdict(config), weight_bytes=1000)
    assert cost.flops == counter.get_total_flops()
    layers = [(config.joints, c) for c in config.channels] + [(1, config.body)] * config.body_blocks
    widths = sum(joints * (c // (len(config.dilations) + 1)) for joints, c in layers)
    buffers = widths * config.kernel * len(config.dilations)
    assert cost.bytes == 1000 + 4 * (buffers + 2 * (1 + config.joints * 3))


def test_the_bound_is_the_slower_of_arithmetic_and_memory(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    model = Bundle.load(bundle).manifest.model
    cost = roofline.step_cost(model, 10_000)
    monkeypatch.setattr(roofline.__dict__["_core"], "peak_flops", lambda seconds: 1e9)
    for bandwidth, bound_by, seconds in ((1e12, "arithmetic", cost.flops / 1e9), (1e6, "memory", cost.bytes / 1e6)):
        monkeypatch.setattr(roofline, "read_bandwidth", lambda size, seconds, bandwidth=bandwidth: bandwidth)
        found = roofline.roofline(model, 10_000, 0)
        assert found["bound_by"] == bound_by and found["floor_ms"] == pytest.approx(1e3 * seconds)


def test_another_architecture_has_no_roofline() -> None:
    with pytest.raises(InputError, match="not a StreamGCN: its manifest has no model.parents"):
        roofline.step_cost({"arch": "tiny"}, 0)


def test_a_thread_is_pinned_to_one_core_and_released() -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system does not let a process choose its cores")
    before = os.sched_getaffinity(0)
    with pytest.raises(ZeroDivisionError), environment.one_core() as core:
        assert os.sched_getaffinity(0) == {core} <= before
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before


def test_scaling_is_measured_and_drawn(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    settings = {"ROUNDS": 1, "ROUND_S": 0, "HISTORY": (2, 5), "PEOPLE": (1, 3), "NETWORKS": ("kinect20",)}
    for name, value in settings.items():
        monkeypatch.setattr(scaling, name, value)
    loaded = Bundle.load(bundle)
    with ProgressBar() as bar:
        backend = factory.create("auto", loaded)
        found = scaling.measure_scaling(loaded, backend, factory.create("onnx", loaded), slow=True, bar=bar)
    assert [row["frames"] for row in found["history"]] == [2, 5]
    assert [row["people"] for row in found["people"]] == [1, 3]
    assert all(row["ms"] > 0 and row["one_by_one_ms"] > 0 for row in found["people"])
    assert {"core15", "kinect20", "smpl22", "ntu25", "mediapipe33"} <= {row["layout"] for row in found["sensors"]}
    assert [row["joints"] for row in found["networks"]] == [20] and found["left_out"] == {}
    plot.draw(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    json.dumps(found, allow_nan=False)


def test_networks_without_parity_are_not_timed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    loaded = Bundle.load(bundle)
    monkeypatch.setattr(scaling, "random_bundle", lambda like, layout, path: like)
    monkeypatch.setattr(scaling, "NETWORKS", ("core15",))
    create = factory.create
    monkeypatch.setattr(
        factory, "create", lambda name, b: create("onnx", b) if name == "onnx" else Wrong(create("onnx", b), name)
    )
    with ProgressBar() as bar, pytest.raises(MotionError, match="parity: logits of wrong on core15"):
        scaling.by_network(loaded, "a little off", bar)


@pytest.mark.parametrize(
    "options, part",
    [
        (["--plot", "a.txt"], "expected .png or .svg"),
        (["--plot", "nowhere/a.png"], "folder nowhere does not exist"),
        (["--data", "nowhere"], "not a folder"),
        (["-o", "nowhere/a.json"], "expected a file in an existing folder"),
        (["--model", "dead"], "no model named 'dead'"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_measured(
    capfd: Any, options: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "--plot" in options:
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.chdir(tmp_path)
    status = main(["bench", "recognize", "--quick", *options])
    out, err = capfd.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1) and part in err

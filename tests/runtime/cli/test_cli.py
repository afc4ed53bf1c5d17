"""The command line: output and exit status."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from processes import running

import motionrt
from motionrt import Motion
from motionrt.bench.accuracy.registry import BENCHMARKS
from motionrt.runtime.body import layout as skeleton
from motionrt.runtime.bundles import bundle as bundles
from motionrt.runtime.cli import main

from .. import tiny

LEFT, RIGHT = tiny.LABELS[1:]
LICENSE = "CC BY-NC 4.0 (test)"
NO_TENSORRT = "backend 'tensorrt' cannot be used here: tensorrt not installed"


class Result(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    def run(*arguments: str | Path) -> Result:
        status = main([str(argument) for argument in arguments])
        return Result(status, *capfd.readouterr())

    return run


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bundled models: `live`, which is not for commercial use, and `free`."""
    tiny.tiny_bundle(tmp_path / "models" / "live", name="live", license=LICENSE)
    tiny.tiny_bundle(tmp_path / "models" / "free", name="free")
    monkeypatch.setattr(bundles, "MODELS", tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    joints = np.concatenate([tiny.poses(20), tiny.poses(40, "left"), tiny.poses(30), tiny.poses(40, "right")])
    return save(tmp_path / "clip.npz", joints)


def save(path: Path, joints: np.ndarray, layout: str = tiny.LAYOUT) -> Path:
    Motion(joints, tiny.FPS, layout).save(path)
    return path


def messages(joints: np.ndarray, **fields: Any) -> str:
    return "".join(
        json.dumps({"t": t / tiny.FPS, "layout": tiny.LAYOUT, "joints": pose.tolist(), **fields}) + "\n"
        for t, pose in enumerate(joints)
    )


def start(models: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """Run the command line in a subprocess with the models of a test; killed after a minute."""
    code = (
        "import sys; from pathlib import Path;"
        "from motionrt.runtime.bundles import bundle; from motionrt.runtime.cli import main;"
        f"bundle.MODELS = Path({str(models)!r}); sys.exit(main())"
    )
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True, env=environment, **pipes)
    watchdog = threading.Timer(60, process.kill)
    watchdog.daemon = True
    watchdog.start()
    return process


def assert_error(result: Result, *parts: str) -> None:
    assert result.status == 2 and result.out == ""
    assert result.err.count("\n") == 1 and result.err.startswith("motionrt: ")
    for part in parts:
        assert part in result.err


def test_recognize_prints_a_timeline_and_the_latency(run: Any, models: Path, clip: Path) -> None:
    result = run("recognize", clip)
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0] == str(clip)
    assert [line[23:45].strip() for line in lines[1:-1]] == ["none", LEFT, "none", RIGHT]
    assert float(lines[1].split()[0]) == 0 and float(lines[-2].split()[2]) == 6.45
    assert lines[-1].startswith("130 frames, 0 dropped; latency in ms: p50 ")
    assert all(name in lines[-1] for name in ("p90", "p99", "max"))


def test_recognize_json_prints_one_object_per_decision_and_a_summary(run: Any, models: Path, clip: Path) -> None:
    result = run("recognize", clip, "--json")
    *decisions, last = result.objects
    assert result.status == 0 and len(decisions) == 130
    for k, decision in enumerate(decisions):
        more = {None: [], "onset": ["event_label", "since"], "offset": ["event_label"]}[decision["event"]]
        assert list(decision) == ["t", "person", "label", "score", "top", "event", *more, "latency_ms"]
        assert decision["t"] == pytest.approx(k / tiny.FPS) and decision["person"] == 0
        assert 0 <= decision["score"] <= 1 and decision["latency_ms"] > 0
        assert decision["top"][0] == [decision["label"], decision["score"]] and len(decision["top"]) == 3
    assert [decision["event"] for decision in decisions if decision["event"]] == ["onset", "offset", "onset"]
    summary = last["summary"]
    assert list(summary) == ["frames", "dropped", "p50_ms", "p90_ms", "p99_ms", "max_ms"]
    assert (summary["frames"], summary["dropped"]) == (130, 0)
    assert 0 < summary["p50_ms"] <= summary["p90_ms"] <= summary["p99_ms"] <= summary["max_ms"]


def test_several_sources_are_named_and_start_clean(run: Any, models: Path, clip: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "other.npz", tiny.poses(10))
    *decisions, last = run("recognize", clip, other, clip, "--json").objects
    assert [decision["source"] for decision in decisions] == [str(clip)] * 130 + [str(other)] * 10 + [str(clip)] * 130
    assert [{**one, "latency_ms": 0} for one in decisions[:130]] == [
        {**one, "latency_ms": 0} for one in decisions[140:]
    ]
    assert last["summary"]["frames"] == 270


def test_two_people_are_distinguished(run: Any, models: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "two.npz", np.stack([tiny.poses(40, "left"), tiny.poses(40, "right")], axis=1))
    *decisions, last = run("recognize", path, "--json").objects
    assert [(one["person"], one["label"]) for one in decisions[-2:]] == [(0, LEFT), (1, RIGHT)]
    assert last["summary"]["frames"] == 40 and len(decisions) == 80
    assert "person 1  raise right hand" in run("recognize", path).out


def test_a_non_commercial_license_is_printed_once(run: Any, models: Path, clip: Path) -> None:
    result = run("recognize", clip, clip, "--json")
    assert result.err == "model 'live' is not for commercial use; its license: motionrt models\n"
    assert run("recognize", clip, "--model", "free").err == ""
    elsewhere = models.rename(models.with_name("mine")) / "live"
    notice = run("recognize", clip, "--model", elsewhere).err
    assert notice == f"model 'live' is not for commercial use; its license: {elsewhere / 'manifest.json'}\n"


def test_the_license_is_printed_at_most_once_a_day(
    run: Any, models: Path, clip: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def printed() -> bool:
        result = run("recognize", clip)
        assert result.status == 0
        return "not for commercial use" in result.err

    class Tomorrow(date):
        @classmethod
        def today(cls) -> date:
            return date.today() + timedelta(days=1)

    assert printed() and not printed() and not printed()
    monkeypatch.setattr("motionrt.runtime.cli.license.date", Tomorrow)
    assert printed() and not printed()
    (cache / "motionrt").rename(cache / "other")
    (cache / "motionrt").write_text("not a folder: the notice cannot be noted")
    assert printed() and printed()


def test_the_model_may_be_a_path(run: Any, clip: Path, tmp_path: Path) -> None:
    assert run("recognize", clip, "--model", tiny.tiny_bundle(tmp_path / "mine")).status == 0


def test_the_layout_may_be_a_file_of_your_own(
    run: Any, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skeleton, "_REGISTERED", {})
    own, clip = tmp_path / "own.json", tmp_path / "clip.npz"
    np.savez(clip, joints=tiny.poses(20, "left"), fps=tiny.FPS, layout="own")
    own.write_text((skeleton.FOLDER / f"{tiny.LAYOUT}.json").read_text())
    assert_error(run("recognize", clip), "unknown skeleton layout 'own'", "--layout FILE.json")
    assert_error(run("recognize", clip, "--layout", tmp_path / "none.json"), "none.json: cannot be read")
    result = run("recognize", clip, "--layout", own)
    assert result.status == 0 and "raise left hand" in result.out


def test_json_lines_come_in_on_stdin(models: Path) -> None:
    process = start(models, "recognize", "-", "--json")
    assert process.stdin and process.stdout
    for line in messages(tiny.poses(3, "left")).splitlines():
        process.stdin.write(line + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["label"]  # an answer before the next frame
    out, _ = process.communicate(timeout=60)
    assert json.loads(out)["summary"]["frames"] == 3 and process.returncode == 0


def test_late_frames_are_counted_as_dropped(run: Any, models: Path, tmp_path: Path) -> None:
    lines = messages(tiny.poses(30)).splitlines(keepends=True)
    (tmp_path / "late.jsonl").write_text("".join([*lines[:20], lines[5], *lines[20:]]))
    *decisions, last = run("recognize", tmp_path / "late.jsonl", "--json").objects
    assert len(decisions) == 30 and last["summary"]["dropped"] == 1 and last["summary"]["frames"] == 31


def test_realtime_plays_a_recording_at_its_own_speed(
    run: Any, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save(tmp_path / "s.npz", tiny.poses(21))
    start_s = time.monotonic()
    assert run("recognize", source, "--realtime").status == 0
    assert time.monotonic() - start_s >= 1.0
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits for {seconds} s"))
    assert run("recognize", source).status == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_still_prints_the_summary(number: signal.Signals, models: Path, clip: Path) -> None:
    process = start(models, "recognize", clip, "--json", "--realtime")
    assert process.stdout
    process.stdout.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (0, 1), err
    assert 0 < json.loads(out.splitlines()[-1])["summary"]["frames"] < 130


def test_a_closed_output_pipe_is_not_an_error(models: Path, clip: Path) -> None:
    process = start(models, "recognize", *[clip] * 20, "--json")
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(timeout=60) == 0


def bad_source(path: Path, name: str) -> Path | str:
    """Create an invalid source in the folder `path`."""
    good = tiny.poses(10)
    file = path / "bad.npz"
    match name:
        case "missing":
            return file
        case "empty":
            file.touch()
        case "truncated":
            save(file, good)
            os.truncate(file, file.stat().st_size // 2)
        case "objects":
            np.savez(file, joints=np.full((4, 15, 3), None), fps=20.0, layout=tiny.LAYOUT)
        case "joints":
            np.savez(file, joints=good[:, :14], fps=20.0, layout=tiny.LAYOUT)
        case "nan":
            save(file, good * np.nan)
        case "one frame":
            save(file, good[:1])
        case "10,000 joints":
            np.savez(file, joints=np.zeros((4, 10_000, 3)), fps=20.0, layout=tiny.LAYOUT)
        case "unknown layout":
            np.savez(file, joints=good, fps=20.0, layout="octopus8")
        case "2-D":
            save(file, 100 * good[:10, np.arange(17) % tiny.V, :2], "coco17")
        case "unknown kind":
            file = path / "bad.xyz"
            file.write_text("x")
        case "unknown scheme":
            return "gopher://example"
        case "one line":
            file = path / "bad.jsonl"
            file.write_text(messages(good[:1]))
        case "cut line":
            file = path / "bad.jsonl"
            file.write_text(messages(good)[:200])
        case "10,000 joints in a line":
            file = path / "bad.jsonl"
            file.write_text(messages(np.zeros((1, 10_000, 3))))
        case "lines with nobody":
            file = path / "bad.jsonl"
            file.write_text(messages(good * np.nan).replace("NaN", "null"))
    return file


BAD_SOURCES = {
    "missing": "no such file",
    "empty": "empty",
    "truncated": "cut short",
    "objects": "Python objects",
    "joints": "[14, 3]",
    "nan": "finite",
    "one frame": "at least 2",
    "10,000 joints": "256",
    "unknown layout": "octopus8",
    "2-D": "trained",
    "unknown kind": "bad.xyz",
    "unknown scheme": "gopher",
    "one line": "at least 2",
    "cut line": "line 1",
    "10,000 joints in a line": "256",
    "lines with nobody": "nobody",
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_a_bad_source_is_a_one_line_error(run: Any, models: Path, tmp_path: Path, name: str) -> None:
    source = bad_source(tmp_path, name)
    assert_error(run("recognize", source, "--json"), str(source), BAD_SOURCES[name])


def test_a_line_cut_in_the_middle_is_counted(
    run: Any, models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cut.jsonl").write_text(messages(tiny.poses(10))[:-100])
    result = run("recognize", tmp_path / "cut.jsonl", "--json")
    *decisions, last = result.objects
    assert result.status == 0 and len(decisions) == 9
    assert (last["summary"]["frames"], last["summary"]["malformed"]) == (9, 1)
    [line] = caplog.messages
    assert "cut.jsonl: ignored a message: is not a whole JSON message" in line and line.endswith("(line 10)")


def test_a_bad_model_is_a_one_line_error(run: Any, models: Path, clip: Path) -> None:
    assert_error(run("recognize", clip, "--model", "liev"), "'liev'", "free, live")
    weights = models / "live" / "weights.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    assert_error(run("recognize", clip), "weights.safetensors", "sha256")


def test_a_model_that_references_another_file_is_a_one_line_error(run: Any, clip: Path, tmp_path: Path) -> None:
    path = tiny.tiny_bundle(tmp_path / "b")
    data = tiny.step_graph(location="/etc/passwd")
    raw = json.loads((path / "manifest.json").read_text())
    raw["files"]["step.onnx"] = {"sha256": bundles._sha256(data), "size": len(data)}
    (path / "manifest.json").write_text(json.dumps(raw))
    (path / "step.onnx").write_bytes(data)
    assert_error(run("recognize", clip, "--model", path), "step.onnx", "'/etc/passwd'")


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["recognize"], "SOURCE"),
        (["frobnicate"], "frobnicate"),
        (["recognize", "a.npz", "--frob"], "--frob"),
        (["recognize", "a.npz", "--threads", "0"], "--threads"),
        (["recognize", "a.npz", "--threads", "many"], "--threads"),
        (["recognize", "a.npz", "--backend", "tpu"], "'tpu'"),
        (["recognize", "a.npz", "b.npz", "--overlay", "o.mp4"], "--overlay"),
        (["train"], "recipe"),
        (["train", "live", "epochs"], "'epochs': expected KEY=VALUE"),
        (
            ["eval", "lief"],
            "unknown benchmark 'lief', expected one of: recognition: live, nw-ucla, utd-mhad, jhmdb, continuous",
        ),
        (["eval", "live"], "--data"),
        (["eval", "live", "--data", "no-such-folder"], "no-such-folder: not a folder"),
        (["eval", "humanml3d-t2m"], "benchmark humanml3d-t2m needs --data DIR, a folder with new_joints/*.npy"),
        (["eval", "ntu60-xsub", "--data", "."], ".: has no **/*.skeleton; benchmark ntu60-xsub needs a folder with"),
        (["export", "no-such-run", "-o", "b"], "no-such-run: not a folder"),
        (["export", "."], "--out"),
        (["export", ".", "--tensorrt"], NO_TENSORRT),
        (["export", ".", "-o", "b", "--tensorrt", "--precision", "fp16"], NO_TENSORRT),
        (["recognize", "a.npz", "--backend", "tensorrt"], NO_TENSORRT),
    ],
)
def test_wrong_usage_is_a_one_line_error(
    run: Any, models: Path, arguments: list[str], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert_error(run(*arguments), part)


def test_debug_shows_the_traceback(run: Any, models: Path) -> None:
    result = run("recognize", "missing.npz", "--debug")
    assert result.status == 2 and "Traceback" in result.err and result.err.splitlines()[-1].startswith("motionrt: ")


def test_an_unexpected_error_is_one_line_and_status_1(
    run: Any, models: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("something\nbroke")

    monkeypatch.setattr("motionrt.runtime.recognition.recognizer.Recognizer.step_people", fail)
    assert run("recognize", clip, "--json") == Result(1, "", "motionrt: RuntimeError: something broke\n")


def test_help_lists_the_commands(run: Any) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        result = run(*arguments)
        assert result.status == 0 and result.err == ""
        for command in ("doctor", "models", "recognize", "train", "eval", "export"):
            assert command in result.out


def test_models_lists_names_and_licenses(run: Any, models: Path) -> None:
    out = run("models").out
    rows = [line.split() for line in out.splitlines()]
    assert ["live", "recognition", "3", "labels", "core15", "at", "20", "Hz", "0.0"] in rows
    assert f"  live: {LICENSE}\n" in out and "  free: " in out
    assert run("models", "free").out.splitlines()[-3:] == list(tiny.LABELS)
    assert_error(run("models", "nobody"), "no model named 'nobody'")
    (models / "free" / "step.onnx").unlink()
    assert "free: " in run("models").out and "step.onnx: file is missing" in run("models").out
    assert [row["name"] for row in json.loads(run("models", "--json").out)] == ["free", "live"]


def test_models_lists_the_reliability_of_labels(run: Any, models: Path) -> None:
    left, right = tiny.LABELS[1:]
    known = {left: {"loso": 71.6, "sets": ["utd", "ntu"]}, right: {"loso": None, "sets": ["utd"]}}
    tiny.tiny_bundle(models / "rated", name="rated", reliability=known)
    rows = [" ".join(line.split()) for line in run("models", "rated").out.splitlines()]
    assert ["none", f"{left} 72 utd, ntu", f"{right} utd"] == rows[rows.index("none") :][:3]
    [row] = json.loads(run("models", "rated", "--json").out)
    assert row["reliability"] == known
    assert "reliability" not in json.loads(run("models", "free", "--json").out)[0]


def test_recognize_tells_only_the_chosen_labels(run: Any, models: Path, clip: Path) -> None:
    left, right = tiny.LABELS[1:]
    *decisions, _ = map(json.loads, run("recognize", clip, "--labels", f"{right}, none", "--json").out.splitlines())
    assert {label for decision in decisions for label, _ in decision["top"]} == {right, "none"}
    assert {decision["label"] for decision in decisions} == {right, "none"}
    assert_error(run("recognize", clip, "--labels", "raise hand"), "label 'raise hand' is not one of", repr(left))


def test_recognize_allows_a_number_of_false_alarms(run: Any, models: Path, clip: Path) -> None:
    decision = {**tiny.manifest()["decision"], "alarms": {"per_minute": [1], "on": [[1] * 3], "off": [[0] * 3]}}
    tiny.tiny_bundle(models / "strict", name="strict", decision=decision)

    def onsets(*options: str) -> int:
        return run("recognize", clip, "--model", "strict", "--json", *options).out.count('"onset"')

    assert onsets() == 2 and onsets("--alarms-per-minute", "1") == 0
    assert_error(run("recognize", clip, "--alarms-per-minute", "1"), "model 'live' has no thresholds by false alarms")


@pytest.fixture
def torchless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motionrt.runtime.backends.factory.installed", lambda module: module != "torch")


def test_an_unavailable_backend_is_an_error(run: Any, models: Path, clip: Path, torchless: None) -> None:
    assert_error(run("recognize", clip, "--backend", "cuda"), "backend 'cuda' cannot be used here: torch not installed")


def test_doctor_says_what_works(run: Any, models: Path, torchless: None) -> None:
    result = run("doctor")
    rows = dict(line.split(maxsplit=1) for line in result.out.splitlines() if len(line.split()) > 1)
    assert result.status == 0
    assert (rows["core"], rows["onnx"], rows["live"]) == ("ok", "ok", "ok")
    assert rows["cuda"] == "torch not installed"
    assert json.loads(run("doctor", "--json").out)["backends"]["onnx"] is None


def test_doctor_says_why_tensorrt_cannot_be_used(run: Any, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "  tensorrt      tensorrt not installed\n" in run("doctor").out
    monkeypatch.setitem(sys.modules, "torch", None)
    assert json.loads(run("doctor", "--json").out)["backends"]["tensorrt"] == "tensorrt and torch not installed"


def stub(monkeypatch: pytest.MonkeyPatch, name: str, **names: Any) -> None:
    """Replace the module `motionrt.NAME` by one with these names."""
    module = types.ModuleType(f"motionrt.{name}")
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, f"motionrt.{name}", module)
    if "." in name and (parent := name.rpartition(".")[0]):
        package = types.ModuleType(f"motionrt.{parent}")
        package.__path__ = []
        monkeypatch.setitem(sys.modules, f"motionrt.{parent}", package)


def test_train_passes_recipe_and_settings_on(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    stub(monkeypatch, "training.recipes", train=lambda *arguments: seen.append(arguments))
    assert run("train", "live", "epochs=3", "data=a=b").status == 0
    assert seen == [("live", {"epochs": "3", "data": "a=b"})]


def test_eval_prints_one_json_object_last(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def evaluate(name: str, options: Any) -> dict[str, Any]:
        return {"benchmark": name, **asdict(options), "data": str(options.data), "macro_top1": 0.5}

    monkeypatch.setattr("motionrt.bench.accuracy.registry.evaluate", evaluate)
    expected = {"benchmark": "nw-ucla", "model": "m", "data": str(tmp_path), "backend": "auto", "precision": "bf16"}
    out = run("eval", "nw-ucla", "--model", "m", "--data", tmp_path, "--precision", "bf16", "--json").out
    unset = {"evaluator": None, "guidance": 0.0, "scores": None}
    assert json.loads(out.splitlines()[-1]) == {**expected, **unset, "macro_top1": 0.5}
    assert "macro_top1  0.5\n" in run("eval", "live", "--data", tmp_path).out


@pytest.mark.parametrize("arguments", [("eval",), ("eval", "--list"), ("eval", "live", "--list")])
def test_eval_lists_every_benchmark_with_its_data(run: Any, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.status == 0
    for benchmark in BENCHMARKS:
        assert re.search(rf"^ *{benchmark.name} +{benchmark.about.split()[0]} ", result.out, re.MULTILINE)
    assert "NTU RGB+D" in result.out and "HumanML3D" in result.out
    listed = json.loads(run(*arguments, "--json").out)["benchmarks"]
    assert [row["name"] for row in listed] == [benchmark.name for benchmark in BENCHMARKS]


def test_export_passes_run_and_bundle_on(run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []
    stub(
        monkeypatch,
        "export",
        export_clips=None,
        is_clip_run=lambda run: False,
        export_coamd=None,
        export_matcher=None,
        export_zero_shot=None,
        is_feature_run=lambda run: False,
        is_matcher=lambda run: False,
        check_own=lambda run: None,
        export_run=lambda *arguments: seen.append(arguments),
    )
    assert run("export", tmp_path, "-o", tmp_path / "b").status == 0
    assert seen == [(tmp_path, tmp_path / "b")]


def test_export_builds_engines_of_a_bundle(
    run: Any, monkeypatch: pytest.MonkeyPatch, models: Path, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def build(bundle: Any, precision: str) -> list[str]:
        seen.append((bundle.path.name, precision))
        return ["a.plan", "b.plan"]

    def export_run(run: Path, out: Path) -> None:
        tiny.tiny_bundle(out)

    stub(
        monkeypatch,
        "export",
        build_engines=build,
        export_run=export_run,
        export_clips=None,
        is_clip_run=lambda run: False,
        export_coamd=None,
        export_matcher=None,
        export_zero_shot=None,
        is_feature_run=lambda run: False,
        is_matcher=lambda run: False,
        check_own=lambda run: None,
    )
    monkeypatch.setattr("motionrt.runtime.cli.develop.pick", lambda name: name)
    assert run("export", "free", "--tensorrt", "--precision", "fp16").out == "wrote a.plan\nwrote b.plan\n"
    assert run("export", tmp_path, "-o", tmp_path / "new", "--tensorrt").status == 0
    assert seen == [("free", "fp16"), ("new", "fp32")]
    assert_error(run("export", "free", "--tensorrt", "--precision", "int8"), "precision 'int8' needs MatMulInteger")
    assert_error(run("export", "nobody", "--tensorrt"), "no model named 'nobody'")


def without_torch(*arguments: str | Path) -> Result:
    code = "import sys; sys.modules['torch'] = None; from motionrt.runtime.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("command, extra", [(["train", "live"], "train"), (["export", ".", "-o", "b"], "export")])
def test_without_torch_one_line_names_the_extra(command: list[str], extra: str) -> None:
    assert_error(without_torch(*command), "torch is not installed", f"pip install '.[{extra}]' in motionrt's checkout")


def test_eval_needs_no_torch(tmp_path: Path) -> None:
    model = tiny.tiny_bundle(tmp_path / "tiny")
    (tmp_path / "data").mkdir()
    assert_error(without_torch("eval", "live", "--model", model, "--data", tmp_path / "data"), str(tmp_path / "data"))


def test_version(run: Any) -> None:
    assert run("--version") == (0, f"motionrt {motionrt.__version__}\n", "")


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = (
        "import sys; from motionrt.runtime.cli import main; main(['--help']);"
        "print([name for name in ('numpy', 'onnxruntime', 'torch', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_people_from_the_network_are_recognized_until_they_disappear(tmp_path: Path) -> None:
    """Two people arrive in datagrams; one raises a hand and then sends nothing more."""
    arguments = ["recognize", "udp://127.0.0.1:0", "--json", "--model", str(tiny.tiny_bundle(tmp_path / "tiny"))]
    command = [sys.executable, "-c", "import sys; from motionrt.runtime.cli import main; sys.exit(main())", *arguments]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as receiver:
        assert receiver.stderr is not None and receiver.stdout is not None
        address = receiver.stderr.readline().strip().removeprefix("listening at udp://").split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

            def send(message: Any) -> None:
                sender.sendto(json.dumps(message).encode(), (address[0], int(address[1])))

            decisions = []
            for k in range(45):
                visible = [("left", 1), (None, 2)] if k < 30 else [(None, 2)]
                poses = {person: tiny.poses(1, raised)[0].tolist() for raised, person in visible}
                common = {"t": k / tiny.FPS, "layout": tiny.LAYOUT}
                send([{**common, "person": person, "joints": joints} for person, joints in poses.items()])
                decisions.append(json.loads(receiver.stdout.readline()))
                while decisions[-1]["person"] != 2:  # wait, as the newer of two pending messages wins
                    decisions.append(json.loads(receiver.stdout.readline()))
            send("nonsense")
            send({"end": True})
        out, _ = receiver.communicate(timeout=60)
    assert receiver.returncode == 0
    events = [(d["person"], d["event"], d["event_label"]) for d in decisions if d["event"]]
    label = tiny.LABELS[1]
    assert events == [(1, "onset", label), (1, "offset", label)]
    summary = json.loads(out.splitlines()[-1])["summary"]
    assert (summary["frames"], summary["dropped"], summary["malformed"]) == (45, 0, 1)

"""Only the user's own plans are loaded, and only with the key they were built for; every graph has engine sizes."""

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt.runtime.backends import tensorrt_cache as plans
from motionrt.runtime.backends.onnx_session import open_session
from motionrt.runtime.backends.tensorrt_cache import (
    PlanKey,
    engine_graphs,
    load_plan,
    profiles,
    store_plan,
)
from motionrt.runtime.body.motion_data import MAX_PEOPLE
from motionrt.runtime.bundles.bundle import Bundle, bundled
from motionrt.runtime.bundles.schema import GenerationManifest, Graph, Manifest, TextManifest
from motionrt.runtime.bundles.signatures import SIGNATURES
from motionrt.runtime.errors import BundleError, InputError
from motionrt.runtime.generation.schedule import MAX_TOKENS
from motionrt.runtime.retrieval.retriever import _BATCH, FRAMES

PLAN = b"not a plan, but as good here" * 50
KEY = PlanKey(
    graph="1" * 64,
    weights="2" * 64,
    tensorrt="10.15.1",
    gpu="NVIDIA H200 9.0",
    precision="fp32",
    profiles={"frame": ((1, 15, 3), (4, 15, 3), (16, 15, 3))},
)
OTHERS: dict[str, Any] = {
    "graph": "3" * 64,
    "weights": "3" * 64,
    "tensorrt": "10.14.0",
    "gpu": "NVIDIA H200 9.1",
    "precision": "fp16",
    "profiles": {"frame": ((1, 15, 3), (4, 15, 3), (8, 15, 3))},
    "builder": plans.BUILDER + 1,
}
BUNDLE = Path("models/live")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "motionrt" / "tensorrt"


def refused(part: str, key: PlanKey = KEY) -> None:
    with pytest.raises(BundleError, match=part) as caught:
        load_plan(key, BUNDLE)
    assert "\n" not in str(caught.value) and str(caught.value).endswith("motionrt export models/live --tensorrt")


def test_a_plan_comes_back_and_only_its_user_can_read_it(cache: Path) -> None:
    path = store_plan(KEY, PLAN)
    assert path.parent == cache and load_plan(KEY, BUNDLE) == PLAN
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(cache.stat().st_mode) == 0o700
    store_plan(KEY, PLAN[1:])
    assert load_plan(KEY, BUNDLE) == PLAN[1:] and list(cache.iterdir()) == [path]


def test_without_a_plan_the_error_says_how_to_build_it() -> None:
    refused("has no TensorRT engine yet .fp32, TensorRT 10.15.1, NVIDIA H200 9.0.; build it here")
    with pytest.raises(BundleError, match="motionrt export models/live --tensorrt --precision bf16$"):
        load_plan(replace(KEY, precision="bf16"), BUNDLE)


def test_the_table_of_changes_has_every_field() -> None:
    assert OTHERS.keys() == KEY.fields.keys()


@pytest.mark.parametrize("field", OTHERS)
def test_each_field_changes_the_file_and_is_checked_inside_it(field: str) -> None:
    foreign = replace(KEY, **{field: OTHERS[field]})
    assert foreign.path != KEY.path
    store_plan(foreign, PLAN).rename(KEY.path)
    refused(f"built for {field} .*, expected ")


@pytest.mark.parametrize("keep", [0, 7, 8, 9, 100, -1])
def test_a_plan_that_is_cut_off_is_refused(keep: int) -> None:
    path = store_plan(KEY, PLAN)
    path.write_bytes(path.read_bytes()[:keep])
    refused("truncated|bytes of plan, its header says|not valid JSON")


def test_a_plan_that_was_changed_is_refused() -> None:
    path = store_plan(KEY, PLAN)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"X")
    refused("does not match the sha256 in its header")
    path.write_bytes(good + b"X")
    refused(f"{len(PLAN) + 1} bytes of plan, its header says {len(PLAN)}")
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    for changed in ({**header, "key": {}}, {**header, "key": None}, {"size": 1}):
        text = json.dumps(changed).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + PLAN)
        refused("its header is not that of a TensorRT engine")
    path.write_bytes(b"\xff" * 8 + PLAN)
    refused("not a TensorRT engine of motionrt, or truncated")


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_plan_that_others_can_write_is_refused(mode: int, cache: Path) -> None:
    path = store_plan(KEY, PLAN)
    path.chmod(mode)
    refused(f"{path}: others can write to it")
    path.chmod(0o600)
    cache.chmod(0o700 | mode & 0o022)
    refused(f"{cache}: others can write to it")
    with pytest.raises(BundleError, match="others can write to it"):
        store_plan(KEY, PLAN)


def test_a_plan_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    store_plan(KEY, PLAN)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    refused(f"belongs to user {user}; a plan is code")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = store_plan(KEY, PLAN)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused("cannot be read")


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "motionrt").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        store_plan(KEY, PLAN)


def test_the_cache_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert plans.cache_folder("tensorrt") == tmp_path / ".cache" / "motionrt" / "tensorrt"


GRAPHS = [(name, graph) for name in bundled() for graph in engine_graphs(Bundle.load(name, Manifest).manifest)]


def test_tensorrt_runs_the_float_graphs_of_recognizers_and_generators() -> None:
    assert {graph for _, graph in GRAPHS} >= {"step", "clip", "trunk", "velocity", "decode", "guide"}
    assert not any(name == "text" or graph.endswith(".int8") or graph == "match" for name, graph in GRAPHS)


@pytest.mark.parametrize("name, graph", GRAPHS)
def test_every_open_size_has_engine_sizes_and_the_smallest_runs(name: str, graph: str) -> None:
    bundle = Bundle.load(name, Manifest)
    manifest, about = bundle.manifest, bundle.manifest.graphs[graph]
    found = profiles(manifest.task, graph, about)
    assert found.keys() == about.inputs.keys()
    for tensor, shape in about.inputs.items():
        for wanted, *sizes in zip(shape, *found[tensor], strict=True):
            assert 1 <= sizes[0] <= sizes[1] <= sizes[2]
            engine = SIGNATURES[manifest.task].open_sizes(graph)[wanted].engine if isinstance(wanted, str) else None
            assert tuple(sizes) == (engine if isinstance(wanted, str) else (wanted,) * 3)
    integers = {"counts": 1, "frames": 4, "places": 0, "quality": 0} if manifest.task == "generation" else {}
    inputs = {
        tensor: np.full(low, integers[tensor]) if tensor in integers else np.zeros(low, np.float32)
        for tensor, (low, _, _) in found.items()
    }
    session = open_session(bundle, graph, 1)
    assert all(np.isfinite(array).all() for array in session.run(None, inputs))


def test_engine_sizes_cover_what_the_runtime_uses() -> None:
    def largest(task: str, graph: str) -> dict[str, int]:
        sizes = SIGNATURES[task].open_sizes(graph)
        return {size: about.engine[2] for size, about in sizes.items() if about.engine is not None}

    generator, text = largest("generation", "trunk"), Bundle.load("text", TextManifest).manifest
    assert largest("recognition", "step")["M"] == MAX_PEOPLE and largest("generation", "motion")["B"] >= _BATCH
    assert generator["L"] == generator["Q"] == MAX_TOKENS and generator["N"] == generator["G"] * MAX_TOKENS
    assert generator["T"] == FRAMES
    assert largest("generation", "describe")["L"] >= text.max_tokens
    assert generator["S"] > 2 * Bundle.load("default", GenerationManifest).manifest.sampler.evaluations


def test_an_open_size_without_engine_sizes_is_refused() -> None:
    graph = Graph(file="step.onnx", inputs={"frame": ("X", 15, 3)}, outputs={})
    with pytest.raises(BundleError, match="graph step of task 'recognition': TensorRT has no sizes for 'X' of frame"):
        profiles("recognition", "step", graph)


def test_tensorrt_refuses_int8() -> None:
    with pytest.raises(InputError, match="precision 'int8' needs MatMulInteger, which TensorRT does not support"):
        plans.check_precision("int8")
    with pytest.raises(InputError, match="precision is 'fp8', TensorRT expects fp32, fp16 or bf16"):
        plans.check_precision("fp8")

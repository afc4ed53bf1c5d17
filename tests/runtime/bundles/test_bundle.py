"""A bundle loads whole and verified or not at all, and is written whole or not at all."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt import BundleError, InputError
from motionrt.runtime.backends import factory
from motionrt.runtime.bundles import bundle
from motionrt.runtime.bundles.bundle import Bundle, bundled, write_bundle
from motionrt.runtime.bundles.safetensors import pack

from .. import tiny


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tiny.tiny_bundle(tmp_path / "tiny")


def edit(path: Path, change: Any) -> None:
    """Let `change` alter the manifest's JSON object in place."""
    raw = json.loads((path / "manifest.json").read_text())
    change(raw)
    (path / "manifest.json").write_text(json.dumps(raw))


def put(path: Path, file: str, data: bytes) -> None:
    """Replace a file and its hash and size in the manifest, as an attacker would."""
    (path / file).write_bytes(data)
    entry = {"sha256": bundle._sha256(data), "size": len(data)}
    edit(path, lambda raw: raw["files"].__setitem__(file, entry))


def refused(path: str | Path, message: str) -> None:
    """The bundle is refused in one short line."""
    with pytest.raises(BundleError, match=message) as caught:
        factory.create("onnx", Bundle.load(path))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_written_bundle_loads_unchanged(path: Path) -> None:
    loaded = Bundle.load(path)
    assert loaded.manifest.labels == tiny.LABELS and loaded.manifest.none_index == 0
    assert (loaded.manifest.joints, loaded.manifest.state, loaded.manifest.features) == (
        tiny.V,
        tiny.S,
        tiny.D,
    )
    assert set(loaded.graphs) == {"step.onnx", "clip.onnx"}
    for name, expected in tiny.weights().items():
        np.testing.assert_array_equal(loaded.weights[name], expected)


def test_equal_bundles_have_the_same_sha256(path: Path, tmp_path: Path) -> None:
    other = tiny.tiny_bundle(tmp_path / "other")
    changed = tiny.tiny_bundle(tmp_path / "changed", license="MIT")
    assert Bundle.load(path).sha256 == Bundle.load(other).sha256 != Bundle.load(changed).sha256


def test_a_label_that_means_none_is_optional(tmp_path: Path) -> None:
    assert Bundle.load(tiny.tiny_bundle(tmp_path / "b", none=None)).manifest.none_index == -1


@pytest.mark.parametrize(
    "text, non_commercial", [("CC BY-NC 4.0", True), ("research use only", True), ("Apache-2.0", False)]
)
def test_a_non_commercial_license_is_recognized(tmp_path: Path, text: str, non_commercial: bool) -> None:
    loaded = Bundle.load(tiny.tiny_bundle(tmp_path / "b", license=text))
    assert loaded.manifest.non_commercial is non_commercial


@pytest.mark.parametrize("file", ["weights.safetensors", "step.onnx", "clip.onnx", "MODEL_CARD.md"])
def test_a_damaged_file_is_refused(path: Path, file: str) -> None:
    whole = (path / file).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (path / file).write_bytes(flipped)
    refused(path, f"{file}: content does not match the sha256")
    (path / file).write_bytes(whole[:-1])
    refused(path, f"{file}: {len(whole) - 1} bytes, the manifest says {len(whole)}")
    (path / file).write_bytes(whole + b"\0")
    refused(path, f"{file}: {len(whole) + 1} bytes, the manifest says {len(whole)}")
    (path / file).unlink()
    refused(path, f"{file}: file is missing")
    (path / file).mkdir()
    refused(path, f"{file}: not a regular file")


def test_a_pipe_in_place_of_a_file_does_not_block(path: Path) -> None:
    (path / "step.onnx").unlink()
    os.mkfifo(path / "step.onnx")
    refused(path, "step.onnx: not a regular file")


def test_a_damaged_bundle_never_becomes_a_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    import motionrt

    made: list[Any] = []
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *args, **kwargs: made.append(args))
    (path / "MODEL_CARD.md").unlink()
    with pytest.raises(BundleError):
        motionrt.Recognizer.load(path)
    assert made == []


@pytest.mark.parametrize(
    "name",
    [
        "../weights.bin",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..",
        ".",
        ".hidden",
        "",
        "manifest.json",
        "x\n",
        "a" * 129,
    ],
)
def test_a_file_name_that_is_a_path_is_refused(path: Path, name: str, tmp_path: Path) -> None:
    edit(path, lambda raw: raw["files"].__setitem__(name, {"sha256": "0" * 64, "size": 0}))
    refused(path, "file name.*expected a plain name")
    with pytest.raises(BundleError, match="expected a plain name"):
        write_bundle(tmp_path / "new", tiny.manifest(), {**tiny.files(), name: b""})
    assert not (tmp_path / "new").exists()


def test_a_graph_file_that_is_a_path_is_refused(path: Path) -> None:
    edit(path, lambda raw: raw["graphs"]["step"].__setitem__("file", "../step.onnx"))
    refused(path, "graphs: step: file name '../step.onnx'")


@pytest.mark.parametrize("file", ["weights.safetensors", "step.onnx", "clip.onnx"])
def test_every_required_file_must_be_listed(path: Path, file: str) -> None:
    edit(path, lambda raw: raw["files"].pop(file))
    refused(path, f"'{file}' is not listed under files")


@pytest.mark.parametrize("location", ["/etc/passwd", "../weights.safetensors", "other.bin", "*/_ORT_MEM_ADDR_/*"])
def test_a_graph_that_names_another_external_file_is_refused(path: Path, location: str) -> None:
    put(path, "step.onnx", tiny.step_graph(extra=[tiny.external("more", [1], location)]))
    refused(path, "step.onnx: tensor 'more' names the external file .*only 'weights.safetensors'")


def test_a_graph_that_is_not_an_onnx_model_is_refused(path: Path) -> None:
    put(path, "step.onnx", b"not a model at all")
    refused(path, "step.onnx: not a well-formed ONNX model")


def test_weights_that_are_not_safetensors_are_refused(path: Path) -> None:
    put(path, "weights.safetensors", b"\x80\x04pickle" * 100)
    refused(path, "weights.safetensors: header of .* bytes")


def test_an_initializer_without_a_weight_is_refused(path: Path) -> None:
    put(path, "weights.safetensors", pack({name: w for name, w in tiny.weights().items() if name != "w2"}))
    refused(path, r"(clip|step).onnx: initializer 'w2' is not in weights.safetensors")


@pytest.mark.parametrize("w2", [np.zeros((3, 4), np.float32), np.zeros((4, 3), np.float16)])
def test_weights_of_another_shape_or_type_are_refused(path: Path, w2: np.ndarray) -> None:
    put(path, "weights.safetensors", pack({**tiny.weights(), "w2": w2}))
    refused(path, r"initializer 'w2' is float32 \[4, 3\], weights.safetensors has float")


def change(**values: Any) -> Any:
    return lambda raw: raw.update(values)


def within(section: str, **values: Any) -> Any:
    return lambda raw: raw[section].update(values)


def alarms(value: Any) -> Any:
    return within("decision", alarms=value)


BAD_MANIFESTS: dict[str, tuple[Any, str]] = {
    "newer schema": (change(schema=2), "schema 2, this version of motionrt reads schema 1"),
    "schema as a text": (change(schema="1"), 'schema "1"'),
    "schema that is true": (change(schema=True), "schema true"),
    "unknown task": (change(task="cooking"), "task 'cooking', expected one of recognition"),
    "no name": (lambda raw: raw.pop("name"), "name is missing"),
    "empty license": (change(license=""), 'license: ""'),
    "layout as a number": (change(layout=15), "layout: 15"),
    "fps of zero": (change(fps=0), "fps: 0, expected a number from"),
    "fps as a text": (change(fps="20"), 'fps: "20"'),
    "fps that is true": (change(fps=True), "fps: true"),
    "no front end": (lambda raw: raw.pop("frontend"), "frontend is missing"),
    "front end as a list": (change(frontend=[]), "frontend: .*expected an object"),
    "negative gap": (within("frontend", max_gap_s=-1), "frontend: max_gap_s: -1"),
    "no temperature": (lambda raw: raw["decision"].pop("temperature"), "decision: temperature is missing"),
    "temperature of zero": (within("decision", temperature=0), "decision: temperature: 0"),
    "off above on": (within("decision", on=0.3, off=0.6), "off 0.6 is above on 0.3"),
    "others above one": (within("decision", others=1.5), "decision: others: 1.5, expected a number from 0 to 1"),
    "alarms as a list": (alarms([]), r"decision: alarms: \[\], expected an object"),
    "alarms without numbers": (alarms({}), "decision: alarms: per_minute is missing"),
    "alarms of zero": (
        alarms({"per_minute": [0]}),
        r"per_minute: \[0\], expected a list of 1 to 100 numbers from 0.001",
    ),
    "alarms that fall": (alarms({"per_minute": [2, 1]}), r"per_minute: \[2, 1\], expected rising numbers"),
    "alarms without thresholds": (alarms({"per_minute": [1]}), "decision: alarms: on is missing"),
    "alarms of too few labels": (
        alarms({"per_minute": [1], "on": [[1, 1]]}),
        r"on: \[\[1, 1\]\], expected 1 lists of 3 numbers from 0 to 1",
    ),
    "alarms with off above on": (
        alarms({"per_minute": [1], "on": [[1, 0.5, 1]], "off": [[0, 0.6, 0]]}),
        "alarms: off 0.6 is above on 0.5 of label 'raise left hand'",
    ),
    "a default out of range": (
        alarms({"per_minute": [1, 2], "on": [[1] * 3] * 2, "off": [[0] * 3] * 2, "default": 3}),
        "alarms: default: 3, expected 1 to 2, the range of per_minute",
    ),
    "thresholds that rise with alarms": (
        alarms({"per_minute": [1, 2], "on": [[1, 0.5, 1], [1, 0.6, 1]], "off": [[0] * 3] * 2}),
        "alarms: on 0.6 follows 0.5 of label 'raise left hand', expected that it does not rise with per_minute",
    ),
    "reliability as a list": (change(reliability=[]), "reliability: .*expected an object"),
    "reliability of another label": (change(reliability={"wave": {}}), "reliability: 'wave' is not one of the labels"),
    "reliability above 100": (
        change(reliability={"none": {"loso": 101, "sets": ["a"]}}),
        "reliability: none: loso: 101, expected a number from 0 to 100 or null",
    ),
    "reliability without sets": (change(reliability={"none": {"loso": None}}), "reliability: none: sets is missing"),
    "no labels": (change(labels=[]), "labels: .*expected a list"),
    "label as a number": (change(labels=["none", 1, "b"]), "labels: .*texts"),
    "label twice": (change(labels=["none", "b", "b"]), "a label occurs twice"),
    "too few labels": (change(labels=["none", "b"]), r"logits \[M, 3\].*expected logits \[M, 2\]"),
    "only none": (change(labels=["none"]), "no label other than 'none'"),
    "none that is no label": (change(none="rest"), "'rest' is not one of the labels"),
    "none as a number": (change(none=0), "none: 0, expected a text"),
    "receptive field as a float": (within("model", receptive_field=1.5), "model: receptive_field: 1.5"),
    "state of another size": (within("model", state=9), r"state \[M, 8\].*expected .*state \[M, 9\]"),
    "no step graph": (lambda raw: raw["graphs"].pop("step"), "a step graph .* is needed"),
    "unknown graph": (lambda raw: raw["graphs"].update(x=raw["graphs"]["clip"]), "unknown graph 'x'"),
    "graph without outputs": (lambda raw: raw["graphs"]["clip"].pop("outputs"), "clip: outputs is missing"),
    "size of zero": (
        lambda raw: raw["graphs"]["clip"]["inputs"].update(frames=[0]),
        r"clip.inputs.frames: \[0\]",
    ),
    "hash that is none": (
        lambda raw: raw["files"]["step.onnx"].update(sha256="x"),
        'files: step.onnx: sha256: "x", expected 64',
    ),
    "negative file size": (lambda raw: raw["files"]["step.onnx"].update(size=-1), "size: -1"),
    "file entry as a list": (lambda raw: raw["files"].update({"x": []}), "files: x: .*expected an object"),
    "files as a list": (change(files=[]), "files: .*expected an object"),
    "metrics as a list": (change(metrics=[]), "metrics: .*expected an object"),
}


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_a_wrong_field_of_the_manifest_is_named(path: Path, name: str) -> None:
    alter, message = BAD_MANIFESTS[name]
    edit(path, alter)
    refused(path, f"manifest.json: .*{message}|manifest.json: {message}")


def test_every_field_of_the_manifest_is_required(path: Path) -> None:
    raw = json.loads((path / "manifest.json").read_text())
    for field in raw:
        edit(path, lambda now, field=field: (now.update(raw), now.pop(field)))
        refused(path, f"manifest.json: .*{field}")


@pytest.mark.parametrize(
    "text, message",
    [
        (b"", "not valid JSON"),
        (b"[]", "expected a JSON object"),
        (b'{"schema": 1, "schema": 1}', "duplicate key 'schema'"),
        (b'{"schema": 1, "fps": Infinity}', "Infinity is not allowed"),
        (b"[" * 100_000, "not valid JSON"),
        (b'"\xff"', "not valid JSON"),
        (b" " * (bundle.MAX_MANIFEST_BYTES + 1), "expected at most"),
    ],
)
def test_a_manifest_that_is_not_an_object_is_refused(path: Path, text: bytes, message: str) -> None:
    (path / "manifest.json").write_bytes(text)
    refused(path, f"manifest.json: .*{message}")


def test_unknown_fields_of_the_manifest_are_ignored(path: Path) -> None:
    edit(path, change(comment={"any": ["thing"]}))
    assert Bundle.load(path).manifest.name == "tiny"


def test_an_unknown_name_lists_the_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("live", "zebra"):
        tiny.tiny_bundle(tmp_path / "models" / name)
    (tmp_path / "models" / "no-bundle").mkdir()
    monkeypatch.setattr(bundle, "MODELS", tmp_path / "models")
    assert bundled() == ["live", "zebra"]
    refused("liev", "no model named 'liev'; bundled models are: live, zebra .*path")
    assert Bundle.load("live").path == tmp_path / "models" / "live"


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("x")
    refused(tmp_path / "b", "not the folder of a bundle")


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "manifest.json: file is missing")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_bundle_is_replaced_by_a_bundle(path: Path) -> None:
    tiny.tiny_bundle(path, license="MIT")
    assert Bundle.load(path).manifest.license == "MIT"
    assert [file.name for file in path.parent.iterdir()] == ["tiny"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert Bundle.load(tiny.tiny_bundle(tmp_path / "b")).manifest.name == "tiny"


@pytest.mark.parametrize("file", ["notes.txt", "manifest.json"])
def test_a_folder_that_is_not_a_bundle_is_left_alone(tmp_path: Path, file: str) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / file).write_text("{}")
    before = contents(tmp_path)
    with pytest.raises(BundleError, match="nothing was written"):
        tiny.tiny_bundle(tmp_path / "b")
    assert contents(tmp_path) == before


def test_a_bundle_with_foreign_files_is_left_alone(path: Path) -> None:
    (path / "notes.txt").write_text("keep me")
    before = contents(path)
    with pytest.raises(BundleError, match="'notes.txt', which is not part of it"):
        tiny.tiny_bundle(path)
    assert contents(path) == before


def test_a_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("keep me")
    with pytest.raises(BundleError, match="nothing was written"):
        tiny.tiny_bundle(tmp_path / "b")
    assert (tmp_path / "b").read_text() == "keep me"


def test_a_bundle_that_would_not_load_is_not_written(path: Path) -> None:
    before = contents(path.parent)
    with pytest.raises(BundleError, match="fps"):
        tiny.tiny_bundle(path, fps=-1)
    files = {name: data for name, data in tiny.files().items() if name != "clip.onnx"}
    with pytest.raises(BundleError, match=r"'clip.onnx' is not listed"):
        write_bundle(path.parent / "other", tiny.manifest(), files)
    assert contents(path.parent) == before


def test_a_failure_while_writing_leaves_the_old_bundle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(path.parent)
    rename = os.rename

    def fail_once(source: Any, target: Any) -> None:
        if Path(target) == path and "replaced" not in str(source):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_once)
    with pytest.raises(BundleError, match="No space left"):
        tiny.tiny_bundle(path, license="MIT")
    assert contents(path.parent) == before


def test_step_and_clip_graph_agree(path: Path) -> None:
    backend = factory.create("onnx", Bundle.load(path))
    frames = np.random.default_rng(0).standard_normal((9, tiny.V, 3)).astype(np.float32)
    logits, features = backend.clip(frames)
    streams = backend.streams(3)
    for t, frame in enumerate(frames):
        stepped, seen = streams.step([2, 0], np.stack([frame, -frame]))
        np.testing.assert_allclose(stepped[0], logits[t], atol=1e-4)
        np.testing.assert_allclose(seen[0], features[t], atol=1e-4)


def test_the_network_runs_on_the_checked_weights_from_any_working_directory(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Bundle.load(path)
    shutil.rmtree(path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("weights.safetensors").write_bytes(bytes(10_000))
    backend = factory.create("onnx", loaded)
    raised = tiny.poses(1, "left") - tiny.poses(1)[:, :1]
    logits, _ = backend.streams(1).step([0], raised)
    np.testing.assert_allclose(logits, [[0, 20 * 0.8 / 3 - 4, 20 * -0.05 / 3 - 4]], atol=1e-4)


def test_a_bundle_without_a_clip_graph_still_steps(tmp_path: Path) -> None:
    graphs = {"step": tiny.manifest()["graphs"]["step"]}
    backend = factory.create("onnx", Bundle.load(tiny.tiny_bundle(tmp_path / "b", graphs=graphs)))
    backend.streams(1).step([0], tiny.poses(1))
    with pytest.raises(InputError, match="no clip graph"):
        backend.clip(tiny.poses(2))


def test_a_graph_that_differs_from_the_manifest_is_refused(path: Path) -> None:
    put(path, "step.onnx", tiny.clip_graph())
    with pytest.raises(BundleError, match=r"step.onnx: inputs \['frames'\], the manifest says \['frame', 'state'\]"):
        factory.create("onnx", Bundle.load(path))


def test_a_graph_of_one_fixed_person_is_refused(path: Path) -> None:
    model = tiny.onnx.load_from_string(tiny.step_graph())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    put(path, "step.onnx", model.SerializeToString())
    with pytest.raises(BundleError, match=r"input frame is tensor\(float\) \[1, 15, 3\]"):
        factory.create("onnx", Bundle.load(path))


def test_a_graph_that_onnx_runtime_rejects_is_a_bundle_error(path: Path) -> None:
    model = tiny.onnx.load_from_string(tiny.step_graph())
    model.graph.node[0].attribute.append(tiny.helper.make_attribute("no_such", 1))
    put(path, "step.onnx", model.SerializeToString())
    with pytest.raises(BundleError, match="step.onnx: ONNX Runtime cannot load it .*no_such"):
        factory.create("onnx", Bundle.load(path))


def test_a_graph_whose_outputs_are_not_finite_is_refused(path: Path) -> None:
    put(path, "weights.safetensors", pack({**tiny.weights(), "b": np.full(3, np.nan, np.float32)}))
    with pytest.raises(BundleError, match="logits of the first step is not finite"):
        factory.create("onnx", Bundle.load(path))


def test_backends_say_why_they_cannot_be_used(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "installed", lambda module: module != "torch")
    reasons = factory.available()
    assert list(reasons) == list(factory.NAMES) and reasons["native"] is None and reasons["onnx"] is None
    assert factory.pick("auto") == "native"
    with pytest.raises(InputError, match="'cuda' cannot be used here: torch not installed"):
        factory.pick("cuda")
    with pytest.raises(InputError, match="unknown backend 'tpu', expected auto, native, onnx"):
        factory.pick("tpu")
    with pytest.raises(InputError, match="threads is 0"):
        factory.create("onnx", Bundle.load(path), threads=0)


def test_auto_is_the_native_engine_if_it_supports_the_network(path: Path) -> None:
    assert factory.create("auto", Bundle.load("live")).name == "native"
    assert factory.create("auto", Bundle.load(path)).name == "onnx"
    with pytest.raises(BundleError, match="not a StreamGCN"):
        factory.create("native", Bundle.load(path))
    with pytest.raises(InputError, match="unknown precision 'fp8', expected fp32 or bf16"):
        factory.create("native", Bundle.load("live"), precision="fp8")
    with pytest.raises(InputError, match="precision 'bf16' needs the native backend, onnx runs fp32"):
        factory.create("onnx", Bundle.load("live"), precision="bf16")

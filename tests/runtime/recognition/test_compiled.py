"""Labels compiled into a bundle that the native engine runs alone."""

import json
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest

from motionrt import InputError, Motion, Recognizer
from motionrt.runtime.bundles.bundle import Bundle, write_bundle
from motionrt.runtime.bundles.schema import CompiledManifest
from motionrt.runtime.cli import main
from motionrt.runtime.recognition.compiled import compile_labels

FRAMES = 400


def stream(samples: list[Motion]) -> list[tuple[np.ndarray, str]]:
    motions = [motion for motion in samples if motion.people == 1 and motion.layout == "smpl22"]
    frames = [(pose, motion.layout) for motion in motions for pose in motion.joints]
    return list(islice(cycle(frames), FRAMES))


@pytest.fixture(scope="module")
def recognizer(samples: list[Motion]) -> Recognizer:
    recognizer = Recognizer.load("zero-shot", labels=["wave", "high five", "walk", "run"])
    recognizer.enroll("my bow", [samples[0]])
    recognizer.background = False
    return recognizer


def test_a_bundle_decides_as_the_recognizer_does(recognizer: Recognizer, samples: list[Motion], tmp_path: Path) -> None:
    bundle = compile_labels(recognizer, tmp_path / "mine")
    compiled = Recognizer.load(tmp_path / "mine")
    assert compiled.labels == recognizer.labels == ("wave", "high five", "walk", "run", "my bow", "none")
    assert compiled.backend == "native" and compiled.license == recognizer.license
    assert sorted(path.name for path in bundle.path.iterdir()) == ["manifest.json", "weights.safetensors"]
    recognizer.reset()
    events = []
    for k, (pose, layout) in enumerate(stream(samples)):
        expected, found = (one.step(pose, k / 20, layout=layout) for one in (recognizer, compiled))
        np.testing.assert_allclose(found.probs, expected.probs, atol=1e-4)
        assert (found.event, found.event_label, found.since) == (expected.event, expected.event_label, expected.since)
        events += [found.event_label] if found.event else []
    assert len(set(events)) > 1


def without_rivals(path: Path) -> Path:
    """The bundle, whose labels that are not chosen are no background."""
    bundle = Bundle.load("zero-shot")
    manifest = json.loads(bundle.manifest_file)
    manifest["matching"].pop("rivals", None)
    del manifest["files"]
    files = {name: (bundle.path / name).read_bytes() for name in bundle.manifest.files}
    return write_bundle(path, manifest, files)


def test_chosen_labels_do_not_compete_with_the_others(samples: list[Motion], tmp_path: Path) -> None:
    recognizer = Recognizer.load(without_rivals(tmp_path / "plain"), labels=["wave", "high five", "walk", "run"])
    recognizer.enroll("my bow", [samples[0]])
    compile_labels(recognizer, tmp_path / "mine")
    compiled = Recognizer.load(tmp_path / "mine", labels=["walk", "my bow"])
    other = recognizer.clone()
    other.background = False
    other.set_labels(["walk"])
    for k, (pose, layout) in enumerate(stream(samples)[:60]):
        expected, found = (one.step(pose, k / 20, layout=layout) for one in (other, compiled))
        np.testing.assert_allclose(found.probs, expected.probs, atol=1e-4)
    assert compiled.labels == other.labels == ("walk", "my bow", "none")


def test_the_command_line_compiles_labels(
    samples: list[Motion], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    assert main(["export", "zero-shot", "--labels", "wave,high five", "-o", str(out)]) == 0
    assert f"wrote {out}: wave, high five, none\n" in capfd.readouterr().out
    samples[0].save(tmp_path / "bow.npz")
    assert main(["recognize", str(tmp_path / "bow.npz"), "--model", str(out), "--json"]) == 0
    last = json.loads(capfd.readouterr().out.splitlines()[-2])
    assert {label for label, _ in last["top"]} == {"wave", "high five", "none"}
    for arguments, message in (
        (["export", "live", "--labels", "wave", "-o", str(tmp_path / "other")], "the labels of model 'live' are fixed"),
        (["export", "zero-shot", "--labels", "wave"], "need one model and --out BUNDLE"),
        (["recognize", str(tmp_path / "bow.npz"), "--model", str(out), "--backend", "onnx"], "native backend only"),
    ):
        assert main(arguments) == 2
        error = capfd.readouterr().err
        assert message in error and error.count("\n") == 1, error


def test_a_damaged_bundle_is_refused(recognizer: Recognizer, tmp_path: Path) -> None:
    compile_labels(recognizer, tmp_path / "mine")
    manifest = json.loads((tmp_path / "mine" / "manifest.json").read_text())
    manifest["matching"]["texts"] = 2
    (tmp_path / "mine" / "manifest.json").write_text(json.dumps(manifest))
    assert Bundle.load(tmp_path / "mine", CompiledManifest).manifest.labels == recognizer.labels
    with pytest.raises(Exception, match="texts: 2, expected that of each of 5 labels, or examples of it"):
        Recognizer.load(tmp_path / "mine")
    with pytest.raises(InputError, match="the labels of model 'live' are fixed"):
        compile_labels(Recognizer.load("live"), tmp_path / "live")

"""The recognizer as browsers run it, in Node.js; `make wasm` builds it."""

import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from motionrt import Motion, Recognizer
from motionrt.bench.speed.web import Package, flattened, looped, numbers, parity, unpack_models
from motionrt.bench.speed.workloads import samples, simulate_sensor
from motionrt.runtime.errors import InputError
from motionrt.runtime.recognition.compiled import compile_labels

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "web" / "package"
WAVE = ROOT / "runtime" / "samples" / "bandai_wave_right_hand.npz"

pytestmark = [
    pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed"),
    pytest.mark.skipif(not (BUILT / "motionrt.wasm").is_file(), reason="the package is not built: `make wasm`"),
]


@pytest.fixture(scope="module")
def package() -> Iterator[Package]:
    with Package(BUILT) as running:
        yield running


@pytest.fixture(autouse=True)
def _forget(request: pytest.FixtureRequest) -> None:
    if "package" in request.fixturenames:
        request.getfixturevalue("package")("reset")


@pytest.fixture(scope="module")
def wave() -> list[list[float | None]]:
    """Joints of somebody who waves; smpl22, 20 frames per second."""
    return [numbers(pose) for pose in Motion.load(WAVE).joints]


def steps(package: Package, poses: list[list[float | None]], start: int = 0) -> list[dict]:
    frames = [{"t": (start + k) / 20, "poses": [{"joints": joints}]} for k, joints in enumerate(poses)]
    return [now for [now] in package("step", frames=frames, layout="smpl22")]


def test_decisions_are_those_of_the_native_engine(package: Package) -> None:
    found = parity(package, Recognizer.load("live"), list(islice(simulate_sensor(samples(), 20.0, seed=1), 200)))
    assert found["same_labels"] == found["poses"] > 200 and found["same_events"] and found["events"] > 3
    assert found["max_abs"] < 1e-5


def test_2d_decisions_are_those_of_the_rounded_weights(package: Package, tmp_path: Path) -> None:
    moments = [flattened(moment) for moment in islice(simulate_sensor(samples(), 20.0, seed=1), 200)]
    found = parity(package, Recognizer.load(unpack_models(BUILT, tmp_path)), moments)
    assert found["same_labels"] == found["poses"] > 200 and found["same_events"] and found["events"] > 3
    assert found["max_abs"] < 1e-5


def test_memory_does_not_grow(package: Package) -> None:
    poses = [numbers(pose) for pose in looped(samples()).joints]
    grown = package("grow", poses=poses, layout="smpl22", frames=3000)
    assert grown["after"]["wasm_bytes"] == grown["before"]["wasm_bytes"]
    assert grown["after"]["heap_bytes"] < grown["before"]["heap_bytes"] + 1e6


def test_an_action_starts_and_ends_when_its_person_leaves(package: Package, wave: list) -> None:
    decisions = steps(package, wave)
    [onset] = [now for now in decisions if now["event"] == "onset" and now["eventLabel"] == "wave"][:1]
    at = decisions.index(onset)
    assert 0 <= onset["since"] <= at / 20
    package("reset")
    steps(package, wave[: at + 1])
    [gone] = package("evict", t=at / 20 + 1)
    assert (gone["event"], gone["eventLabel"], gone["status"]) == ("offset", "wave", "lost")
    assert package("evict", t=at / 20 + 2) == []


def test_labels_can_be_limited_and_probabilities_sum_to_one(package: Package, wave: list) -> None:
    all_labels = package("labels")
    assert all_labels == list(Recognizer.load("live").labels)
    assert package("labels", choose=["wave", "bow"]) == ["wave", "bow", "none"]
    decisions = steps(package, wave)
    assert {now["label"] for now in decisions} == {"wave", "none"}
    assert np.sum(decisions[-1]["scores"]) == pytest.approx(1, abs=1e-5) and len(decisions[-1]["scores"]) == 3
    assert package("labels", choose=[]) == all_labels


def test_wrong_input_is_an_error_that_tells_what_was_wrong(package: Package, wave: list) -> None:
    with pytest.raises(InputError, match="joints of person 0: 65 numbers, expected 22 x 3"):
        steps(package, [wave[0][:-1]])
    with pytest.raises(InputError, match="unknown skeleton layout 'smpl'"):
        package("step", frames=[{"t": 0, "poses": [{"joints": wave[0]}]}], layout="smpl")
    with pytest.raises(InputError, match="confidence of person 7: 1 numbers, expected 22"):
        pose = {"person": 7, "joints": wave[0], "confidence": [1]}
        package("step", frames=[{"t": 0, "poses": [pose]}], layout="smpl22")
    with pytest.raises(InputError, match="person is 0.5, expected a whole number"):
        package("step", frames=[{"t": 0, "poses": [{"person": 0.5, "joints": wave[0]}]}], layout="smpl22")
    with pytest.raises(InputError, match="17 poses, expected at most 16"):
        poses = [{"person": person, "joints": wave[0]} for person in range(17)]
        package("step", frames=[{"t": 0, "poses": poses}], layout="smpl22")
    with pytest.raises(InputError, match="juggle"):
        package("labels", choose=["juggle"])
    [now] = steps(package, wave[:1])
    assert now["status"] == "ok"


def test_gestures_are_those_of_python(tmp_path: Path, wave: list) -> None:
    texts = ["wave", "walk"]
    compiled = compile_labels(Recognizer.load("zero-shot", labels=texts), tmp_path / "compiled").path
    with Package(BUILT, compiled) as package:
        with pytest.raises(InputError, match="person 0 is unknown"):
            package("enroll", label="mine")
        for label, start in (("mine", 0), ("other", 40)):
            package("reset")
            steps(package, wave[start : start + 40])
            labels = package("enroll", label=label)
        assert labels == ["wave", "walk", "mine", "other", "none"]
        file = package("save_gestures")
        assert package("set_gestures") == [*texts, "none"]
        assert package("set_gestures", base64=file) == labels
        package("reset")
        found = steps(package, wave)
    (tmp_path / "mine.safetensors").write_bytes(b64decode(file))
    recognizer = Recognizer.load("zero-shot", labels=texts)
    recognizer.background = False
    recognizer.load_gestures(tmp_path / "mine.safetensors")
    assert recognizer.labels == tuple(labels)
    expected = [recognizer.step(pose, k / 20, layout="smpl22") for k, pose in enumerate(Motion.load(WAVE).joints)]
    probs = np.array([now["scores"] for now in found])
    np.testing.assert_allclose(probs, [now.probs for now in expected], atol=1e-3)
    assert probs[:, 2].max() > 0.5
    with Package(BUILT) as package, pytest.raises(InputError, match="the labels of model 'live' are fixed"):
        steps(package, wave[:40])
        package("enroll", label="mine")


def test_milliseconds_are_noticed(wave: list) -> None:
    frames = [{"t": 50 * k, "poses": [{"joints": joints}]} for k, joints in enumerate(wave)]
    with Package(BUILT) as package:
        assert package("warning") is None
        package("step", frames=frames, layout="smpl22")
        assert "expected seconds, not milliseconds" in package("warning")


def test_landmarks_of_mediapipe_become_joints_with_y_up(package: Package) -> None:
    pose = package(
        "landmarks", landmarks=[{"x": 0.5, "y": 0.25, "z": -1, "visibility": 0.75}, {"x": 0, "y": 0, "z": 0}]
    )
    assert np.allclose(pose["joints"], [0.5, -0.25, 1, 0, 0, 0]) and pose["confidence"] == [0.75, 1]


def test_the_declarations_have_every_method() -> None:
    source, declared = ((BUILT / name).read_text() for name in ("motionrt.js", "motionrt.d.ts"))
    methods = set(re.findall(r"^  (\w+)\(.*\) \{$", source, re.MULTILINE)) - {"constructor"}
    assert {"step", "stepPeople", "evict", "scores", "reset"} <= methods
    assert methods <= set(re.findall(r"^  (\w+)\(", declared, re.MULTILINE))
    exported = set(re.findall(r"^export (?:async )?function (\w+)", source, re.MULTILINE))
    assert exported == set(re.findall(r"^export function (\w+)", declared, re.MULTILINE)) == {"load", "fromMediaPipe"}


def test_the_package_takes_less_than_3_mb() -> None:
    assert sum(path.stat().st_size for path in BUILT.rglob("*") if path.is_file()) < 3e6

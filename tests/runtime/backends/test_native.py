"""The native engine matches ONNX Runtime on real recordings with the faults of a live stream."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from motionrt.runtime._core import StreamGCN, Streams
from motionrt.runtime.backends import factory
from motionrt.runtime.backends.native import NativeBackend
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.bundles.bundle import MODELS, Bundle, bundled
from motionrt.runtime.bundles.schema import parse_manifest
from motionrt.runtime.errors import BundleError
from motionrt.runtime.recognition.decision import Decision
from motionrt.runtime.recognition.recognizer import Recognizer

TOLERANCE = 1e-4


class Moment(NamedTuple):
    """Poses [M, V, 3] of M people at a time, or a person to reset."""

    t: float
    layout: str
    people: list[int]
    joints: np.ndarray
    reset: int | None = None


@pytest.fixture(scope="module")
def moments(samples: list[Motion]) -> list[Moment]:
    """A stream of four people: each plays all recordings, from a different start, with missing joints, lost frames,
    gaps longer than half a second, absences and resets; more than 1,000 poses."""
    rng = np.random.default_rng(0)
    clips = samples
    timeline: list[Moment] = []
    for person in range(4):
        t = 0.1 * person
        for clip in clips[person:] + clips[:person]:
            joints = clip.person(0).joints.copy()
            joints[rng.random(joints.shape[:2]) < 0.03] = np.nan
            for pose in joints:
                t += 1 / clip.fps
                if rng.random() < 0.02:
                    t += rng.choice([0.2, 0.7])
                if rng.random() < 0.005:
                    timeline.append(Moment(t, clip.layout, [], pose[None][:0], reset=person))
                timeline.append(Moment(t, clip.layout, [person], pose[None]))
    return sorted(timeline, key=lambda moment: moment.t)


def follow(recognizer: Recognizer, moments: list[Moment]) -> Iterator[Decision]:
    for moment in moments:
        if moment.reset is not None:
            recognizer.reset(moment.reset)
        for person, joints in zip(moment.people, moment.joints, strict=True):
            yield recognizer.step(joints, moment.t, person, layout=moment.layout)
        yield from recognizer.evict(moment.t)


@pytest.mark.parametrize("name", bundled("recognition"))
def test_native_decisions_match_onnx_with_gaps_people_and_resets(name: str, moments: list[Moment]) -> None:
    native, onnx = (Recognizer.load(name, backend=backend) for backend in ("native", "onnx"))
    count = 0
    for a, b in zip(follow(native, moments), follow(onnx, moments), strict=True):
        first, second = ((d.person, d.status, d.label, d.event, d.event_label, d.since) for d in (a, b))
        assert first == second
        np.testing.assert_allclose(a.probs, b.probs, atol=TOLERANCE)
        count += 1
    assert count > 1000 and native.counters == onnx.counters
    assert native.counters["lost"] + native.counters["resets"] > 5


@pytest.mark.parametrize("name", bundled("recognition"))
def test_native_logits_and_features_match_onnx(name: str, moments: list[Moment]) -> None:
    both = [factory.create(backend, Bundle.load(name)).streams(4) for backend in ("native", "onnx")]
    frames = 0

    class Pair:
        capacity = 16

        def begin(self, slot: int) -> None:
            for streams in both:
                streams.begin(slot)

        def step(self, slots: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            nonlocal frames
            frames += len(slots)
            (logits, features), (logits_onnx, features_onnx) = (streams.step(slots, poses) for streams in both)
            np.testing.assert_allclose(logits, logits_onnx, atol=TOLERANCE)
            np.testing.assert_allclose(features, features_onnx, atol=TOLERANCE)
            return logits, features

    class PairBackend:
        name = "pair"

        def streams(self, people: int) -> Pair:
            return Pair()

    for _ in follow(Recognizer(Bundle.load(name), PairBackend()), moments):  # type: ignore[arg-type]
        pass
    assert frames > 1000


def test_people_in_one_call_get_the_decisions_of_single_calls(moments: list[Moment]) -> None:
    together, apart = (Recognizer.load("live", backend="native") for _ in range(2))
    by_time: dict[tuple[float, str], list[Moment]] = {}
    for moment in moments:
        by_time.setdefault((round(moment.t, 1), moment.layout), []).append(moment)
    crowds = 0
    for (t, layout), group in by_time.items():
        latest = {moment.people[0]: moment.joints[0] for moment in group if moment.people}
        poses = np.array(list(latest.values()))
        if not latest:
            continue
        crowds += len(latest) > 1
        decisions = together.step_people(poses, t, list(latest), layout=layout)
        for (person, pose), decision in zip(latest.items(), decisions, strict=True):
            alone = apart.step(pose, t, person, layout=layout)
            assert (decision.person, decision.label, decision.event, decision.status) == (
                (person, alone.label, alone.event, alone.status)
            )
            np.testing.assert_array_equal(decision.probs, alone.probs)
    assert crowds > 50


def test_half_precision_weights_take_half_the_memory_and_give_the_same_decisions(samples: list[Motion]) -> None:
    bundle = Bundle.load("live")
    full, half = (NativeBackend(bundle, precision) for precision in ("fp32", "bf16"))
    assert half.weight_bytes < 0.6 * full.weight_bytes
    for clip in samples:
        a, b = (Recognizer(bundle, backend).recognize(clip) for backend in (full, half))
        assert a.label == b.label
        np.testing.assert_allclose(a.probs, b.probs, atol=0.05)


def test_a_step_names_a_wrong_shape() -> None:
    streams = factory.create("native", Bundle.load("live")).streams(2)
    assert isinstance(streams, Streams)
    frame = np.zeros((1, 15, 3), np.float32)
    for slots, frames, message in (
        ([2], frame, "slots holds an invalid number, expected 0 to 1"),
        ([-1], frame, "slots holds an invalid number"),
        ([0, 0], frame.repeat(2, 0), "slots holds a number twice"),
        ([0], frame[:, :14], r"frames has shape \[1, 14, 3\], expected float32 \[1, 15, 3\]"),
    ):
        with pytest.raises(ValueError, match=message):
            streams.step(slots, frames)
    with pytest.raises(ValueError, match="slot is 2, expected 0 to 1"):
        streams.begin(2)


def test_a_restarted_stream_forgets_everything(moments: list[Moment]) -> None:
    streams = factory.create("native", Bundle.load("live")).streams(2)
    frames = np.random.default_rng(1).normal(0, 0.3, (150, 1, 15, 3)).astype(np.float32)
    first = [streams.step([0], frame)[0] for frame in frames]
    streams.begin(0)
    np.testing.assert_array_equal(first, [streams.step([0], frame)[0] for frame in frames])
    np.testing.assert_array_equal(first, [streams.step([1], frame)[0] for frame in frames])


def test_weights_of_another_architecture_are_rejected() -> None:
    bundle = Bundle.load("live")
    narrow = bundle.manifest_file.replace(b'"kernel": 5', b'"kernel": 3')
    with pytest.raises(BundleError, match="state"):
        StreamGCN(narrow, bundle.weights_file, "live")


def set_field(path: str, value: Any) -> Any:
    """A function that sets, or with `...` deletes, a field of a manifest."""

    def alter(raw: dict[str, Any]) -> None:
        *sections, key = path.split("/")
        for section in sections:
            raw = raw[section]
        if value is ...:
            del raw[key]
        else:
            raw[key] = value

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        set_field("schema", 2),
        set_field("schema", "1"),
        set_field("name", ...),
        set_field("name", ""),
        set_field("license", None),
        set_field("layout", "x" * 10_001),
        set_field("fps", 0.5),
        set_field("fps", True),
        set_field("frontend", 1),
        set_field("frontend/facing_s", -1),
        set_field("frontend/reach_m", 0),
        set_field("frontend/max_gap_s", 61.5),
        set_field("frontend/bones", 1),
        set_field("frontend/bones", []),
        set_field("frontend/bones", [0.5, None]),
        set_field("frontend/bones", [0.5, 10.5]),
        set_field("frontend/bones", [0.5, 0.5]),
        set_field("frontend/flat", 1),
        set_field("frontend/flat", None),
        set_field("decision/temperature", "warm"),
        set_field("decision/smooth_s", ...),
        set_field("decision/on", 1.5),
        set_field("decision/off", [0.5]),
        set_field("decision/off", 1),
        set_field("decision/hold_s", 61),
        set_field("labels", []),
        set_field("labels", ["a", 1]),
        set_field("labels", ["a", "a", "none"]),
        set_field("labels", ["none"]),
        set_field("none", ...),
        set_field("none", 0),
        set_field("none", "rest"),
        set_field("model/receptive_field", 1.5),
        set_field("model/delay", -1),
        set_field("model/state", 0),
        set_field("model/features", 1_000_001),
        set_field("files/weights.safetensors/sha256", "A" * 64),
        set_field("files/weights.safetensors/size", -1),
    ],
)
def test_a_wrong_manifest_gets_the_same_message_from_python_and_the_core(alter: Any) -> None:
    raw = json.loads((MODELS / "live" / "manifest.json").read_text())
    alter(raw)
    with pytest.raises(BundleError) as python:
        parse_manifest(raw, "b/manifest.json")
    with pytest.raises(BundleError) as core:
        StreamGCN(json.dumps(raw), b"", "b")
    assert str(python.value) == str(core.value)

"""Empty slots of a sensor, all zeros, are missing people wherever motion comes in."""

import json
import runpy
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt import Generator, InputError, Motion, Recognizer, Retriever, recognize
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.cli import main
from motionrt.runtime.io.source import open_source
from motionrt.runtime.recognition.frames import step_source

from . import tiny

SLOTS, FILLED = 6, 3  # of a Kinect


@pytest.fixture(scope="module")
def live() -> Recognizer:
    return Recognizer.load("live")


@pytest.fixture(scope="module")
def wave(samples: list[Motion]) -> Motion:
    """A person who waves, as a Kinect sees them, in front of it."""
    clip = max(samples, key=lambda motion: motion.frames)
    weights = Layout.load("kinect20").map_from(Layout.load(clip.layout))
    joints = np.einsum("vs,tsc->tvc", weights, clip.joints) + np.float32([0, 0, 3])
    return Motion(joints, clip.fps, "kinect20")


@pytest.fixture(scope="module")
def slots(wave: Motion) -> Motion:
    """Six slots, of which one is filled: [T, 6, 20, 3]."""
    joints = np.zeros((wave.frames, SLOTS, 20, 3), np.float32)
    joints[:, FILLED] = wave.joints
    return replace(wave, joints=joints)


@pytest.fixture(scope="module")
def raw(wave: Motion) -> np.ndarray:
    """The same as an array in which zeros are zeros."""
    joints = np.zeros((wave.frames, SLOTS, 20, 3), np.float32)
    joints[:, FILLED] = wave.joints
    return joints


def events(decisions: Any) -> list[tuple[str, str]]:
    return [(out.event, out.event_label) for out in decisions if out.event]


@pytest.fixture(scope="module")
def expected(live: Recognizer, wave: Motion) -> list[tuple[str, str]]:
    """Events of the person alone."""
    alone = live.clone()
    found = events(alone.step(joints, t, layout="kinect20") for t, joints in zip(wave.times, wave.joints, strict=True))
    assert ("onset", "wave") in found
    return found


NOBODY = {
    "zeros": np.zeros((20, 3), np.float32),
    "a point": np.full((20, 3), [0.5, 1, 2], np.float32),
    "a body of 1 mm": np.random.default_rng(0).normal(scale=3e-4, size=(20, 3)).astype(np.float32),
    "a tenth of a body": np.random.default_rng(0).normal(scale=0.03, size=(20, 3)).astype(np.float32),
}


@pytest.mark.parametrize("name", NOBODY)
def test_step_takes_it_for_nobody(name: str, live: Recognizer) -> None:
    recognizer = live.clone()
    for k in range(29):
        out = recognizer.step(NOBODY[name], k / 30, layout="kinect20")
        assert (out.status, out.label, out.event) == ("missing", "none", None)


@pytest.mark.parametrize("name", ["a body of 1 mm", "a tenth of a body"])
def test_a_small_body_is_reported_with_its_unit(name: str, live: Recognizer) -> None:
    unit = {"a body of 1 mm": "kilometers", "a tenth of a body": "tens of meters"}[name]
    recognizer = live.clone()
    with pytest.raises(InputError, match=f"apart on average, which looks like {unit}, expected meters"):
        for k in range(31):
            recognizer.step(NOBODY[name], k / 30, layout="kinect20")
    with pytest.raises(InputError, match=unit):
        live.recognize(Motion(np.stack([NOBODY[name]] * 9), 30, "kinect20"))


def test_empty_slots_have_no_actions(live: Recognizer, raw: np.ndarray, wave: Motion, expected: Any) -> None:
    recognizer, decisions = live.clone(), []
    for t, joints in zip(wave.times, raw, strict=True):
        decisions += recognizer.step_people(joints, t, range(SLOTS), layout="kinect20")
    by_person = {m: [out for out in decisions if out.person == m] for m in range(SLOTS)}
    assert events(by_person.pop(FILLED)) == expected
    assert {(out.status, out.label, out.event) for rest in by_person.values() for out in rest} == {
        ("missing", "none", None)
    }


@pytest.mark.parametrize("timed", [True, False])
def test_empty_slots_are_not_tracked(
    live: Recognizer, raw: np.ndarray, wave: Motion, expected: Any, timed: Any
) -> None:
    recognizer, decisions = live.clone(), []
    for t, joints in zip(wave.times, raw, strict=True):
        moment = recognizer.step_people(joints, t if timed else None, layout="kinect20")
        assert [out.person for out in moment] == [0 if m == FILLED else -1 for m in range(SLOTS)]
        assert {out.status for m, out in enumerate(moment) if m != FILLED} == {"missing"}
        assert moment[0].label == "none" and moment[0].score == 1 and moment[0].top(1) == [("none", 1.0)]
        decisions.append(moment[FILLED])
    assert recognizer.counters["frames"] == wave.frames
    if timed:
        assert events(decisions) == expected
    else:
        assert ("onset", "wave") in events(decisions)


def test_zeros_for_a_while_are_a_gap(live: Recognizer, wave: Motion) -> None:
    """As missing joints are: filled at first, and the person is lost after half a second."""
    outcomes = []
    for missing in (0.0, np.nan):
        joints, recognizer = wave.joints.copy(), live.clone()
        joints[30:34] = joints[60:80] = missing
        outcomes.append(
            [recognizer.step(pose, t, layout="kinect20") for t, pose in zip(wave.times, joints, strict=True)]
        )
    statuses = [out.status for out in outcomes[0]]
    assert set(statuses[:60]) == {"ok"} and statuses[60:80].count("lost") == 1 and statuses[79] == "missing"
    for zeros, nans in zip(*outcomes, strict=True):
        assert (zeros.status, zeros.event, zeros.event_label) == (nans.status, nans.event, nans.event_label)
        np.testing.assert_array_equal(zeros.probs, nans.probs)


def test_a_clip_is_recognized_by_the_person_in_it(live: Recognizer, slots: Motion, wave: Motion) -> None:
    expected = live.recognize(wave)
    np.testing.assert_array_equal(live.recognize(slots).probs, expected.probs)
    phantoms = slots.joints.copy()
    phantoms[:, 0] = wave.joints[0] + np.float32([2, 0, 0])  # a coat stand
    phantoms[:, 1] = wave.joints / 10
    phantoms[:, 2] = np.float32([1, 2, 3])
    np.testing.assert_array_equal(live.recognize(replace(slots, joints=phantoms)).probs, expected.probs)
    with pytest.raises(InputError, match="nobody is visible in any of the clip's"):
        live.recognize(np.zeros((30, 22, 3)), "smpl22")


@pytest.mark.parametrize("ending", ["npz", "npy", "jsonl"])
def test_files(ending: str, live: Recognizer, raw: np.ndarray, wave: Motion, tmp_path: Path) -> None:
    path = write(tmp_path / f"slots.{ending}", raw, wave)
    found = recognize(path, live, layout="kinect20", fps=wave.fps)
    assert {segment.person for segment in found} == {FILLED}
    alone = recognize(wave, live)
    assert [(segment.label, segment.start) for segment in found] == [
        (segment.label, segment.start) for segment in alone
    ]


def write(path: Path, raw: np.ndarray, wave: Motion) -> Path:
    if path.suffix == ".npz":
        np.savez(path, joints=raw, fps=wave.fps, layout="kinect20")
    elif path.suffix == ".npy":
        np.save(path, raw)
    else:
        path.write_text("\n".join(json.dumps(message) for message in messages(raw, wave)))
    return path


def messages(raw: np.ndarray, wave: Motion) -> Iterator[dict[str, Any]]:
    for t, people in zip(wave.times, raw, strict=True):
        for m, joints in enumerate(people):
            yield {"t": float(t), "person": m, "layout": "kinect20", "joints": joints.tolist()}


@pytest.mark.parametrize("scheme", ["udp", "ws"])
def test_listeners(scheme: str, live: Recognizer, raw: np.ndarray, wave: Motion) -> None:
    if scheme == "ws":
        pytest.importorskip("websockets", reason="websockets is not installed")
    decisions = []
    with open_source(f"{scheme}://127.0.0.1:0") as source:
        send = sender(scheme, source)
        stream = step_source(live.clone(), source)
        for k, (t, people) in enumerate(zip(wave.times[:60], raw, strict=False)):
            moment = [
                {"t": float(t), "person": m, "layout": "kinect20", "joints": joints.round(4).tolist()}
                for m, joints in enumerate(people)
            ]
            send(json.dumps(moment))
            _, out, frame = next(stream)
            assert frame is not None and (frame.t, out.person, out.status) == (pytest.approx(float(t)), FILLED, "ok"), k
            decisions.append(out)
        send(json.dumps({"end": True}))
        assert [out for _, out, frame in stream if frame is not None] == []
    assert {out.person for out in decisions} == {FILLED}


def sender(scheme: str, source: Any) -> Any:
    if scheme == "udp":
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        return lambda text: udp.sendto(text.encode(), source.address)
    from websockets.sync import client

    return client.connect(source.name).send


def test_the_ros_node(raw: np.ndarray, wave: Motion, expected: Any) -> None:
    node = runpy.run_path(str(Path(__file__).resolve().parents[2] / "examples" / "ros2" / "ros2_node.py"))
    published: list[dict[str, Any]] = []

    def publish(topic: str, fields: dict[str, Any]) -> None:
        if topic == "actions":
            published.append(json.loads(fields["data"]))

    listener = node["Listener"]("live", "kinect20", "motionrt", publish)
    for t, people in zip(wave.times, raw, strict=True):
        listener.receive(people.reshape(-1, 3).tolist(), t)
    assert {message["person"] for message in published} == {0}
    assert [(m["event"], m["event_label"]) for m in published if m["event"]] == expected


def test_examples_of_gestures(slots: Motion, wave: Motion, zero_shot_bundle: Path) -> None:
    recognizer = Recognizer.load(zero_shot_bundle)
    with pytest.raises(InputError, match="example 1 of 'mine': nobody is visible"):
        recognizer.enroll("mine", [Motion(np.zeros((30, 20, 3)), 30, "kinect20")])
    recognizer.enroll("one", [wave])
    recognizer.enroll("six", [slots])
    examples: Any = recognizer.label_strategy
    np.testing.assert_array_equal(examples.examples["six"], examples.examples["one"])


def test_search_and_edit(samples: list[Motion], coamd_bundle: Path) -> None:
    clip = samples[0]
    six = np.zeros((clip.frames, SLOTS, 22, 3), np.float32)
    six[:, FILLED] = clip.joints
    slots, zeros = replace(clip, joints=six), replace(clip, joints=np.zeros_like(clip.joints))
    retriever, generator = Retriever.load(coamd_bundle), Generator.load(coamd_bundle)
    retriever.add(clip, "alone")
    retriever.add(slots, "in a slot")
    assert [hit.score for hit in retriever.search(slots)] == pytest.approx([1, 1])
    assert retriever.search(clip)[1].score == pytest.approx(1)
    edited = generator.edit(slots, "a person bows", regenerate=slice(20, 40))
    np.testing.assert_array_equal(edited.joints, generator.edit(clip, "a person bows", slice(20, 40)).joints)
    for refuse in (retriever.add, retriever.search, lambda motion: generator.edit(motion, "bow", slice(20, 40))):
        with pytest.raises(InputError, match="frame 0 has missing joints"):
            refuse(zeros)


def test_a_recording_has_no_file_of_nobody(
    raw: np.ndarray, wave: Motion, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    people = raw.copy()
    people[:, 0] = wave.joints[0]  # stands still
    people[:, 1] = wave.joints / 10
    people[20:23, FILLED] = 0
    source = write(tmp_path / "slots.jsonl", people, wave)
    assert main(["record", str(source), "--label", "wave", "-o", str(tmp_path / "out")]) == 0
    out, _ = capfd.readouterr()
    assert "2 more left out, which did not move or is not of a person's size: a phantom" in out
    [path] = (tmp_path / "out").iterdir()
    motion = Motion.load(path)
    assert motion.meta["person"] == FILLED and motion.frames == wave.frames - 3
    empty = write(tmp_path / "empty.jsonl", raw[:, :FILLED], wave)
    assert main(["record", str(empty), "--label", "wave", "-o", str(tmp_path / "none")]) == 2
    assert "nobody was visible in" in capfd.readouterr().err


def test_a_recording_of_people_who_all_stand_still_is_kept(tmp_path: Path) -> None:
    joints = np.stack([tiny.poses(10), tiny.poses(10) + np.float32([2, 0, 0])], axis=1)
    clip = Motion(joints, tiny.FPS, tiny.LAYOUT)
    clip.save(tmp_path / "two.npz")
    assert main(["record", str(tmp_path / "two.npz"), "--label", "still", "-o", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 2

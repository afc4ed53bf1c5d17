"""Frames of live sources that a recognizer refuses are counted, and the stream goes on."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from motionrt import Recognizer
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.frame import Frame, Snapshot
from motionrt.runtime.io.source import Source
from motionrt.runtime.recognition.frames import MAX_REFUSED, step_source

from .. import tiny

FRAMES = 150
FLAT = Frame(t=0.0, person=9, joints=np.zeros((17, 2), np.float32), layout="coco17")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def frames(person: int, scale: float = 1.0) -> list[Frame]:
    poses = tiny.poses(FRAMES, "left") * np.float32(scale)
    return [Frame(t=k / 20, person=person, joints=pose, layout=tiny.LAYOUT) for k, pose in enumerate(poses)]


def labels(recognizer: Recognizer, source: Source, person: int) -> list[str]:
    decisions = [decision for _, decision, frame in step_source(recognizer, source) if frame]
    return [decision.label for decision in decisions if decision.person == person]


def listener(snapshots: Iterator[Snapshot]) -> Source:
    return Source("udp://127.0.0.1:9", snapshots, address=("127.0.0.1", 9))


@pytest.mark.parametrize("together", [True, False])
def test_one_sender_in_millimeters_does_not_end_a_listener(
    bundle: Path, together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = frames(1), frames(2, 1e3)
    pairs = [(one.t, [one, other]) for one, other in zip(good, bad, strict=True)]
    apart = [(frame.t, [frame]) for _, pair in pairs for frame in pair]
    source = listener(iter(pairs if together else apart))
    alone = listener((frame.t, [frame]) for frame in good)
    expected = labels(Recognizer.load(bundle), alone, 1)
    assert labels(Recognizer.load(bundle), source, 1) == expected and len(expected) == FRAMES
    assert source.malformed == FRAMES - 29 and alone.malformed == 0
    [line] = caplog.messages
    assert line.startswith("udp://127.0.0.1:9: ignored a message from person 2: the joints are")
    assert "looks like millimeters, expected meters" in line


def test_a_flat_layout_and_a_seventeenth_person_do_not_end_a_listener(bundle: Path) -> None:
    crowd = [frames(person)[k] for k in range(5) for person in range(17)]
    source = listener((frame.t, [frame]) for frame in [FLAT, *crowd, FLAT])
    assert len(labels(Recognizer.load(bundle), source, 1)) == 5
    assert source.malformed == 2 + 5


def test_a_stream_of_one_sender_that_cannot_be_used_ends(bundle: Path) -> None:
    stdin = Source("stdin", ((frame.t, [frame]) for frame in frames(0, 1e3)))
    with pytest.raises(InputError, match="stdin: the joints are .* looks like millimeters"):
        labels(Recognizer.load(bundle), stdin, 0)
    assert stdin.malformed == MAX_REFUSED - 1
    with pytest.raises(InputError, match="stdin: layout 'coco17' is 2-D"):
        labels(Recognizer.load(bundle), Source("stdin", iter([(0.0, [FLAT]), (0.1, [FLAT])])), 0)


def test_malformed_messages_are_named_if_there_was_nothing_else(bundle: Path) -> None:
    source = listener(iter([(0.0, [])]))
    source.count_malformed("'t' is 1e+12", "10.0.0.1")
    with pytest.raises(
        InputError, match=r"nobody is visible in any of its 1 frame\(s\), 1 message\(s\) were malformed"
    ):
        labels(Recognizer.load(bundle), source, 0)


def test_a_recording_that_cannot_be_used_is_refused(bundle: Path) -> None:
    source = Source("clip.npz", ((frame.t, [frame]) for frame in frames(0, 1e3)), recorded=True)
    with pytest.raises(InputError, match=r"clip\.npz: the joints are .* looks like millimeters"):
        labels(Recognizer.load(bundle), source, 0)
    assert source.malformed == 0

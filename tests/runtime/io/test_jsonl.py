import io
import json

import numpy as np
import pytest

from motionrt.runtime.errors import InputError, LayoutError
from motionrt.runtime.io.files import read
from motionrt.runtime.io.jsonl import MAX_LINE, parse_message, stream_jsonl

POSE = np.arange(45.0).reshape(15, 3).tolist()


def message(**changes):
    whole = {"t": 0.5, "person": 3, "layout": "core15", "joints": POSE} | changes
    return json.dumps({key: value for key, value in whole.items() if value is not ...})


def test_message():
    frame = parse_message(message(confidence=[0.5] * 15))
    assert (frame.t, frame.person, frame.layout, frame.joints.dtype) == (0.5, 3, "core15", np.float32)
    np.testing.assert_array_equal(frame.joints, POSE)
    np.testing.assert_array_equal(frame.confidence, [0.5] * 15)


def test_message_defaults():
    frame = parse_message(message(person=..., layout=...), layout="core15")
    assert (frame.person, frame.layout, frame.confidence) == (0, "core15", None)


def test_null_is_a_missing_coordinate():
    frame = parse_message(message(joints=[[None, None, None], *POSE[1:]]))
    assert np.isnan(frame.joints[0]).all() and np.isfinite(frame.joints[1:]).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (message()[:-9], "is not a whole JSON message"),
        ("[" * 100_000, "is not a whole JSON message"),
        ("[1, 2]", "is a JSON list, expected an object"),
        (message(t=...), "'t' is None, expected seconds"),
        (message(t="now"), "'t' is 'now', expected seconds"),
        (message(t=float("nan")), "'t' is nan, expected seconds"),
        (message(t=10**400), "'t' is 1000"),
        (message(person="bob"), "'person' is 'bob', expected an integer"),
        (message(layout=...), "has no 'layout'"),
        (message(layout="core16"), "unknown skeleton layout 'core16', expected one of"),
        (message(joints=...), "has no list 'joints'"),
        (message(joints=[[1, 2], [3]]), "'joints' is not an array of numbers"),
        (message(joints=[1, 2, 3]), r"'joints' have shape \[3\], expected \[V, 3\]"),
        (message(joints=POSE[:-1]), r"shape \[14, 3\], expected \[15, 3\] for layout core15"),
        (message(joints=[[0, 0, 0]] * 10_000), "10000 joints, the limit is 256"),
        (message(confidence=[1, 2]), r"'confidence' has shape \[2\], expected \[15\]"),
    ],
)
def test_malformed_message(text, expected):
    with pytest.raises(InputError, match=expected) as caught:
        parse_message(text)
    assert "\n" not in str(caught.value)


def test_stream_names_the_line():
    lines = io.StringIO(message() + "\n\n" + message()[:40])
    frames = stream_jsonl(lines)
    next(frames)
    with pytest.raises(InputError, match="line 3 is not a whole JSON message"):
        next(frames)
    with pytest.raises(LayoutError, match="line 1 unknown skeleton layout"):
        next(stream_jsonl(io.StringIO(message(layout="core16"))))


def test_stream_rejects_an_endless_line():
    with pytest.raises(InputError, match=f"line 1 is longer than {MAX_LINE} characters"):
        next(stream_jsonl(io.StringIO("[" * (MAX_LINE + 10))))


def test_file_of_two_people_becomes_a_clip(tmp_path):
    path = tmp_path / "two.jsonl"
    path.write_text("\n".join(message(t=t / 10, person=p) for t in range(5) for p in (7, 2) if (t, p) != (3, 2)))
    motion = read(path)
    assert (motion.joints.shape, motion.fps, motion.layout) == ((5, 2, 15, 3), pytest.approx(10), "core15")
    assert motion.meta["people"] == [2, 7]
    np.testing.assert_allclose(motion.times, np.arange(5) / 10)
    assert np.isnan(motion.joints[3, 0]).all() and np.isfinite(motion.joints[3, 1]).all()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([message(), message()[:30]], "cut.jsonl: line 2 is not a whole JSON message"),
        (["  ", ""], "has no messages"),
        ([message(), message(layout="smpl22", joints=[[0, 0, 0]] * 22)], "mixes the layouts core15, smpl22"),
        ([message(person=p) for p in range(17)], "17 people, expected 1 to 16"),
    ],
)
def test_malformed_file(tmp_path, lines, expected):
    (tmp_path / "cut.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=expected):
        read(tmp_path / "cut.jsonl")

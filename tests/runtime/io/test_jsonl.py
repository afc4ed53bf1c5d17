import io
import json
import logging
import sys

import numpy as np
import pytest

from motionrt.runtime.errors import InputError, LayoutError
from motionrt.runtime.io.files import read
from motionrt.runtime.io.jsonl import MAX_LINE, MAX_MALFORMED, JsonLines, parse_message
from motionrt.runtime.io.source import open_source

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
        (message(t=10**400), "'t' is too large, expected seconds"),
        (message(t=True), "'t' is True, expected seconds"),
        (message(t=5e11), r"'t' is 5e\+11, .*expected seconds"),
        (message(t=1.7e12), r"'t' is 1.7e\+12, which looks like milliseconds, expected seconds"),
        (message(t=1.7e18), "which looks like nanoseconds, expected seconds"),
        (message(person="bob"), "'person' is 'bob', expected a whole number of 64 bits"),
        (message(person=True), "'person' is True, expected a whole number"),
        (message(person=2**63), "'person' is 9223372036854775808, expected a whole number of 64 bits"),
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


def lines(*texts, **options):
    return JsonLines(io.StringIO("\n".join(texts)), "here", **options)


def test_a_line_may_be_a_list_of_messages():
    both = f"[{message(person=1)}, {message(person=72057594037927936)}]"  # an id of Kinect v2
    stream = lines(message(), both, f"[{message(person=1)}, {message(person=1)}]", "[]")
    assert [[frame.person for frame in people] for people in stream] == [[3], [1, 72057594037927936]]
    assert stream.malformed == 2


def test_stray_lines_are_counted_and_skipped(caplog):
    stray = [message()[:40], "hello", message(layout="core16"), "[[]]", "x" * (MAX_LINE + 10)]
    stream = lines(stray[0], message(), *stray[1:], message(t=0.6), "\ufffd")
    assert [people[0].t for people in stream] == [0.5, 0.6]
    assert stream.malformed == 6
    before, after = caplog.records
    assert before.levelno == after.levelno == logging.WARNING
    assert before.getMessage().startswith("here: ignored 1 lines before the first message: line 1 is not a whole JSON")
    assert after.getMessage().startswith("here: ignored a message: is not a whole JSON message")
    assert after.getMessage().endswith("(line 3)")


def test_too_many_stray_lines_in_a_row_end_the_stream():
    stream = lines(message(), "", *["no"] * MAX_MALFORMED, message())
    found = iter(stream)
    next(found)
    with pytest.raises(InputError, match="line 3 is not a whole JSON message"):
        next(found)
    assert stream.malformed == MAX_MALFORMED


def test_a_stream_without_any_message_names_its_first_line(caplog):
    with pytest.raises(InputError, match="line 2 is not a whole JSON message"):
        next(iter(lines("", message()[:40], "7")))
    assert caplog.messages == [], "the error says it"
    with pytest.raises(LayoutError, match="line 1 unknown skeleton layout"):
        next(iter(lines(message(layout="core16"))))


def test_an_endless_line_ends_the_stream():
    class Endless(io.StringIO):
        def readline(self, size=-1):
            return "[" * size

    with pytest.raises(InputError, match="a line is longer than"):
        next(iter(JsonLines(Endless(), "here")))


def test_a_byte_order_mark_is_ignored():
    assert [people[0].t for people in lines("\ufeff" + message())] == [0.5]


@pytest.mark.parametrize("source", ["-", "file"])
def test_lists_are_snapshots_in_every_source(source, tmp_path, monkeypatch):
    text = "\n".join(json.dumps([json.loads(message(t=t, person=p)) for p in (7, 2)]) for t in (0.1, 0.2)) + "\nstray"
    (tmp_path / "two.jsonl").write_text(text)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    with open_source("-" if source == "-" else tmp_path / "two.jsonl") as opened:
        found = [(t, sorted(frame.person for frame in people)) for t, people in opened.snapshots()]
        assert found == [(0.1, [2, 7]), (0.2, [2, 7])] and opened.malformed == 1
    assert not sys.stdin.closed


def test_bytes_that_are_not_text_are_a_stray_line(monkeypatch):
    raw = io.BytesIO(message().encode() + b"\n\xff\xfe\n" + message(t=0.6).encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw, encoding="utf-8"))
    with open_source("-") as opened:
        assert [frame.t for frame in opened] == [0.5, 0.6] and opened.malformed == 1


def test_live_messages_without_a_time_take_that_of_their_arrival(caplog):
    stream = lines(*[message(t=...)] * 3, message(t=99), is_live=True)
    times = [people[0].t for people in stream]
    assert times == sorted(set(times)) and times[-1] - times[0] < 60 and stream.malformed == 0
    assert caplog.messages == ["here: messages have no time 't', the time of arrival is used"]


def test_messages_need_a_time_if_the_first_one_has_it_or_in_a_file():
    stream = lines(message(), message(t=...), is_live=True)
    assert [people[0].t for people in stream] == [0.5] and stream.malformed == 1
    with pytest.raises(InputError, match="line 1 't' is None, expected seconds"):
        next(iter(lines(message(t=...))))


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
        ([message()[:30], message()[:30]], "cut.jsonl: line 1 is not a whole JSON message"),
        (["  ", ""], "has no messages"),
        ([message(), message(layout="smpl22", joints=[[0, 0, 0]] * 22)], "mixes the layouts core15, smpl22"),
        ([message(person=p) for p in range(17)], "17 people, expected 1 to 16"),
    ],
)
def test_malformed_file(tmp_path, lines, expected):
    (tmp_path / "cut.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=expected):
        read(tmp_path / "cut.jsonl")

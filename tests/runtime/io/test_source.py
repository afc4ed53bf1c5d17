import io
import json
import os
import sys

import numpy as np
import pytest

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError, MissingExtra
from motionrt.runtime.io.source import open_source

POSE = np.arange(45.0).reshape(15, 3)


def line(t, person=0, **changes):
    return json.dumps({"t": t, "person": person, "layout": "core15", "joints": POSE.tolist()} | changes)


def test_a_clip_is_played_frame_by_frame(tmp_path, wave):
    wave.save(tmp_path / "wave.npz")
    with open_source(tmp_path / "wave.npz") as source:
        frames = list(source)
    assert source.name == str(tmp_path / "wave.npz")
    assert (len(frames), source.frames_in, source.dropped) == (wave.frames, wave.frames, 0)
    np.testing.assert_array_equal([frame.joints for frame in frames], wave.joints)
    np.testing.assert_allclose([frame.t for frame in frames], wave.times)
    assert {(frame.person, frame.layout, frame.image) for frame in frames} == {(0, "smpl22", None)}


def test_people_who_are_absent_are_skipped(tmp_path):
    joints = np.tile(POSE, (4, 2, 1, 1))
    joints[1, 1] = joints[2] = np.nan
    Motion(joints, 20, "core15", np.ones((4, 2, 15))).save(tmp_path / "two.npz")
    with open_source(tmp_path / "two.npz") as source:
        seen = [(round(frame.t * 20), frame.person, frame.confidence.shape) for frame in source]
    assert [(t, person) for t, person, _ in seen] == [(0, 0), (0, 1), (1, 0), (3, 0), (3, 1)]
    assert source.frames_in == 4
    assert {shape for *_, shape in seen} == {(15,)}


class Clock:
    """A clock that advances during sleep, and by `step_s` at each reading."""

    def __init__(self, step_s):
        self.now_s, self.step_s = 100.0, step_s

    def monotonic(self):
        self.now_s += self.step_s
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


def test_realtime_keeps_to_the_timestamps(tmp_path, monkeypatch):
    clock = Clock(0.001)
    monkeypatch.setattr("motionrt.runtime.io.source.time", clock)
    Motion(np.tile(POSE, (5, 1, 1)), 50, "core15").save(tmp_path / "clip.npz")
    with open_source(tmp_path / "clip.npz", realtime=True) as source:
        start = clock.now_s
        late = [clock.now_s - start - frame.t for frame in source]
    assert len(late) == 5
    assert min(late) >= 0 and max(late) < 0.005


def test_json_lines_on_stdin(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([line(0), line(0, 1), line(0.1), line(0.2)[:50]])))
    source = open_source("-")
    assert [(next(source).t, source.frames_in) for _ in range(3)] == [(0, 1), (0, 2), (0.1, 3)]
    assert list(source) == [] and source.malformed == 1


def test_snapshots_have_all_visible_people_or_none(tmp_path):
    joints = np.tile(POSE, (4, 2, 1, 1))
    joints[1, 1] = joints[2] = np.nan
    Motion(joints, 20, "core15").save(tmp_path / "two.npz")
    with open_source(tmp_path / "two.npz") as source:
        snapshots = [(round(t * 20), [frame.person for frame in people]) for t, people in source.snapshots()]
    assert snapshots == [(0, [0, 1]), (1, [0]), (2, []), (3, [0, 1])]
    assert source.frames_in == 4


def test_snapshots_and_frames_share_one_stream(tmp_path):
    (tmp_path / "live.jsonl").write_text("\n".join(line(t, person) for t in range(3) for person in range(2)))
    with open_source(tmp_path / "live.jsonl") as source:
        assert next(source).person == 0
        assert [t for t, _ in source.snapshots()] == [1, 2]


def test_json_lines_of_one_time_in_a_file_are_one_snapshot(tmp_path):
    lines = [line(0), line(0, 1), line(0.1), line(0.1), line(0.2, 1), line(0.2), line(0), line(0.3)[:50]]
    (tmp_path / "live.jsonl").write_text("\n".join(lines))
    with open_source(tmp_path / "live.jsonl") as source:
        snapshots = source.snapshots()
        seen = [(t, [frame.person for frame in people]) for t, people in (next(snapshots) for _ in range(5))]
        assert seen == [(0, [0, 1]), (0.1, [0]), (0.1, [0]), (0.2, [1, 0]), (0, [0])]
        assert list(snapshots) == []
    assert (source.frames_in, source.malformed) == (5, 1)


def test_a_crowd_at_one_time_is_split_into_snapshots_of_sixteen(tmp_path):
    (tmp_path / "crowd.jsonl").write_text("\n".join(line(0, person) for person in range(20)))
    with open_source(tmp_path / "crowd.jsonl") as source:
        assert [len(people) for _, people in source.snapshots()] == [16, 4]


def test_a_line_on_stdin_is_processed_before_the_next_arrives(monkeypatch):
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as stdin, os.fdopen(write_end, "w") as pipe:
        monkeypatch.setattr(sys, "stdin", stdin)
        snapshots = open_source("-").snapshots()
        for person in range(2):
            print(line(0, person), file=pipe, flush=True)
            assert [frame.person for frame in next(snapshots)[1]] == [person]


def test_stdin_that_is_not_text(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x00"), encoding="utf-8"))
    with pytest.raises(InputError, match="stdin: line 1 is not a whole JSON message"):
        next(open_source("-"))


def test_json_lines_in_a_file_keep_their_ids_and_layouts(tmp_path):
    other = line(0.1, 42, layout="coco17", joints=np.zeros((17, 2)).tolist())
    (tmp_path / "live.jsonl").write_text("\n".join([line(0, 7), other, line(0.2, 7, layout=None)]))
    with open_source(tmp_path / "live.jsonl") as source:
        assert [(frame.person, frame.layout) for frame in (next(source), next(source))] == [
            (7, "core15"),
            (42, "coco17"),
        ]
        assert list(source) == [] and source.malformed == 1, "line 3 has no layout"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.npz", "nowhere.npz: no such file"),
        ("nowhere.mp4", "nowhere.mp4: no such file"),
        ("nowhere.jsonl", "nowhere.jsonl: no such file"),
        ("12345678901234567890", "no such file"),
        ("gopher://me:secret@x", "^gopher://x: unknown scheme gopher://, expected a file"),
    ],
)
def test_sources_that_cannot_be_opened(source, message):
    with pytest.raises(InputError, match=message):
        open_source(source)


def test_a_video_that_is_a_text_file(tmp_path):
    (tmp_path / "talk.mp4").write_text("Dear diary,\n" * 1000 + "ä")
    with pytest.raises(InputError, match=r"talk\.mp4: is a text file, expected a video"):
        open_source(tmp_path / "talk.mp4")


def test_an_empty_video(tmp_path):
    (tmp_path / "empty.avi").touch()
    with pytest.raises(InputError, match=r"empty\.avi: the file is empty"):
        open_source(tmp_path / "empty.avi")


def test_a_missing_video_package_names_its_extra(tmp_path, monkeypatch):
    for module in ("cv2", "av", "ai_edge_litert"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    for source in (tmp_path / "clip.mp4", 0):
        with pytest.raises(MissingExtra, match=r"pip install '\.\[webcam\]'"):
            open_source(source)


def test_unknown_pose_estimator():
    with pytest.raises(
        InputError,
        match="unknown pose estimator 'magic', expected mediapipe, mediapipe-lite, .* or rtmlib",
    ):
        open_source(0, pose="magic")

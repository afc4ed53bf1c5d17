"""False alarms are counted by clip; odd clips are found."""

from pathlib import Path

import numpy as np
import pytest

from motionrt.bench.studies.input_checks import clip_messages, input_checks, stream_messages
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError

WALK = Path(__file__).parents[3] / "runtime" / "samples" / "cmu_walk.npz"


def test_a_real_walk_raises_no_alarm_and_odd_ones_do() -> None:
    walk = Motion.load(WALK)
    assert [*clip_messages(walk), *stream_messages(walk)] == []
    large = Motion(walk.joints * np.float32(1000), walk.fps, walk.layout)
    fast = Motion(walk.joints, walk.fps, walk.layout, timestamps=walk.times * 1000)
    for odd, unit in ((large, "millimeters"), (fast, "milliseconds")):
        for messages in (clip_messages, stream_messages):
            [message] = messages(odd)
            assert unit in message


def test_the_report_lists_the_clips(shared: Path, tmp_path: Path) -> None:
    for name in ("gestures20.npz", "gestures20.json"):
        (tmp_path / name).symlink_to(shared / name)
    report = input_checks(tmp_path)
    assert report["n"] == report["clips"]["gestures20"] == 181
    assert report["clips_with_alarm"] == len(report["alarms"]) == 0


def test_a_folder_without_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no 3-D clip set, expected NAME.npz beside NAME.json"):
        input_checks(tmp_path)

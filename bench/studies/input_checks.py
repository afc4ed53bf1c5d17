"""False alarms of the input checks on real motion, in which all joints, units, axes and times are right.

`python -m motionrt.bench.studies.input_checks DATA -o OUT.json`: every clip of every 3-D set in a folder, as a clip and
as a stream of frames.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...runtime.body.input_check import InputMonitor
from ...runtime.body.layout import Layout
from ...runtime.body.motion_data import MotionData
from ...runtime.body.quadruped import is_quadruped
from ...runtime.errors import InputError
from ...runtime.io.dataset import ClipSet
from ...runtime.progress import progress


def input_checks(data: Path) -> dict[str, Any]:
    """Count and list the clips that a check reports or refuses.

    Raises:
        InputError: the folder holds no 3-D set.
    """
    sets = [found for path in sorted(data.glob("*.npz")) if (found := ClipSet.load(path)).layout.dims == 3]
    if not sets:
        raise InputError(f"{data}: no 3-D clip set, expected NAME.npz beside NAME.json")
    alarms = [
        {"set": clip_set.name, "clip": i, "message": message}
        for clip_set in progress(sets, "sets")
        for i, motion in enumerate(clip_set)
        for message in dict.fromkeys((*clip_messages(motion), *stream_messages(motion)))
    ]
    return {
        "protocol": "InputMonitor on every clip of every 3-D set, as a clip and as a stream",
        "clips": {clip_set.name: len(clip_set) for clip_set in sets},
        "n": sum(map(len, sets)),
        "clips_with_alarm": len({(alarm["set"], alarm["clip"]) for alarm in alarms}),
        "alarms": alarms,
    }


def clip_messages(motion: MotionData) -> Iterator[str]:
    monitor = InputMonitor()
    try:
        monitor.check_times(motion.times)
        monitor.check_clip(motion.joints, None, Layout.load(motion.layout))
    except InputError as error:
        yield str(error)
    if is_quadruped(motion):
        yield "the build of an animal on four legs"
    yield from monitor.problems


def stream_messages(motion: MotionData) -> Iterator[str]:
    monitor, layout = InputMonitor(), Layout.load(motion.layout)
    try:
        for t, joints in zip(motion.times, motion.joints, strict=True):
            monitor.check_time(float(t), [0])
            monitor.check_frame(joints[None], None, layout, [0])
    except InputError as error:
        yield str(error)
    yield from monitor.problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    report = input_checks(args.data)
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: report[key] for key in ("n", "clips_with_alarm")}))


if __name__ == "__main__":
    main()

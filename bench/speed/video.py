"""`motionrt recognize VIDEO` from end to end: `python -m motionrt.bench.speed.video VIDEO... [--mediapipe PYTHON]`.

Each video with each size of the pose estimator, in a process of its own, as the command does it: decoding, the person's
pose, the action. With a Python that has MediaPipe 0.10.21, its own time for the images of the same videos in the same
run, on one thread as ours.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...runtime.io.pose import SIZES
from ...runtime.recognition.recognizer import Recognizer
from ..report import print_report
from .environment import environment

COMMAND = "import sys; from motionrt.runtime.cli import main; sys.exit(main())"
MEDIAPIPE = """
import json, sys, time
import cv2, mediapipe, numpy
cv2.setNumThreads(1)
ms, video = [], cv2.VideoCapture(sys.argv[1])
with mediapipe.solutions.pose.Pose(model_complexity=int(sys.argv[2])) as pose:
    while (read := video.read())[0]:
        image, started = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB), time.perf_counter()
        pose.process(image)
        ms.append(1e3 * (time.perf_counter() - started))
print(json.dumps({"frames": len(ms), "p50_ms": numpy.median(ms), "p90_ms": numpy.percentile(ms, 90)}))
"""


def bench_video(videos: list[Path], mediapipe: Path | None = None) -> dict[str, Any]:
    """A JSON object with the summary of `recognize` for each video and size, and MediaPipe's times, if asked for."""
    runs = []
    for video in videos:
        for level, size in enumerate(("lite", "full", "heavy")):
            name = next(name for name, one in SIZES.items() if one == size)
            before_s = cpu_s()
            lines = output(sys.executable, "-c", COMMAND, "recognize", video, "--pose", name, "--json")
            run = {"video": video.name, "pose": name, **json.loads(lines[-1])["summary"]}
            run["cpu_ms_per_frame"] = 1e3 * (cpu_s() - before_s) / run["frames"]
            if mediapipe is not None:
                run["mediapipe"] = json.loads(output(mediapipe, "-c", MEDIAPIPE, video, level)[-1])
            runs.append(run)
    return {"benchmark": "video", "runs": runs, "environment": environment(Recognizer.load("live").bundle)}


def cpu_s() -> float:
    """CPU time of all children that have ended, which a busy machine hardly changes; with their start."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def output(*command: Any) -> list[str]:
    """Lines of a command's standard output."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--mediapipe", type=Path, metavar="PYTHON", help="of an environment with MediaPipe 0.10.21")
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    print_report(bench_video(options.videos, options.mediapipe), options.out)


if __name__ == "__main__":
    main()

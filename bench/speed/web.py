"""The recognizer in browsers, as `make web` builds it, next to the native one.

    python -m motionrt.bench.speed.web [build/web] [--video clip.mp4] [-o wasm.json]

Steps take turns in Node.js and in this process: from joints to decision, through `step` of both languages. Parity is
that of all probabilities and events over simulated sensors; in 2-D also with the same rounded weights in the native
engine. Headless Chromium opens the page with a video as its camera, by default a drawing of somebody who waves: time
from opening the page to the first label, also of the second time, and images per second. Needs Node.js; for the page,
playwright, Chromium and the extra `files`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ...runtime.body.layout import Layout
from ...runtime.body.motion import Motion
from ...runtime.bundles.schema import WEIGHTS
from ...runtime.errors import InputError
from ...runtime.extras import require
from ...runtime.recognition.recognizer import Recognizer
from ..report import print_report
from .environment import ROOT, environment, one_core
from .timing import percentiles, timed
from .view import FLAGS, WAVE
from .workloads import Moment, Pose, samples, simulate_sensor

BUILT = ROOT / "build" / "web"
MODELS = ROOT / "runtime" / "models"
RATE_HZ, SEED = 20.0, 1
FLAT = "jhmdb15"
CAMERA = ("--disable-quic", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
LOADED_MS = 120_000


class Package:
    """The npm package in Node.js, with `live` or the bundle `model`."""

    def __init__(self, folder: Path, model: Path | None = None) -> None:
        node = shutil.which("node")
        if node is None:
            raise InputError("Node.js is not installed")
        script = Path(__file__).with_suffix(".mjs")
        command = [node, "--expose-gc", str(script), str(folder.resolve() / "motionrt.js")]
        command += [str(model)] if model else []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Package:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate(timeout=10)

    def __call__(self, action: str, **arguments: Any) -> Any:
        """Result of an action of web.mjs.

        Raises:
            InputError: the package raised an error.
        """
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"action": action, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise InputError(answer["error"])
        return answer["result"]


def bench_web(built: Path, frames: int, calls: int, rounds: int, growth: int, video: Path | None) -> dict[str, Any]:
    """A JSON object: sizes, parity, speed, memory, and what the page does with a video."""
    folder = built / "package"
    if not (folder / "motionrt.wasm").is_file():
        raise InputError(f"{folder} is not there: run `make web`")
    live = Recognizer.load("live")
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files_of(folder)}
    moments = list(islice(simulate_sensor(samples(), RATE_HZ, SEED), frames))
    flat = [flattened(moment) for moment in moments]
    with tempfile.TemporaryDirectory() as rounded, Package(folder) as package:
        native = Recognizer.load(unpack_models(folder, Path(rounded)))
        result: dict[str, Any] = {
            "benchmark": "wasm",
            "bytes": sizes | {"all": sum(sizes.values())},
            "parity": parity(package, live, moments),
            "parity_2d": parity(package, native, flat),
            "parity_2d_fp32": parity(package, live, flat),
        }
        with one_core():
            result |= speed(package, live, calls, rounds)
        poses = [numbers(pose) for pose in looped(samples()).joints]
        result["memory"] = {"frames": growth, **package("grow", poses=poses, layout="smpl22", frames=growth)}
    result["page"] = page(built / "page" / "index.html", video)
    return result | {"environment": environment(live.bundle)}


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def unpack_models(folder: Path, out: Path) -> Path:
    """The bundled models with the package's weights, in another folder; returns that of `live`."""
    for packed in (folder / "models").iterdir():
        bundle = Path(shutil.copytree(MODELS / packed.name, out / packed.name))
        shutil.copy(packed / "manifest.json", bundle)
        if (halved := packed / "weights.bf16").is_file():
            data = halved.read_bytes()
            start = 8 + int.from_bytes(data[:8], "little")
            bits = np.frombuffer(data[start:], "<u2").astype("<u4") << 16
            (bundle / WEIGHTS).write_bytes(data[:start] + bits.tobytes())
    return out / "live"


def flattened(moment: Moment) -> Moment:
    """The moment as a camera in front of the people sees it, in pixels."""
    weights = Layout.load(FLAT).map_from(Layout.load("smpl22"))
    poses = [
        Pose(person=pose.person, joints=(weights @ pose.joints)[:, :2] * [180, -180] + [600, 500], layout=FLAT)
        for pose in moment.poses
    ]
    return Moment(t=moment.t, poses=poses, reset=moment.reset)


def numbers(joints: np.ndarray) -> list[float | None]:
    """The joints as JSON, which has no NaN."""
    return [None if np.isnan(x) else x for x in joints.astype(np.float32).ravel().tolist()]


def parity(package: Package, native: Recognizer, moments: Sequence[Moment]) -> dict[str, Any]:
    """The largest difference of probabilities, and how many labels and events are equal."""
    largest, same, events, people = 0.0, 0, 0, 0
    equal_events = True
    package("reset")
    native.reset()
    for moment in moments:
        if moment.reset is not None:
            package("reset", person=moment.reset)
            native.reset(moment.reset)
        layout = moment.poses[0].layout
        poses = [{"person": pose.person, "joints": numbers(pose.joints)} for pose in moment.poses]
        [ours] = package("step", frames=[{"t": moment.t, "poses": poses}], layout=layout)
        joints = np.stack([pose.joints for pose in moment.poses]).astype(np.float32)
        theirs = native.step_people(joints, moment.t, people=[pose.person for pose in moment.poses], layout=layout)
        for a, b in zip(ours, theirs, strict=True):
            largest = max(largest, float(np.abs(np.array(a["scores"]) - b.probs).max()))
            same += a["label"] == b.label and a["status"] == b.status
            equal_events &= (a["event"], a["eventLabel"], a["since"]) == (b.event, b.event_label, b.since)
            events += b.event is not None
            people += 1
    return {"frames": len(moments), "poses": people, "max_abs": largest, "same_labels": same, "events": events,
            "same_events": equal_events}  # fmt: skip


def looped(motions: Sequence[Motion]) -> Motion:
    """The longest recording forth and back, without a jump at the end."""
    motion = max(motions, key=lambda one: one.frames).person(0)
    return Motion(np.concatenate([motion.joints, motion.joints[::-1]]), motion.fps, motion.layout)


def speed(package: Package, native: Recognizer, calls: int, rounds: int) -> dict[str, Any]:
    motion = looped(samples())
    poses = [numbers(pose) for pose in motion.joints]
    native.reset()
    package("reset")

    def step(i: int) -> None:
        native.step(motion.joints[i % motion.frames], i / motion.fps, layout=motion.layout)

    ours, theirs = [], []
    for k in range(rounds + 1):  # the first one warms up
        here = timed(step, calls, k * calls)
        there = package("time", poses=poses, layout=motion.layout, fps=motion.fps, first=k * calls, calls=calls)
        if k > 0:
            theirs.append(here)
            ours.append(there)
    wasm, native_ms = percentiles(np.concatenate(ours)), percentiles(np.concatenate(theirs))
    return {"wasm": wasm, "native": native_ms, "ratio": wasm["p50_ms"] / native_ms["p50_ms"]}


def page(path: Path, video: Path | None = None, seconds: float = 10.0) -> dict[str, Any]:
    """Times of the page with a video as its camera, and the actions that it found."""
    if not path.is_file():
        raise InputError(f"{path} is not there: run `make web`")
    with tempfile.TemporaryDirectory() as folder, opened(path, video, Path(folder)) as tab:
        first_ms = tab.evaluate("firstLabelMs")
        tab.reload()
        tab.wait_for_function("firstLabelMs !== null", timeout=LOADED_MS)
        warm_ms = tab.evaluate("firstLabelMs")
        tab.evaluate("latencies = []")
        started = time.monotonic()
        time.sleep(seconds)
        latencies = tab.evaluate("latencies")
        rate_hz = len(latencies) / (time.monotonic() - started)
        actions = sorted(tab.evaluate("actions.map(action => action.label)"))
        problem = tab.inner_text("#problem")
    if problem:
        raise InputError(f"{path}: {problem}")
    pose_ms, step_ms = np.median(latencies, axis=0).tolist()
    return {
        "video": video and video.name,
        "bytes": sum(file.stat().st_size for file in files_of(path.parent)),
        "first_label_ms": first_ms,
        "warm_first_label_ms": warm_ms,
        "images_hz": rate_hz,
        "pose_ms": pose_ms,
        "step_ms": step_ms,
        "actions": actions,
    }


@contextmanager
def opened(path: Path, video: Path | None, folder: Path) -> Iterator[Any]:
    """The page in headless Chromium, after its first label."""
    playwright: Any = require("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise InputError("Chromium is not installed")
    camera = folder / "camera.y4m"
    if video is None:
        video = folder / "wave.mp4"
        Motion.load(WAVE).save(video)
    write_y4m(video, camera)
    flags = [*FLAGS, *CAMERA, f"--use-file-for-fake-video-capture={camera}"]
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(folder / "profile", executable_path=chromium, args=flags)
        tab = context.new_page()
        tab.goto(path.resolve().as_uri())
        tab.wait_for_function("firstLabelMs !== null", timeout=LOADED_MS)
        yield tab
        context.close()


def write_y4m(video: Path, out: Path) -> None:
    """The video as Chromium's fake camera reads it."""
    av: Any = require("av")
    with av.open(str(video)) as container, out.open("wb") as file:
        stream = container.streams.video[0]
        width, height, rate = stream.width // 2 * 2, stream.height // 2 * 2, stream.average_rate
        file.write(f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A1:1 C420jpeg\n".encode())
        for image in container.decode(stream):
            file.write(b"FRAME\n" + image.reformat(width, height, "yuv420p").to_ndarray().tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("built", nargs="?", type=Path, default=BUILT)
    parser.add_argument("--video", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    print_report(bench_web(options.built, 1000, 2000, 5, 100_000, options.video), options.out)


if __name__ == "__main__":
    main()

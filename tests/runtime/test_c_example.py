"""The C example, built as its README describes, gives the same output for a recording as the Python package."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import motionrt
from motionrt import Decision, Recognizer
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.io.tracker import Tracker

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "release"  # the library, if the C++ tests were built
MODEL = ROOT / "runtime" / "models" / "live"
LAYOUT = "smpl22"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built against the installed C library."""
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if not cmake or not (shutil.which("c++") and shutil.which("cc")):
        pytest.skip("needs cmake and a C and C++ compiler")
    folder = tmp_path_factory.mktemp("c_example")

    def run(*arguments: str | Path) -> None:
        done = subprocess.run([cmake, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    library = BUILT if (BUILT / "CMakeCache.txt").is_file() else folder / "library"
    if library != BUILT:
        run("-S", ROOT, "-B", library)
    run("--build", library, "--target", "motionrt", "motionrt_static", "--parallel", "2")
    run("--install", library, "--prefix", folder / "prefix")
    run("-S", ROOT / "examples" / "c", "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={folder / 'prefix'}")
    run("--build", folder / "build")
    return folder / "build" / "recognize"


@pytest.fixture(scope="module")
def frames() -> list[tuple[float, int, np.ndarray]]:
    """(t, person, joints) of the recording, of its mirror image, and of another person who starts later, with unseen
    joints and gaps."""
    text = (ROOT / "tests" / "recordings" / "wave.txt").read_text()
    rows = [[float(word) for word in line.split()] for line in text.splitlines() if not line.startswith("#")]
    poses = [(row[0], np.float32(row[2:]).reshape(-1, 3)) for row in rows]
    random = np.random.default_rng(0)
    frames = []
    for k, (t, joints) in enumerate(poses):
        frames += [(t, 0, joints), (t + 0.007, 3, joints * np.float32([-1, 1, 1]))]
        if k < 5 or 40 <= k < 60:  # arrives later, and is away for a second
            continue
        seen = joints.copy()
        seen[random.random(len(joints)) < 0.1] = np.nan
        frames.append((t + 0.011, -7, seen))
    return frames


@pytest.fixture(scope="module")
def printed(example: Path, frames: list[tuple[float, int, np.ndarray]]) -> list[list[str]]:
    lines = [f"{t!r} {person} {' '.join(f'{value:.9g}' for value in joints.flat)}\n" for t, person, joints in frames]
    done = subprocess.run([example, MODEL, LAYOUT], input="".join(lines), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def fields(t: float, out: Decision) -> list[str]:
    """Output line of the example without the score."""
    since = [f"{out.since:.3f}"] if out.since is not None else []
    return [f"{t:.3f}", str(out.person), out.label, *([out.event, str(out.event_label), *since] if out.event else [])]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["native", "onnx"])
def test_labels_and_events_are_those_of_the_package(
    backend: str, frames: list[tuple[float, int, np.ndarray]], printed: list[list[str]]
) -> None:
    try:
        recognizer = Recognizer.load(MODEL, backend=backend)
    except motionrt.InputError as error:
        pytest.skip(str(error))
    assert len(printed) == len(frames)
    events = 0
    for (t, person, joints), line in zip(frames, printed, strict=True):
        out = recognizer.step(joints, timestamp=t, person=person, layout=LAYOUT)
        assert line[:3] + line[4:] == fields(t, out)
        assert abs(float(line[3]) - out.score) < 1e-4
        events += out.event is not None
    assert events > 6


@pytest.mark.slow
def test_the_program_of_the_tutorial_prints_the_same_events(
    example: Path, frames: list[tuple[float, int, np.ndarray]], tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "c-api.md").read_text()
    source, program = tmp_path / "walk.c", tmp_path / "walk"
    source.write_text("\n".join(re.findall(r"^```c\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)))
    prefix = example.parents[1] / "prefix"
    [library] = prefix.glob("lib*/libmotionrt.so")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{prefix / 'include'}", f"-L{library.parent}"]
    subprocess.run(["cc", source, "-o", program, *flags, f"-Wl,-rpath,{library.parent}", "-lmotionrt"], check=True)

    lines = [f"{t!r} {person} {' '.join(f'{value:.9g}' for value in joints.flat)}\n" for t, person, joints in frames]
    done = subprocess.run([program, MODEL], input="".join(lines), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    recognizer = Recognizer.load(MODEL)
    decisions = [(t, recognizer.step(joints, timestamp=t, person=who, layout=LAYOUT)) for t, who, joints in frames]
    last = frames[-1][0] + 1
    decisions += [(last, out) for out in recognizer.evict(last)]
    expected = [
        f"{t:.2f} {out.event} {out.event_label}" + (f" since {out.since:.2f}" if out.since is not None else "")
        for t, out in decisions
        if out.event
    ]
    assert done.stdout.splitlines() == expected and len(expected) > 6
    missing = subprocess.run([program, "nowhere"], capture_output=True, text=True)
    assert (missing.returncode, missing.stderr) == (2, "nowhere: not the folder of a bundle\n")


class Pose(ctypes.Structure):
    """motionrt_pose of motionrt.h."""

    _fields_ = (
        ("person", ctypes.c_int64),
        ("joints", ctypes.c_void_p),
        ("confidence", ctypes.c_void_p),
        ("joint_count", ctypes.c_int32),
    )


@pytest.mark.slow
@pytest.mark.parametrize("dims", [2, 3])
def test_people_get_the_same_ids_as_in_python(
    dims: int, example: Path, frames: list[tuple[float, int, np.ndarray]]
) -> None:
    [path] = (example.parents[1] / "prefix").glob("lib*/libmotionrt.so")
    library, handle = ctypes.CDLL(str(path)), ctypes.c_void_p()
    parents = Layout.load(LAYOUT).parents
    numbers = (ctypes.c_int32 * len(parents))(*parents)
    assert library.motionrt_tracker_create_custom(numbers, len(parents), dims, ctypes.byref(handle)) == 0
    tracker, random = Tracker(parents=parents), np.random.default_rng(0)
    recording = [joints for _, person, joints in frames if person == 0]
    seen = set()
    for k in range(600):
        poses = []
        for i in range(18):  # of different sizes, on paths that cross, some out of sight
            if (k + 50 * i) % 300 < 60 or random.random() < 0.05:
                continue
            pose = recording[(k + 7 * i) % len(recording)] * (1 + 0.05 * i)
            pose[random.random(len(pose)) < 0.05] = np.nan
            poses.append(
                np.ascontiguousarray((pose + [np.sin(0.02 * k + i) * (i + 1), 0, i / 9])[:, :dims], np.float32)
            )
        confidence = [random.random(len(pose), np.float32) for pose in poses]
        array = (Pose * len(poses))()
        for pose, one, sure in zip(array, poses, confidence, strict=True):
            pose.joints, pose.confidence, pose.joint_count = one.ctypes.data, sure.ctypes.data, len(one)
        assert library.motionrt_track(handle, ctypes.c_double(k / 30), array, len(poses)) == 0
        ids = tracker.assign(k / 30, poses, confidence)
        assert [pose.person for pose in array] == ids
        seen |= set(ids)
    assert seen == set(range(-1, 16))
    library.motionrt_tracker_free(handle)

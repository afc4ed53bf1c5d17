"""What was loaded before fork() goes on in the child."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CHILD_S = 60

if not hasattr(os, "fork"):
    pytest.skip("there is no fork here", allow_module_level=True)

RUN_IN_CHILD = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12 on: fork with threads
import numpy as np
import motionrt
from motionrt import Generator, Motion, Recognizer

def in_child(work):
    '''Run `work` in a forked child; returns its exit status.'''
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def run(code: str, *arguments: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN_IN_CHILD + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=CHILD_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def threads() -> list[int]:
    from motionrt.runtime.backends.threads import cpus

    return [1, 2] if cpus() > 1 else [1]


ZERO_SHOT = """
clip = Motion.load(sys.argv[1])
recognizer = Recognizer.load("zero-shot", backend=sys.argv[2], threads=int(sys.argv[3]))
recognizer.set_labels(["bow", "run", "wave"])

def play(start):
    seen, last = {"none"}, time.monotonic() + 20
    while seen == {"none"} and time.monotonic() < last:  # the background thread decides when labels are matched
        for t, joints in zip(clip.times, clip.joints):
            seen.add(recognizer.step(joints, start + t, layout=clip.layout).label)
        start += clip.times[-1] + 0.05
    assert "wave" in seen, seen

play(0)
matching = recognizer.label_strategy.thread

def child():
    play(1000)
    assert recognizer.recognize(clip).label == "wave"
    recognizer.set_labels(["jump", "wave"])
    play(2000)

assert in_child(child) == 0
with recognizer.label_strategy.lock:  # as if another thread forked in the middle of a frame
    assert in_child(child) == 0
play(1000)
assert recognizer.label_strategy.thread is matching
"""


@pytest.mark.parametrize("backend", ["native", "onnx"])
@pytest.mark.parametrize("count", threads())
def test_zero_shot_matches(backend: str, count: int, samples_folder: Path) -> None:
    run(ZERO_SHOT, samples_folder / "bandai_wave_right_hand.npz", backend, count)


LIVE = """
clip = Motion.load(sys.argv[1])
recognizer, alone = (Recognizer.load("live", backend=sys.argv[2], threads=int(sys.argv[3])) for _ in range(2))
labels = [[one.step(joints, t, layout=clip.layout).label for t, joints in list(zip(clip.times, clip.joints))[:40]]
          for one in (recognizer, alone)]

def rest(one):
    return [one.step(joints, t, layout=clip.layout).label for t, joints in list(zip(clip.times, clip.joints))[40:]]

expected = rest(alone)

def child():
    assert rest(recognizer) == expected

assert in_child(child) == 0
with recognizer.label_strategy.lock:
    assert in_child(child) == 0
child()
"""


@pytest.mark.parametrize("backend", ["native", "onnx"])
@pytest.mark.parametrize("count", threads())
def test_a_live_recognizer_goes_on(backend: str, count: int, samples_folder: Path) -> None:
    run(LIVE, samples_folder / "bandai_wave_right_hand.npz", backend, count)


STREAM = """
generator = Generator.load(sys.argv[1], threads=int(sys.argv[2]))
expected = [chunk.joints for chunk in generator.stream("a person walks", seconds=7)]
stream = generator.stream("a person walks", seconds=7)
first = next(stream)

def child():
    rest = [chunk.joints for chunk in stream]
    assert len(rest) == 6
    for found, wanted in zip(rest, expected[1:]):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    stream.close()
    assert generator.generate("a person bows", seconds=1).frames == 20

assert in_child(child) == 0

def close():
    stream.close()
    assert list(stream) == []

assert in_child(close) == 0
with generator._lock:
    assert in_child(child) == 0
child()
"""


@pytest.mark.parametrize("count", threads())
def test_a_stream_goes_on_as_it_would_have(count: int, coamd_bundle: Path) -> None:
    run(STREAM, coamd_bundle, count)


@pytest.fixture(scope="module")
def samples_folder() -> Path:
    import motionrt.runtime

    return Path(motionrt.runtime.__file__).parent / "samples"


def test_locks_of_objects_that_are_gone_do_not_matter() -> None:
    from motionrt.runtime import fork

    class Item:
        _after_fork: Callable[[], None] = staticmethod(threading.Lock)

    before = len(fork._objects)
    item = Item()
    fork.survive_fork(item)
    assert len(fork._objects) == before + 1
    del item
    assert len(fork._objects) == before

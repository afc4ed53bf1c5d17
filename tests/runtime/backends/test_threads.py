"""Numbers of CPU threads, and recognizers that several threads use."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from motionrt import Decision, Generator, InputError, Motion, Recognizer, Retriever
from motionrt.runtime.backends import threads
from motionrt.runtime.cli import main
from motionrt.runtime.text_encoder import TextEncoder

LOADERS: dict[str, Callable[[int], Any]] = {
    "native": lambda count: Recognizer.load("live", backend="native", threads=count),
    "onnx": lambda count: Recognizer.load("live", backend="onnx", threads=count),
    "zero-shot": lambda count: Recognizer.load("zero-shot", threads=count),
    "text": lambda count: TextEncoder.load(threads=count),
    "generator": lambda count: Generator.load("default", threads=count),
    "retriever": lambda count: Retriever.load("default", threads=count),
}


@pytest.mark.parametrize("name", LOADERS)
def test_more_threads_than_cpus_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cpus", lambda: 3)
    with pytest.raises(InputError, match="threads is 4, expected at most 3, the CPUs that this process may use"):
        LOADERS[name](4)
    for count in (0, -1, 1.0, True, "2"):
        with pytest.raises(InputError, match="threads is .*, expected a whole number of 1 or more"):
            LOADERS[name](count)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_the_limit_is_that_of_this_process() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert threads.cpus() == 1
        with pytest.raises(InputError, match="threads is 2, expected at most 1"):
            Recognizer.load("live", threads=2)
    finally:
        os.sched_setaffinity(0, before)
    assert threads.cpus() == len(before)


def test_the_command_line_says_so_in_one_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["generate", "walk", "--threads", "999", "-o", str(tmp_path / "walk.npz")]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_threads_of_sessions_do_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = []
    load = onnxruntime.InferenceSession

    def spy(model: bytes, options: Any, **others: Any) -> Any:
        entries.append(options.get_session_config_entry("session.intra_op.allow_spinning"))
        return load(model, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    Recognizer.load("live", backend="onnx", threads=min(2, threads.cpus()))
    assert set(entries) == {"0"}


@pytest.mark.parametrize("backend", ["native", "onnx"])
def test_people_of_several_threads_are_not_mixed(backend: str, samples: list[Motion]) -> None:
    """Each thread steps one person; all decisions equal those of a recognizer of its own."""
    recognizer = Recognizer.load("live", backend=backend)
    people = list(enumerate(samples * 2))
    expected = [play(recognizer.clone(), motion, 0) for motion in samples] * 2
    found: dict[int, list[Decision]] = {}
    barrier = threading.Barrier(len(people))

    def run(person: int, motion: Motion) -> None:
        barrier.wait(30)
        found[person] = play(recognizer, motion, person)

    workers = [threading.Thread(target=run, args=one) for one in people]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    for person, wanted in enumerate(expected):
        assert [(out.person, out.label, out.event) for out in found[person]] == [
            (person, out.label, out.event) for out in wanted
        ]
        np.testing.assert_allclose([out.probs for out in found[person]], [out.probs for out in wanted], atol=1e-5)


def play(recognizer: Recognizer, motion: Motion, person: int) -> list[Decision]:
    frames = list(zip(motion.times, motion.joints, strict=True))[:60]
    return [recognizer.step(joints, t, person, layout=motion.layout) for t, joints in frames]


@pytest.mark.parametrize("backend", ["native", "onnx"])
def test_reset_and_evict_from_another_thread(backend: str, samples: list[Motion]) -> None:
    recognizer, errors, done = Recognizer.load("live", backend=backend), [], threading.Event()

    def disturb() -> None:
        try:
            while not done.is_set():
                recognizer.reset(1)
                recognizer.evict(0.0)
                recognizer.reset()
        except Exception as error:
            errors.append(error)

    worker = threading.Thread(target=disturb)
    worker.start()
    try:
        outcomes = play(recognizer, samples[0], 0) + play(recognizer, samples[1], 1)
    finally:
        done.set()
        worker.join(30)
    assert errors == [] and len(outcomes) == 120 and all(np.isfinite(out.probs).all() for out in outcomes)

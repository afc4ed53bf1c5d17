"""Streams: chunks in order, prompts that change midway, and threads that end."""

import gc
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
from wait import wait_until

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError
from motionrt.runtime.generation.generator import Generator
from motionrt.runtime.generation.schedule import Sampling
from motionrt.runtime.generation.stream import StaleError, Stream, Window


@pytest.fixture(scope="module")
def generator(coamd_bundle: Path) -> Generator:
    generator = Generator.load(coamd_bundle)
    generator.settings = Sampling(steps=3, evaluations=2)
    return generator


def stream_threads() -> int:
    return sum(thread.name == "motionrt stream" for thread in threading.enumerate())


def take(generator: Generator, count: int, pause: float = 0.0, change: int | None = None) -> np.ndarray:
    chunks = []
    with generator.stream("a person walks", seed=3) as stream:
        for number in range(count):
            if number == change:
                stream.prompt = "a person bows"
            chunks.append(next(stream).joints)
            time.sleep(pause)
    return np.concatenate(chunks)


def test_chunks_last_a_second_and_are_continuous(generator: Generator) -> None:
    with generator.stream("a person walks", seconds=7.4, seed=1) as stream:
        chunks = list(stream)
    assert [chunk.frames for chunk in chunks] == [20] * 7 + [8]
    assert [chunk.meta["start"] for chunk in chunks] == [float(k) for k in range(8)]
    assert {(chunk.layout, chunk.fps, chunk.meta["text"]) for chunk in chunks} == {("smpl22", 20.0, "a person walks")}
    steps = np.abs(np.diff(np.concatenate([chunk.joints for chunk in chunks]), axis=0)).max((1, 2))
    seams = steps[np.arange(20, len(steps), 20) - 1]
    assert seams.max() < 1.5 * np.quantile(steps, 0.99)


def test_pauses_do_not_change_a_stream(generator: Generator) -> None:
    quick = take(generator, 7)
    assert np.array_equal(quick, take(generator, 7, pause=0.05))
    steered = take(generator, 7, change=3)
    assert np.array_equal(steered, take(generator, 7, pause=0.05, change=3))
    assert np.array_equal(steered[:60], quick[:60]) and not np.array_equal(steered[60:80], quick[60:80])


def test_a_new_prompt_applies_from_the_next_chunk(generator: Generator) -> None:
    with generator.stream("a person walks") as stream:
        next(stream)
        generator.prompt = "a person bows"
        assert stream.prompt == generator.prompt == "a person bows"
        assert next(stream).meta["text"] == "a person bows"
        with pytest.raises(InputError, match="the description is empty"):
            stream.prompt = "  "
        with pytest.raises(InputError, match="has 600 characters, at most 512"):
            generator.prompt = "x" * 600
        assert next(stream).meta["text"] == "a person bows", "a rejected prompt changes nothing"


@pytest.mark.parametrize(("keep", "kept"), [(33, 33), (2, 4), (99, 40)])
def test_a_prompt_can_change_within_the_chunks_that_were_returned(generator: Generator, keep: int, kept: int) -> None:
    with generator.stream("a person walks", seconds=5, seed=2) as stream:
        old = np.concatenate([next(stream).joints for _ in range(2)])
        with pytest.raises(InputError, match="the description is empty"):
            stream.change(" ", keep)
        stream.change("a person bows", keep)
        chunks = list(stream)
    assert {chunk.meta["text"] for chunk in chunks} == {"a person bows"}
    starts = np.cumsum([kept, *(chunk.frames for chunk in chunks)])
    assert [chunk.meta["start"] for chunk in chunks] == [start / 20 for start in starts[:-1]]
    assert 97 <= starts[-1] <= 103, "the stream lasts 5 s"
    step = np.abs(chunks[0].joints[0] - old[kept - 1]).max()
    assert step < 2 * np.abs(np.diff(old, axis=0)).max(), "it continues the frames that stay"


def test_the_thread_ends_with_its_stream(generator: Generator) -> None:
    stream = generator.stream("a person walks")
    next(stream)
    assert stream_threads() == 1
    other = generator.stream("a person runs")
    assert stream_threads() == 1 and list(stream) == [], "a generator has one stream"
    next(other)
    other.close()
    other.close()
    assert stream_threads() == 0 and list(other) == []
    for _ in generator.stream("a person walks"):
        break
    gc.collect()
    assert stream_threads() == 0, "garbage-collected"
    with pytest.raises(InputError, match="this generator has no stream"):
        _ = generator.prompt


def test_an_error_in_the_thread_is_raised_by_next() -> None:
    def make(window: Window) -> list[np.ndarray]:
        if window.number:
            raise OSError("no more")
        return [np.zeros((20, 22, 3), np.float32)] * 2

    def finish(joints: np.ndarray, prompt: str, number: int) -> Motion:
        return Motion(joints=joints, fps=20, layout="smpl22")

    stream = Stream(make, finish, "walk", lambda text: None)
    assert next(stream).frames == next(stream).frames == 20
    with pytest.raises(OSError, match="no more"):
        next(stream)
    stream.close()


def test_a_window_in_progress_is_dropped_on_close() -> None:
    started, resume = threading.Event(), threading.Event()

    def make(window: Window) -> list[np.ndarray]:
        started.set()
        resume.wait(30)
        return [np.zeros((20, 22, 3), np.float32)]

    stream = Stream(make, lambda joints, prompt, number: Motion(joints, 20, "smpl22"), "walk", lambda text: None)
    assert started.wait(30)
    closing = threading.Thread(target=stream.close)
    closing.start()
    wait_until(lambda: stream._state.closed, 30, "the stream is marked as closed")
    resume.set()
    closing.join()
    assert list(stream) == []


def test_a_window_in_progress_is_given_up_for_a_new_prompt() -> None:
    prompts: SimpleQueue[str] = SimpleQueue()

    def make(window: Window) -> list[np.ndarray]:
        prompts.put(window.prompt)
        while window.prompt == "walk":
            window.check()
            time.sleep(0.001)
        return [np.zeros((20, 22, 3), np.float32)]

    stream = Stream(make, lambda joints, prompt, number: Motion(joints, 20, "smpl22"), "walk", lambda text: None)
    assert prompts.get(timeout=30) == "walk"
    stream.prompt = "bow"
    assert prompts.get(timeout=30) == "bow" and next(stream).frames == 20
    stream.close()


def test_sampling_is_given_up_between_two_runs_of_a_graph(generator: Generator) -> None:
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 3:
            raise StaleError

    with pytest.raises(StaleError):
        generator._first([generator._request("a person walks", 0, None, 0.0, "mocap")], [5], check)
    assert checks == 3


def test_generate_works_during_a_stream(generator: Generator) -> None:
    alone = generator.generate("a person bows", seconds=2, seed=5)
    with generator.stream("a person walks") as stream:
        next(stream)
        assert np.array_equal(generator.generate("a person bows", seconds=2, seed=5).joints, alone.joints)
        assert next(stream).frames == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": " "}, "expected a description of a motion"),
        ({"text": "x" * 10_000}, "10000 characters, at most 512"),
        ({"seconds": 0}, "seconds is 0, expected a number from 0.2 to 86400"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"quality": "film"}, "quality is 'film'"),
    ],
)
def test_invalid_arguments_of_a_stream_are_rejected_immediately(
    generator: Generator, changes: dict[str, object], message: str
) -> None:
    before = stream_threads()
    with pytest.raises(InputError, match=message):
        generator.stream(**({"text": "a person walks"} | changes))  # type: ignore[arg-type]
    assert stream_threads() == before

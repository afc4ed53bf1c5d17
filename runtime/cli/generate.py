"""generate and edit: text to motion files, or to a stream of frames."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer

from ..body.motion import Motion
from ..errors import InputError
from ..generation.generator import Generator
from ..generation.stream import Stream
from ..io.files import check_target
from ..progress import spinner
from .license import state_licence


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What both commands take."""

    model: str
    seed: int
    cfg: float | None
    guidance: float
    quality: str
    threads: int
    precision: str
    backend: str

    def load(self) -> Generator:
        with spinner("loading"):
            generator = Generator.load(self.model, self.threads, self.precision, self.backend)
        state_licence(generator.bundle)
        return generator

    @property
    def asked(self) -> dict[str, Any]:
        return {"seed": self.seed, "cfg": self.cfg, "guidance": self.guidance, "quality": self.quality}


def run_generate(text: str, seconds: float | None, out: Path | None, stream: bool, options: Options) -> None:
    if out is None and not stream:
        raise InputError("expected -o FILE for the motion, or --stream for frames on standard output")
    if out is not None:
        check_target(out)
    generator = options.load()
    if stream:
        with generator.stream(text, seconds, **options.asked) as chunks:
            made = play(chunks)
        if out is not None and made:
            joints = np.concatenate([chunk.joints for chunk in made])
            first = made[0]
            Motion(joints=joints, fps=first.fps, layout=first.layout, meta=first.meta).save(out)
            print(f"wrote {out}: {len(joints)} frames", file=sys.stderr)
        return
    started = time.perf_counter()
    with spinner("making the motion"):
        motion = generator.generate(text, seconds, **options.asked)
    write(motion, out, time.perf_counter() - started)  # type: ignore[arg-type]  # checked above


def run_edit(path: Path, text: str, regenerate: str, out: Path, options: Options) -> None:
    check_target(out)
    motion = Motion.load(path)
    generator = options.load()
    frames = span(regenerate, motion)
    started = time.perf_counter()
    with spinner("making frames anew"):
        edited = generator.edit(motion, text, frames, **options.asked)
    write(edited, out, time.perf_counter() - started)


def play(chunks: Stream) -> list[Motion]:
    """Frames as JSON lines when they are due, until the stream ends or Ctrl-C; a line that comes in is a new prompt.

    Returns the chunks that were played.
    """
    threading.Thread(target=listen, args=(chunks,), daemon=True).start()
    played: list[Motion] = []
    started = time.monotonic()
    try:
        for chunk in chunks:
            played.append(chunk)
            for t, line in lines(chunk):
                time.sleep(max(0.0, started + t - time.monotonic()))
                print(line, flush=True)
    except KeyboardInterrupt:
        pass
    return played


def lines(chunk: Motion) -> Iterator[tuple[float, str]]:
    """When each frame is due, in seconds, and its message."""
    for i, joints in enumerate(chunk.joints):
        t = round(chunk.meta["start"] + i / chunk.fps, 6)
        message = {"t": t, "person": 0, "layout": chunk.layout, "joints": joints.round(5).tolist()}
        yield t, json.dumps(message)


def listen(chunks: Stream) -> None:
    """Takes every line of standard input for what is to be done next."""
    for line in sys.stdin:
        try:
            chunks.prompt = line.strip()
        except InputError as error:
            print(f"motionrt: {error}", file=sys.stderr)


def span(text: str, motion: Motion) -> slice:
    """BEGIN:END in seconds as frames; either may be left out. Raises InputError: not that, or outside the motion."""
    begin, colon, end = text.partition(":")
    try:
        edges = [float(edge) if edge.strip() else default for edge, default in ((begin, 0.0), (end, motion.seconds))]
    except ValueError:
        edges = []
    if not colon or not edges:
        raise InputError(f"--regenerate {text!r}: expected BEGIN:END in seconds, for example 2.0:4.0")
    if not 0 <= edges[0] < edges[1] <= motion.seconds + 0.5 / motion.fps:
        raise InputError(f"--regenerate {text!r}: expected a part of the motion, which lasts {motion.seconds:.2f} s")
    first, last = (round(edge * motion.fps) for edge in edges)
    return slice(first, max(first + 1, min(last, motion.frames)))


def write(motion: Motion, out: Path, took: float) -> None:
    motion.save(out)
    typer.echo(f"wrote {out}: {motion.frames} frames, {motion.seconds:.1f} s, made in {1000 * took:.0f} ms")

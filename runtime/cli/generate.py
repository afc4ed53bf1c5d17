"""generate and edit: text to motion files, or to a stream of frames."""

import json
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import typer

from ..body.canonical import SMPL
from ..body.motion import Motion
from ..errors import InputError
from ..generation.generator import OUT_OF_RANGE, Generator
from ..generation.stream import Stream
from ..io.files import check_file
from ..io.table import numbers, split_rows
from ..io.text import read_text
from ..progress import spinner
from .license import print_license_notice
from .options import FileOptions, GenerateOptions, WrittenOptions


def run_generate(
    text: str | None,
    seconds: float | None,
    out: Path | None,
    stream: bool,
    timeline: str | None,
    split: bool,
    best_of: int,
    path: Path | None,
    keyframes: Path | None,
    options: GenerateOptions,
    written: WrittenOptions,
) -> None:
    if text is None and timeline is None:
        raise InputError("expected TEXT, --timeline or --prompts FILE")
    if out is None and not stream:
        raise InputError("expected -o FILE for the motion, or --stream for frames on standard output")
    if out is not None:
        written.check(out)
    points = None if path is None else read_path(path)
    reached = None if keyframes is None else read_keyframes(keyframes)
    generator = _load(options)
    if stream:
        assert text is not None
        with generator.stream(text, seconds, **options.sampling) as chunks:
            played = play(chunks)
        if out is not None and played:
            joints = np.concatenate([chunk.joints for chunk in played])
            first = played[0]
            written.save(Motion(joints=joints, fps=first.fps, layout=first.layout, meta=first.meta), out)
            print(f"wrote {out}: {len(joints)} frames", file=sys.stderr)
        return
    started = time.perf_counter()
    with spinner("generating the motion"):
        motion = generator.generate(
            text,
            seconds,
            timeline=timeline,
            split=split,
            best_of=best_of,
            path=points,
            keyframes=reached,
            **options.sampling,
        )
    _warn_if_unknown(generator, [motion])
    _save(motion, out, written, time.perf_counter() - started)  # type: ignore[arg-type]  # checked above


def run_generate_batch(
    text: str | None,
    prompts: Path,
    seconds: float | None,
    out: Path | None,
    stream: bool,
    split: bool,
    best_of: int,
    options: GenerateOptions,
    written: WrittenOptions,
) -> None:
    if text is not None or stream or out is None:
        raise InputError("--prompts needs -o FILE, and goes with neither TEXT nor --stream")
    written.check(out)
    texts = read_prompts(prompts)
    generator = _load(options)
    started = time.perf_counter()
    with spinner(f"generating {len(texts)} motions"):
        motions = generator.generate(texts, seconds, split=split, best_of=best_of, **options.sampling)
    took_s = time.perf_counter() - started
    _warn_if_unknown(generator, motions)
    digits = len(str(len(motions) - 1))
    for i, motion in enumerate(motions):
        written.save(motion, out.with_name(f"{out.stem}-{i:0{digits}}{out.suffix}"))
    total_s = sum(motion.seconds for motion in motions)
    typer.echo(
        f"wrote {len(motions)} motions to {out.with_name(out.stem)}-*{out.suffix}: {total_s:.1f} s, generated in "
        f"{took_s:.1f} s, {len(motions) / took_s:.1f} motions per second"
    )


def read_path(path: Path) -> np.ndarray:
    """Points [K, 2] of a table of x and z. Raises InputError: it is no such file."""
    check_file(path)
    try:
        rows = [row for row in split_rows(read_text(path)) if any(cell.strip() for cell in row)]
        first = 0 if rows and not re.search("[A-Za-z]", "".join(rows[0])) else 1  # below a header
        if not rows or {len(row) for row in rows} != {2}:
            raise InputError("expected two columns, x and z in meters")
        return numbers(rows[first:], [0, 1], first + 1)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text, expected two columns, x and z in meters") from None


def read_keyframes(path: Path) -> dict[int, np.ndarray]:
    """Joints [22, 3] by frame, of JSON: {"40": {"right_wrist": [x, y, z]}}. Raises InputError: it is no such file."""
    check_file(path)
    found: dict[int, np.ndarray] = {}
    try:
        for frame, joints in json.loads(read_text(path)).items():
            found[int(frame)] = np.full((len(SMPL.joints), 3), np.nan)
            for name, at in joints.items():
                x, y, z = at
                found[int(frame)][SMPL.joints.index(name)] = float(x), float(y), float(z)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InputError(f'{path}: expected joints by frame, as {{"40": {{"right_wrist": [x, y, z]}}}}') from None
    return found


def read_prompts(path: Path) -> list[str]:
    """Lines of a text file that are not blank. Raises InputError: it is no such file, or has none."""
    check_file(path)
    try:
        texts = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text, expected a description per line") from None
    if not texts:
        raise InputError(f"{path}: has no text, expected a description per line")
    return texts


def run_generate_for_robot(
    text: str | None,
    prompts: Path | None,
    seconds: float | None,
    out: Path | None,
    stream: bool,
    robot: str | None,
    to: list[str],
    options: GenerateOptions,
) -> None:
    from ..robots.retargeter import Retargeter
    from .robot import Player, feed_chunks, print_summary

    if robot is None:
        raise InputError("--to sends the references of a robot, expected --robot g1")
    if text is None or prompts is not None:
        raise InputError("--robot takes one TEXT")
    if not stream:
        raise InputError("--robot is for --stream; `motionrt retarget FILE --robot g1` takes a motion file")
    Retargeter(robot)
    player = Player(to or (["-"] if out is None else []), out)
    generator = _load(options)
    with generator.stream(text, seconds, **options.sampling) as chunks:
        changes: SimpleQueue[str] = SimpleQueue()
        threading.Thread(target=_queue_prompts, args=(changes,), daemon=True).start()
        summary = player.play(lambda player: feed_chunks(chunks, robot, player, changes))
    print_summary(summary)


def run_edit(
    path: Path,
    text: str,
    regenerate: str,
    out: Path,
    parts: str | None,
    options: GenerateOptions,
    file: FileOptions,
    written: WrittenOptions,
) -> None:
    written.check(out)
    motion = file.read(path)
    generator = _load(options)
    frames = parse_interval(regenerate, motion)
    started = time.perf_counter()
    with spinner("regenerating frames"):
        edited = generator.edit(
            motion, text, frames, parts=None if parts is None else parts.split(","), **options.sampling
        )
    _warn_if_unknown(generator, [edited])
    _save(edited, out, written, time.perf_counter() - started)


def play(chunks: Stream) -> list[Motion]:
    """Print frames as JSON lines in real time until the stream ends or Ctrl-C; lines on stdin are new prompts.

    Returns the chunks that were played.
    """
    threading.Thread(target=_read_prompts, args=(chunks,), daemon=True).start()
    played: list[Motion] = []
    started = time.monotonic()
    try:
        for chunk in chunks:
            played.append(chunk)
            for t, line in json_lines(chunk):
                time.sleep(max(0.0, started + t - time.monotonic()))
                print(line, flush=True)
    except KeyboardInterrupt:
        pass
    return played


def json_lines(chunk: Motion) -> Iterator[tuple[float, str]]:
    """Yield (seconds, JSON message) of each frame."""
    for i, joints in enumerate(chunk.joints):
        t = round(chunk.meta["start"] + i / chunk.fps, 6)
        message = {"t": t, "person": 0, "layout": chunk.layout, "joints": joints.round(5).tolist()}
        yield t, json.dumps(message)


def parse_interval(text: str, motion: Motion) -> slice:
    """Frames of BEGIN:END in seconds; each may be omitted. Raises InputError if invalid or outside the motion."""
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


def _load(options: GenerateOptions) -> Generator:
    with spinner("loading"):
        generator = options.load()
    print_license_notice(generator.bundle)
    return generator


def _warn_if_unknown(generator: Generator, motions: Sequence[Motion]) -> None:
    """Print one line if a description is unlike those of the training, where these are known."""
    unknown = [motion for motion in motions if motion.meta["confidence"] < OUT_OF_RANGE]
    if unknown and generator.actions:
        text = unknown[0].meta["text"]
        nearest = ", ".join(action for action, _ in generator.nearest_actions(text))
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        print(
            f"motionrt: {text!r}{more} is unlike what {generator.name} was trained on, confidence "
            f"{unknown[0].meta['confidence']:.2f}; the nearest it knows: {nearest}",
            file=sys.stderr,
        )


def _read_prompts(chunks: Stream) -> None:
    for line in sys.stdin:
        try:
            chunks.prompt = line.strip()
        except InputError as error:
            print(f"motionrt: {error}", file=sys.stderr)


def _queue_prompts(prompts: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        prompts.put(line.strip())


def _save(motion: Motion, out: Path, written: WrittenOptions, seconds: float) -> None:
    motion = written.save(motion, out)
    typer.echo(f"wrote {out}: {motion.frames} frames, {motion.seconds:.1f} s, generated in {1000 * seconds:.0f} ms")

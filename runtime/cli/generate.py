"""generate and edit: text to motion files."""

import sys
import time
from pathlib import Path

import typer

from ..errors import InputError
from ..generator import Generator
from ..motion import Motion

_SUFFIX = ".npz"


def run_generate(
    text: str,
    model: str,
    seconds: float | None,
    seed: int,
    cfg: float | None,
    guidance: float,
    quality: str,
    out: Path,
    threads: int,
) -> None:
    check_out(out)
    generator = load(model, threads)
    started = time.perf_counter()
    motion = generator.generate(text, seconds, seed, cfg, guidance, quality)
    write(motion, out, time.perf_counter() - started)


def run_edit(
    path: Path,
    text: str,
    regenerate: str,
    model: str,
    seed: int,
    cfg: float | None,
    guidance: float,
    quality: str,
    out: Path,
    threads: int,
) -> None:
    check_out(out)
    motion = Motion.load(path)
    generator = load(model, threads)
    frames = span(regenerate, motion)
    started = time.perf_counter()
    edited = generator.edit(motion, text, frames, seed, cfg, guidance, quality)
    write(edited, out, time.perf_counter() - started)


def load(model: str, threads: int) -> Generator:
    generator = Generator.load(model, threads)
    if generator.bundle.manifest.non_commercial:
        print(f"model {generator.name!r} is not for commercial use: {generator.license}", file=sys.stderr)
    return generator


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


def check_out(out: Path) -> None:
    """Refuse what cannot be written before anything is computed."""
    if out.suffix.lower() != _SUFFIX:
        raise InputError(f"{out}: expected a file that ends in {_SUFFIX}")
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise InputError(f"{out}: expected a file in a folder that is there")


def write(motion: Motion, out: Path, took: float) -> None:
    motion.save(out)
    typer.echo(f"wrote {out}: {motion.frames} frames, {motion.seconds:.1f} s, made in {1000 * took:.0f} ms")

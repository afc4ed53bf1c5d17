"""Fuzz every parser with damaged input.

`python -m motionrt.bench.fuzz.parsers [--seconds 600] [-o fuzz.json] [--keep FOLDER]`

Each input is a valid file with cuts, flipped bits, repetitions, or numbers and words that parsers often mishandle. A
parser may accept it or reject it with one of motionrt's own errors; anything else is a finding, as is a CPU time of one
second or more, or more than 512 MB of memory. The C++ loader of bundles has its own fuzzer (`tests/csrc`).
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import os
import re
import resource
import signal
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.body.layout import Layout
from ...runtime.body.motion import Motion
from ...runtime.bundles import safetensors
from ...runtime.bundles.bundle import Bundle
from ...runtime.bundles.onnx_graph import read_graph
from ...runtime.bundles.schema import Manifest
from ...runtime.errors import MotionError
from ...runtime.extras import installed
from ...runtime.io.amass import FOLDER_VARIABLE as BODY_MODELS
from ...runtime.io.jsonl import parse_message
from ...runtime.recognition.gestures import read_gestures, write_gestures
from ...runtime.retrieval.index import MotionIndex
from . import formats

SLOW_S, HUNG_S = 1.0, 20.0
MAX_MB = 512
ENCODER = "e" * 64
SAMPLES = Path(__file__).resolve().parents[2] / "runtime" / "samples"
NUMBERS = (
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e999",
    b"-1e38",
    b"9" * 40,
    b"2147483648",
    b"18446744073709551615",
    b"1e-320",
)
WORDS = (b"", b"\x00", b"{", b"[" * 2000, b'"', b"null", b"true", b"\xff\xfe", b"\xed\xa0\x80", b"-", b"\r", b"}" * 9)


class Hung(BaseException):
    """Raised in a parser that does not return; a BaseException, so that the parser does not catch it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parser of bytes, with valid inputs."""

    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]


def fuzz(seconds: float, seed: int = 0, keep: Path | None = None, inputs: float = math.inf) -> dict[str, Any]:
    """Run all parsers on damaged input, in turn.

    Args:
        seconds: duration.
        seed: seed of the damage.
        keep: folder for the inputs of findings.
        inputs: number of inputs per parser after which it stops early; deterministic for a seed.
    Returns:
        Per parser the number of inputs, rejections and the time of the slowest; peak memory; findings.
    """
    draw, findings, before_mb = np.random.default_rng(seed), [], _peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        known = targets(Path(folder))
        counts = {name: {"inputs": 0, "refused": 0, "slowest_s": 0.0} for name in known}
        end = time.monotonic() + seconds
        while time.monotonic() < end and min(count["inputs"] for count in counts.values()) < inputs:
            for name, target in known.items():
                data = damage(target.seeds[draw.integers(len(target.seeds))], draw)
                count = counts[name]
                started = time.process_time()
                problem, refused = run_parser(target, data)
                taken = time.process_time() - started
                count["inputs"] += 1
                count["refused"] += refused
                count["slowest_s"] = max(count["slowest_s"], taken)
                if problem is None and taken >= SLOW_S:
                    problem = f"{taken:.1f} s"
                if problem is not None:
                    findings.append(
                        {"parser": name, "problem": problem, "input": hashlib.sha256(data).hexdigest()[:16]}
                    )
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{name}-{findings[-1]['input']}").write_bytes(data)
    peak_mb = _peak_mb()
    if peak_mb - before_mb > MAX_MB:
        findings.append({"parser": "all", "problem": f"{peak_mb - before_mb:.0f} MB of memory", "input": ""})
    return {"benchmark": "fuzz", "seconds": seconds, "parsers": counts, "peak_mb": peak_mb, "findings": findings}


def _peak_mb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_parser(target: Target, data: bytes) -> tuple[str | None, bool]:
    """The problem, or None; and whether the input was rejected."""
    try:
        with time_limit(HUNG_S):
            target.parse(data)
    except MotionError as error:
        text = str(error)
        return (
            None if text and "\n" not in text else f"an error message with several lines or none: {text[:80]!r}"
        ), True
    except Hung:
        return f"more than {HUNG_S:.0f} s", False
    except Exception as error:  # a parser must not raise anything else
        return f"{type(error).__name__}: {str(error)[:200]}", False
    return None, False


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def hung(*_: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def damage(data: bytes, draw: np.random.Generator) -> bytes:
    """Damage a valid input in one to four places; for archives, mostly in their members."""
    if data[:2] == b"PK" and draw.random() < 0.8:
        return _damage_archive(data, draw)
    for _ in range(int(draw.integers(1, 5))):
        data = DAMAGE[draw.integers(len(DAMAGE))](data, draw)
    return data


def _damage_archive(data: bytes, draw: np.random.Generator) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(output, "w") as new:
        names = old.namelist()
        target = names[draw.integers(len(names))]
        for name in names:
            content = old.read(name)
            if name == target and draw.random() < 0.1:
                continue
            new.writestr(name, damage(content, draw) if name == target else content)
    return output.getvalue()


def _position(data: bytes, draw: np.random.Generator) -> int:
    """A random position, more often near the beginning, where headers are."""
    end = len(data) + 1
    return int(draw.integers(min(end, 256) if draw.random() < 0.5 else end))


def _flip(data: bytes, draw: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(draw.integers(1, 9)) if data else 0):
        changed[min(_position(data, draw), len(data) - 1)] ^= 1 << int(draw.integers(8))
    return bytes(changed)


def _cut(data: bytes, draw: np.random.Generator) -> bytes:
    begin = _position(data, draw)
    return data[:begin] if draw.random() < 0.5 else data[:begin] + data[begin + int(draw.integers(1, 65)) :]


def _repeat(data: bytes, draw: np.random.Generator) -> bytes:
    begin = _position(data, draw)
    return data[:begin] + data[begin : begin + int(draw.integers(1, 257))] * int(draw.integers(2, 9)) + data[begin:]


def _insert(data: bytes, draw: np.random.Generator) -> bytes:
    begin, words = _position(data, draw), NUMBERS + WORDS
    return data[:begin] + words[draw.integers(len(words))] + data[begin:]


def _number(data: bytes, draw: np.random.Generator) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:20000]))
    if not found:
        return data
    hit = found[draw.integers(len(found))]
    return data[: hit.start()] + NUMBERS[draw.integers(len(NUMBERS))] + data[hit.end() :]


DAMAGE = (_flip, _cut, _repeat, _insert, _number)


def targets(folder: Path) -> dict[str, Target]:
    """Every parser by name; `folder` holds their files."""
    clips = [Motion.load(path) for path in sorted(SAMPLES.glob("*.npz"))]
    short = [clip.joints[:12, 0] if clip.joints.ndim == 4 else clip.joints[:12] for clip in clips[:2]]
    motions = [Motion(joints, clip.fps, clip.layout) for joints, clip in zip(short, clips, strict=False)]
    found = {}
    for suffix in (".npz", ".bvh"):
        seeds = []
        for k, motion in enumerate(motions):
            path = folder / f"seed{k}{suffix}"
            motion.save(path)
            seeds.append(path.read_bytes())
        found[suffix[1:]] = Target(partial(_file, folder / f"input{suffix}", Motion.load), tuple(seeds))
    texts = {
        ".npy": (_npy(motions[0].joints),),
        ".jsonl": tuple(b"\n".join(_messages(motion)) for motion in motions),
        ".skeleton": (_skeleton(motions[0].joints),),
        ".json": (_nw_ucla(motions[0].joints), _kinetics(motions[0].joints)),
    }
    for suffix, files in texts.items():
        found[suffix[1:]] = Target(partial(_file, folder / f"input{suffix}", Motion.load), files)
    found |= _formats_of_others(folder, motions[0].joints)
    found["message"] = Target(lambda data: parse_message(data.decode("utf-8", "replace")), _messages(motions[0]))
    layouts = tuple((SAMPLES.parent / "skeletons" / f"{name}.json").read_bytes() for name in ("core15", "kinect20"))
    found["layout"] = Target(partial(_file, folder / "layout.json", Layout.read), layouts)
    features = np.eye(3, 8, dtype=np.float32)
    write_gestures(folder / "gestures.npz", {"wave": features}, ENCODER, "zero-shot")
    gestures = partial(_file, folder / "input.npz", partial(read_gestures, width=8, encoder=ENCODER))
    found["gestures"] = Target(gestures, ((folder / "gestures.npz").read_bytes(),))
    index = MotionIndex(8, ENCODER)
    index.add(features, ["a", "b", "c"], [{}, {"seconds": 1.5}, {}])
    index.save(folder / "index.safetensors")
    read = partial(MotionIndex.read, width=8, model=ENCODER)
    index_bytes = (folder / "index.safetensors").read_bytes()
    found["index"] = Target(partial(_file, folder / "input.safetensors", read), (index_bytes,))
    found["safetensors"] = Target(partial(safetensors.unpack, where="input"), (index_bytes,))
    models = SAMPLES.parent / "models"
    graph = (models / "live" / "step.onnx").read_bytes()
    found["onnx"] = Target(partial(read_graph, weights_file="weights.safetensors", where="input"), (graph,))
    for name in ("live", "default", "zero-shot", "text"):
        manifest = (models / name / "manifest.json").read_bytes()
        found[f"manifest of {name}"] = Target(partial(_manifest, models / name, folder / name), (manifest,))
    return found


def _formats_of_others(folder: Path, frames: np.ndarray) -> dict[str, Target]:
    """The readers of files that other programs write."""
    load = partial(Motion.load, fps=30.0)
    files = {
        ".csv": (formats.csv(frames), formats.optitrack(frames)),
        ".trc": (formats.trc(frames),),
        ".mvnx": (formats.mvnx(frames),),
        ".amc": (formats.amc(frames),),
        ".gltf": (formats.gltf(frames),),
        ".txt": formats.data_sets(frames),
        **{suffix: (data,) for suffix, data in formats.with_packages(frames)},
    }
    found = {
        suffix[1:]: Target(partial(_file, folder / f"input{suffix}", load), seeds) for suffix, seeds in files.items()
    }
    (folder / "input.asf").write_bytes(formats.asf())
    if installed("pygltflib"):
        path = folder / "seed.glb"
        Motion(frames, 30.0, "smpl22").save(path)
        found["glb"] = Target(partial(_file, folder / "input.glb", load), (path.read_bytes(),))
    for name in ("openpose", "acclaim", "models", "damaged"):
        (folder / name).mkdir()
    frame = folder / "openpose" / "clip_000000000000_keypoints.json"
    found["openpose"] = Target(partial(_file, frame, lambda path: load(path.parent)), (formats.openpose(frames),))
    motion = folder / "acclaim" / "clip.amc"
    motion.write_bytes(formats.amc(frames))
    found["asf"] = Target(partial(_file, motion.with_suffix(".asf"), lambda _: load(motion)), (formats.asf(),))
    found["vectors"] = Target(partial(_file, folder / "vectors.npy", load), (formats.vectors(frames),))
    clip, good, bad = folder / "amass.npz", folder / "models" / "male.npz", folder / "damaged" / "male.npz"
    clip.write_bytes(formats.amass(frames))
    good.write_bytes(formats.body_model())
    amass = partial(_file, folder / "input_amass.npz", partial(_with_models, good.parent, load))
    found["amass"] = Target(amass, (formats.amass(frames),))
    model = partial(_file, bad, lambda path: _with_models(path.parent, load, clip))
    found["body model"] = Target(model, (formats.body_model(),))
    return found


def _with_models(models: Path, load: Callable[[Path], object], path: Path) -> object:
    os.environ[BODY_MODELS] = str(models)
    return load(path)


def _file(path: Path, read: Callable[[Path], object], data: bytes) -> object:
    path.write_bytes(data)
    return read(path)


def _manifest(model: Path, bundle: Path, data: bytes) -> object:
    """Load a copy of the bundle with another manifest."""
    if not bundle.is_dir():
        bundle.mkdir()
        for path in model.iterdir():
            if path.name != "manifest.json":
                (bundle / path.name).write_bytes(path.read_bytes())
    (bundle / "manifest.json").write_bytes(data)
    return Bundle.load(bundle, Manifest)


def _npy(array: np.ndarray) -> bytes:
    output = io.BytesIO()
    np.save(output, array)
    return output.getvalue()


def _messages(motion: Motion) -> tuple[bytes, ...]:
    frames = motion.joints[:, 0] if motion.joints.ndim == 4 else motion.joints
    about = {"person": 1, "layout": motion.layout, "confidence": [1.0] * frames.shape[1]}
    messages = [about | {"t": k / motion.fps, "joints": joints.tolist()} for k, joints in enumerate(frames)]
    return tuple(json.dumps(message).encode() for message in messages)


def _skeleton(frames: np.ndarray) -> bytes:
    """A file in the format of NTU RGB+D with one body of 25 joints."""
    lines = [str(len(frames))]
    for joints in frames:
        lines += ["1", "72057594037931101 0 1 1 1 1 0 0.02 -0.09 2", "25"]
        for k in range(25):
            x, y, z = joints[k % len(joints)]
            lines.append(f"{x:.6f} {y:.6f} {z + 3:.6f} 280.1 180.2 1040.3 460.4 -0.21 0.03 0.97 -0.07 2")
    return "\n".join(lines).encode()


def _nw_ucla(frames: np.ndarray) -> bytes:
    joints = [[joints[k % len(joints)].tolist() for k in range(20)] for joints in frames]
    return json.dumps({"file_name": "a01_s01_e00_v01", "skeletons": joints, "label": 1}).encode()


def _kinetics(frames: np.ndarray) -> bytes:
    data = []
    for t, joints in enumerate(frames):
        pose = [float(x) for k in range(18) for x in joints[k % len(joints), :2]]
        data.append({"frame_index": t + 1, "skeleton": [{"pose": pose, "score": [0.9] * 18}]})
    return json.dumps({"data": data, "label": "waving", "label_index": 3}).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the inputs of findings")
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    found = fuzz(args.seconds, args.seed, args.keep)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    for name, count in found["parsers"].items():
        print(f"{name}: {count['inputs']} inputs, {count['refused']} rejected, slowest {count['slowest_s']:.3f} s")
    print(f"peak memory {found['peak_mb']:.0f} MB, {len(found['findings'])} findings")
    for finding in found["findings"]:
        print(f"{finding['parser']} {finding['input']}: {finding['problem']}")
    raise SystemExit(bool(found["findings"]))


if __name__ == "__main__":
    main()

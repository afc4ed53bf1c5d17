"""Full disks, and processes killed while writing: the old file stays, or there is none."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import running
from wait import wait_until

import motionrt
from motionrt import BundleError, InputError, Motion, Recognizer, Retriever
from motionrt.runtime.bundles.bundle import write_bundle
from motionrt.runtime.cli import main

PACKAGE = Path(motionrt.__path__[0])
WALK = PACKAGE / "runtime" / "samples" / "cmu_walk.npz"
LIVE = PACKAGE / "runtime" / "models" / "live"
NEEDS = {".glb": ("pygltflib",), ".gif": ("PIL",), ".mp4": ("PIL", "av")}
MOTIONS = [".npz", ".bvh", *(pytest.param(suffix, id=suffix) for suffix in NEEDS)]
COMMAND = [sys.executable, "-m", "motionrt.runtime.cli"]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextmanager
def full_disk(free: int = 4096) -> Iterator[None]:
    """Limit files to `free` bytes: fails like a small file system, but does not require root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def skip_without_packages(suffix: str) -> None:
    for module in NEEDS.get(suffix, ()):
        pytest.importorskip(module, reason=f"{module} is not installed")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ----- a full disk -----


@pytest.mark.parametrize("old", [b"old content", None], ids=["old file", "no file"])
@pytest.mark.parametrize("suffix", MOTIONS)
def test_a_motion_is_written_atomically(tmp_path: Path, suffix: str, old: bytes | None) -> None:
    skip_without_packages(suffix)
    path, motion = tmp_path / f"walk{suffix}", Motion.load(WALK)
    if old is not None:
        path.write_bytes(old)
    before = contents(tmp_path)
    with full_disk(), pytest.raises(InputError) as caught:
        motion.save(path)
    assert str(caught.value) == f"{path}: cannot be written: File too large"
    assert contents(tmp_path) == before
    motion.save(path)
    assert path.stat().st_size > 4096


def test_gestures_and_an_index_are_written_atomically(tmp_path: Path) -> None:
    zero_shot, retriever, motion = Recognizer.load("zero-shot"), Retriever.load("default"), Motion.load(WALK)
    for path, add, save in (
        (tmp_path / "gestures.npz", lambda i: zero_shot.enroll(f"gesture {i}", [motion]), zero_shot.save_gestures),
        (tmp_path / "library", lambda i: retriever.add(motion, "a walk"), retriever.save),
    ):
        add(0)
        save(path)
        before = contents(tmp_path)
        for i in range(1, 4):
            add(i)
        with full_disk(len(before[path.name])), pytest.raises(InputError, match=f"{path}: cannot be written: File too"):
            save(path)
        assert contents(tmp_path) == before


def test_a_bundle_is_written_atomically(tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in LIVE.iterdir()}
    manifest = json.loads(files.pop("manifest.json"))
    listed = {name: files[name] for name in manifest.pop("files")}
    for name in ("fresh", "old"):
        if name == "old":
            write_bundle(tmp_path / name, manifest, listed)
        before = contents(tmp_path)
        with full_disk(100_000), pytest.raises(BundleError) as caught:
            write_bundle(tmp_path / name, manifest | {"license": "another"}, listed)
        assert str(caught.value) == f"{tmp_path / name}: cannot be written (File too large)"
        assert contents(tmp_path) == before and (tmp_path / name).exists() == (name == "old")


def test_a_checkpoint_is_written_atomically(tmp_path: Path) -> None:
    """Training that resumes with free space ends with the weights of an uninterrupted run."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from motionrt.training.loop import LoopConfig, fit

    class Numbers:
        def __init__(self, full_at: int | None) -> None:
            self.full_at, self.steps = full_at, []

        def batch(self, step: int, size: int) -> list[Any]:
            self.steps.append(step)
            if step == self.full_at:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            return list(np.random.default_rng(step).normal(size=(size, 64)).astype(np.float32))

    class Network(torch.nn.Linear):  # type: ignore[misc, name-defined]
        config = 64

        def __init__(self, config: int) -> None:
            super().__init__(config, config)

    def train(folder: Path, full_at: int | None = None) -> tuple[list[int], Any]:
        torch.manual_seed(0)
        task = Numbers(full_at)
        config = LoopConfig(steps=4, batch=2, precision="no", checkpoint_every=1)
        with full_disk(1 << 30):
            network = fit(Network(64), task, config, folder, lambda model: {}, lambda net, x, _: loss(net, x))
        return task.steps, network.state_dict()

    def loss(net: Any, samples: list[Any]) -> Any:
        return net(torch.from_numpy(np.stack(samples))).square().mean()

    with pytest.raises(InputError) as caught:
        train(tmp_path / "cut", full_at=2)
    assert str(caught.value).startswith(f"{tmp_path}/cut/checkpoint: cannot be written; is the disk full? (")
    assert "\n" not in str(caught.value) and not (tmp_path / "cut" / "checkpoint.new").exists()
    (steps, resumed), (_, whole) = train(tmp_path / "cut"), train(tmp_path / "whole")
    assert steps == [2, 3]
    for name, weights in whole.items():
        torch.testing.assert_close(resumed[name], weights)


def test_an_unsaved_recording_is_a_one_line_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with full_disk():
        assert main(["record", str(WALK), "--label", "walk", "-o", str(tmp_path / "out")]) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"motionrt: {tmp_path}/out/walk-") and error.endswith("cannot be written: File too large\n")
    assert error.count("\n") == 1 and contents(tmp_path) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        ("recognize", str(WALK)),
        ("recognize", str(WALK), "--json"),
        ("generate", "a walk", "--seconds", "1", "--stream"),
        ("models",),
    ],
    ids=" ".join,
)
def test_output_without_space_is_a_one_line_error(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False
        )
    lines = [line for line in process.stderr.splitlines() if "is not for commercial use" not in line]
    assert (process.returncode, lines) == (1, ["motionrt: No space left on device"])


# ----- killed -----

WRITES = """
import json, sys
from pathlib import Path
from motionrt import Motion, Recognizer
from motionrt.runtime.bundles.bundle import write_bundle
kind, path, walk, live = sys.argv[1], *map(Path, sys.argv[2:])
if kind == "bundle":
    files = {one.name: one.read_bytes() for one in live.iterdir()}
    manifest = json.loads(files.pop("manifest.json"))
    files = {name: files[name] for name in manifest.pop("files")}
    write = lambda: write_bundle(path, manifest, files)
elif kind == "checkpoint":
    import torch
    from accelerate import Accelerator
    from motionrt.training.loop import save_checkpoint
    accelerator, steps = Accelerator(cpu=True), iter(range(1, 10**6))
    accelerator.prepare(torch.nn.Linear(1000, 1000))
    write = lambda: save_checkpoint(accelerator, path, next(steps))
else:
    motion = Motion.load(walk)
    write = lambda: motion.save(path)
write()
print(flush=True)
while True:
    write()
"""


def unfinished(path: Path) -> bool:
    """True while a temporary file exists."""
    for part in path.parent.rglob("*"):
        if part.name.endswith(".part") or f".{path.name}-" in str(part) or "checkpoint.new" in part.parts:
            try:
                if part.is_file() and part.stat().st_size:
                    return True
            except FileNotFoundError:
                pass
    return False


def kill_while_writing(kind: str, path: Path) -> None:
    command = [sys.executable, "-c", WRITES, kind, str(path), str(WALK), str(LIVE)]
    with running(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as writer:
        assert writer.stdout is not None and writer.stdout.readline()
        wait_until(lambda: unfinished(path), 60, f"{path.name} is half written")
        writer.send_signal(signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", MOTIONS)
def test_a_motion_survives_a_killed_writer(tmp_path: Path, suffix: str) -> None:
    skip_without_packages(suffix)
    path, walk = tmp_path / f"walk{suffix}", Motion.load(WALK)
    kill_while_writing("motion", path)
    if suffix == ".npz":  # its entries have timestamps
        np.testing.assert_array_equal(Motion.load(path).joints, walk.joints)
    elif suffix == ".mp4":  # its encoder is multithreaded
        with import_module("av").open(str(path)) as video:
            assert sum(1 for _ in video.decode(video=0)) == walk.frames
    else:
        walk.save(tmp_path / f"whole{suffix}")
        assert path.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


@pytest.mark.slow
def test_a_bundle_survives_a_killed_writer(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    kill_while_writing("bundle", path)
    [whole] = [path] if path.exists() else tmp_path.rglob("replaced")  # it is renamed briefly
    assert Recognizer.load(whole).name == "live"


@pytest.mark.slow
def test_a_checkpoint_survives_a_killed_writer(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    import torch
    from accelerate import Accelerator

    from motionrt.training.loop import load_checkpoint

    kill_while_writing("checkpoint", tmp_path / "run")
    accelerator = Accelerator(cpu=True)
    accelerator.prepare(torch.nn.Linear(1000, 1000))
    assert load_checkpoint(accelerator, tmp_path / "run") >= 1

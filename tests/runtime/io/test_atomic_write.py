"""Files appear whole, whoever else writes them, and nowhere else."""

import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest

from motionrt import Motion
from motionrt.runtime.io.atomic_write import atomic_write

THREADS, ROUNDS = 4, 40


def test_threads_that_save_one_file_never_leave_a_part(tmp_path: Path, wave: Motion) -> None:
    path, errors = tmp_path / "walk.npz", list[Exception]()
    clips = [Motion(wave.joints[: 2 + i], wave.fps, wave.layout) for i in range(THREADS)]
    clips[0].save(path)

    def save(clip: Motion) -> None:
        try:
            for _ in range(ROUNDS):
                clip.save(path)
                read = Motion.load(path)
                expected = clips[read.frames - 2].joints
                assert np.array_equal(read.joints, expected, equal_nan=True)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(clip,)) for clip in clips]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and list(tmp_path.iterdir()) == [path]


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "walk.json"
    victim.write_bytes(b"precious")
    (tmp_path / f"walk.json.{os.getpid()}.part").symlink_to(victim)
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new" and not path.is_symlink() and victim.read_bytes() == b"precious"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "walk.json"
    path.write_bytes(b"old")
    path.chmod(mode)
    with atomic_write(path) as file:
        [part] = tmp_path.glob("*.part")
        assert stat.S_IMODE(part.stat().st_mode) == mode
        file.write(b"new")
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with atomic_write(tmp_path / "new") as file:
        file.write(b"new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode

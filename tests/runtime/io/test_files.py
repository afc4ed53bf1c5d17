"""Behavior of `write` that holds for every file type."""

import json
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.errors import InputError, MissingExtra
from motionrt.runtime.io import files
from motionrt.runtime.io.files import read, write
from motionrt.runtime.io.source import open_source

ENDINGS = [".npz", ".bvh", ".glb", ".csv", ".gif", ".mp4"]


@pytest.fixture(autouse=True)
def packages() -> None:
    for module in ("pygltflib", "PIL", "av"):
        pytest.importorskip(module, reason=f"{module} is not installed")


@pytest.fixture(scope="module")
def short(wave: Motion) -> Motion:
    return replace(wave, joints=wave.joints[20:26])


def test_every_extension_is_tested() -> None:
    assert list(files.WRITERS) == ENDINGS


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_interrupted_write_keeps_the_old_file(tmp_path, short, ending, monkeypatch):
    path = tmp_path / f"clip{ending}"
    short.save(path)
    before = path.read_bytes()
    writer, needs = files.WRITERS[ending]
    for stop, seen in ((OSError(28, "No space left on device"), InputError), (KeyboardInterrupt(), KeyboardInterrupt)):

        def interrupted(motion, file, stop=stop):
            writer(motion, file)
            raise stop

        monkeypatch.setitem(files.WRITERS, ending, (interrupted, needs))
        with pytest.raises(seen) as caught:
            replace(short, joints=short.joints[:3]).save(path)
        assert seen is KeyboardInterrupt or str(caught.value) == f"{path}: cannot be written: No space left on device"
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_is_a_one_line_error(tmp_path, short, ending, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")

    @contextmanager
    def full(path, overwrite):
        with open("/dev/full", "w+b") as file:
            yield file

    monkeypatch.setattr(files, "atomic_write", full)
    path = tmp_path / f"clip{ending}"
    with pytest.raises(InputError) as caught:
        short.save(path)
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"


@pytest.mark.parametrize("ending", ENDINGS)
def test_extensions_may_be_upper_case(tmp_path, short, ending):
    short.save(tmp_path / f"CLIP{ending.upper()}")
    assert [path.name for path in tmp_path.iterdir()] == [f"CLIP{ending.upper()}"]


@pytest.mark.parametrize("ending", ENDINGS[1:])
def test_a_joint_that_is_too_far_away_is_not_written(tmp_path, short, ending, recwarn):
    joints = short.joints.copy()
    joints[2, 5, 1] = -1e36
    with pytest.raises(
        InputError, match=r"clip\.\w+: cannot be written: a joint is at 1e\+36, expected at most 1e\+09$"
    ):
        replace(short, joints=joints).save(tmp_path / f"clip{ending}")
    assert not list(tmp_path.iterdir()) and not recwarn.list


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_unwritable_path_is_a_one_line_error(tmp_path, short, ending):
    def refused(path, message):
        with pytest.raises(InputError, match=message) as caught:
            short.save(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)

    refused(tmp_path / "nowhere" / f"clip{ending}", "cannot be written: there is no folder .*nowhere")
    (tmp_path / f"folder{ending}").mkdir()
    refused(tmp_path / f"folder{ending}", "cannot be written: is a folder")
    assert [path.name for path in tmp_path.iterdir()] == [f"folder{ending}"]


def test_a_folder_without_permission_is_a_one_line_error(tmp_path, short, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match=r"clip\.bvh: cannot be written: no permission to write into"):
        short.save(tmp_path / "clip.bvh")


@pytest.mark.parametrize("name", ["clip.fbx", "clip", "clip.npz.bak"])
def test_unknown_extensions(tmp_path, short, name):
    with pytest.raises(InputError, match=r"cannot write .*, expected \.npz, \.bvh, \.glb, \.csv, \.gif, \.mp4$"):
        short.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("ending", "module"), [(".glb", "pygltflib"), (".gif", "PIL"), (".mp4", "av")])
def test_a_missing_package_is_named_before_anything_is_written(tmp_path, short, ending, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / f"clip{ending}"
    with pytest.raises(MissingExtra, match=rf"writing {ending} needs {module} .*: pip install '\.\[files\]'"):
        short.save(path)
    with pytest.raises(MissingExtra):
        files.check_target(path)
    assert not path.exists()


@pytest.mark.parametrize("ending", [".bvh", ".glb"])
def test_skeleton_files_hold_one_whole_person(tmp_path, short, ending):
    gap = short.joints.copy()
    gap[2, 5] = np.nan
    for bad, message in (
        (
            replace(short, joints=np.stack([short.joints] * 2, axis=1)),
            r"a motion of 2 people, expected one: select it with `motion\.person`",
        ),
        (replace(short, joints=gap), "right_knee is missing in frame 2"),
        (Motion(np.ones((2, 17, 2)), 20, "coco17"), "layout coco17 is 2-D"),
    ):
        with pytest.raises(InputError, match=rf"clip\{ending}: {message}"):
            bad.save(tmp_path / f"clip{ending}")
    assert not list(tmp_path.iterdir())


def test_the_base_install_writes_npz_and_bvh(tmp_path, short, monkeypatch):
    for module in ("pygltflib", "PIL", "av"):
        monkeypatch.setitem(sys.modules, module, None)
    for ending in (".npz", ".bvh"):
        write(short, tmp_path / f"clip{ending}")
        assert read(tmp_path / f"clip{ending}").frames == short.frames


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "walk.fbx",
            r"\.fbx is not read: export it from Blender as glTF 2\.0 \(\.glb\) or as Motion Capture \(\.bvh\)",
        ),
        ("walk.mot", r"\.mot is not read: it has joint angles of an OpenSim model: write points, as a \.trc"),
        ("walk.mvn", r"\.mvn is not read: export it from Xsens MVN as \.mvnx"),
        ("walk.pkl", r"\.pkl is not read: reading it can run code: save its arrays as an \.npz"),
        ("walk.xyz", r"cannot read \.xyz, expected \.npz, "),
    ],
)
def test_formats_that_are_not_read_say_what_to_do(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", files.READERS)
def test_a_pointer_of_git_lfs_is_named_as_such(tmp_path, ending):
    path = tmp_path / f"clip{ending}"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n")
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: a pointer of Git LFS, not the file itself: get it with `git lfs pull`"


@pytest.mark.parametrize("ending", files.READERS)
def test_noise_is_one_line(tmp_path, ending):
    path = tmp_path / f"clip{ending}"
    for data in (b"\x00\xff\x80" * 50, b"hello\n", b"\xff\xfe\x00", b"\xef\xbb\xbf"):
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            read(path, fps=30.0)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_byte_order_mark_is_skipped(tmp_path, short):
    short.save(tmp_path / "clip.bvh")
    (tmp_path / "clip.bvh").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "clip.bvh").read_bytes())
    assert read(tmp_path / "clip.bvh").frames == short.frames
    message = {"layout": "smpl22", "joints": short.joints[0].tolist()}
    lines = "\n".join(json.dumps(message | {"t": t / 20}) for t in range(3))
    (tmp_path / "clip.jsonl").write_text("\ufeff" + lines, encoding="utf-8")
    assert read(tmp_path / "clip.jsonl").frames == 3
    with open_source(tmp_path / "clip.jsonl") as source:
        assert len(list(source)) == 3
    joints = json.dumps({"skeletons": np.random.default_rng(0).normal(size=(3, 20, 3)).tolist()})
    (tmp_path / "clip.json").write_text("\ufeff" + joints, encoding="utf-8")
    assert read(tmp_path / "clip.json").frames == 3


def test_large_texts_are_refused_before_they_are_read(tmp_path):
    for ending in (".bvh", ".csv", ".trc", ".mvnx"):
        with (tmp_path / f"clip{ending}").open("wb") as file:
            file.write(b"x")
            file.truncate(1 << 40)
        with pytest.raises(InputError, match=r"has 1099511627776 bytes, the limit is 268435456"):
            read(tmp_path / f"clip{ending}")

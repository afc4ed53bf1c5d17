"""search on the command line: matching motions in a folder, or an error in one line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motionrt.runtime.body.motion import Motion
from motionrt.runtime.cli import main, search


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: Any) -> tuple[int, str, list[str]]:
        status = main(["search", *map(str, arguments)])
        captured = capfd.readouterr()
        return status, captured.out, [line for line in captured.err.splitlines() if "not for commercial" not in line]

    return run


@pytest.fixture
def folder(tmp_path: Path, samples: list[Motion]) -> Path:
    path = tmp_path / "motions"
    path.mkdir()
    for motion, name in zip(samples, ("bow.bvh", "run.npz", "wave.npz", "walk.NPZ"), strict=True):
        motion.save(path / name)
    replace(samples[2], meta={"label": "high\nwave", "text": "arm up"}).save(path / "wave.npz")
    replace(samples[1], meta={"label": "sprint"}).save(path / "run.npz")
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    names: list[str] = []

    load = Motion.load

    def spy(path: Path, *arguments: Any, **options: Any) -> Motion:
        names.append(Path(path).name)
        return load(path, *arguments, **options)

    monkeypatch.setattr(Motion, "load", spy)
    return names


def test_the_best_match_comes_first(run: Any, folder: Path) -> None:
    status, out, err = run("someone waves", "--library", folder)
    assert (status, err) == (0, [])
    rows = [line.split(maxsplit=5) for line in out.splitlines()]
    assert [row[0] for row in rows] == ["1", "2", "3", "4"] and rows[0][2:] == ["wave.npz", "5.8", "s", "arm up"]
    status, out, _ = run("someone runs", "--library", folder, "-k", 1, "--json")
    (report,) = map(json.loads, out.splitlines())
    assert (report["query"], report["model"], report["motions"], report["left_out"]) == (
        "someone runs",
        "default",
        4,
        {},
    )
    (hit,) = report["hits"]
    assert (hit["rank"], hit["file"], hit["text"], hit["seconds"]) == (1, "run.npz", "sprint", pytest.approx(3.3))
    assert 0.5 < hit["score"] <= 1


def test_a_motion_file_finds_similar_motions(run: Any, folder: Path, samples: list[Motion], tmp_path: Path) -> None:
    half = Motion(joints=samples[3].joints[:60], fps=20, layout="smpl22")
    half.save(tmp_path / "some.npz")
    status, out, _ = run(tmp_path / "some.npz", "--library", folder)
    assert status == 0 and out.split()[2] == "walk.NPZ"


def test_only_changed_files_are_read_again(run: Any, folder: Path, opened: list[str], samples: list[Motion]) -> None:
    (folder / "bad.npz").write_text("no archive")
    first = run("someone waves", "--library", folder)
    assert sorted(opened) == ["bad.npz", "bow.bvh", "run.npz", "walk.NPZ", "wave.npz"]
    opened.clear()
    assert run("someone waves", "--library", folder) == first and opened == []
    samples[0].save(folder / "run.npz")
    samples[0].save(folder / "bad.npz")
    (folder / "walk.NPZ").unlink()
    status, out, err = run("someone bows", "--library", folder)
    assert (status, err) == (0, []) and sorted(opened) == ["bad.npz", "run.npz"]
    assert sorted(line.split()[2] for line in out.splitlines()) == ["bad.npz", "bow.bvh", "run.npz", "wave.npz"]
    opened.clear()
    assert run("someone bows", "--library", folder)[1] == out and opened == []


def test_an_unusable_index_is_rebuilt(run: Any, folder: Path, opened: list[str], coamd_bundle: Path) -> None:
    expected = run("someone waves", "--library", folder)
    for spoil in (
        lambda index: index.write_bytes(index.read_bytes()[:-1]),
        lambda index: index.write_bytes(b""),
        lambda index: run("someone waves", "--library", folder, "--model", coamd_bundle),
    ):
        spoil(search.index_file(folder))
        opened.clear()
        assert run("someone waves", "--library", folder) == expected and len(opened) == 4


def test_an_index_in_the_folder_is_not_believed(run: Any, folder: Path, opened: list[str]) -> None:
    run("someone waves", "--library", folder)
    index = search.index_file(folder)
    index.rename(folder / ".motionrt-search.safetensors")
    opened.clear()
    run("someone waves", "--library", folder)
    assert len(opened) == 4 and index.is_file() and folder not in index.parents


def test_a_search_works_without_a_cache_that_can_be_written(run: Any, folder: Path, opened: list[str]) -> None:
    expected = run("someone waves", "--library", folder)
    search.index_file(folder).unlink()
    search.index_file(folder).mkdir()  # not even root can replace a folder by a file
    opened.clear()
    for _ in range(2):
        assert run("someone waves", "--library", folder) == expected
    assert len(opened) == 8 and not list(folder.glob("*.part"))


def test_each_unusable_file_takes_one_line(run: Any, folder: Path, samples: list[Motion]) -> None:
    joints = samples[2].joints
    Motion(joints=joints[:3], fps=20, layout="smpl22").save(folder / "short.npz")
    Motion(joints=joints[:, :17, :2], fps=20, layout="coco17").save(folder / "flat.npz")
    (folder / "text.bvh").write_text("HIERARCHY")
    (folder / "notes.txt").write_text("not a motion")
    (folder / ".hidden.npz").write_text("not a motion")
    (folder / "folder.npz").mkdir()
    status, out, err = run("someone waves", "--library", folder, "--json")
    assert status == 0 and len(json.loads(out)["hits"]) == 4
    expected = {
        "flat.npz": "2-D",
        "folder.npz": "a folder, expected files",
        "short.npz": "a motion of 3 frames",
        "text.bvh": "ends too early",
    }
    assert list(json.loads(out)["left_out"]) == list(expected)
    for line, (file, reason) in zip(err, expected.items(), strict=True):
        assert line.startswith(f"motionrt: {folder / file}: ") and reason in line and line.count(str(folder)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", "--library", "motions"], "query is '', expected a description"),
        (["x" * 600, "--library", "motions"], "512"),
        (["no.npz", "--library", "motions"], "no.npz: no such file"),
        (["motions/notes.json", "--library", "motions"], "notes.json"),
        (["a person walks", "--library", "nowhere"], "nowhere: not a folder, expected a folder of motion files"),
        (
            ["a person walks", "--library", "empty"],
            "empty: no motions to search, expected .npz, .npy",
        ),
        (["a person walks", "--library", "motions", "-k", "0"], "-k"),
        (["a person walks", "--library", "motions", "--model", "live"], "task 'recognition', expected 'generation'"),
        (["a person walks", "--library", "motions", "--backend", "native"], "native backend runs recognizers only"),
        (["a person walks"], "--library"),
    ],
)
def test_errors_take_one_line(
    run: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (folder / "notes.json").write_text("{}")
    status, out, err = run(*arguments)
    assert (status, out) == (2, "") and len(err) == 1 and message in err[0]
    assert not list(tmp_path.glob("*/.motionrt*"))

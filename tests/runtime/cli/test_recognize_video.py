"""What `recognize` prints and writes about a video: latency, overlay, subtitles, tables, progress."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("av", reason="PyAV is not installed")
pytest.importorskip("PIL", reason="Pillow is not installed")

from motionrt import Layout
from motionrt.runtime.bundles import bundle as bundles
from motionrt.runtime.cli import live_status, main
from motionrt.runtime.cli.overlay import Overlay
from motionrt.runtime.io import source as sources
from motionrt.runtime.io.drawing import Person, draw_people
from motionrt.runtime.io.frame import Frame
from motionrt.runtime.io.pose import PoseEstimator
from motionrt.runtime.io.video_file import VideoFile
from motionrt.runtime.recognition.segments import Segment, label_line

from .. import tiny
from ..io.videos import gray, write_video

LEFT = tiny.LABELS[1]
NOBODY, REST, RAISED, PAIR = 0, 60, 120, 180  # what an image shows, by its gray level
SIZE = 240, 320


class Actors:
    """A pose model that reads from the gray level who is there; the second person stands to the right, at rest."""

    layout = tiny.LAYOUT

    def estimate(self, image: np.ndarray, t: float) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        level = 60 * round(image.mean() / 60)
        raised = [] if level == NOBODY else ["left" if level >= RAISED else None]
        return [
            (pose, self.pixels(pose, k, image.shape), np.ones(len(pose), np.float32))
            for k, pose in enumerate(tiny.poses(1, one)[0] for one in [*raised, *([None] if level == PAIR else [])])
        ]

    @staticmethod
    def pixels(pose: np.ndarray, person: int, shape: tuple[int, ...]) -> np.ndarray:
        height, width = shape[:2]
        feet = np.array([width * (1 + 2 * person) / 4, height * 0.9])
        return (feet + pose[:, :2] * (height * 0.4, -height * 0.4)).astype(np.float32)

    def close(self) -> None: ...


@pytest.fixture
def run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., SimpleNamespace]:
    tiny.tiny_bundle(tmp_path / "models" / "live", name="live")
    monkeypatch.setattr(bundles, "MODELS", tmp_path / "models")
    monkeypatch.setattr(PoseEstimator, "load", classmethod(lambda cls, name: cls(Actors())))

    def run(*arguments: str | Path) -> SimpleNamespace:
        status = main([str(argument) for argument in ("recognize", *arguments)])
        captured = capfd.readouterr()
        return SimpleNamespace(status=status, out=captured.out, err=captured.err, lines=captured.out.splitlines())

    return run


def film(path: Path, *shots: tuple[int, int], size: tuple[int, int] = SIZE, **display: Any) -> Path:
    """A video at 25 Hz: (gray level, images) one after the other."""
    levels = [level for level, images in shots for _ in range(images)]
    return write_video(path, np.arange(len(levels)) / 25, gray(levels, size), **display)


def test_the_latency_of_pose_and_recognition_are_told_apart(run: Any, tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4", (REST, 20), (RAISED, 30))
    last = run(clip).lines[-1]
    pattern = (
        r"50 frames, 0 dropped; latency in ms: pose p50 \S+, p90 .*; recognition p50 .*; \d+\.\d frames per second"
    )
    assert re.match(pattern, last), last
    summary = json.loads(run(clip, "--json").lines[-1])["summary"]
    latency = ["p50_ms", "p90_ms", "p99_ms", "max_ms"]
    assert list(summary) == ["frames", "dropped", *latency, *(f"pose_{name}" for name in latency), "frames_per_second"]
    assert 0 < summary["frames_per_second"] < 1000 / (summary["pose_p50_ms"] + summary["p50_ms"])
    skeletons = tmp_path / "clip.npz"
    np.savez(skeletons, joints=tiny.poses(20), fps=tiny.FPS, layout=tiny.LAYOUT)
    assert "; latency in ms: p50 " in run(skeletons).lines[-1]


def test_times_count_from_the_start_of_the_video(run: Any, tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4", (NOBODY, 50), (REST, 25), (RAISED, 25))
    lines = run(clip).lines
    assert float(lines[1].split()[0]) == 2.0 and "none" in lines[1] and LEFT in lines[2]
    assert float(lines[2].split()[2]) == pytest.approx(99 / 25, abs=0.01)


def test_subtitles_and_a_table_hold_the_segments_of_the_timeline(run: Any, tmp_path: Path) -> None:
    clip, srt, table = film(tmp_path / "clip.mp4", (REST, 25), (RAISED, 50)), tmp_path / "a.srt", tmp_path / "a.csv"
    result = run(clip, "--srt", srt, "--csv", table)
    assert result.status == 0
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [(row["source"], row["person"], row["label"]) for row in rows] == [
        (str(clip), "0", "none"),
        (str(clip), "0", LEFT),
    ]
    for row, line in zip(rows, result.lines[1:-1], strict=True):
        start, _, end, *_, score = line.split()
        assert [f"{float(row[name]):.2f}" for name in ("start_s", "end_s", "score")] == [start, end, score]
    number, times, text = srt.read_text().splitlines()
    start_s, end_s = (float(rows[1][name]) for name in ("start_s", "end_s"))
    assert number == "1" and times == f"00:00:0{start_s:.3f} --> 00:00:0{end_s:.3f}".replace(".", ",")
    assert text == f"{LEFT} {float(rows[1]['score']):.2f}"


def test_several_people_are_named_in_subtitles(run: Any, tmp_path: Path) -> None:
    srt = tmp_path / "a.srt"
    assert run(film(tmp_path / "clip.mp4", (PAIR, 50)), "--srt", srt).status == 0
    assert srt.read_text().splitlines()[2].startswith(f"person 0  {LEFT} ")


def test_a_table_holds_every_source_and_subtitles_only_one(run: Any, tmp_path: Path) -> None:
    (tmp_path / "takes").mkdir()
    for number in (10, 9):
        film(tmp_path / "takes" / f"{number}.mp4", (RAISED, 25))
    result = run(tmp_path / "takes", "--csv", tmp_path / "a.csv")
    names = [str(tmp_path / "takes" / f"{number}.mp4") for number in (9, 10)]
    assert [line for line in result.lines if line.endswith(".mp4")] == names
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert list(dict.fromkeys(row["source"] for row in rows)) == names and {row["label"] for row in rows} >= {LEFT}
    for option, file in (("--srt", "a.srt"), ("--overlay", "a.mp4")):
        refused = run(tmp_path / "takes", option, tmp_path / file)
        assert (refused.status, refused.err) == (2, f"motionrt: {option} is for one source, but there are 2\n")


@pytest.mark.parametrize(("option", "file"), [("--srt", "a.txt"), ("--csv", "a.tsv"), ("--csv", "none/a.csv")])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    run: Any, tmp_path: Path, option: str, file: str
) -> None:
    result = run(tmp_path / "nowhere.mp4", option, tmp_path / file)
    assert result.status == 2 and str(tmp_path / file) in result.err and "nowhere" not in result.err


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """[H, W] bool, where the overlay drew something."""
    return np.asarray(np.abs(before.astype(int) - after).max(axis=-1) > 40)


def test_the_overlay_copies_every_image_at_its_time_and_draws_the_people(run: Any, tmp_path: Path) -> None:
    clip, out = film(tmp_path / "clip.mp4", (NOBODY, 10), (PAIR, 30), (NOBODY, 10)), tmp_path / "o.mp4"
    assert run(clip, "--overlay", out).status == 0
    (before, after) = (list(VideoFile(path)) for path in (clip, out))
    assert [t for t, _ in after] == pytest.approx([t for t, _ in before], abs=1e-4)
    drawn = [changed(one, other) for (_, one), (_, other) in zip(before, after, strict=True)]
    assert [bool(one.any()) for one in drawn] == [False] * 10 + [True] * 30 + [False] * 10
    middle = drawn[25]
    assert middle[:, :160].sum() > 300 < middle[:, 160:].sum()  # both people
    assert not list(tmp_path.glob(".overlay*")) and not list(tmp_path.glob("*.part"))


def test_the_overlay_of_a_turned_video_is_upright(run: Any, tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4", (RAISED, 20), degrees=-90)
    assert run(clip, "--overlay", tmp_path / "o.mp4").status == 0
    assert next(iter(VideoFile(tmp_path / "o.mp4")))[1].shape == (320, 240, 3)


def frame(shape: tuple[int, int], layout: str = tiny.LAYOUT, person: int = 0) -> Frame:
    pose = tiny.poses(1)[0]
    return Frame(t=0.0, person=person, joints=pose, layout=layout, pixels=Actors.pixels(pose, person, shape))


@pytest.mark.parametrize("several", [False, True])
def test_the_overlay_shows_what_the_text_shows_at_the_scale_of_the_image(several: bool, monkeypatch: Any) -> None:
    from PIL import ImageDraw

    texts: list[tuple[str, tuple[int, ...]]] = []
    write = ImageDraw.ImageDraw.text

    def text(pen: Any, place: Any, words: str, **style: Any) -> None:
        write(pen, place, words, **style)
        left, top, right, bottom = pen.textbbox(place, words, font=style["font"], stroke_width=style["stroke_width"])
        texts.append((words, (left, top, right, bottom)))

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    heights = []
    for height in (240, 960):
        image = np.full((height, height * 4 // 3, 3), 60, np.uint8)
        segment = Segment(start=0, end=1, label="raise left hand", score=0.876)
        after = draw_people(image, [Person(frame(image.shape[:2]), label_line(segment, several))])
        left, top, right, bottom = texts[-1][1]
        assert 0 <= left < right <= image.shape[1] and 0 <= top < bottom <= image.shape[0]
        heights.append(bottom - top)
        legs = changed(image, after)[int(height * 0.6) : int(height * 0.65)].sum(axis=1)  # two lines
        assert legs.max() >= 2 * round(height / 240)
    assert {words for words, _ in texts} == {("person 0  " if several else "") + "raise left hand 0.88"}
    assert heights[1] / heights[0] == pytest.approx(4, rel=0.1)


def test_the_overlay_joins_hips_and_shoulders_of_layouts_without_a_spine() -> None:
    layout = Layout.load("coco17")
    pixels = np.full((17, 2), np.nan, np.float32)
    for name, place in {
        "left_hip": (40, 50),
        "right_hip": (80, 50),
        "left_shoulder": (40, 20),
        "right_shoulder": (80, 20),
    }.items():
        pixels[layout.joints.index(name)] = place
    image = np.zeros((100, 120, 3), np.uint8)
    one = Frame(t=0.0, person=0, joints=pixels, layout=layout.name, pixels=pixels)
    drawn = changed(image, draw_people(image, [Person(one)]))
    assert all(drawn[y, x] for y, x in ((50, 60), (20, 60), (35, 40), (35, 80)))  # four sides


def test_an_overlay_needs_images_and_is_complete_or_absent(run: Any, tmp_path: Path) -> None:
    skeletons = tmp_path / "clip.npz"
    np.savez(skeletons, joints=tiny.poses(20), fps=tiny.FPS, layout=tiny.LAYOUT)
    result = run(skeletons, "--overlay", tmp_path / "o.mp4")
    assert (result.status, result.err) == (2, f"motionrt: {tmp_path / 'o.mp4'}: --overlay needs a video source\n")
    assert "expected an .mp4 file" in run(film(tmp_path / "a.mp4", (REST, 9)), "--overlay", tmp_path / "o.avi").err
    assert run(film(tmp_path / "empty.mp4", (NOBODY, 9)), "--overlay", tmp_path / "o.mp4").status == 2
    assert not (tmp_path / "o.mp4").exists()


def test_the_images_of_a_camera_are_kept_until_the_segments_are_known(tmp_path: Path) -> None:
    image = gray([REST], SIZE)[0]
    with Overlay(tmp_path / "o.mp4", keep_images=True) as overlay:
        for t in (5.0, 5.1, 5.5):
            overlay.observe(t, [replace(frame(SIZE), t=t, image=image)], image)
        overlay.observe(5.7, [], None)
        overlay.write(None, [Segment(start=5.0, end=5.5, label=LEFT, score=0.9)])
    images = list(VideoFile(tmp_path / "o.mp4"))
    assert [t for t, _ in images] == pytest.approx([0, 0.1, 0.5], abs=1e-4)
    assert all(changed(image, one).any() for _, one in images)
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


class Webcam:
    """Images of a camera at 25 Hz, with a pause after the first."""

    def __init__(self, levels: Sequence[int]) -> None:
        self.images = list(enumerate(gray(levels, SIZE)))

    def __iter__(self) -> Iterator[tuple[float, np.ndarray | None]]:
        for k, image in self.images:
            yield k / 25, image
            if k == 0:
                yield 0.02, None

    def close(self) -> None: ...


def test_the_overlay_of_a_camera_has_its_images_without_people(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = [NOBODY] * 10 + [RAISED] * 30 + [NOBODY] * 10
    monkeypatch.setattr(sources, "open_video", lambda number: Webcam(levels))
    assert run("0", "--overlay", tmp_path / "o.mp4").status == 0
    images = list(VideoFile(tmp_path / "o.mp4"))
    assert [t for t, _ in images] == pytest.approx(np.arange(50) / 25, abs=1e-4)
    drawn = [changed(before, after).any() for before, (_, after) in zip(gray(levels, SIZE), images, strict=True)]
    assert drawn == [False] * 10 + [True] * 30 + [False] * 10


@pytest.mark.parametrize(("patience_s", "bar"), [(0.0, True), (60.0, False)])
def test_a_long_file_gets_a_progress_bar_on_a_terminal(
    patience_s: float, bar: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_status, "PATIENCE_S", patience_s)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    status = live_status.LiveStatus(io.StringIO(), console)
    status.start(SimpleNamespace(recorded=True, progress=0.42), lambda: "  now: wave 0.90")  # type: ignore[arg-type]
    status._live.refresh()
    status.stop()
    assert "now: wave 0.90" in screen.getvalue() and ("42%" in screen.getvalue()) is bar

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.errors import InputError
from motionrt.runtime.io.source import open_source
from motionrt.runtime.io.video_file import VideoFile

av = pytest.importorskip("av", reason="PyAV is not installed")
from runtime.io.videos import gray, write_video  # noqa: E402

CANVAS = Path(__file__).parents[2] / "recordings" / "canvas.webm"


class Nobody:
    layout = "core15"
    closed = 0

    def estimate(self, image, t):
        assert image.dtype == np.uint8 and image.shape[2] == 3
        return []

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_every_image_is_read_at_its_own_time(tmp_path, suffix):
    rng = np.random.default_rng(0)
    times = np.cumsum(np.r_[0, rng.choice([0.01, 0.03, 0.1, 0.5], 39)])
    path = write_video(tmp_path / f"variable{suffix}", times, gray(range(20, 220, 5)))
    images = list(VideoFile(path))
    np.testing.assert_allclose([t for t, _ in images], times, atol=0.0011)  # Matroska counts milliseconds
    np.testing.assert_allclose([image.mean() for _, image in images], range(20, 220, 5), atol=3)


@pytest.mark.parametrize("name", ["late.ts", "late.mkv"])
def test_times_count_from_the_start_of_the_container(tmp_path, name):
    times = 0.5 + np.arange(9) / 30
    images = list(VideoFile(write_video(tmp_path / name, times, gray(range(0, 90, 10)))))
    np.testing.assert_allclose([t for t, _ in images], times - 0.5, atol=1e-3)


def test_a_recording_of_a_browser_plays_at_its_speed():
    with av.open(str(CANVAS)) as container:
        assert container.streams.video[0].base_rate == 1000  # what a reader of the header takes for the rate
    images = list(VideoFile(CANVAS))
    times = np.array([t for t, _ in images])
    bars = np.array([(image[45, :, 1] > 128).sum() for _, image in images])
    np.testing.assert_allclose(times, (bars - 40) * 0.015, atol=0.03)  # the bar grows by a pixel every 15 ms
    assert len(images) == 49 and 3.9 < times[-1] < 4.0 and np.diff(times).max() > 0.65
    np.testing.assert_allclose(images[0][1][135, 160].astype(int), (255, 0, 0), atol=25)


CORNERS = {"red": (230, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 230), "white": (240, 240, 240)}


def quarters(*names):
    """An image [64, 96, 3] with colors at the top left, top right, bottom left and bottom right."""
    image = np.zeros((64, 96, 3), np.uint8)
    for k, name in enumerate(names):
        image[32 * (k // 2) :][:32, 48 * (k % 2) :][:, :48] = CORNERS[name]
    return image


def corners(image):
    """Names of the colors, in the order of `quarters`."""
    height, width = image.shape[:2]
    places = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    colors = [image[place].astype(int) for place in places]
    return [min(CORNERS, key=lambda name: np.abs(color - CORNERS[name]).sum()) for color in colors]


@pytest.mark.parametrize(
    ("display", "expected"),
    [
        ({"degrees": 0}, ["red", "green", "blue", "white"]),
        ({"degrees": -90}, ["blue", "red", "white", "green"]),  # a phone held upright: a quarter turn clockwise
        ({"degrees": 90}, ["green", "white", "red", "blue"]),
        ({"degrees": 180}, ["white", "blue", "green", "red"]),
        ({"degrees": 0, "hflip": True}, ["green", "red", "white", "blue"]),
        ({"degrees": 0, "vflip": True}, ["blue", "white", "red", "green"]),
        ({"degrees": -90, "hflip": True}, ["red", "blue", "green", "white"]),
        ({"degrees": 90, "hflip": True}, ["white", "green", "blue", "red"]),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_images_are_turned_as_the_container_wants(tmp_path, suffix, display, expected):
    image = quarters("red", "green", "blue", "white")
    path = write_video(tmp_path / f"turned{suffix}", [0, 0.04, 0.08], [image] * 3, **display)
    images = [image for _, image in VideoFile(path)]
    assert [image.shape for image in images] == [(96, 64, 3) if display["degrees"] % 180 else (64, 96, 3)] * 3
    assert all(corners(image) == expected for image in images)


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    with av.open(str(tmp_path / "wide.mp4"), "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(gray([99])[0], "rgb24")))
        container.mux(stream.encode())
    [(_, image)] = VideoFile(tmp_path / "wide.mp4")
    assert image.shape == (48, 85, 3)


def test_images_without_times_follow_one_another_with_a_warning(tmp_path, caplog, monkeypatch):
    path = write_video(tmp_path / "untimed.mp4", np.arange(4) / 30, gray([9, 99, 150, 200]))
    decode = VideoFile._decode

    def untimed(self):
        for k, image in enumerate(decode(self)):
            image.pts = image.dts = None if k == 2 else 0
            yield image

    monkeypatch.setattr(VideoFile, "_decode", untimed)
    with caplog.at_level(logging.WARNING):
        times = [t for t, _ in VideoFile(path)]
    np.testing.assert_allclose(times, np.arange(4) / 30)
    assert caplog.messages == [f"{path}: has images without times of their own, assuming 30 frames per second"]


def test_a_rest_that_is_damaged_or_missing_is_ignored_with_a_warning(tmp_path, caplog, capfd):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(90)]
    path = write_video(tmp_path / "cut.mp4", np.arange(90) / 15, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        images = list(VideoFile(path))
    assert 20 < len(images) < 60
    [message] = caplog.messages
    assert message.startswith(f"{path}: ") and message.endswith((" s of 6.0 s, the rest is missing", "ignored"))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "content",
    [b"\0\1\2\3" * 5000, b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 4000, b"\x1a\x45\xdf\xa3" + b"\0" * 99],
)
def test_a_file_that_is_not_a_video(tmp_path, content, capfd):
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.mp4: is not a video that can be read"):
        open_source(tmp_path / "bad.mp4", pose=Nobody())
    assert capfd.readouterr().err == ""


def test_a_file_with_sound_only_is_not_a_video(tmp_path):
    with av.open(str(tmp_path / "talk.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match=r"talk\.mp4: is not a video that can be read: it has no images"):
        VideoFile(tmp_path / "talk.mp4")


def test_a_source_reads_every_image_and_tells_its_progress(tmp_path):
    path, nobody = write_video(tmp_path / "clip.mp4", 1.5 * np.arange(12), gray(range(12))), Nobody()
    with open_source(path, pose=nobody) as source:
        progress = [(t, source.progress) for t, _ in source.snapshots()]
    assert [t for t, _ in progress] == pytest.approx(1.5 * np.arange(12))
    assert all(0 <= part <= 1 for _, part in progress) and source.progress == 1
    assert (source.frames_in, source.dropped, nobody.closed, len(source.pose_latencies_ms)) == (12, 0, 1, 12)
    assert source.recorded and source.start_s == 0

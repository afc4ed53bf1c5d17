import sys

import numpy as np
import pytest

from motionrt.runtime.errors import InputError, MissingExtra
from motionrt.runtime.io.media_folder import PAUSE_S, open_folder
from motionrt.runtime.io.source import open_source

pytest.importorskip("av", reason="PyAV is not installed")
image_module = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
from runtime.io.videos import gray, write_video  # noqa: E402


class Brightness:
    """A pose model that remembers the images: their times, brightness and shapes."""

    layout = "core15"

    def __init__(self):
        self.images = []

    def estimate(self, image, t):
        self.images.append((round(t, 3), round(float(image.mean())), image.shape))
        return []

    def close(self):
        pass


def seen(source, **options):
    """What a pose model sees of a source."""
    model = Brightness()
    with open_source(source, pose=model, **options) as opened:
        assert opened.recorded and all(people == [] for _, people in opened.snapshots())
        assert opened.progress == 1
    return model.images


def save(folder, name, level, size=(48, 64), **options):
    image_module.fromarray(gray([level], size)[0]).save(folder / name, **options)


def test_images_are_played_in_natural_order_at_the_rate_asked_for(tmp_path):
    for number in (10, 2, 1, 33):
        save(tmp_path, f"shot{number}.PNG", number)
    save(tmp_path, ".shot5.png", 5)
    (tmp_path / "notes.txt").write_text("hidden files and other files are ignored")
    expected = [(0.0, 1, (48, 64, 3)), (0.04, 2, (48, 64, 3)), (0.08, 10, (48, 64, 3)), (0.12, 33, (48, 64, 3))]
    assert seen(tmp_path, fps=25) == expected


def test_photos_are_turned_by_their_orientation(tmp_path):
    exif = image_module.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    save(tmp_path, "1.jpg", 90, exif=exif)
    save(tmp_path, "2.jpg", 90)
    assert [shape for *_, shape in seen(tmp_path, fps=1)] == [(64, 48, 3), (48, 64, 3)]


def test_videos_are_played_one_after_the_other_with_a_pause(tmp_path):
    for number, level in ((10, 100), (9, 50)):
        write_video(tmp_path / f"take {number}.mp4", [0, 0.1, 0.4], gray([level, level, level]))
    start = 0.4 + PAUSE_S
    times = [0, 0.1, 0.4, start, start + 0.1, start + 0.4]
    images = seen(tmp_path)
    assert [t for t, *_ in images] == pytest.approx(times, abs=1e-3)
    assert [level for _, level, _ in images] == pytest.approx([50, 50, 50, 100, 100, 100], abs=2)


def test_a_folder_that_is_neither_is_refused_in_one_line(tmp_path):
    def refusal(**options):
        with pytest.raises(InputError) as caught:
            open_source(tmp_path, pose=Brightness(), **options)
        return str(caught.value)

    assert refusal() == f"{tmp_path}: a folder without images or videos, expected files, as in FOLDER/*.npz"
    save(tmp_path, "1.png", 9)
    assert refusal() == f"{tmp_path}: images have no times, expected their frames per second (--fps)"
    assert refusal(fps=0).endswith("(--fps)") and refusal(fps=np.nan).endswith("(--fps)")
    write_video(tmp_path / "1.mp4", [0], gray([9]))
    assert refusal(fps=9) == f"{tmp_path}: has 1 images and 1 videos, expected only one of them"


def test_a_damaged_image_is_named(tmp_path):
    save(tmp_path, "1.png", 9)
    (tmp_path / "2.png").write_bytes(b"\x89PNG nonsense")
    with (
        pytest.raises(InputError, match=rf"^{tmp_path}: 2\.png: is not an image that can be read$"),
        open_source(tmp_path, pose=Brightness(), fps=9) as source,
    ):
        list(source)


def test_images_without_pillow(tmp_path, monkeypatch):
    save(tmp_path, "1.png", 9)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtra, match=r"reading images needs PIL\.Image .*: pip install '\.\[files\]'"):
        open_folder(tmp_path, 30)

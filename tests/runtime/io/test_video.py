import sys
import threading

import numpy as np
import pytest
from wait import wait_until

from motionrt.runtime.errors import InputError
from motionrt.runtime.io.source import open_source
from motionrt.runtime.io.video import Camera, redact_credentials


class FakeCapture:
    """A camera with `frames` images, the n-th filled with n; each release of `tick` yields one."""

    def __init__(self, frames):
        self.n, self.frames, self.released = 0, frames, False
        self.tick = threading.Semaphore(0)

    def read(self):
        self.tick.acquire()
        self.n += 1
        return self.n <= self.frames, np.full((2, 2, 3), self.n, np.uint8)

    def release(self):
        self.released = True


def next_image(images):
    """The next image, and its time."""
    return next((t, image) for t, image in images if image is not None)


def test_a_camera_keeps_the_newest_image_and_counts_the_others():
    capture = FakeCapture(10)
    camera = Camera(lambda: capture)
    images = iter(camera)
    capture.tick.release()
    t0, image = next_image(images)
    assert image[0, 0, 0] == 1 and camera.dropped == 0
    for _ in range(5):
        capture.tick.release()
    wait_until(lambda: capture.n == 6 and camera.dropped == 4, 30, "capture.n == 6 and camera.dropped == 4")
    t1, image = next_image(images)
    assert image[0, 0, 0] == 6 and t1 > t0
    for _ in range(5):
        capture.tick.release()
    wait_until(lambda: capture.released, 30, "capture.released")
    assert [image[0, 0, 0] for _, image in images] == [10]
    assert camera.dropped == 7


def test_a_camera_that_is_closed_stops_waiting_and_is_released():
    capture = FakeCapture(10)
    camera = Camera(lambda: capture)
    closer = threading.Timer(0.05, lambda: (capture.tick.release(1), camera.close()))
    closer.start()
    assert len([image for _, image in camera if image is not None]) <= 1
    wait_until(lambda: capture.released, 30, "capture.released")


def test_a_silent_camera_yields_heartbeats():
    capture = FakeCapture(10)
    camera = Camera(lambda: capture)
    images = iter(camera)
    (t0, nothing), (t1, still_nothing) = next(images), next(images)
    assert nothing is still_nothing is None and 0.1 <= t0 < t1
    capture.tick.release(2)
    camera.close()


class Street:
    """Opens one capture after the other; None is one that cannot be opened."""

    def __init__(self, *captures):
        self.captures, self.tries = iter(captures), 0

    def __call__(self):
        self.tries += 1
        capture = next(self.captures, None)
        if capture is None:
            raise InputError("cannot be opened")
        return capture


def playing(frames):
    """A capture without delays."""
    capture = FakeCapture(frames)
    capture.tick.release(frames + 1)
    return capture


def test_an_interrupted_stream_is_reopened():
    first, second = playing(3), FakeCapture(9)
    street = Street(first, None, second)
    camera = Camera(street, pauses_s=(0.0, 0.01))
    wait_until(lambda: camera.reopened == 1, 30, "camera.reopened == 1")
    assert first.released and street.tries == 3
    images = iter(camera)
    assert next_image(images)[1][0, 0, 0] == 3 and camera.dropped == 2
    second.tick.release()
    assert next_image(images)[1][0, 0, 0] == 1
    assert camera.dropped == 2
    second.tick.release(9)
    camera.close()
    wait_until(lambda: second.released, 30, "second.released")


def test_a_stream_that_cannot_be_reopened_is_an_error_after_its_images():
    street = Street(playing(2), playing(0))
    camera = Camera(street, pauses_s=(0.0, 0.0, 0.01))
    wait_until(lambda: street.tries == 4, 30, "street.tries == 4")
    images = iter(camera)
    assert next_image(images)[1][0, 0, 0] == 2
    with pytest.raises(InputError, match="interrupted, and there was no image after 3 attempts to reopen it"):
        next_image(images)


def test_an_image_resets_the_count_of_failures():
    street = Street(playing(1), None, playing(1), None, playing(1))
    with pytest.raises(InputError, match="after 2 attempts"):
        list(Camera(street, pauses_s=(0.0, 0.01)))
    assert street.tries == 7


def test_closing_ends_the_pause_before_another_attempt():
    street = Street(playing(1))
    camera = Camera(street, pauses_s=(60,))
    images = iter(camera)
    next_image(images)
    camera.close()
    assert list(images) == [] and street.tries == 1
    assert "camera" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize(
    ("address", "redacted"),
    [
        ("rtsp://host:554/live", "rtsp://host:554/live"),
        ("rtsp://me:secret@host:554/live", "rtsp://host:554/live"),
        ("rtsp://me:se/cr@et@host/live?channel=2", "rtsp://host/live?channel=2"),
        ("rtsp://host/user=me&password=secret&channel=2", "rtsp://host/user=me&password=***&channel=2"),
        ("rtsps://host/live?token=secret", "rtsps://host/live?token=***"),
        ("a@b.mp4", "a@b.mp4"),
    ],
)
def test_credentials_are_redacted(address, redacted):
    assert redact_credentials(address) == redacted


class FakeCV2:
    """OpenCV that opens nothing, and records its arguments."""

    CAP_FFMPEG, CAP_PROP_OPEN_TIMEOUT_MSEC, CAP_PROP_READ_TIMEOUT_MSEC = 1900, 53, 54

    def __init__(self):
        self.asked = []

    def setLogLevel(self, level):  # noqa: N802
        pass

    def VideoCapture(self, *asked):  # noqa: N802
        self.asked.append(asked)
        return self

    def isOpened(self):  # noqa: N802
        return False

    def release(self):
        pass


def test_a_stream_is_opened_with_a_timeout_and_its_password_is_hidden(monkeypatch):
    cv2 = FakeCV2()
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    with pytest.raises(InputError) as caught:
        open_source("rtsp://me:secret@host/live", pose=Nobody())
    assert str(caught.value) == "rtsp://host/live: cannot be opened as a video within 5 s"
    assert cv2.asked == [("rtsp://me:secret@host/live", 1900, [53, 5000, 54, 5000])]


def test_a_real_stream_is_read_and_reopened_at_its_end(tmp_path):
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(str(tmp_path / "gray.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(12):
        writer.write(np.full((48, 64, 3), 128, np.uint8))
    writer.release()
    camera = Camera(f"file://{tmp_path / 'gray.avi'}", pauses_s=(0.0, 0.0))
    images = iter(camera)
    assert next_image(images)[1].shape == (48, 64, 3)
    wait_until(lambda: camera.reopened >= 2, 30, "camera.reopened >= 2")
    assert next_image(images)[1].mean() == pytest.approx(128, abs=2)
    (tmp_path / "gray.avi").rename(tmp_path / "renamed.avi")
    with pytest.raises(InputError, match="interrupted, and there was no image after 2 attempts"):
        list(images)
    with pytest.raises(InputError, match=r"gray\.avi: cannot be opened as a video within 5 s"):
        Camera(f"file://{tmp_path / 'gray.avi'}")


class Nobody:
    layout = "core15"
    closed = 0

    def estimate(self, image, t):
        assert image.dtype == np.uint8 and image.shape[2] == 3
        return []

    def close(self):
        self.closed += 1


def test_a_missing_camera():
    pytest.importorskip("cv2")
    with pytest.raises(InputError, match="camera 99: cannot be opened as a video"):
        open_source(99, pose=Nobody())

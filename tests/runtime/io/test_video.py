import threading
import time

import numpy as np
import pytest

from motionrt.runtime.errors import InputError
from motionrt.runtime.io import open_source
from motionrt.runtime.io.video import Camera, VideoFile
from motionrt.runtime.skeleton import Layout


class FakeCapture:
    """A camera of `frames` images, whose n-th is all n; it gives one each time `tick` is released."""

    def __init__(self, frames):
        self.n, self.frames, self.released = 0, frames, False
        self.tick = threading.Semaphore(0)

    def read(self):
        self.tick.acquire()
        self.n += 1
        return self.n <= self.frames, np.full((2, 2, 3), self.n, np.uint8)

    def release(self):
        self.released = True


def wait_for(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_camera_keeps_the_newest_image_and_counts_the_others():
    capture = FakeCapture(10)
    camera = Camera(capture)
    images = iter(camera)
    capture.tick.release()
    t0, image = next(images)
    assert image[0, 0, 0] == 1 and camera.dropped == 0
    for _ in range(5):
        capture.tick.release()
    wait_for(lambda: capture.n == 6 and camera.dropped == 4)
    t1, image = next(images)
    assert image[0, 0, 0] == 6 and t1 > t0
    for _ in range(5):
        capture.tick.release()
    wait_for(lambda: capture.released)
    assert [image[0, 0, 0] for _, image in images] == [10]
    assert camera.dropped == 7


def test_a_camera_that_is_closed_stops_waiting_and_is_released():
    capture = FakeCapture(10)
    camera = Camera(capture)
    closer = threading.Timer(0.05, lambda: (capture.tick.release(1), camera.close()))
    closer.start()
    assert len(list(camera)) <= 1
    wait_for(lambda: capture.released)


class Nobody:
    layout = "core15"
    closed = 0

    def estimate(self, image, t):
        assert image.dtype == np.uint8 and image.shape[2] == 3
        return []

    def close(self):
        self.closed += 1


def test_every_image_of_a_video_is_seen(tmp_path):
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(12):
        writer.write(np.full((48, 64, 3), (0, 0, 255), np.uint8))  # BGR
    writer.release()
    images = list(VideoFile(tmp_path / "red.avi"))
    np.testing.assert_allclose([t for t, _ in images], np.arange(12) / 25)
    assert images[0][1].shape == (48, 64, 3)
    assert images[0][1][..., 0].mean() > 200 > 50 > images[0][1][..., 2].mean()  # RGB
    nobody = Nobody()
    with open_source(tmp_path / "red.avi", pose=nobody) as source:
        assert list(source) == []
    source.close()
    assert (source.frames_in, source.dropped, nobody.closed) == (12, 0, 1)


@pytest.mark.parametrize("content", [b"\0\1\2\3" * 5000, b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 4000])
def test_a_video_that_is_none(tmp_path, content, capfd):
    pytest.importorskip("cv2")
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.mp4: (cannot be opened as video|is not a video)"):
        open_source(tmp_path / "bad.mp4", pose=Nobody())
    assert capfd.readouterr().err == ""


def test_a_camera_that_is_not_there():
    pytest.importorskip("cv2")
    with pytest.raises(InputError, match="camera 99: cannot be opened as video"):
        open_source(99, pose=Nobody())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "images", "least"), [("ta_chi.mp4", 300, 300), ("exercise.avi", 393, 380)])
def test_mediapipe_on_real_footage(shared, name, images, least):
    pytest.importorskip("mediapipe")
    path = shared.parent / "video" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    layout = Layout.load("mediapipe33")
    (left, right), place = layout.facing, layout.joints.index
    with open_source(path) as source:
        frames = list(source)
    assert source.frames_in == images and len(frames) >= least
    assert {(frame.person, frame.layout) for frame in frames} == {(0, "mediapipe33")}
    joints = np.stack([frame.joints for frame in frames])  # [T, 33, 3]
    ears = joints[:, [place("left_ear"), place("right_ear")]].mean(axis=1)
    assert (ears[:, 1] > joints[:, [left[0], right[0]], 1].mean(axis=1)).all()  # upright
    side = joints[:, left].sum(axis=1) - joints[:, right].sum(axis=1)
    forward = np.stack([-side[:, 2], 0 * side[:, 0], side[:, 0]], axis=-1)
    nose = joints[:, place("nose")] - ears
    assert ((forward * nose).sum(axis=-1) > 0).all()  # the nose points where the hips and shoulders face

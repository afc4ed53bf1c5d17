import subprocess
import sys
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError, MissingExtra
from motionrt.runtime.io.pose import PoseEstimator
from motionrt.runtime.io.pose_model import Person

IMAGE = np.zeros((480, 640, 3), np.uint8)


def person(x, y=200.0, size=100.0):
    pixels = np.float32([[x - size / 2, y - size], [x + size / 2, y + size]])
    return Person(joints=np.zeros((2, 3), np.float32), pixels=pixels, confidence=np.ones(2, np.float32))


def test_frames_carry_their_image_and_pixels():
    class Walker:
        layout = "core15"

        def estimate(self, image, t):
            return [person(100 + 100 * t)] if t < 0.15 else []

        def close(self):
            pass

    updates = list(PoseEstimator(Walker()).track((t, IMAGE) for t in (0.0, 0.1, 0.2)))
    assert [(t, [frame.person for frame in people]) for t, people in updates] == [
        (0.0, [0]),
        (0.1, [0]),
        (0.2, []),
    ]
    frame = updates[1][1][0]
    assert frame.image is IMAGE and frame.layout == "core15" and frame.pixels.shape == (2, 2)


def test_people_are_tracked_up_to_the_limit():
    class Crowd:
        layout = "core15"

        def estimate(self, image, t):
            people = [person(200 * k + 50 * t) for k in range(17)]
            return people if t == 0 else people[::-1]

        def close(self):
            pass

    (_, first), heartbeat, (_, second) = PoseEstimator(Crowd()).track([(0.0, IMAGE), (0.05, None), (0.1, IMAGE)])
    assert [frame.person for frame in first] == list(range(16))
    assert heartbeat == (0.05, None)
    assert [frame.person for frame in second] == list(range(16))[::-1]


class Video(list):
    closed = False

    def close(self):
        self.closed = True


def test_the_people_of_a_video_one_by_one(monkeypatch):
    class Pair:
        layout = "core15"

        def estimate(self, image, t):
            return [tuple(person(100)), tuple(person(400))] if t else []

    video = Video([(0.0, IMAGE), (0.1, None), (0.2, IMAGE), (0.3, IMAGE)])
    monkeypatch.setattr("motionrt.runtime.io.pose.open_video", {"clip.mp4": video}.__getitem__)
    frames = PoseEstimator(Pair()).frames("clip.mp4")
    assert [(frame.t, frame.person) for frame in islice(frames, 3)] == [(0.2, 0), (0.2, 1), (0.3, 0)]
    assert not video.closed
    frames.close()
    assert video.closed


def test_an_unknown_estimator_is_named():
    with pytest.raises(
        InputError,
        match="unknown pose estimator 'openpose', expected mediapipe, mediapipe-lite, .* or rtmlib",
    ):
        PoseEstimator.load("openpose")


def test_video_packages_are_imported_on_use_only():
    code = (
        "import sys, motionrt.runtime.io.pose; sys.exit(bool({'cv2', 'ai_edge_litert', 'rtmlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


class FakeWholebody3d:
    """rtmlib's interface, for a person with known joints."""

    def __init__(self, mode, backend, device):
        print("load rtmw3d with onnxruntime backend")
        self.boxes = [[10, 10, 20, 40], [100, 100, 200, 400]]

    def det_model(self, image):
        return np.array(self.boxes, dtype=float).reshape(-1, 4)

    def pose_model(self, image, bboxes):
        keypoints = np.zeros((len(bboxes), 133, 3))
        keypoints[:, :17] = self.crop
        return keypoints, np.full((len(bboxes), 133), 0.8), keypoints, keypoints[..., :2] + bboxes[0][0]


def test_rtmlib(monkeypatch, wave, capsys):
    monkeypatch.setitem(sys.modules, "rtmlib", SimpleNamespace(Wholebody3d=FakeWholebody3d))
    body = Layout.load("coco17").map_from(Layout.load("smpl22")) @ wave.joints[40]
    FakeWholebody3d.crop = body * [130, -130, -1] + [144, 300, 0]  # pixels, pixels, meters into the scene
    estimator = PoseEstimator.load("rtmlib")
    assert capsys.readouterr().out == ""
    people = estimator.estimate(IMAGE, 0.0)
    assert (estimator.layout, len(people)) == ("core15", 2)
    assert people[0].pixels[0, 0] > 200  # the larger box first
    core = Layout.load("core15")
    expected = core.map_from(Layout.load("coco17")) @ body
    expected -= expected[0]
    scale = (people[0].joints[:, 1] @ expected[:, 1]) / (expected[:, 1] @ expected[:, 1])
    assert scale == pytest.approx(1, abs=0.2)  # the actor is smaller than the adult it assumes
    np.testing.assert_allclose(people[0].joints, expected * [scale, scale, 1], atol=1e-4)
    assert people[0].confidence == pytest.approx(0.8)
    estimator.model._model.boxes = []
    assert estimator.estimate(IMAGE, 0.1) == []


def test_rtmlib_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "rtmlib", None)
    with pytest.raises(MissingExtra, match=r"needs rtmlib .*: pip install '\.\[io\]'"):
        PoseEstimator.load("rtmlib")


def test_rtmlib_that_cannot_download_its_models(monkeypatch):
    def fail(**options):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setitem(sys.modules, "rtmlib", SimpleNamespace(Wholebody3d=fail))
    with pytest.raises(InputError, match="rtmlib cannot download its pose models: .*Connection refused"):
        PoseEstimator.load("rtmlib")


def test_mediapipe_without_its_runtime(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setattr("motionrt.runtime.io.mediapipe.find_model", lambda name, folder: name)
    with pytest.raises(MissingExtra, match=r"needs ai_edge_litert.*: pip install '\.\[webcam\]'"):
        PoseEstimator.load("mediapipe")

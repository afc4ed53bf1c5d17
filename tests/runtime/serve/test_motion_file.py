"""POST /motion: files that the page plays."""

import base64
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from motionrt import Layout, Motion
from motionrt.bench.fuzz import formats
from motionrt.runtime.serve import motion_file

from .messages import Response, frame_message, request


def post(url: str, name: str, content: bytes, options: str = "") -> Response:
    return request(f"{url}/motion?name={name}{options}", content, {"Content-Type": "application/octet-stream"})


def packed(motion: Motion, path: Path) -> bytes:
    motion.save(path)
    return path.read_bytes()


def pair(motion: Motion) -> Motion:
    """A motion with a second person one meter to the right, who is missing in the first frame."""
    other = motion.joints + np.float32([1, 0, 0])
    other[0] = np.nan
    return Motion(np.stack([motion.joints, other], axis=1), motion.fps, motion.layout)


@pytest.mark.parametrize("suffix", [".npz", ".bvh"])
def test_a_file_is_read_as_offline(url: str, motion: Motion, tmp_path: Path, suffix: str) -> None:
    content = packed(motion, tmp_path / f"clip{suffix}")
    expected = Motion.load(tmp_path / f"clip{suffix}")
    reply = post(url, f"my%20clip{suffix.upper()}", content)
    assert reply.status == 200 and reply.json["notes"] == []
    [person] = reply.json["people"]
    assert (reply.json["layout"], person["person"]) == (expected.layout, 0)
    np.testing.assert_allclose(person["joints"], expected.joints, atol=1e-4)
    np.testing.assert_allclose(reply.json["t"], expected.times - expected.times[0], atol=1e-4)


def foreign(motion: Motion) -> dict[str, bytes]:
    """Files of other programs, by extension."""
    writers = {".csv": formats.csv, ".trc": formats.trc, ".mvnx": formats.mvnx, ".gltf": formats.gltf}
    files = {suffix: write(motion.joints[:20]) for suffix, write in writers.items()}
    return files | {
        suffix: content for suffix, content in formats.with_packages(motion.joints[:20]) if suffix == ".c3d"
    }


@pytest.mark.parametrize("suffix", [".csv", ".trc", ".mvnx", ".gltf", ".c3d"])
def test_files_of_other_programs_are_read_as_offline(url: str, motion: Motion, tmp_path: Path, suffix: str) -> None:
    if suffix == ".c3d":
        pytest.importorskip("c3d", reason="c3d is not installed")
    content = foreign(motion)[suffix]
    (tmp_path / f"a{suffix}").write_bytes(content)
    expected = Motion.load(tmp_path / f"a{suffix}")
    reply = post(url, f"a{suffix}", content)
    assert reply.status == 200 and reply.json["layout"] == expected.layout, reply
    np.testing.assert_allclose(reply.json["people"][0]["joints"], expected.joints, atol=1e-4)


def test_what_a_file_does_not_say_can_be_named(url: str, motion: Motion) -> None:
    core = Motion(Layout.load("kinect20").map_from(Layout.load("smpl22")) @ motion.joints, 30, "kinect20")
    content = io.BytesIO()
    np.save(content, 100 * core.joints[..., [2, 0, 1]])  # centimeters, z up
    assert "pass fps (--fps)" in post(url, "a.npy", content.getvalue()).json["detail"]
    reply = post(url, "a.npy", content.getvalue(), "&fps=50&scale=0.01&up=z&layout=kinect20").json
    joints = core.joints[..., [2, 1, 0]] * np.float32([1, 1, -1])
    np.testing.assert_allclose(reply["people"][0]["joints"], joints, atol=1e-4)
    assert (reply["layout"], reply["t"][1], reply["notes"]) == ("kinect20", 0.02, [])
    for option, why in (("fps=0", "fps: "), ("up=x", "up: "), ("layout=octopus", "unknown skeleton layout 'octopus'")):
        refused = post(url, "a.npy", content.getvalue(), f"&fps=50&{option}" if "fps" not in option else f"&{option}")
        assert refused.status == 422 and why in refused.json["detail"], refused


def test_a_small_file_cannot_ask_for_much_memory(url: str, motion: Motion) -> None:
    document = json.loads(formats.gltf(motion.joints[:20]))
    keys = np.float32([0, 20_000])  # seconds
    data = keys.tobytes() + np.zeros((2, 3), np.float32).tobytes()
    document["buffers"] = [{"byteLength": len(data), "uri": "data:;base64," + base64.b64encode(data).decode()}]
    for view, (start, size) in zip(document["bufferViews"], ((0, 8), (8, 24)), strict=True):
        view |= {"byteOffset": start, "byteLength": size}
    for accessor in document["accessors"]:
        accessor["count"] = 2
    refused = post(url, "a.gltf", json.dumps(document).encode())
    assert refused.status == 422 and "600001 frames of 22 joints, the limit is" in refused.json["detail"], refused


def test_everybody_is_in_the_reply_and_missing_joints_are_null(url: str, motion: Motion, tmp_path: Path) -> None:
    two = pair(motion)
    people = post(url, "two.npz", packed(two, tmp_path / "two.npz")).json["people"]
    assert [one["person"] for one in people] == [0, 1]
    assert people[1]["joints"][0] == [[None] * 3] * 22
    np.testing.assert_allclose(people[1]["joints"][1], two.joints[1, 1], atol=1e-4)


@pytest.mark.parametrize("name", ["clip.jsonl", "clip.json"])
def test_a_list_of_messages_is_read_like_lines(url: str, motion: Motion, name: str) -> None:
    messages = [frame_message(motion, i, person=person) for i in range(5) for person in (0, 1)]
    expected = post(url, "lines.jsonl", "\n".join(map(json.dumps, messages)).encode()).json
    assert len(expected["people"]) == 2 and len(expected["t"]) == 5
    assert post(url, name, json.dumps(messages, indent=1).encode()).json == expected


def test_what_is_wrong_with_a_file_is_one_line_with_its_name(url: str, motion: Motion, tmp_path: Path) -> None:
    def refusal(name: str, content: bytes) -> str:
        reply = post(url, name, content)
        assert reply.status == 422, reply
        detail: str = reply.json["detail"]
        assert detail.startswith(name) and "\n" not in detail and "/tmp" not in detail
        return detail

    millimeters = Motion(motion.joints * 1000, motion.fps, motion.layout)
    assert "expected meters" in refusal("mm.npz", packed(millimeters, tmp_path / "mm.npz"))
    flat = Motion(np.zeros((9, 17, 2)) + np.arange(17)[:, None], 30, "coco17")
    assert "is in pixels" in refusal("flat.npz", packed(flat, tmp_path / "flat.npz"))
    assert "is not an .npz archive" in refusal("clip.npz", b"no archive")
    assert "cannot be played here, expected .npz" in refusal("clip.xyz", b"1 2 3")
    assert "cannot be played here, expected .npz" in refusal("clip.amc", b":DEGREES")
    assert "export it from Blender as glTF 2.0 (.glb)" in refusal("clip.fbx", b"Kaydara")
    assert "line 1 is not a whole JSON message" in refusal("clip.jsonl", b"{")
    long = np.repeat(motion.joints[:1], motion_file.MAX_JOINTS // 22 + 1, axis=0)
    assert "frames are too many" in refusal("long.npz", packed(Motion(long, 30, motion.layout), tmp_path / "long.npz"))


def test_a_doubtful_file_is_played_with_a_note(url: str, motion: Motion, tmp_path: Path) -> None:
    z_up = Motion(motion.joints[..., [0, 2, 1]] * np.float32([1, -1, 1]), motion.fps, motion.layout)
    reply = post(url, "z.npz", packed(z_up, tmp_path / "z.npz")).json
    assert len(reply["notes"]) == 1 and "y is expected to be up" in reply["notes"][0] and reply["people"]


def test_an_archive_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch, motion: Motion) -> None:
    monkeypatch.setattr(motion_file, "MAX_UNPACKED_BYTES", 1000)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("joints.npy", bytes(2000))
    with pytest.raises(motion_file.InputError, match=r"^a\.npz: unpacks to 2000 bytes, the limit is 1000$"):
        motion_file.read_motion("../a.npz", archive.getvalue())

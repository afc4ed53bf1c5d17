"""2-D keypoints, sent to a server whose model takes them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from motionrt import Layout
from motionrt.runtime.serve.server import Server

from .. import tiny
from .messages import connect, receive, request, send


def in_pixels(joints: np.ndarray) -> np.ndarray:
    return joints[..., :2] * [150, -150] + [320, 300]


def test_keypoints_are_recognized(serve: Callable[..., Server], tmp_path: Path) -> None:
    bundle = tiny.tiny_bundle(tmp_path / "flat", frontend={**tiny.manifest()["frontend"], "flat": True})
    joints = Layout.load("coco17").map_from(Layout.load(tiny.LAYOUT)) @ tiny.poses(30, "left")
    pixels = in_pixels(joints)
    url = serve(model=str(bundle)).url
    assert request(f"{url}/layouts").json["coco17"]["joints"][0] == "nose"

    for name in ("coco17", "openpose18", "jhmdb15"):
        joints = Layout.load(name).map_from(Layout.load(tiny.LAYOUT)) @ tiny.poses(30, "left")
        clip = {"layout": name, "fps": tiny.FPS, "joints": in_pixels(joints).tolist()}
        reply = request(f"{url}/recognize", clip)
        assert (reply.status, reply.json["label"], reply.json["warnings"]) == (200, "raise left hand", []), name

    pixels = pixels.astype(object)
    pixels[::9, 16] = None  # an ankle that was not detected
    with connect(url) as client:
        for k, pose in enumerate(pixels):
            send(client, {"t": k / tiny.FPS, "layout": "coco17", "joints": np.asarray(pose).tolist()})
            reply = receive(client)
    assert reply["label"] == "raise left hand"

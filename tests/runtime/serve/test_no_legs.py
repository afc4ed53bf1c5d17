"""People without legs, as a headset reports them, sent to a server."""

from collections.abc import Callable

from motionrt import Layout, Motion
from motionrt.runtime.serve.server import Server

from .messages import connect, receive, request, send


def test_they_are_recognized(serve: Callable[..., Server], samples: list[Motion]) -> None:
    clip = next(motion for motion in samples if "wave-right-hand" in motion.meta["source"])
    layout = Layout.load("meta70")
    joints = layout.map_from(Layout.load(clip.layout)) @ clip.joints
    url = serve(model="live").url
    assert request(f"{url}/layouts").json["meta70"]["joints"] == list(layout.joints)
    reply = request(f"{url}/recognize", {"layout": "meta70", "fps": clip.fps, "joints": joints.tolist()})
    assert (reply.status, reply.json["label"], reply.json["warnings"]) == (200, "wave", [])
    labels = set()
    with connect(url) as client:
        for t, pose in zip(clip.times.tolist(), joints.tolist(), strict=True):
            send(client, {"t": t, "layout": "meta70", "joints": pose})
            labels.add(receive(client)["label"])
    assert "wave" in labels

"""Sends a motion file, frame by frame at its own rate, to whoever listens at udp://HOST:PORT or ws://HOST:PORT.

    python send.py clip.npz udp://127.0.0.1:9000 --loop    # beside: motionrt recognize udp://127.0.0.1:9000

A message is `{"t": seconds, "person": id, "layout": name, "joints": [[x, y, z], …], "confidence": […]}`, in metres with
y up, null where a joint was not seen; `{"end": true}` ends the stream. t must rise, also from one run to the next.
"""

import argparse
import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import numpy as np

import motionrt

Send = Callable[[dict[str, object]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description="Sends a motion file to udp://HOST:PORT or ws://HOST:PORT.")
    parser.add_argument("file", help=".npz, .npy or .bvh")
    parser.add_argument("url")
    parser.add_argument("--person", type=int, default=0, help="id of the first person of the file")
    parser.add_argument("--speed", type=float, default=1.0, help="2 is twice as fast")
    parser.add_argument("--loop", action="store_true", help="until Ctrl-C")
    parser.add_argument("--end", action="store_true", help="end the receiver's stream at the end")
    parser.add_argument("--token", default=os.environ.get("MOTIONRT_TOKEN"), help="default: $MOTIONRT_TOKEN")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), connect(options.url, options.token) as send:
        motion = motionrt.Motion.load(options.file)
        play(motion, send, options.person, options.speed)
        while options.loop:
            play(motion, send, options.person, options.speed)
        if options.end:
            send({"end": True})


def play(motion: motionrt.Motion, send: Send, person: int, speed: float) -> None:
    """Sends the clip once, each frame when it is due; comes back when the frame after the last would be."""
    began = time.monotonic()
    for k, t in enumerate(began + (motion.times - motion.times[0]) / speed):
        time.sleep(max(0.0, t - time.monotonic()))
        for m, clip in enumerate(map(motion.person, range(motion.people))):
            if np.isfinite(clip.joints[k]).any():
                joints = [[x if np.isfinite(x) else None for x in point] for point in clip.joints[k].tolist()]
                confidence = None if clip.confidence is None else clip.confidence[k].tolist()
                send({"t": t, "person": person + m, "layout": clip.layout, "joints": joints, "confidence": confidence})
    time.sleep(max(0.0, began + motion.seconds / speed - time.monotonic()))


@contextlib.contextmanager
def connect(url: str, token: str | None) -> Iterator[Send]:
    """A function that sends one message to a udp:// or ws:// address."""
    if url.startswith(("ws://", "wss://")):
        from websockets.sync.client import connect

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with connect(url, additional_headers=headers, compression=None) as client:
            yield lambda message: client.send(json.dumps(message))
    else:
        to = urlsplit(url)
        family, kind, *_, address = socket.getaddrinfo(to.hostname, to.port, type=socket.SOCK_DGRAM)[0]
        secret = {"token": token} if token else {}
        with socket.socket(family, kind) as client:
            yield lambda message: client.sendto(json.dumps(message | secret).encode(), address)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"send.py: {error}")

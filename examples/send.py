"""Send a motion file in real time to a listener at udp://HOST:PORT or ws://HOST:PORT.

    python send.py clip.npz udp://127.0.0.1:9000 --loop    # in another shell: motionrt recognize udp://127.0.0.1:9000

A message is `{"t": seconds, "person": id, "layout": name, "joints": [[x, y, z], …], "confidence": […]}`, in meters with
y up, null where a joint is missing; `{"end": true}` ends the stream. t must increase, also from one run to the next.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import numpy as np

import motionrt

Send = Callable[[dict[str, object]], object]


def main() -> None:
    parser = argparse.ArgumentParser(description="Send a motion file to udp://HOST:PORT or ws://HOST:PORT.")
    parser.add_argument("file", help=".npz, .npy or .bvh")
    parser.add_argument("url")
    parser.add_argument("--person", type=int, default=0, help="id of the first person in the file")
    parser.add_argument("--speed", type=float, default=1.0, help="2 is twice as fast")
    parser.add_argument("--loop", action="store_true", help="repeat until Ctrl-C")
    parser.add_argument("--end", action="store_true", help="end the receiver's stream at the end")
    parser.add_argument("--token-file", type=argparse.FileType(), help="default: the token in $MOTIONRT_TOKEN")
    options = parser.parse_args()
    token = options.token_file.readline().strip() if options.token_file else os.environ.get("MOTIONRT_TOKEN")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it like Ctrl-C
    stopped = contextlib.suppress(KeyboardInterrupt)
    with stopped, connect(options.url, token) as send, stopped:  # connections are closed properly
        motion = motionrt.Motion.load(options.file)
        play(motion, send, options.person, options.speed)
        while options.loop:
            play(motion, send, options.person, options.speed)
        if options.end:
            send({"end": True})


def play(motion: motionrt.Motion, send: Send, person: int, speed: float) -> None:
    """Send the clip once in real time; returns when the next repetition is due."""
    start = time.monotonic()
    for k, t in enumerate(start + (motion.times - motion.times[0]) / speed):
        time.sleep(max(0.0, t - time.monotonic()))
        for m, clip in enumerate(map(motion.person, range(motion.people))):
            if np.isfinite(clip.joints[k]).any():
                joints = [[x if np.isfinite(x) else None for x in point] for point in clip.joints[k].tolist()]
                confidence = None if clip.confidence is None else clip.confidence[k].tolist()
                send({"t": t, "person": person + m, "layout": clip.layout, "joints": joints, "confidence": confidence})
    time.sleep(max(0.0, start + motion.seconds / speed - time.monotonic()))


@contextlib.contextmanager
def connect(url: str, token: str | None) -> Iterator[Send]:
    """Connect to a udp:// or ws:// address; yields a function that sends one message."""
    if url.startswith(("ws://", "wss://")):
        from websockets.sync.client import connect

        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with connect(url, additional_headers=headers, compression=None, proxy=None) as client:
            yield lambda message: client.send(json.dumps(message))
    else:
        parts = urlsplit(url)
        family, kind, *_, address = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_DGRAM)[0]
        secret = {"token": token} if token else {}
        with socket.socket(family, kind) as client:
            yield lambda message: client.sendto(json.dumps(message | secret).encode(), address)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"send.py: {error}")

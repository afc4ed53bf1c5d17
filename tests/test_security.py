"""The table of attacks in docs/security.md, made by `python tests/test_security.py > docs/security.md`."""

import json
import os
import re
import socket
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from viewer_server import viewer_server

from motionrt import InputError, Motion
from motionrt.runtime.backends import factory
from motionrt.runtime.bundles.bundle import Bundle

for module in ("fastapi", "uvicorn", "prometheus_client", "viser", "websockets"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from websockets.exceptions import ConnectionClosed  # noqa: E402
from websockets.sync.client import ClientConnection, connect  # noqa: E402

from motionrt.runtime.serve.server import Server  # noqa: E402
from motionrt.runtime.serve.settings import Settings  # noqa: E402

PAGE = Path(__file__).resolve().parents[1] / "docs" / "security.md"
ATTACKS = Path(__file__).parent / "attacks"
SIDES = [
    f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
]
JOINTS = "".join(
    f"JOINT {name}\n{{\nOFFSET 0 1 0\nCHANNELS 0\nEnd Site\n{{\nOFFSET 0 1 0\n}}\n}}\n"
    for name in ("neck", "head", *SIDES)
)
MOTION = "MOTION\nFrames: 999999999\nFrame Time: 0.03\n"
BVH = f"HIERARCHY\nROOT pelvis\n{{\nOFFSET 0 0 0\nCHANNELS 0\n{JOINTS}}}\n{MOTION}"


@contextmanager
def running(**settings: Any) -> Iterator[str]:
    """URL of a server with these settings."""
    started = threading.Event()
    server = Server(Settings(**settings), "127.0.0.1", 0, lambda url: started.set())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(60)
        yield server.url
    finally:
        server.should_exit = True
        thread.join(60)


def ask(url: str, body: bytes | None = None, **headers: str) -> str:
    """Status and error of a request."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return str(response.status)
    except urllib.error.HTTPError as error:
        return f"{error.code}, {json.load(error)['detail']}"


def raw(url: str, *lines: str) -> str:
    """Status of a request in plain text, after which the server closes the connection."""
    with open_connection(url) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        reply = b""
        with suppress(ConnectionError):
            while part := client.recv(1 << 16):
                reply += part
    return f"{reply[9:12].decode()}, and the connection is closed"


def open_connection(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def web_socket(url: str, path: str) -> ClientConnection:
    return connect(f"{url.replace('http', 'ws')}/{path}", compression=None)


def close_of(client: ClientConnection) -> str:
    with pytest.raises(ConnectionClosed) as caught:
        while True:
            client.recv(timeout=60)
    assert caught.value.rcvd is not None
    return f"{caught.value.rcvd.code}, {caught.value.rcvd.reason}"


def clip_of(joint: str) -> bytes:
    pose = f"[{','.join([joint] * 200)}]"
    return f'{{"layout": "smpl22", "fps": 20, "joints": [{",".join([pose] * (1_000_000 // len(pose)))}]}}'.encode()


def silent_connections(url: str) -> str:
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(open_connection(url))
        results = [ask(f"{url}/{path}") for path in ("healthz", "models")]
        stack.enter_context(web_socket(url, "recognize"))
    return f"probe: {results[0]}; request: {results[1]}; WebSocket: accepted"


def idle_clients(url: str) -> str:
    with web_socket(url, "recognize") as first, web_socket(url, "recognize"), web_socket(url, "recognize"):
        return f"another client is accepted, the one idle longest is told {close_of(first)}"


def endless_stream(url: str) -> str:
    with web_socket(url, "generate") as first, web_socket(url, "generate") as second:
        first.send('{"prompt": "a person walks"}')
        first.recv(timeout=60)
        second.send('{"prompt": "a person bows"}')
        while not json.loads(first.recv(timeout=60)).get("end"):
            pass
        assert "joints" in json.loads(second.recv(timeout=60))
    return "the stream ends, and that of the other starts"


def flood(url: str) -> str:
    with web_socket(url, "recognize") as client:
        with suppress(ConnectionClosed):
            for _ in range(500):
                client.send("{}")
        return close_of(client)


def foreign_pages(_: str) -> str:
    with running(requests_per_s=1.0) as url:
        refused = {ask(f"{url}/generate", b"{}", Origin="https://evil.example") for _ in range(8)}
        return f"{refused.pop()}; the user's own request: {ask(f'{url}/models')}"


def claimed_addresses(*proxies: str) -> str:
    """Statuses of requests that claim to come from different addresses, one request per second from each."""
    with running(requests_per_s=1.0, proxies=proxies) as url:
        addresses = [f"192.0.2.{i}" for i in range(8)]
        return " or ".join(dict.fromkeys(ask(f"{url}/models", **{"X-Forwarded-For": one}) for one in addresses))


SERVER: dict[str, Callable[[str], str]] = {
    "`POST /recognize` of 1 MB in which every coordinate is a text": lambda url: ask(
        f"{url}/recognize", clip_of('["","",""]')
    ),
    "… in which every coordinate is a list": lambda url: ask(f"{url}/recognize", clip_of("[[],[],[]]")),
    "… with 100,000 fields": lambda url: ask(
        f"{url}/recognize", json.dumps(dict.fromkeys(map(str, range(100_000)))).encode()
    ),
    "… of 5 MB": lambda url: raw(url, "POST /recognize HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 5000000"),
    "… nested 100,000 times": lambda url: ask(f"{url}/recognize", b"[" * 100_000),
    "`POST /generate` of 100 KB": lambda url: ask(f"{url}/generate", b" " * 100_000),
    "200 connections that send nothing": silent_connections,
    "clients that send nothing in all places": idle_clients,
    "an endless stream of motion while another client waits": endless_stream,
    "a client that sends 500 messages at once (limit: 1 per second)": flood,
    "`Host: [::1].evil`, without a token": lambda url: ask(f"{url}/models", Host="[::1].evil"),
    "two headers `Host`": lambda url: raw(url, "GET /models HTTP/1.1", "Host: 127.0.0.1", "Host: evil.example"),
    "two different lengths": lambda url: raw(
        url, "POST /recognize HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 1", "Content-Length: 2"
    ),
    "a length and `Transfer-Encoding: chunked`": lambda url: raw(
        url, "POST /recognize HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 1", "Transfer-Encoding: chunked"
    ),
    "requests of another site's page, until its user's rate is used up": foreign_pages,
    "eight requests that claim other addresses in `X-Forwarded-For` (limit: 1 per second)": lambda _: (
        claimed_addresses()
    ),
    "… from a proxy that the server was told of (`--proxy`)": lambda _: claimed_addresses("127.0.0.1"),
}


def long_path_to_viewer() -> str:
    with redirect_stdout(sys.stderr), viewer_server() as server:  # it says that it stopped
        url = f"http://127.0.0.1:{server.get_port()}"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{url}/{'x' * 5000}", timeout=60)
        return f"{caught.value.code} of its library viser, without a line in the log; the page itself: {ask(url)}"


def read(name: str, write: Callable[[Path], Any]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        with pytest.raises(InputError) as caught:
            Motion.load(path)
        return str(caught.value).replace(f"{folder}/", "")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 << 30)


def planted_link() -> str:
    motion = Motion(np.random.default_rng(0).normal(size=(4, 22, 3)), 20.0, "smpl22")
    with tempfile.TemporaryDirectory() as folder:
        victim, path = Path(folder, "victim"), Path(folder, "walk.npz")
        victim.write_bytes(b"precious")
        for planted in (path, Path(f"{path}.part"), Path(f"{path}.{os.getpid()}.part")):
            planted.symlink_to(victim)
        motion.save(path)
        assert victim.read_bytes() == b"precious" and not path.is_symlink()
    return "no link is followed; one at the name itself is replaced"


def save(name: str, fps: float) -> str:
    motion = Motion(np.random.default_rng(0).normal(size=(4, 22, 3)), fps, "smpl22")
    with tempfile.TemporaryDirectory() as folder:
        with pytest.raises(InputError) as caught:
            motion.save(Path(folder) / name)
        assert not list(Path(folder).iterdir())
        return str(caught.value).replace(f"{folder}/", "")


def npz(dtype: type, shape: tuple[int, ...]) -> Callable[[Path], None]:
    return lambda path: np.savez_compressed(path, joints=np.zeros(shape, dtype), fps=20.0, layout="smpl22")


FILES: dict[str, Callable[[], str]] = {
    "a BVH of 1 KB without channels, with 999,999,999 frames": lambda: read("a.bvh", lambda path: path.write_text(BVH)),
    "… with one channel": lambda: read(
        "a.bvh", lambda path: path.write_text(BVH.replace("CHANNELS 0", "CHANNELS 1 Xposition", 1))
    ),
    "an `.npz` of 100 KB that unpacks to 80 million coordinates": lambda: read(
        "a.npz", npz(np.int8, (1_200_000, 22, 3))
    ),
    **{f"a `{end}` of 10 GB": lambda end=end: read(f"a{end}", sparse) for end in (".bvh", ".json", ".skeleton")},
    "an `.npz` with a pickled object": lambda: read("a.npz", lambda path: np.savez(path, joints=np.array([{}]))),
    "a `.gif` of 1e6 frames per second": lambda: save("a.gif", 1e6),
    "a `.mp4` of 1e-6 frames per second": lambda: save("a.mp4", 1e-6),
    "links planted where a file is saved, and at names of a temporary file": planted_link,
}


def bundle(name: str) -> str:
    with pytest.raises(InputError) as caught:
        factory.create("onnx", Bundle.load(ATTACKS / name))
    return str(caught.value).replace(f"{ATTACKS}/", "")


BUNDLES = sorted(path.name for path in ATTACKS.iterdir() if (path / "manifest.json").exists())

HEADING = """\
# Security

What happens to a server, a file or a bundle that is attacked. The tables are made by
[tests/test_security.py](../tests/test_security.py), which runs every line; [limits](limits.md) has the numbers.

A bundle is checked before anything of it runs. Its graphs are lists of the operators in
[runtime/bundles/onnx_shapes.py](../runtime/bundles/onnx_shapes.py), without loops, branches, functions or other files;
the memory and time of a run are computed beforehand from the shapes of its inputs. The benchmark
`motionrt.bench.fuzz.graphs` damages graphs in their meaning and runs each in a child. `isolate=True` opens a bundle in
a child with limits of memory and time first. Still, bundles are not run in a sandbox: see [files](limits.md#files).
"""


def page() -> str:
    with running(requests_per_s=1e4, messages_per_s=1.0, clients=2, idle_s=0.0, stream_s=0.0) as url:
        server = {attack: attempt(url) for attack, attempt in SERVER.items()}
    files = {attack: attempt() for attack, attempt in FILES.items()}
    bundles = {f"`{name}`": bundle(name) for name in BUNDLES}
    return "\n".join(
        [
            HEADING,
            table(
                "The server", server, "Limits of the test: two clients, who are idle at once; one message per second."
            ),
            table("The viewer", {"a path of 5,000 characters": long_path_to_viewer()}),
            table("Files", files),
            table("Bundles", bundles, "Folders of [tests/attacks](../tests/attacks/make.py)."),
        ]
    )


def table(title: str, rows: dict[str, str], note: str = "") -> str:
    lines = [f"| {attack} | {clean(result)} |" for attack, result in rows.items()]
    return "\n".join([f"## {title}", "", *([note, ""] if note else []), "| attack | result |", "|---|---|", *lines, ""])


def clean(text: str) -> str:
    assert text.isprintable()
    text = re.sub(r" while decoding a JSON [^)]*", "", text)  # of one version of Python
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", text).replace("|", "\\|")


@pytest.mark.slow
def test_the_page_states_what_happens() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    sys.stdout.write(page())

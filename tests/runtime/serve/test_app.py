"""HTTP: clips, information about the server, its OpenAPI document and its page."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from motionrt import Motion, Recognizer
from motionrt.runtime.serve import schemas, service

from .messages import Response, connect, frame_message, receive, request, send


@pytest.fixture
def clip(motion: Motion) -> dict:
    return {"layout": motion.layout, "fps": motion.fps, "joints": motion.joints.astype(float).round(5).tolist()}


def problem(response: Response) -> str:
    assert list(response.json) == ["detail"]
    text: str = response.json["detail"]
    return text


def test_a_clip_is_recognized_as_offline(url: str, live: Recognizer, clip: dict) -> None:
    clip["joints"][5][3] = [None, 0, 0]
    joints = np.array(clip["joints"], np.float32)
    expected = live.recognize(Motion(joints, clip["fps"], clip["layout"]))
    found = request(f"{url}/recognize", clip)
    assert found.status == 200
    top = [[label, round(score, 4)] for label, score in expected.top(5)]
    reply = {"label": expected.label, "score": round(expected.score, 4), "top": top, "latency_ms": 0, "warnings": []}
    assert found.json | {"latency_ms": 0} == reply


def test_what_is_doubtful_about_a_clip_is_in_every_reply(url: str, clip: dict) -> None:
    assert request(f"{url}/recognize", clip).json["warnings"] == []
    z_up = [[[x, -z, y] for x, y, z in pose] for pose in clip["joints"]]
    for _ in range(2):
        axes, rate = request(f"{url}/recognize", clip | {"joints": z_up, "fps": 1000.0}).json["warnings"]
        assert axes.startswith("the body stands along z, y is expected to be up")
        assert rate == "the frames are 0.001 s apart, expected 5 to 250 frames per second"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"layout": "smpl23"}, "unknown skeleton layout 'smpl23'"),
        ({"layout": "core15"}, "a pose has shape [22, 3], expected [15, 3] for layout core15"),
        ({"fps": 0}, "fps: Input should be greater than 0"),
        ({"fps": "30"}, "fps: Input should be a valid number"),
        ({"joints": []}, "joints: 0 frames, expected 2 to 1800"),
        ({"joints": [[[None] * 3] * 22] * 2}, "nobody is visible in any of the clip's 2 frames"),
        ({"joints": [[[0, 0, 0]] * 22] * 1801}, "joints: 1801 frames, expected 2 to 1800"),
        ({"joints": [[[0, 0, 0]] * 257] * 2}, "joints.0: 257 joints, expected a list of 1 to 256"),
        ({"joints": [[[0]] * 22] * 2}, "joints.0.0: expected a list of 2 or 3 coordinates"),
        ({"joints": [[[0, 0]] * 22] * 2}, "a pose has shape [22, 2], expected [22, 3] for layout smpl22"),
        ({"layout": "coco17", "joints": [[[0, 0, 0]] * 17] * 2}, "a pose has shape [17, 3], expected [17, 2]"),
        ({"joints": [[["0", 0, 0]] * 22] * 2}, 'joints.0.0: "0" is not a coordinate, expected a number or null'),
        ({"joints": [[[0, 0, 0]] * 22, [[0, 0, 0]] * 21]}, "joints.1: 21 joints, expected 22 as in the first frame"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
        ({"more": [0] * 1000}, "bytes besides the joints, expected at most 1000"),
        ({"\ud800": 1}, "unpaired surrogate"),
    ],
)
def test_an_invalid_clip_is_refused(url: str, clip: dict, changes: dict, why: str) -> None:
    refused = request(f"{url}/recognize", clip | changes)
    assert refused.status == 422 and why in problem(refused) and len(refused.body) < 450


def peak_mb() -> float:
    """Largest resident size since `/proc/self/clear_refs` was written."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def clip_of(joint: str, size: int) -> str:
    pose = f"[{','.join([joint] * 200)}]"
    return f'{{"layout": "smpl22", "fps": 20, "joints": [{",".join([pose] * (size // len(pose)))}]}}'


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    "body",
    [
        clip_of('["","",""]', 1_000_000),
        clip_of("[0,0,0]", 1_000_000),
        clip_of("[[],[],[]]", 1_000_000),
        f'{{"joints": [{",".join(["[]"] * 300_000)}]}}',
        json.dumps(dict.fromkeys(map(str, range(100_000)))),
    ],
    ids=["texts", "numbers", "lists", "empty poses", "fields"],
)
def test_the_memory_for_a_clip_is_bounded_by_its_size(url: str, body: str) -> None:
    for _ in range(2):  # the first one warms up
        Path("/proc/self/clear_refs").write_text("5")
        before_mb = peak_mb()
        assert request(f"{url}/recognize", body.encode()).status == 422
    assert peak_mb() - before_mb < 24 * len(body) / 1e6


def test_others_are_served_while_a_clip_is_read(serve, clip: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    is_reading, may_end = threading.Event(), threading.Event()

    def parse_later(content: bytes) -> Motion:
        is_reading.set()
        assert may_end.wait(30)
        return schemas.parse_clip(content)

    monkeypatch.setattr(service, "parse_clip", parse_later)
    url = serve().url
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(request, f"{url}/recognize", clip)
        assert is_reading.wait(30)
        assert request(f"{url}/healthz").status == 200
        may_end.set()
        assert reply.result().status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"fps": NaN}', b"null"])
def test_a_body_that_is_not_json_is_refused(url: str, body: bytes) -> None:
    refused = request(f"{url}/recognize", body)
    assert refused.status in (400, 422) and problem(refused)


def test_a_body_that_is_too_long_is_refused(serve) -> None:
    server = serve(body_bytes=1000)
    for body in (b" " * 1001, iter([b" " * 600] * 2)):  # with Content-Length, and chunked
        refused = request(f"{server.url}/recognize", body)
        assert refused.status == 413 and problem(refused)
    assert request(f"{server.url}/generate", {"prompt": "walk", "seconds": 0.2}).status == 200
    assert request(f"{serve(message_bytes=40).url}/generate", {"prompt": "walk" * 10}).status == 413


def test_errors_are_documented(url: str) -> None:
    documented = request(f"{url}/openapi.json").json["paths"]["/recognize"]["post"]["responses"]
    assert {"200", "400", "401", "403", "413", "422", "429", "503"} == documented.keys()


def test_health_and_readiness(url: str) -> None:
    assert request(f"{url}/healthz").json == {"status": "ok"}
    assert request(f"{url}/readyz").json == {"status": "ready"}


def test_models_and_layouts_are_listed(url: str, live: Recognizer) -> None:
    recognizer, generator = request(f"{url}/models").json
    assert (recognizer["name"], recognizer["labels"]) == ("live", list(live.labels))
    assert (recognizer["layout"], recognizer["fps"], recognizer["any_labels"]) == ("core15", 20, False)
    assert generator["name"] == "default" and "walk" in generator["labels"]
    assert "non-commercial" in recognizer["license"] and "non-commercial" in generator["license"]
    layouts = request(f"{url}/layouts").json
    assert len(layouts["coco17"]["joints"]) == 17 and len(layouts["smpl22"]["joints"]) == 22
    assert layouts["smpl22"]["parents"][0] == -1


def test_metrics_are_counted(serve, motion: Motion) -> None:
    server = serve()
    with connect(server.url) as client:
        send(client, "{")
        receive(client)
        for i in range(3):
            send(client, frame_message(motion, i))
            receive(client)
        found = request(f"{server.url}/metrics")
    assert found.headers["Content-Type"].startswith("text/plain")
    lines = found.body.decode().splitlines()
    for line in ("clients 1.0", "frames_total 3.0", "errors_total 1.0", "latency_seconds_count 3.0"):
        assert f"motionrt_{line}" in lines
    assert 'motionrt_dropped_total{why="late"} 0.0' in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


def test_the_page_loads_nothing_from_other_sites(url: str) -> None:
    page = request(url)
    assert page.status == 200 and "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert b"src=" not in page.body and b"http:" not in page.body and b"https:" not in page.body


def test_a_required_token_is_part_of_the_openapi_document(url: str) -> None:
    from .conftest import running

    assert "security" not in request(f"{url}/openapi.json").json["paths"]["/models"]["get"]
    with running(token="s3cret") as server:
        api = request(f"{server.url}/openapi.json", headers={"Authorization": "Bearer s3cret"}).json
    assert api["paths"]["/models"]["get"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in api["paths"]["/healthz"]["get"]


@pytest.mark.slow
def test_schemathesis_finds_nothing(url: str, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    # a schema cannot express whether joints fit their layout or anybody is visible
    (tmp_path / "schemathesis.toml").write_text(
        '[checks.positive_data_acceptance]\nexpected-statuses = ["2xx", "422", "503"]\n'
    )
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--max-examples", "60"]
    command += ["--seed", "1"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr

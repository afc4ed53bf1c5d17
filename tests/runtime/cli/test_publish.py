"""Events to an MQTT broker: `recognize --publish`, with Debian's mosquitto where it is installed."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wait import wait_until

from motionrt import Motion
from motionrt.runtime.cli import main
from motionrt.runtime.io.mqtt import QUEUED, MqttPublisher, discovery, topics
from motionrt.runtime.recognition.recognizer import Recognizer

from .. import tiny

LEFT, RIGHT = tiny.LABELS[1:]
SLUG = LEFT.replace(" ", "_")
PATH = os.pathsep.join((os.environ["PATH"], "/usr/sbin"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class Broker:
    """A broker of a test, at a port that stays the same when it starts again, and what a client has received."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.port = free_port()
        self.received: list[tuple[str, str, bool]] = []
        self._file = folder / "mosquitto.conf"
        self._file.write_text("\n".join(["user root", f"listener {self.port} 127.0.0.1", *settings]) + "\n")
        self.start()

    def start(self) -> None:
        command = shutil.which("mosquitto", path=PATH)
        if command is None:
            pytest.skip("mosquitto is not installed")
        self._process = subprocess.Popen([command, "-c", self._file], stderr=subprocess.DEVNULL)
        wait_until(self._answers, 30, "the broker answers")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def listen(self) -> Any:
        """A client that appends every message to `received`."""
        mqtt = pytest.importorskip("paho.mqtt.client")
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.on_connect = lambda *_: client.subscribe("#", qos=1)
        client.on_message = lambda _, __, one: self.received.append((one.topic, one.payload.decode(), one.retain))
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        return client

    def messages(self, topic: str) -> list[Any]:
        return [text for found, text, _ in list(self.received) if found == topic]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    pytest.importorskip("paho.mqtt.client")
    broker = Broker(tmp_path, "allow_anonymous true")
    yield broker
    broker.stop()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A clip in which the left and then the right wrist is raised, and the option of a model for it."""
    joints = np.concatenate([tiny.poses(20), tiny.poses(40, "left"), tiny.poses(30), tiny.poses(40, "right")])
    Motion(joints, tiny.FPS, tiny.LAYOUT).save(tmp_path / "clip.npz")
    return [str(tmp_path / "clip.npz"), "--model", str(tiny.tiny_bundle(tmp_path / "tiny"))]


@pytest.fixture
def decide(files: list[str]) -> Callable[[], list[tuple[float, Any]]]:
    """The decisions with an event on that clip."""
    recognizer, motion = Recognizer.load(files[2]), Motion.load(files[0])

    def decide() -> list[tuple[float, Any]]:
        recognizer.reset()
        decisions = [(t, recognizer.step(x, t)) for t, x in zip(motion.times, motion.joints, strict=True)]
        return [(t, one) for t, one in decisions if one.event]

    return decide


def test_events_arrive_and_are_found_by_home_assistant(
    broker: Broker, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    client = broker.listen()
    assert main(["recognize", *files, "--json", "--publish", f"mqtt://127.0.0.1:{broker.port}/home/hall"]) == 0
    wait_until(lambda: broker.messages("home/hall/status") == ["online", "offline"], 30, "the messages arrive")
    client.loop_stop()
    *lines, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    events = [json.loads(text) for topic, text, _ in broker.received if topic.startswith("home/hall/raise")]
    assert summary["summary"]["published"] == len(events) > 2 and summary["summary"]["unpublished"] == 0
    told = [line for line in lines if line["event"]]
    for event, line in zip(events, told, strict=True):
        assert {name: event.get(name) for name in ("t", "since", "person")} == {
            name: line.get(name) for name in ("t", "since", "person")
        }
        assert (event["event_type"], event["label"]) == (line["event"], line["event_label"])
        assert event["event_type"] == "offset" or event["score"] == line["score"] > 0.5
    found = {topic: json.loads(text) for topic, text, _ in broker.received if topic.startswith("homeassistant/")}
    entity = found[f"homeassistant/event/motionrt_home_hall/{SLUG}/config"]
    assert entity["state_topic"] in {topic for topic, *_ in broker.received}
    assert {event["event_type"] for event in events} <= set(entity["event_types"])
    late = Broker.listen(broker)  # Home Assistant that starts later: what is retained
    broker.received.clear()
    wait_until(lambda: len(broker.received) == len(found) + 1, 30, "the retained messages arrive")
    late.loop_stop()
    assert all(retained for *_, retained in broker.received)
    assert {topic for topic, *_ in broker.received} == {*found, "home/hall/status"}


def test_a_broker_that_vanishes_gets_what_waited(broker: Broker, decide: Any, caplog: pytest.LogCaptureFixture) -> None:
    with MqttPublisher(f"mqtt://127.0.0.1:{broker.port}/hall", [LEFT, RIGHT]) as publisher:
        broker.stop()
        wait_until(lambda: "is lost" in caplog.text, 30, "the loss is told")
        events = decide()
        for _ in range(QUEUED // len(events) + 1):
            for t, decision in events:
                publisher.send(t, decision)  # returns at once
        over = (QUEUED // len(events) + 1) * len(events) - QUEUED
        assert (publisher.published, publisher.dropped) == (0, over)
        broker.start()
        client = broker.listen()
        wait_until(lambda: publisher.published == QUEUED, 60, "the events arrive")
        wait_until(lambda: len(broker.messages(f"hall/{SLUG}")) >= QUEUED // 2 - 1, 30, "the events arrive")
    client.loop_stop()
    assert (publisher.published, publisher.dropped) == (QUEUED, over)


def test_events_that_a_broker_never_gets_are_counted(broker: Broker, decide: Any) -> None:
    with MqttPublisher(f"mqtt://127.0.0.1:{broker.port}/hall", [LEFT, RIGHT]) as publisher:
        broker.stop()
        events = decide()
        for t, decision in events:
            publisher.send(t, decision)
    assert (publisher.published, publisher.dropped) == (0, len(events))


def test_a_program_that_dies_is_offline(broker: Broker) -> None:
    client = broker.listen()
    url = f"mqtt://127.0.0.1:{broker.port}/hall"
    code = f"from motionrt.runtime.io.mqtt import MqttPublisher; MqttPublisher({url!r}, ['a']); import os; os._exit(1)"
    paths = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
    subprocess.run([sys.executable, "-c", code], env=os.environ | paths, timeout=60)
    wait_until(lambda: broker.messages("hall/status")[-1:] == ["offline"], 30, "its last will arrives")
    client.loop_stop()


def test_a_login_comes_from_a_file_or_the_environment(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("paho.mqtt.client")
    maker = shutil.which("mosquitto_passwd", path=PATH)
    if maker is None:
        pytest.skip("mosquitto is not installed")
    subprocess.run([maker, "-c", "-b", tmp_path / "users", "ann", "s3cret"], check=True, capture_output=True)
    broker = Broker(tmp_path, f"password_file {tmp_path / 'users'}")
    command = ["recognize", *files, "--publish", f"mqtt://127.0.0.1:{broker.port}/hall"]
    (tmp_path / "login").write_text("ann:s3cret\n")
    (tmp_path / "login").chmod(0o600)
    try:
        assert main([*command, "--publish-login", str(tmp_path / "login")]) == 0
        assert "0 unpublished" in capsys.readouterr().out
        monkeypatch.setenv("MOTIONRT_MQTT_LOGIN", "ann:wrong")
        assert main(command) == 2
    finally:
        broker.stop()
    error = capsys.readouterr().err
    assert error.startswith(f"motionrt: mqtt://127.0.0.1:{broker.port}/hall: the broker refuses the connection (")
    assert "wrong" not in error and error.count("\n") == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("paho.mqtt.client")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key]
        + ["-out", certificate, "-days", "2", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    broker = Broker(tmp_path, "allow_anonymous true", f"certfile {certificate}", f"keyfile {key}")
    command = ["recognize", *files, "--publish", f"mqtts://127.0.0.1:{broker.port}/hall"]
    try:
        assert main(command) == 2
        assert "certificate verify failed" in capsys.readouterr().err
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert main(command) == 0
    finally:
        broker.stop()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mqtt://127.0.0.1", "mqtt://127.0.0.1: expected mqtt://HOST[:PORT]/TOPIC"),
        ("mqtt://127.0.0.1/", "expected mqtt://HOST[:PORT]/TOPIC"),
        ("mqtt://127.0.0.1:99999/hall", "expected mqtt://HOST[:PORT]/TOPIC"),
        ("mqtt://127.0.0.1/hall/#", "expected mqtt://HOST[:PORT]/TOPIC"),
        ("mqtt://127.0.0.1/a+b", "expected mqtt://HOST[:PORT]/TOPIC"),
        ("mqtt://127.0.0.1/$SYS/hall", "expected mqtt://HOST[:PORT]/TOPIC"),
        ("http://127.0.0.1/hall", "expected mqtt://HOST[:PORT]/TOPIC"),
        ("mqtt://ann:s3cret@127.0.0.1/hall", "mqtt://127.0.0.1/hall: others can read a login"),
    ],
)
def test_a_wrong_address_is_one_line(
    url: str, problem: str, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recognize", *files, "--publish", url]) == 2
    error = capsys.readouterr().err
    assert problem in error and error.count("\n") == 1 and "s3cret" not in error


def test_a_broker_that_is_not_there_is_one_line(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("paho.mqtt.client")
    assert main(["recognize", *files, "--publish", f"mqtt://127.0.0.1:{free_port()}/hall"]) == 2
    error = capsys.readouterr().err
    assert "cannot connect to the broker ([Errno 111] Connection refused)" in error and error.count("\n") == 1


def test_something_else_at_that_address_is_one_line(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("paho.mqtt.client")
    monkeypatch.setattr("motionrt.runtime.io.mqtt.CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert main(["recognize", *files, "--publish", f"mqtt://127.0.0.1:{silent.getsockname()[1]}/hall"]) == 2
    assert "the broker refuses the connection (no answer)" in capsys.readouterr().err


def test_the_messages_name_every_label_once() -> None:
    labels = ["fall", "hi five", "hi-five", "Status", "上"]
    found = topics("home", labels)
    assert found["fall"] == "home/fall" and len({*found.values(), "home/status"}) == len(labels) + 1
    entities = [json.loads(text) for text in discovery("home/hall", labels).values()]
    assert [entity["name"] for entity in entities] == labels
    assert len({entity["unique_id"] for entity in entities}) == len(labels)
    assert {entity["availability_topic"] for entity in entities} == {"home/hall/status"}

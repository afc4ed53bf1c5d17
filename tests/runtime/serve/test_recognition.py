"""Decisions on frames, over real sockets."""

import json
import socket
import threading
from contextlib import suppress
from itertools import count

import numpy as np
import pytest
from wait import wait_until
from websockets.exceptions import ConnectionClosed, InvalidStatus

from motionrt import InputError, Motion, MotionError, Recognizer
from motionrt.runtime.io.jsonl import decision_message, parse_frame
from motionrt.runtime.recognition.label_texts import Text
from motionrt.runtime.recognition.matcher import Matcher
from motionrt.runtime.serve.client import Client

from .messages import connect, frame_message, receive, receive_replies, request, send, send_batch


def offline(recognizer: Recognizer, messages: list[dict]) -> list[dict]:
    """Decisions of a local recognizer on the same messages, without their latency."""
    found = []
    for message in messages:
        one = parse_frame(message, recognizer.layout)
        decision = recognizer.step(one.joints, one.t, one.person, one.confidence, one.layout)
        found.append(without_latency(decision_message(one.t, decision)))
    return found


def without_latency(reply: dict) -> dict:
    return {name: value for name, value in reply.items() if name not in ("frame", "latency_ms")}


def metric(url: str, name: str) -> float:
    lines = request(f"{url}/metrics").body.decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"motionrt_{name} "))


def test_decisions_equal_those_of_a_local_recognizer(url: str, live: Recognizer, samples: list[Motion]) -> None:
    messages = [frame_message(motion, i, person=person) for i in range(60) for person, motion in enumerate(samples[:3])]
    replies = []
    with connect(url) as client:
        for number, message in enumerate(messages):
            send(client, message)
            replies.append(receive(client))
            assert replies[-1]["frame"] == number and replies[-1]["latency_ms"] > 0
    assert [without_latency(reply) for reply in replies] == offline(live.clone(), messages)
    assert {reply["event"] for reply in replies} >= {None, "onset"}


def test_a_client_whose_clock_is_set_back_starts_over(url: str, live: Recognizer, motion: Motion) -> None:
    later = [frame_message(motion, i, t=3600 + float(motion.times[i])) for i in range(40)]
    again = [frame_message(motion, i) for i in range(40)]
    replies = []
    with connect(url) as client:
        for message in [*later, *again]:
            send(client, message)
            replies.append(receive(client))
    assert replies[40] == {"frame": 40, "dropped": True, "why": "late"}
    assert (replies[41]["event"], replies[41]["event_label"]) == ("offset", "wave")
    assert [without_latency(reply) for reply in replies[42:]] == offline(live.clone(), again[1:])[1:]


def test_empty_slots_of_a_sensor_have_no_actions(url: str, live: Recognizer, motion: Motion) -> None:
    empty = np.zeros_like(motion.joints[0]).tolist()
    expected = offline(live.clone(), [frame_message(motion, i, person=2) for i in range(60)])
    with connect(url) as client:
        for i in range(60):
            for person in range(4):
                message = frame_message(motion, i, person=person)
                send(client, message if person == 2 else message | {"joints": empty})
                reply = without_latency(receive(client))
                if person == 2:
                    assert reply == expected[i]
                else:
                    assert (reply["label"], reply["score"], reply["event"]) == ("none", 1, None)


def test_layout_and_person_are_optional(url: str, live: Recognizer) -> None:
    message = {"t": 0, "joints": np.random.default_rng(0).normal(size=(15, 3)).round(3).tolist()}
    with connect(url) as client:
        send(client, message)
        assert [without_latency(receive(client))] == offline(live.clone(), [message])


def test_an_error_is_answered_and_the_session_continues(url: str, motion: Motion) -> None:
    bad = {
        "{": "is not a whole JSON message",
        "[1]": "is a JSON list, expected an object",
        json.dumps({"t": 0}): "has no list 'joints'",
        json.dumps(frame_message(motion, 0, layout="smpl23")): "unknown skeleton layout 'smpl23'",
        json.dumps(frame_message(motion, 0, layout="coco17")): "expected [17, 2]",
        json.dumps(frame_message(motion, 0, t="now")): "'t' is 'now', expected seconds",
        json.dumps(frame_message(motion, 0, t=1.7e12)): "'t' is 1.7e+12, which looks like milliseconds",
        json.dumps(frame_message(motion, 0, person=True)): "'person' is True, expected a whole number of 64 bits",
        json.dumps({"reset": 10**30}): "expected a whole number of 64 bits",
        json.dumps({"reset": "all"}): "'reset' is 'all', expected a whole number",
        json.dumps({"labels": ["waving"]}): "label 'waving' is not one of model 'live', the nearest are 'wave', ",
        json.dumps({"labels": ["\ud800"]}): "label '?' is not one of model 'live'",
        json.dumps({"labels": []}): "no labels, expected some of model 'live'",
        json.dumps({"labels": "wave"}): "'labels' is not a list of at most 100 texts",
    }
    with connect(url) as client:
        for number, (message, why) in enumerate(bad.items()):
            send(client, message)
            reply = receive(client)
            assert reply["frame"] == number and why in reply["error"] and "\n" not in reply["error"]
        send(client, b"\xff", json.dumps(frame_message(motion, 0)).encode())
        assert "error" in receive(client)
        assert "label" in receive(client)


def test_a_reply_warns_once_of_times_in_another_unit(url: str, motion: Motion) -> None:
    with connect(url) as client:
        for i in range(40):
            send(client, frame_message(motion, i, t=1000 * float(motion.times[i])))
        replies = [reply for reply in (receive(client) for _ in range(40)) if "warning" in reply]
    (reply,) = replies
    assert reply["warning"].endswith("s apart, which looks like milliseconds, expected seconds")


def test_frames_without_a_time_take_that_of_their_arrival(url: str, motion: Motion) -> None:
    replies = []
    with connect(url) as client:
        for i in range(4):
            send(client, frame_message(motion, i, t=None))
            replies.append(receive(client))
    assert [reply.get("warning") for reply in replies] == [
        "messages have no time 't', the time of arrival is used",
        None,
        None,
        None,
    ]
    times = [reply["t"] for reply in replies]
    assert times == sorted(times) and times[-1] - times[0] < 60


def test_joints_in_millimeters_stay_refused(url: str, motion: Motion) -> None:
    with connect(url) as client:
        for i in range(40):
            message = frame_message(motion, i)
            message["joints"] = [[1000 * x for x in point] for point in message["joints"]]
            send(client, message)
            reply = receive(client)
            assert ("error" in reply) == (i >= 29)
    assert "looks like millimeters, expected meters" in reply["error"]


def test_the_newest_frame_of_a_person_wins_and_the_others_are_reported_as_dropped(
    url: str, live: Recognizer, motion: Motion
) -> None:
    before = metric(url, 'dropped_total{why="overtaken"}')
    messages = [frame_message(motion, i) for i in range(60)]
    with connect(url) as client:
        for begin in range(0, 60, 10):
            send_batch(client, messages[begin : begin + 10])
        replies = receive_replies(client, 60)
    dropped = {number for number, reply in replies.items() if "dropped" in reply}
    assert all(replies[number] == {"frame": number, "dropped": True, "why": "overtaken"} for number in dropped)
    decided = sorted(replies.keys() - dropped)
    assert dropped and decided
    assert [without_latency(replies[i]) for i in decided] == offline(live.clone(), [messages[i] for i in decided])
    assert metric(url, 'dropped_total{why="overtaken"}') == before + len(dropped)


def test_people_do_not_overtake_each_other(url: str, motion: Motion) -> None:
    with connect(url) as client:
        send_batch(client, [frame_message(motion, 0, person=person) for person in range(16)])
        replies = receive_replies(client, 16)
    assert [replies[person]["person"] for person in range(16)] == list(range(16))


def test_a_late_frame_is_dropped(url: str, motion: Motion) -> None:
    with connect(url) as client:
        send(client, frame_message(motion, 0, t=1.0))
        assert receive(client)["t"] == 1.0
        send(client, frame_message(motion, 0, t=0.5))
        assert receive(client) == {"frame": 1, "dropped": True, "why": "late"}


def test_one_person_too_many_is_refused_and_the_others_continue(url: str, motion: Motion) -> None:
    with connect(url) as client:
        for person in range(17):
            send(client, frame_message(motion, 0, person=person))
            reply = receive(client)
        assert "16" in reply["error"]
        send(client, frame_message(motion, 1, person=3))
        assert receive(client)["person"] == 3


def test_the_final_decision_on_a_person_who_left_is_sent(url: str, motion: Motion) -> None:
    with Client(url) as client:
        client.step(motion.joints[0], 0.0, person=7, layout=motion.layout)
        client.step(motion.joints[0], 1.0, person=8, layout=motion.layout)
        client.reset()
        assert [gone["person"] for gone in client.departed] == [7]


def test_a_reset_forgets_people(url: str, live: Recognizer, motion: Motion) -> None:
    messages = [frame_message(motion, i) for i in range(40)]
    expected = offline(live.clone(), messages)
    with connect(url) as client:
        for message in ({"reset": 0}, {"reset": None}):
            replies = []
            for one in messages:
                send(client, one)
                replies.append(without_latency(receive(client)))
            assert replies == expected
            send(client, message)
            assert receive(client)["reset"] == message["reset"]


def test_frames_that_came_before_a_reset_are_answered(url: str, motion: Motion) -> None:
    first, second, third = (frame_message(motion, i, person=person) for i, person in ((0, 1), (0, 2), (1, 1)))
    messages = [first, second, {"reset": None}, third]
    with connect(url) as client:
        send_batch(client, messages)
        replies = receive_replies(client, 4)
    assert ["label" in replies[number] for number in range(4)] == [True, True, False, True]


def test_clients_do_not_disturb_each_other(url: str, live: Recognizer, samples: list[Motion]) -> None:
    scripts = [[frame_message(motion, i) for i in range(40)] for motion in samples[:3]]
    replies: list[list[dict]] = [[] for _ in scripts]
    with connect(url) as a, connect(url) as b, connect(url) as c:
        for i in range(40):
            for client, messages, received in zip((a, b, c), scripts, replies, strict=True):
                send(client, messages[i])
                received.append(without_latency(receive(client)))
    assert replies == [offline(live.clone(), messages) for messages in scripts]


def test_every_client_chooses_its_own_labels(serve, samples: list[Motion]) -> None:
    server = serve(model="zero-shot", labels=("bow", "walk"))
    bow = samples[0]
    with connect(server.url) as client, connect(server.url) as other:
        send(client, {"labels": ["jump", "wave"]})
        assert receive(client) == {"frame": 0, "labels": ["jump", "wave", "none"]}
        for socket_, known in ((client, {"jump", "wave", "none"}), (other, {"bow", "walk", "none"})):
            send(socket_, frame_message(bow, 0))
            assert {label for label, _ in receive(socket_)["top"]} == known
        send(client, {"labels": ["jump", "jump"]}, {"labels": [1]})
        assert "is repeated" in receive(client)["error"]
        assert "expected a string" in receive(client)["error"]


def test_every_client_chooses_among_the_labels_of_a_model(serve, motion: Motion) -> None:
    server = serve(labels=("kick", "bow"))
    with Client(server.url) as client, Client(server.url) as other:
        assert client.set_labels(["wave", "none"]) == ["wave", "none"]
        for one, known in ((client, {"wave", "none"}), (other, {"kick", "bow", "none"})):
            reply = one.step(motion.joints[0], 0.0, layout=motion.layout)
            assert {label for label, _ in reply["top"]} == known


def test_frames_are_decided_on_while_labels_are_encoded(serve, motion: Motion, monkeypatch: pytest.MonkeyPatch) -> None:
    is_decided, set_labels = threading.Event(), Recognizer.set_labels

    def set_labels_later(recognizer: Recognizer, labels: list[str]) -> None:
        assert is_decided.wait(30)
        set_labels(recognizer, labels)

    server = serve(model="zero-shot")
    monkeypatch.setattr(Recognizer, "set_labels", set_labels_later)
    with connect(server.url) as client:
        send(client, {"labels": ["juggle", "dance"]}, frame_message(motion, 0))
        assert receive(client)["frame"] == 1
        is_decided.set()
        assert receive(client) == {"frame": 0, "labels": ["juggle", "dance", "none"]}


def test_labels_of_several_clients_are_encoded_in_turn(serve, motion: Motion, monkeypatch: pytest.MonkeyPatch) -> None:
    both_asked, encode, done = threading.Event(), Matcher.encode, []

    def encode_later(matcher: Matcher, text: Text) -> None:
        assert both_asked.wait(30)
        encode(matcher, text)

    def set_labels(recognizer: Recognizer, labels: list[str]) -> None:
        done.append(len(labels))

    server = serve(model="zero-shot")
    monkeypatch.setattr(Matcher, "encode", encode_later)
    monkeypatch.setattr(Recognizer, "set_labels", set_labels)
    with connect(server.url) as greedy, connect(server.url) as other:
        for client, labels in ((greedy, [f"action {i}" for i in range(100)]), (other, ["juggle", "dance"])):
            send(client, {"labels": labels}, frame_message(motion, 0))
            assert receive(client)["frame"] == 1  # the request before is being worked on
        both_asked.set()
        receive(other), receive(greedy)
    assert done == [2, 100]


def test_the_client_returns_the_recognizers_decisions(url: str, live: Recognizer, motion: Motion) -> None:
    joints = motion.joints.copy()
    joints[3:6, 4] = np.nan
    recognizer = live.clone()
    with Client(url) as client:
        for t, pose in zip(motion.times, joints, strict=True):
            reply = client.step(pose, t, confidence=np.ones(len(pose)), layout=motion.layout)
            decision = recognizer.step(pose.astype(float).round(5), t, layout=motion.layout)
            assert (reply["label"], reply["event"]) == (decision.label, decision.event)
            assert reply["score"] == round(decision.score, 4)
        with pytest.raises(InputError, match="label 'waving' is not one of model 'live'"):
            client.set_labels(["waving"])
        assert client.step(joints[0], 100.0, layout=motion.layout)["frame"] == motion.frames + 1


def test_the_client_takes_scalars_of_numpy_and_ids_of_64_bits(url: str, motion: Motion) -> None:
    kinect = np.int64(72057594037927936)
    with Client(url) as client:
        for i in range(3):
            reply = client.step(motion.joints[i], motion.times[i], kinect, layout=np.str_(motion.layout))
            assert reply["person"] == kinect
        client.reset(kinect)
        assert client.step(motion.joints[0], np.float32(0.5), kinect, layout=motion.layout)["event"] is None
        for person in (1.5, True, "anna", 2**63):
            with pytest.raises(InputError, match="person is .*, expected a whole number of 64 bits"):
                client.step(motion.joints[0], 1.0, person)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="the timestamp is 'now', expected seconds"):
            client.step(motion.joints[0], "now")  # type: ignore[arg-type]
        with client.generate("a person walks", seconds=np.float32(1), seed=np.int64(3)) as stream:  # type: ignore[arg-type]
            assert next(stream).frames == 20


def test_the_client_connects_to_this_machine_without_a_proxy(
    url: str, motion: Motion, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Client(url) as client:
        assert client.step(motion.joints[0], 0.0, layout=motion.layout)["event"] is None


def test_the_client_reports_that_there_is_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(MotionError, match=f"127.0.0.1:{port}/recognize: cannot be reached"):
        Client(f"ws://127.0.0.1:{port}").reset()


def test_a_flood_ends_the_connection(serve, motion: Motion) -> None:
    server = serve(messages_per_s=20.0)
    with connect(server.url) as client:
        with pytest.raises(ConnectionClosed) as caught:
            send_batch(client, [{"reset": None}] * 60)
            receive_replies(client, 60)
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, "more than 20 messages per second")
    assert metric(server.url, 'refused_total{why="flood"}') == 1


def test_a_message_that_is_too_long_ends_the_connection(url: str) -> None:
    before = metric(url, 'refused_total{why="size"}')
    with connect(url) as client:
        with pytest.raises(ConnectionClosed) as caught:
            send(client, " " * ((1 << 16) + 1))
            receive(client)
        assert caught.value.rcvd.code == 1009
    assert metric(url, 'refused_total{why="size"}') == before + 1


def test_clients_beyond_the_limit_are_refused(serve, motion: Motion) -> None:
    server = serve(clients=2)
    with connect(server.url):
        with connect(server.url):
            with pytest.raises(InvalidStatus) as caught, connect(server.url):
                pass
            assert caught.value.response.status_code == 503
            assert json.loads(caught.value.response.body)["detail"] == "2 clients are connected; try again later"
            with pytest.raises(MotionError, match="recognize: 2 clients are connected"):
                Client(server.url).reset()
            assert metric(server.url, "clients") == 2
        wait_until(lambda: metric(server.url, "clients") < 2, 30, "the server notices that a client has left")
        with connect(server.url) as client:
            send(client, frame_message(motion, 0))
            assert "label" in receive(client)


def test_a_client_that_does_not_read_is_dropped_and_delays_no_other(serve, live: Recognizer, motion: Motion) -> None:
    server = serve(send_timeout_s=0.3, messages_per_s=1e6)
    host, port = server.url.removeprefix("http://").split(":")
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
    small.connect((host, int(port)))
    messages = [frame_message(motion, i) for i in range(40)]
    replies = []

    def keep_sending() -> None:
        with suppress(OSError):  # once the server has closed the connection
            for i in count():
                send_batch(slow, [frame_message(motion, 0, t=float(i), person=person) for person in range(16)])

    with connect(server.url) as client, connect(server.url, sock=small, max_queue=1, close_timeout=0) as slow:
        sending = threading.Thread(target=keep_sending)
        sending.start()
        try:
            for message in messages:
                send(client, message)
                replies.append(without_latency(receive(client)))
            wait_until(lambda: metric(server.url, 'refused_total{why="slow"}'), 60, "the slow client is dropped")
            wait_until(lambda: metric(server.url, "clients") == 1, 30, "its slot is free")
        finally:
            with suppress(OSError):
                small.shutdown(socket.SHUT_RDWR)
            sending.join(30)
    assert replies == offline(live.clone(), messages)

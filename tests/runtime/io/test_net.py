"""Skeletons from the network, over real local sockets."""

import _thread
import json
import logging
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wait import wait_until

from motionrt.runtime.errors import InputError, MissingExtra
from motionrt.runtime.io.malformed import Malformed
from motionrt.runtime.io.net import MAX_CLIENTS, MAX_MESSAGE, Inbox
from motionrt.runtime.io.source import open_source

POSE = np.arange(45.0).reshape(15, 3)


def message(t, person=0, **changes):
    return {"t": t, "person": person, "layout": "core15", "joints": POSE.tolist()} | changes


@contextmanager
def connected(source, token=None):
    """A function that sends text, or other values as JSON, to a listening source."""

    def encoded(value):
        return value if isinstance(value, str) else json.dumps(value)

    if source.name.startswith("udp"):
        family = socket.AF_INET6 if ":" in source.address[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            yield lambda value: sender.sendto(encoded(value).encode(), source.address)
    else:
        client = pytest.importorskip("websockets.sync.client")
        headers = {"Authorization": token} if token else {}
        with client.connect(source.name, additional_headers=headers) as connection:
            yield lambda value: connection.send(encoded(value))


@pytest.fixture(params=["udp", "ws"])
def stream(request):
    """A listener at a free port, and a function that sends to it."""
    if request.param == "ws":
        pytest.importorskip("websockets")
    with open_source(f"{request.param}://127.0.0.1:0") as source, connected(source) as send:
        yield source, send


def seen(source):
    """The next snapshot with people, as (t, ids)."""
    t, people = next((t, people) for t, people in source.snapshots() if people)
    return t, [frame.person for frame in people]


def test_the_address_has_the_actual_port(stream):
    source, _ = stream
    assert source.address[0] == "127.0.0.1" and source.address[1] > 0
    assert source.name.endswith(f"://127.0.0.1:{source.address[1]}")


def test_a_message_is_a_frame(stream):
    source, send = stream
    send(message(1.5, 7, joints=[[None] * 3, *POSE[1:].tolist()], confidence=[0.5] * 15))
    frame = next(source)
    assert (frame.t, frame.person, frame.layout) == (1.5, 7, "core15")
    assert np.isnan(frame.joints[0]).all()
    np.testing.assert_array_equal(frame.joints[1:], POSE[1:])
    np.testing.assert_array_equal(frame.confidence, [0.5] * 15)
    assert (source.frames_in, source.dropped, source.malformed, source.rejected) == (1, 0, 0, 0)


def test_a_list_of_messages_is_one_snapshot(stream):
    source, send = stream
    send([message(0.1, 3), message(0.0, 1)])
    assert seen(source) == (0.1, [1, 3])  # in the order of time
    assert source.frames_in == 1


def test_layout_is_for_messages_that_do_not_name_theirs():
    with open_source("udp://127.0.0.1:0", layout="coco17") as source, connected(source) as send:
        send(message(0))
        assert next(source).layout == "core15"
        send({"t": 0.1, "joints": [[0, 0]] * 17})
        assert next(source).layout == "coco17"


def test_a_slow_consumer_gets_the_newest_of_every_person_and_drops_are_counted(stream):
    source, send = stream
    for k in range(20):
        send(message(k / 30, 0))
        send(message(k / 30, 1))
    wait_until(lambda: source.dropped == 38, 30, "source.dropped == 38")
    assert seen(source) == (19 / 30, [0, 1])
    send(message(20 / 30, 1))
    assert seen(source) == (20 / 30, [1])
    assert (source.dropped, source.frames_in) == (38, 2)


def test_a_silent_sender_yields_heartbeats(stream):
    source, send = stream
    send(message(5.0))
    snapshots = source.snapshots()
    assert [len(people) for _, people in (next(snapshots),)] == [1]
    (first, nobody), (second, still_nobody) = next(snapshots), next(snapshots)
    assert nobody == still_nobody == []
    assert first > 5.09 and second > first + 0.09  # HEARTBEAT_S, but for the timer
    assert source.frames_in == 1
    send(message(5.3))
    assert seen(source) == (5.3, [0])


def test_malformed_messages_are_counted_and_the_stream_continues(stream, caplog):
    source, send = stream
    with caplog.at_level(logging.WARNING):
        bad = ["{", "[]]", "[[]]", "7", message("now"), message(0, layout="core16"), message(0, joints=[[1, 2, 3]])]
        bad += [message(5e11), message(True), message(0, True), message(0, 2**63), [message(0), message(0)]]
        bad += ["[]", [message(0)] * 17, [message(0), message(0, joints=None)]]
        for value in bad:
            send(value)
        wait_until(lambda: source.malformed == len(bad), 30, "source.malformed == len(bad)")
        send(message(1.0))
        assert seen(source) == (1.0, [0])
    assert [record.getMessage() for record in caplog.records if record.name.startswith("motionrt")] == [
        f"{source.name}: ignored a message from 127.0.0.1: is not a whole JSON message (Expecting property name "
        "enclosed in double quotes: line 1 column 2 (char 1))"
    ]


def test_bytes_that_are_not_text_are_malformed():
    with open_source("udp://127.0.0.1:0") as source, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"\xff\xfe\x00{", source.address)
        sender.sendto(b"", source.address)
        wait_until(lambda: source.malformed == 2, 30, "source.malformed == 2")


def test_one_malformed_message_of_each_sender_a_minute_is_logged(caplog):
    now = 100.0
    problems = Malformed("here", clock=lambda: now)
    for _ in range(3):
        problems.add("is odd", "10.0.0.1")
        problems.add("is long", "10.0.0.2")
    now += 59
    problems.add("is odd", "10.0.0.1")
    now += 2
    problems.add("is odd again", "10.0.0.1")
    assert caplog.messages == [
        "here: ignored a message from 10.0.0.1: is odd",
        "here: ignored a message from 10.0.0.2: is long",
        "here: ignored a message from 10.0.0.1: is odd again",
    ]
    assert problems.count == 8
    for sender in range(10_000):
        problems.add("is one of many", sender)
    assert len(caplog.messages) < 300 and problems.count == 10_008


def test_messages_without_a_time_take_that_of_their_arrival(stream, caplog):
    source, send = stream
    frames = []
    for k in range(3):
        send(message(None, joints=(POSE + k).tolist()))
        frames.append(next(source))
    assert [frame.joints[0, 0] for frame in frames] == [0, 1, 2] and source.malformed == 0
    assert 0 < frames[1].t - frames[0].t < 60 and 0 < frames[2].t - frames[1].t < 60
    assert caplog.messages == [f"{source.name}: messages have no time 't', the time of arrival is used"]


def test_an_oversized_message_ends_the_connection_but_not_the_stream():
    pytest.importorskip("websockets")
    with open_source("ws://127.0.0.1:0") as source:
        with connected(source) as send:
            send(" " * (MAX_MESSAGE + 1))
            wait_until(lambda: source.malformed == 1, 30, "source.malformed == 1")
        with connected(source) as send:
            send(message(0))
            assert seen(source) == (0, [0])


def test_the_inbox_rejects_an_oversized_message():
    inbox = Inbox("test")
    inbox.receive(json.dumps(message(0)) + " " * MAX_MESSAGE)
    inbox.close()
    assert (list(inbox), inbox.malformed) == ([], 1)


def test_a_seventeenth_person_has_to_wait_until_another_leaves(stream):
    source, send = stream
    send([message(10, person) for person in range(16)])
    assert seen(source) == (10, list(range(16)))
    send([message(10.2, person) for person in range(1, 16)])
    assert seen(source) == (10.2, list(range(1, 16)))
    send(message(10.4, 99))
    wait_until(lambda: source.malformed == 1, 30, "source.malformed == 1")
    send(message(10.6, 99))
    assert seen(source) == (10.6, [99])  # in the place of 0
    send(message(10.6, 0))
    wait_until(lambda: source.malformed == 2, 30, "source.malformed == 2")


def test_end_ends_the_stream_after_pending_messages(stream):
    source, send = stream
    send(message(0.5))
    send({"end": True})
    assert [frame.t for frame in source] == [0.5]
    assert list(source.snapshots()) == [] and source.malformed == 0


def test_closing_wakes_a_waiting_consumer(stream):
    source, _ = stream
    closer = threading.Timer(0.05, source.close)
    closer.start()
    assert list(source) == []
    closer.join()


@pytest.mark.parametrize("scheme", ["udp", "ws"])
def test_a_closed_source_frees_its_port_and_its_threads(scheme):
    if scheme == "ws":
        pytest.importorskip("websockets")
    source = open_source(f"{scheme}://127.0.0.1:0")
    with connected(source) as send:
        send(message(0))
        next(source)
        source.close()
    assert not [thread for thread in threading.enumerate() if thread.name == scheme]
    open_source(source.name).close()


def test_ctrl_c_ends_the_wait(stream):
    source, _ = stream
    threading.Timer(0.05, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        next(source)


def test_a_client_that_leaves_does_not_end_the_stream():
    pytest.importorskip("websockets")
    with open_source("ws://127.0.0.1:0") as source:
        for t in (1, 2):
            with connected(source) as send:
                send(message(t))
                assert seen(source) == (t, [0])


def test_clients_beyond_the_limit_are_refused():
    client = pytest.importorskip("websockets.sync.client")
    from websockets.exceptions import ConnectionClosed

    with open_source("ws://127.0.0.1:0") as source, ExitStack() as stack:
        clients = [stack.enter_context(client.connect(source.name)) for _ in range(MAX_CLIENTS)]
        for k, one in enumerate(clients):
            one.send(json.dumps(message(0, k)))
        people = set()
        for _ in clients:
            people.add(next(source).person)
        assert len(people) == MAX_CLIENTS
        with (
            pytest.raises(ConnectionClosed, match="8 clients are already connected"),
            client.connect(source.name) as one_too_many,
        ):
            one_too_many.recv(timeout=30)
        assert source.rejected == 1
        clients[0].close()
        wait_until(lambda: _is_admitted(client, source), 30, "_is_admitted(client, source)")


def _is_admitted(client, source):
    from websockets.exceptions import ConnectionClosed

    with client.connect(source.name) as connection:
        try:
            connection.recv(timeout=0.1)
        except TimeoutError:
            return True
        except ConnectionClosed:
            return False


def test_udp_senders_must_present_the_token():
    with open_source("udp://127.0.0.1:0", token="s3cret") as source, connected(source) as send:
        send(message(0))
        send(message(1, token="guess"))
        send(message(2, token="\ud800"))
        send(message(2, token=7))
        send([message(3, 0, token="s3cret"), message(3, 1)])
        send({"end": True})
        wait_until(lambda: source.rejected == 6, 30, "source.rejected == 6")
        send(message(4, token="s3cret"))
        assert seen(source) == (4, [0]) and source.malformed == 0
        send({"end": True, "token": "s3cret"})
        assert list(source) == []


@pytest.mark.parametrize("header", [None, "Bearer guess", "Bearer s3cret2", "s3cret"])
def test_websocket_clients_must_present_the_token(header):
    exceptions = pytest.importorskip("websockets.exceptions")
    with open_source("ws://127.0.0.1:0", token="s3cret") as source:
        with pytest.raises(exceptions.InvalidStatus, match="401") as caught, connected(source, header):
            pass
        assert caught.value.response.headers["WWW-Authenticate"] == "Bearer"
        assert source.rejected == 1
        with connected(source, "Bearer s3cret") as send:
            send(message(0))
            assert seen(source) == (0, [0])


def test_a_token_need_not_be_ascii():
    with open_source("udp://127.0.0.1:0", token="gehe\u00efm") as source, connected(source) as send:
        send(message(0, token="gehe\u00efm"))
        assert seen(source) == (0, [0])


def test_a_token_that_is_not_text_is_wrong():
    pytest.importorskip("websockets")
    with (
        open_source("ws://127.0.0.1:0", token="s3cret") as source,
        socket.create_connection(source.address, timeout=30) as raw,
    ):
        raw.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer \xff\r\n\r\n"
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 401 ")
        assert source.rejected == 1


def test_pages_from_other_sites_cannot_connect():
    client = pytest.importorskip("websockets.sync.client")
    from websockets.exceptions import InvalidStatus

    with open_source("ws://127.0.0.1:0") as source:
        for origin in ("https://evil.example", "http://127.0.0.1.evil.example", "null"):
            with pytest.raises(InvalidStatus, match="403"), client.connect(source.name, origin=origin):
                pass
        assert source.rejected == 3
        with client.connect(source.name, origin="http://localhost:8000") as page:
            page.send(json.dumps(message(0)))
            assert seen(source) == (0, [0])


@pytest.mark.parametrize("scheme", ["udp", "ws"])
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1"])
def test_listening_beyond_this_machine_requires_a_token(scheme, host):
    if scheme == "ws":
        pytest.importorskip("websockets")
    for token in (None, ""):
        with pytest.raises(InputError, match="listening beyond this machine needs a token"):
            open_source(f"{scheme}://{host}:0", token=token)


def test_any_address_works_with_a_token():
    with open_source("udp://0.0.0.0:0", token="s3cret") as source:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(json.dumps(message(0, token="s3cret")).encode(), ("127.0.0.1", source.address[1]))
        assert seen(source) == (0, [0])


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "[::1]"])
def test_loopback_addresses_need_no_token(host):
    if host == "[::1]" and not _has_ipv6():
        pytest.skip("no IPv6 here")
    with open_source(f"udp://{host}:0") as source, connected(source) as send:
        assert source.name.startswith(f"udp://{host}:")
        send(message(0))
        assert seen(source) == (0, [0])


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("udp://127.0.0.1", "udp://127.0.0.1: expected udp://HOST:PORT, such as udp://127.0.0.1:9000"),
        ("udp://127.0.0.1:x", "expected udp://HOST:PORT"),
        ("udp://127.0.0.1:65536", "expected udp://HOST:PORT"),
        ("udp://:9000", "expected udp://HOST:PORT"),
        ("udp://::1:9000", "expected udp://HOST:PORT"),
        ("ws://127.0.0.1:9000/path", "expected ws://HOST:PORT"),
        ("ws://me:pass@127.0.0.1:9000", "ws://127.0.0.1:9000: expected ws://HOST:PORT"),
        ("udp://no.such.host.invalid:9000", "no.such.host.invalid is not an address of this machine"),
        ("wss://127.0.0.1:9000", "unknown scheme wss://, expected a file, a camera number"),
    ],
)
def test_invalid_addresses(url, message):
    pytest.importorskip("websockets")
    with pytest.raises(InputError, match=message) as caught:
        open_source(url)
    assert "pass@" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["udp", "ws"])
def test_a_port_in_use(scheme):
    if scheme == "ws":
        pytest.importorskip("websockets")
    with (
        open_source(f"{scheme}://127.0.0.1:0") as source,
        pytest.raises(InputError, match=f"{source.name}: cannot listen there: Address already in use"),
    ):
        open_source(source.name)


def test_websockets_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets.sync.server", None)
    with pytest.raises(MissingExtra, match=r"ws:// needs websockets.*pip install '\.\[net\]'"):
        open_source("ws://127.0.0.1:0")


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["t", "person", "layout", "joints", "confidence", "token", "end"]), NESTED),
    st.booleans(),
    st.sampled_from([None, "s3cret"]),
)
def test_no_message_breaks_the_inbox(changes, is_list, token):
    inbox = Inbox("test", token=token)
    value = message(0) | changes
    inbox.receive(json.dumps([value] if is_list else value))
    inbox.receive(json.dumps(message(1, token=token)))
    inbox.close()
    taken = [frame.t for _, people in inbox for frame in people or []]
    is_unstamped = value.get("t") is None and len(taken) == 1
    assert taken[-1:] == [1.0] or value.get("end") is True or is_unstamped

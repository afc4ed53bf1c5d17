"""Access control: requests that are accepted, and refusals of all others."""

import base64

import pytest
from websockets.exceptions import InvalidStatus

from motionrt import InputError, Motion
from motionrt.runtime.serve.client import Client
from motionrt.runtime.serve.limits import MAX_ADDRESSES, Bucket, Buckets, Slots
from motionrt.runtime.serve.settings import Settings

from .messages import connect, frame_message, receive, request, send

TOKEN = "s3cret/+="
PRIVATE = ("/metrics", "/models", "/layouts", "/motion", "/openapi.json", "/recognize", "/generate", "/nothing")


@pytest.fixture(scope="module")
def guarded() -> str:
    from .conftest import running

    with running(token=TOKEN, origins=("https://app.example",)) as server:
        yield server.url


def protocol(token: str) -> str:
    return "bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def status_of_socket(url: str, **settings) -> int:
    """HTTP status of the handshake: 101 if it is accepted."""
    try:
        with connect(url, **settings):
            return 101
    except InvalidStatus as error:
        assert error.response.headers["Content-Type"] == "application/json"
        return error.response.status_code


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_public_pages_need_no_token(guarded: str, path: str) -> None:
    assert request(guarded + path).status == 200


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("header", [None, "Bearer guess", f"Bearer {TOKEN}x", TOKEN, f"Basic {TOKEN}"])
def test_all_other_pages_need_the_token(guarded: str, path: str, header: str | None) -> None:
    headers = {"Authorization": header} if header else {}
    refused = request(guarded + path, headers=headers)
    assert refused.status == 401 and refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.json == {"detail": "expected the header Authorization: Bearer TOKEN"}


def test_requests_with_the_token_are_accepted(guarded: str, motion: Motion) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert request(f"{guarded}/models", headers=headers).status == 200
    assert status_of_socket(guarded, additional_headers=headers) == 101
    assert request(f"{guarded}/models?token={TOKEN}").status == 401


def test_a_web_page_presents_the_token_as_a_subprotocol(guarded: str, motion: Motion) -> None:
    with connect(guarded, subprotocols=["motionrt", protocol(TOKEN)], origin=guarded) as client:
        assert client.subprotocol == "motionrt"
        send(client, frame_message(motion, 0))
        assert "label" in receive(client)
    for wrong in (["motionrt"], ["motionrt", protocol("guess")], ["bearer.!"], ["bearer." + "_" * 9], [protocol("")]):
        assert status_of_socket(guarded, subprotocols=wrong) == 401
    assert status_of_socket(guarded, subprotocols=[protocol(TOKEN), protocol("guess")]) == 401


def test_the_client_presents_its_token() -> None:
    from .conftest import running

    with running(token="s3cret") as server:
        url = server.url.replace("http", "ws")
        with pytest.raises(InputError, match="expected the header Authorization: Bearer TOKEN"):
            Client(url).reset()
        with Client(url, token="s3cret") as client:
            client.reset()


@pytest.mark.parametrize("token", ["", "two words", "se\u00e7ret", "line\n"])
def test_a_token_that_a_header_cannot_carry_is_refused(token: str) -> None:
    with pytest.raises(InputError, match="characters other than visible ASCII"):
        Settings(token=token)


@pytest.mark.parametrize(
    "page", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1"]
)
def test_pages_of_other_sites_are_refused(url: str, guarded: str, page: str) -> None:
    for server in (url, guarded):
        assert status_of_socket(server, origin=page) == 403
        assert request(f"{server}/generate", {"prompt": "walk"}, {"Origin": page}).status == 403


def test_the_servers_page_and_allowed_origins_are_accepted(url: str, guarded: str) -> None:
    assert status_of_socket(url, origin=url) == 101
    assert status_of_socket(guarded, origin="https://app.example", subprotocols=[protocol(TOKEN)]) == 101
    assert status_of_socket(url, origin="https://app.example") == 403


def test_a_foreign_host_name_is_refused(url: str, guarded: str) -> None:
    rebound = {"Host": "evil.example:8765", "Origin": "http://evil.example:8765"}
    assert request(f"{url}/models", headers=rebound).status == 403
    assert request(f"{url}/", headers={"Host": "["}).status in (400, 403)
    assert request(f"{url}/models", headers={"Host": "localhost:8765"}).status == 200
    for host in ("[::1].evil", "[::1]evil:80", "127.0.0.1:80:80", "[::1]:80.evil", "user@127.0.0.1"):
        assert request(f"{url}/models", headers={"Host": host}).status == 403
    assert request(f"{url}/models", headers={"Host": "[::1]:8765"}).status == 200
    assert request(f"{guarded}/healthz", headers={"Host": "robot.example"}).status == 200


def test_too_many_requests_are_refused_except_for_probes(serve) -> None:
    server = serve(requests_per_s=1.0)
    statuses = [request(f"{server.url}/models").status for _ in range(6)]
    assert statuses[:2] == [200, 200] and 429 in statuses
    refused = request(f"{server.url}/models")
    assert refused.headers["Retry-After"] == "1" and "more than 1 requests per second" in refused.json["detail"]
    assert status_of_socket(server.url) == 429
    assert {request(f"{server.url}/healthz").status for _ in range(6)} == {200}


def test_pages_of_other_sites_do_not_use_up_the_rate(serve) -> None:
    url = serve(requests_per_s=1.0).url
    page = {"Origin": "https://evil.example"}
    assert {request(f"{url}/generate", {"prompt": "walk"}, page).status for _ in range(8)} == {403}
    assert request(f"{url}/models").status == 200


def test_a_bucket_refills_over_time() -> None:
    now = 0.0
    bucket = Bucket(rate=2, burst=3, clock=lambda: now)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now = 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]
    now = 100.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_each_address_has_a_bucket_until_it_is_forgotten() -> None:
    buckets = Buckets(rate=0, burst=1)
    assert [buckets.take(address) for address in "aba"] == [True, True, False]
    for k in range(MAX_ADDRESSES):
        buckets.take(str(k))
    assert buckets.take("a")


def test_slots_are_released() -> None:
    slots = Slots(1)
    assert [slots.acquire(), slots.acquire()] == [True, False]
    slots.release()
    assert slots.acquire()

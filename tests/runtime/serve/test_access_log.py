"""The access log: a line for each request and WebSocket, whatever they contain."""

import asyncio
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from wait import wait_until
from websockets.exceptions import InvalidStatus

from motionrt import InputError, Motion
from motionrt.runtime.serve import access_log
from motionrt.runtime.serve.access_log import AccessLog, LineFile

from .conftest import running
from .messages import connect, frame_message, receive, request, send

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 (\S+ \S+ \S+ \S+) (\d+) \d+")
TOKEN = "s3cret"


def test_a_line_says_who_asked_for_what(tmp_path: Path, motion: Motion) -> None:
    path, token = tmp_path / "access", {"Authorization": f"Bearer {TOKEN}"}
    with running(token=TOKEN, access_log=str(path), proxies=("127.0.0.1",)) as server:
        found = request(f"{server.url}/models?token={TOKEN}", headers=token | {"X-Forwarded-For": "192.0.2.7"})
        request(f"{server.url}/models")
        request(f"{server.url}/healthz", headers={"X-Forwarded-For": "192.0.2.7 200 1%0d\xe9"})
        request(f"{server.url}/%0d%0a%1b]0;%20%41{'x' * 5000}", headers=token)
        with connect(server.url, additional_headers=token) as client:
            send(client, frame_message(motion, 0))
            receive(client)
        with suppress(InvalidStatus), connect(server.url, "generate"):
            pass
        wait_until(lambda: path.read_text().count("\n") == 6, 30, "all lines are there")
    lines = path.read_text().splitlines()
    found_of = [match.groups() for match in map(LINE.fullmatch, lines) if match]
    assert len(found_of) == len(lines) and TOKEN not in path.read_text()
    assert found_of[0] == ("192.0.2.7 GET /models 200", str(len(found.body)))
    assert [line for line, _ in found_of[1:3]] == [
        "127.0.0.1 GET /models 401",
        "192.0.2.7%20200%201%250d%C3%A9 GET /healthz 200",
    ]
    assert re.fullmatch(r"127\.0\.0\.1 GET /%0D%0A%1B\]0%3B%20Ax{200,300} 404", found_of[3][0])
    assert {line for line, _ in found_of[4:]} == {
        "127.0.0.1 WEBSOCKET /recognize 101",
        "127.0.0.1 WEBSOCKET /generate 401",
    }
    assert path.stat().st_mode & 0o007 == 0


def test_requests_without_a_reply_have_lines(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/bad":
            raise RuntimeError

    async def ask(path: str) -> None:
        scope = {"type": "http", "client": None, "method": "GET", "path": path}
        with suppress(RuntimeError):
            await AccessLog(app, lines)(scope, None, None)  # type: ignore[arg-type]

    lines = LineFile(str(tmp_path / "access"))
    asyncio.run(ask("/bad"))
    asyncio.run(ask("/left"))
    lines.close()
    found = (tmp_path / "access").read_text().splitlines()
    assert [line.split()[1:-1] for line in found] == [["-", "GET", "/bad", "500", "0"], ["-", "GET", "/left", "-", "0"]]


def test_lines_a_second_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "LINES_PER_S", 1e-6)
    monkeypatch.setattr(access_log, "BURST_S", 2e6)
    lines = LineFile(str(tmp_path / "access"))
    for k in range(1000):
        lines.write(f"line {k}")
    lines.close()
    assert (tmp_path / "access").read_text().splitlines() == ["line 0", "line 1", "998 more"]


def test_a_reader_that_does_not_read_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "LINES_PER_S", 1e6)
    monkeypatch.setattr(access_log, "CLOSE_S", 0.1)
    reader, writer = os.pipe()
    lines = LineFile(f"/dev/fd/{writer}")
    os.close(writer)
    for _ in range(3000):
        lines.write("x" * 99)
    lines.close()
    with open(reader) as file:
        assert next(file) == "x" * 99 + "\n"


def test_the_log_is_on_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    lines = LineFile("-")
    lines.write("a line")
    lines.close()
    assert capfd.readouterr().out == "a line\n"


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        LineFile(str(tmp_path))

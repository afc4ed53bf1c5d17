"""Undocumented parts of uvicorn that the server relies on; after a failure, check serve/protocols.py."""

import asyncio
import inspect
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from motionrt.runtime.serve.protocols import HttpProtocol, WebSocketProtocol


def instance(protocol: type) -> Any:
    """A protocol of a connection that has not been made."""
    config = uvicorn.Config(lambda: None, ws=WebSocketProtocol)
    config.load()
    loop = asyncio.new_event_loop()
    try:
        return protocol(config=config, server_state=ServerState(), app_state={}, _loop=loop)
    finally:
        loop.close()


def parameters(cls: type, name: str) -> list[str]:
    return list(inspect.signature(getattr(cls, name)).parameters)[1:]


def test_uvicorns_http_protocol_is_as_expected() -> None:
    [base] = HttpProtocol.__bases__
    found = instance(base)
    assert found.cycle is None and found.transport is None and found.loop is not None
    assert parameters(base, "connection_made") == ["transport"] and parameters(base, "connection_lost") == ["exc"]
    assert parameters(base, "handle_websocket_upgrade") == ["event"]
    assert found.connections == set() and found.client is None
    cycle = inspect.getmodule(base).RequestResponseCycle  # type: ignore[union-attr]
    source = inspect.getsource(cycle.__init__)
    assert "self.more_body = " in source and "self.response_complete = False" in source


def test_uvicorns_websocket_protocol_is_as_expected() -> None:
    [base] = WebSocketProtocol.__bases__
    found = instance(base)
    assert found.frames == [] and found.transport is None and found.loop is not None
    assert (found.handshake_complete, found.close_sent) == (False, False)
    assert {name: parameters(base, name) for name in vars(WebSocketProtocol) if not name.startswith("_")} == {
        "handle_connect": ["event"],
        "handle_ping": [],
        "handle_cont": ["event"],
        "send_receive_event_to_app": [],
        "send": ["message"],
        "on_task_complete": ["task"],
    }


def test_uvicorns_server_is_as_expected() -> None:
    found = uvicorn.Server(uvicorn.Config(lambda: None))
    assert found.should_exit is False
    assert parameters(uvicorn.Server, "run") == ["sockets"]
    for name in ("startup", "shutdown"):
        assert parameters(uvicorn.Server, name) == ["sockets"]
        assert inspect.iscoroutinefunction(getattr(uvicorn.Server, name))
    assert "create_server(create_protocol, sock=sock" in inspect.getsource(uvicorn.Server.startup)
    assert "self.started = True" in inspect.getsource(uvicorn.Server.startup)


def test_the_subclasses_work_with_these_versions() -> None:
    assert instance(HttpProtocol).cycle is None and instance(WebSocketProtocol).frames == []

"""The fuzzer of the server detects misbehavior, and finds no problem in ours."""

import numpy as np
import pytest

for module in ("fastapi", "uvicorn", "prometheus_client", "websockets"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from motionrt.bench.fuzz import server as fuzz_server  # noqa: E402


@pytest.mark.slow
def test_malformed_messages_are_answered_and_do_not_affect_other_clients() -> None:
    found = fuzz_server.fuzz_server("live", 5.0, seed=0, conversations=100)
    # latency is measured by the benchmark, not here
    assert [one for one in found["findings"] if not one["problem"].startswith("a reply after")] == []
    assert min(found["conversations"].values()) > 5 and len(found["conversations"]) == len(fuzz_server.KINDS)
    assert found["messages"] > 100 and found["closes"].keys() == {"1000"}
    assert "400" in found["statuses"] and max(map(int, found["statuses"])) < 500


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (fuzz_server.Unanswered("closed with 1011 the server failed"), "closed with 1011 the server failed"),
        (ConnectionRefusedError(111, "refused"), "ConnectionRefusedError: [Errno 111] refused"),
    ],
    ids=["a close", "a server that is gone"],
)
def test_misbehavior_of_a_server_is_found(error: Exception, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(url: str, draw: np.random.Generator, log: fuzz_server.Log) -> None:
        raise error

    monkeypatch.setattr(fuzz_server, "KINDS", {"mine": talk})
    log = fuzz_server.Log()
    fuzz_server.converse("ws://127.0.0.1:1", 7, log)
    assert log.findings == [{"kind": "mine", "problem": problem, "seed": "7"}]

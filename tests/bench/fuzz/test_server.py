"""The fuzzer of the server finds what a server must not do, and nothing in ours."""

import numpy as np
import pytest

for module in ("fastapi", "uvicorn", "prometheus_client", "websockets"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from motionrt.bench.fuzz import server as fuzz_server  # noqa: E402


@pytest.mark.slow
def test_nonsense_is_answered_and_disturbs_nobody() -> None:
    found = fuzz_server.fuzz_server("live", 5.0, seed=0, conversations=100)
    # how long a reply took is for the benchmark to say
    assert [one for one in found["findings"] if not one["problem"].startswith("a reply after")] == []
    assert min(found["conversations"].values()) > 5 and len(found["conversations"]) == len(fuzz_server.KINDS)
    assert found["messages"] > 100 and found["ends"].keys() == {"1000"}
    assert "400" in found["statuses"] and max(map(int, found["statuses"])) < 500


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (fuzz_server.Unanswered("closed with 1011 the server failed"), "closed with 1011 the server failed"),
        (ConnectionRefusedError(111, "refused"), "ConnectionRefusedError: [Errno 111] refused"),
    ],
    ids=["a close", "a server that is gone"],
)
def test_what_a_server_must_not_do_is_found(error: Exception, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(url: str, draw: np.random.Generator, told: fuzz_server.Told) -> None:
        raise error

    monkeypatch.setattr(fuzz_server, "KINDS", {"mine": talk})
    told = fuzz_server.Told()
    fuzz_server.one("ws://127.0.0.1:1", 7, told)
    assert told.findings == [{"kind": "mine", "problem": problem, "seed": "7"}]

"""A stream beside attacks: small versions of those that the benchmark runs for longer."""

import pytest

for module in ("fastapi", "uvicorn", "prometheus_client", "websockets"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from motionrt.bench.fuzz import attacks  # noqa: E402


@pytest.mark.slow
def test_a_stream_beside_attacks_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("clips of texts", "silent connections")
    monkeypatch.setattr(attacks, "ATTACKS", {name: attacks.ATTACKS[name] for name in chosen})
    monkeypatch.setattr(attacks, "SILENT", 50)
    found = attacks.bench_attacks("live", 2.0)
    results = {name: (report["frames"], report["lost"], report["wrong"]) for name, report in found.items()}
    assert results == dict.fromkeys(chosen, (60, 0, 0))

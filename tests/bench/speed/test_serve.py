"""The benchmark of the server, under a small load."""

import pytest

for module in ("fastapi", "uvicorn", "prometheus_client", "websockets"):
    pytest.importorskip(module, reason=f"{module} is not installed")

from motionrt import Recognizer  # noqa: E402
from motionrt.bench.speed import serve  # noqa: E402


@pytest.mark.slow
def test_every_reply_is_counted_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "WARM_UP_S", 0.5)
    monkeypatch.setattr(serve, "CAPACITY_S", 0.5)
    report = serve.bench_serve("live", seconds=1, clients=2, rate_hz=30, overload=2, overload_s=1)
    for part in (report["steady"], report["overload"]["camera_clients"], report["overload"]["after"]):
        assert (part["lost"], part["wrong"], part["errors"]) == (0, 0, 0)
        assert part["server"]["n"] + part["reported_dropped"] == part["frames"]
    flooders = report["overload"]["flooders"]
    assert flooders["decided"] + flooders["reported_dropped"] + flooders["lost"] == flooders["sent"]
    assert report["overload"]["up"] and report["capacity_hz"] > 0


@pytest.mark.slow
def test_no_reply_is_lost_while_others_take_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "WARM_UP_S", 0.2)
    report = serve.bench_busy("live", seconds=1, clients=2, rate_hz=30, busy=4)
    assert (report["frames"], report["lost"], report["wrong"], report["errors"]) == (60, 0, 0, 0)


def test_a_wrong_reply_is_found() -> None:
    recognizer, player = Recognizer.load("live"), serve.Player(0, 30.0)
    record, sent_s = serve.Record(sent=3), [0.0] * 3
    for i in range(2):
        frame = serve.parse_message(player.message(i))
        decision = recognizer.step(frame.joints, frame.t, layout=frame.layout)
        label = decision.label if i == 0 else "wave"
        record.add(
            f'{{"frame": {i}, "label": "{label}", "score": {round(decision.score, 4)}, "latency_ms": 1}}', sent_s
        )
    assert (player.wrong(recognizer, record), record.lost) == (1, 1)

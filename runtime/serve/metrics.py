"""Prometheus metrics of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest

LATENCIES_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


class Metrics:
    """Metrics of one server, in a registry that it does not share.

    Attributes:
        frames: frames with a decision. dropped: frames without one, by reason: "overtaken" by a newer frame, or "late".
        errors: messages answered with an error.
        latency: seconds from the arrival of a frame to its reply.
        refused: clients rejected or disconnected, by reason.
        chunks: streamed chunks of motion. generated: motions returned in one piece. clips: recognized clips.
    """

    def __init__(self, clients: Callable[[], float], generating: Callable[[], float], replica: str = "") -> None:
        self._labels = {"replica": replica} if replica else {}
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("motionrt_clients", "Open WebSockets", registry=registry).set_function(clients)
        Gauge("motionrt_generating", "Motions being generated", registry=registry).set_function(generating)
        self.frames = Counter("motionrt_frames", "Frames with a decision", registry=registry)
        self.dropped = Counter("motionrt_dropped", "Frames without a decision", ["why"], registry=registry)
        self.errors = Counter("motionrt_errors", "Messages answered with an error", registry=registry)
        self.refused = Counter("motionrt_refused", "Clients rejected or disconnected", ["why"], registry=registry)
        self.chunks = Counter("motionrt_chunks", "Streamed chunks of motion", registry=registry)
        self.generated = Counter("motionrt_generated", "Motions returned in one piece", registry=registry)
        self.clips = Counter("motionrt_clips", "Recognized clips", registry=registry)
        self.latency = Histogram(
            "motionrt_latency_seconds",
            "Time from the arrival of a frame to its reply",
            buckets=LATENCIES_S,
            registry=registry,
        )
        for reason in ("overtaken", "late"):
            self.dropped.labels(reason)
        for reason in ("host", "rate", "origin", "token", "clients", "flood", "size", "slow", "idle", "requests"):
            self.refused.labels(reason)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """All metrics, labeled with the name of the replica if there are several."""
        for metric in self._registry.collect():
            metric.samples = [sample._replace(labels=sample.labels | self._labels) for sample in metric.samples]
            yield metric

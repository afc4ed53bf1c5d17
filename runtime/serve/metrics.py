"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest

LATENCIES_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


class Metrics:
    """Counters of one server, in a registry of its own.

    Attributes:
        clients: WebSockets that are open. generating: motions that are being made.
        frames: that were decided on. dropped: that were not, by why: "overtaken" by a newer one, or "late".
        errors: messages that were answered with an error.
        latency: from a frame that has come in to its reply, seconds.
        refused: clients that were not let in, or made to leave, by why.
        chunks: of motion that were streamed. generated: motions that were made in one piece. clips: recognised.
    """

    def __init__(self, clients: Callable[[], float], generating: Callable[[], float], replica: str = "") -> None:
        self._labels = {"replica": replica} if replica else {}
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("motionrt_clients", "WebSockets that are open", registry=registry).set_function(clients)
        Gauge("motionrt_generating", "Motions that are being made", registry=registry).set_function(generating)
        self.frames = Counter("motionrt_frames", "Frames that were decided on", registry=registry)
        self.dropped = Counter("motionrt_dropped", "Frames that were not decided on", ["why"], registry=registry)
        self.errors = Counter("motionrt_errors", "Messages that were answered with an error", registry=registry)
        self.refused = Counter(
            "motionrt_refused", "Clients that were not let in, or made to leave", ["why"], registry=registry
        )
        self.chunks = Counter("motionrt_chunks", "Chunks of motion that were streamed", registry=registry)
        self.generated = Counter("motionrt_generated", "Motions that were made in one piece", registry=registry)
        self.clips = Counter("motionrt_clips", "Clips that were recognised", registry=registry)
        self.latency = Histogram(
            "motionrt_latency_seconds",
            "From a frame that has come in to its reply",
            buckets=LATENCIES_S,
            registry=registry,
        )
        for why in ("overtaken", "late"):
            self.dropped.labels(why)
        for why in ("host", "rate", "origin", "token", "clients", "flood", "size", "slow"):
            self.refused.labels(why)

    def text(self) -> bytes:
        """All of them, in Prometheus' format."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """All of them, each with the replica's name where there are several: whichever is asked tells of itself."""
        for metric in self._registry.collect():
            metric.samples = [one._replace(labels=one.labels | self._labels) for one in metric.samples]
            yield metric

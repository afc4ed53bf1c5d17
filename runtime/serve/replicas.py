"""The server as a Ray Serve application: replicas in several processes or machines. Needs the extra `ray`.

A WebSocket and the state of its people stay with one replica. When a replica dies, its clients are disconnected and
connect to another one, which does not know their people (see `Client`).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads it on import

import ray
from ray import serve as ray_serve

from ..errors import InputError
from .guard import MAX_REQUESTS
from .server import listen, tune_process
from .service import Service
from .settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

NAME = "motionrt"
TARGET_LOAD = 0.75  # share of a replica's slots that autoscaling aims for
SCALE_UP_S = 3.0  # how long the load must be higher before a replica is added
SHUTDOWN_S = 5.0  # how long a replica that is no longer needed keeps serving


def application(settings: Settings, min_replicas: int = 1, max_replicas: int = 1) -> ray_serve.Application:
    """The application for `ray.serve.run`.

    Args:
        settings: limits hold per replica.
        min_replicas, max_replicas: if they differ, the number of replicas follows the number of clients.
    """

    def app() -> FastAPI:
        from .app import create_app

        return tune_process(lambda: create_app(settings, ray_serve.get_replica_context().replica_tag))

    scale: dict[str, Any] = {"num_replicas": min_replicas}
    if min_replicas < max_replicas:
        policy = {
            "target_ongoing_requests": TARGET_LOAD * settings.clients,
            "upscale_delay_s": SCALE_UP_S,
            "metrics_interval_s": 1.0,
        }
        scale = {"autoscaling_config": {"min_replicas": min_replicas, "max_replicas": max_replicas, **policy}}
    deployment = ray_serve.deployment(
        name=NAME,
        ray_actor_options={"num_cpus": 1, "num_gpus": int(settings.backend.partition(":")[0] in ("cuda", "tensorrt"))},
        max_ongoing_requests=settings.clients + MAX_REQUESTS,
        max_queued_requests=max_replicas * settings.clients,  # clients of a replica that died wait for its successor
        health_check_period_s=1.0,
        graceful_shutdown_timeout_s=SHUTDOWN_S,
        **scale,
    )
    return deployment(ray_serve.ingress(app)()).bind()


def serve(
    settings: Settings, host: str, port: int, min_replicas: int, max_replicas: int, on_ready: Callable[[str], None]
) -> None:
    """Serve until SIGTERM, SIGHUP or Ctrl-C, in the Ray cluster that RAY_ADDRESS names, or else in a new local one.

    If Ray Serve is already running in that cluster, it keeps its address.

    Args:
        settings, min_replicas, max_replicas: see `application`. host, port, on_ready: see `server.serve`.
    Raises:
        InputError: see `server.serve`; or this machine has fewer processor cores than replicas.
        BundleError: see `create_app`.
    """
    probe, url = listen(settings, host, port)
    port = probe.getsockname()[1]
    probe.close()  # Ray's proxy will listen on the port
    Service(settings)  # raises here, rather than in a replica, if the settings are wrong
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    address, cores = os.environ.get("RAY_ADDRESS", "local"), os.cpu_count() or 1
    if address == "local" and cores < min_replicas:
        raise InputError(
            f"--replicas {min_replicas}: this machine has {cores} processor cores, and each replica needs one"
        )
    ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        ray_serve.start(http_options={"host": host, "port": port}, logging_config={"log_level": "ERROR"})
        ray_serve.run(application(settings, min_replicas, max_replicas), name=NAME)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under `nohup`
                signal.signal(number, lambda *_: stop.set())
        on_ready(url)
        stop.wait()
        ray_serve.delete(NAME)
    finally:
        ray.shutdown()

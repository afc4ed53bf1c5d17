"""The server as a Ray Serve application: replicas on several processes or machines. Needs the extra `ray`.

A WebSocket is held by one replica for as long as it lasts, and with it what is known of its people. Where a replica
dies its clients lose their connections; another replica takes them, and knows nobody (see `Client`).
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read once by what the next line imports

import ray
from ray import serve as ray_serve

from ..errors import InputError
from .server import MORE_CONNECTIONS, listen, tune_process
from .service import Service
from .settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

NAME = "motionrt"
FULL = 0.75  # of its clients that a replica is to have, where their number follows the load
UP_S = 3.0  # for which there must be more before there is another replica
LEAVE_S = 5.0  # for which a replica that is not needed any more still serves


def application(settings: Settings, least: int = 1, most: int = 1) -> ray_serve.Application:
    """What `ray.serve.run` runs.

    Args:
        settings: limits are those of each replica.
        least, most: replicas. Where these differ their number follows that of the clients.
    """

    def app() -> FastAPI:
        from .app import create_app

        return tune_process(lambda: create_app(settings, ray_serve.get_replica_context().replica_tag))

    scale: dict[str, Any] = {"num_replicas": least}
    if least < most:
        follow = {
            "target_ongoing_requests": FULL * settings.clients,
            "upscale_delay_s": UP_S,
            "metrics_interval_s": 1.0,
        }
        scale = {"autoscaling_config": {"min_replicas": least, "max_replicas": most, **follow}}
    deployment = ray_serve.deployment(
        name=NAME,
        ray_actor_options={"num_cpus": 1},
        max_ongoing_requests=settings.clients + MORE_CONNECTIONS,
        max_queued_requests=most * settings.clients,  # those of a replica that has gone, until there is another
        health_check_period_s=1.0,
        graceful_shutdown_timeout_s=LEAVE_S,
        **scale,
    )
    return deployment(ray_serve.ingress(app)()).bind()


def serve(settings: Settings, host: str, port: int, least: int, most: int, on_ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C, in the Ray cluster that RAY_ADDRESS names, else in one that it starts here.

    Where Ray Serve runs in that cluster already, it goes on to listen where it does.

    Args:
        settings, least, most: see `application`. host, port, on_ready: see `server.serve`.
    Raises:
        InputError: see `server.serve`; or this machine has fewer processor cores than there are to be replicas.
        BundleError: see `create_app`.
    """
    free, url = listen(settings, host, port)
    port = free.getsockname()[1]
    free.close()  # Ray's proxy listens itself
    Service(settings)  # what is wrong with them is said here and now
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    address, cores = os.environ.get("RAY_ADDRESS", "local"), os.cpu_count() or 1
    if address == "local" and cores < least:
        raise InputError(f"--replicas {least}: this machine has {cores} processor cores, each replica needs one")
    ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        ray_serve.start(http_options={"host": host, "port": port}, logging_config={"log_level": "ERROR"})
        ray_serve.run(application(settings, least, most), name=NAME)
        on_ready(url)
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        ended.wait()
        ray_serve.delete(NAME)
    finally:
        ray.shutdown()

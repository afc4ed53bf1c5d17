"""serve: recognition and generation over HTTP and WebSockets."""

import logging
import platform
import re
import sys
from pathlib import Path

from ..bundles.bundle import Bundle
from ..bundles.schema import Manifest
from ..errors import InputError
from ..extras import require
from ..net_security import read_token
from .license import print_license_notice

MIN_TOKEN = 16  # characters

logger = logging.getLogger(__name__)


def run_serve(
    host: str,
    port: int,
    model: str,
    generator: str,
    backend: str,
    labels: str | None,
    alarms_per_minute: float | None,
    token: str | None,
    token_file: Path | None,
    origins: list[str],
    proxies: list[str],
    access_log: str | None,
    clients: int,
    replicas: str | None,
) -> None:
    if sys.version_info < (3, 11):
        raise InputError(f"motionrt serve needs Python 3.11 or newer, this is {platform.python_version()}")
    for module in ("fastapi", "uvicorn", "prometheus_client", "websockets"):
        require(module, "serve", "motionrt serve")
    from ..serve.settings import Settings

    settings = Settings(
        model=model,
        generator=generator,
        backend=backend,
        labels=() if labels is None else tuple(labels.split(",")),
        alarms_per_minute=alarms_per_minute,
        token=read_token(token_file) if token_file is not None else token or None,
        origins=tuple(origins),
        proxies=tuple(proxies),
        access_log=access_log,
        clients=clients,
    )
    if settings.token is not None and len(settings.token) < MIN_TOKEN:
        logger.warning("the token has %d characters, fewer than %d can be guessed", len(settings.token), MIN_TOKEN)
    for name in (model, generator):
        print_license_notice(Bundle.load(name, Manifest))

    def announce(address: str) -> None:
        print(f"serving at {address}", file=sys.stderr, flush=True)

    if replicas is None:
        from ..serve.server import serve

        serve(settings, host, port, announce)
    else:
        minimum, maximum = parse_replicas(replicas)
        if access_log == "-":
            raise InputError("--access-log -: replicas have no standard output, expected a file")
        require("ray.serve", "ray", "--replicas")
        from ..serve.replicas import serve as serve_replicas

        serve_replicas(settings, host, port, minimum, maximum, announce)


def parse_replicas(replicas: str) -> tuple[int, int]:
    """Minimum and maximum: "2" -> (2, 2), "1-8" -> (1, 8)."""
    match = re.fullmatch(r"([1-9]\d{0,3})(?:-([1-9]\d{0,3}))?", replicas)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise InputError(f"--replicas {replicas}: expected a number such as 2, or a range such as 1-8")
    return int(match[1]), int(match[2] or match[1])

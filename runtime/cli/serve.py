"""serve: recognition and generation over HTTP and WebSockets."""

import sys
from pathlib import Path

from ..bundle import Bundle
from ..errors import InputError
from ..io.pose import require
from ..manifest import Manifest


def run_serve(
    host: str,
    port: int,
    model: str,
    generator: str,
    labels: str | None,
    token: str | None,
    token_file: Path | None,
    origins: list[str],
    clients: int,
) -> None:
    for module in ("fastapi", "uvicorn", "prometheus_client", "websockets"):
        require(module, "serve", "motionrt serve")
    from ..serve.server import serve
    from ..serve.settings import Settings

    settings = Settings(
        model=model,
        generator=generator,
        labels=() if labels is None else tuple(labels.split(",")),
        token=token_of(token_file) if token_file is not None else token or None,
        origins=tuple(origins),
        clients=clients,
    )
    for name in (model, generator):
        manifest = Bundle.load(name, Manifest).manifest
        if manifest.non_commercial:
            print(f"model {manifest.name!r} is not for commercial use: {manifest.license}", file=sys.stderr)
    serve(settings, host, port, lambda address: print(f"serving at {address}", file=sys.stderr, flush=True))


def token_of(path: Path) -> str:
    """The first line of a file."""
    try:
        return path.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}), expected a file with a token") from None

"""view: a page in the browser, until Ctrl-C."""

import threading
from collections.abc import Sequence
from pathlib import Path

import typer

from ..errors import InputError
from ..extras import require
from ..generation.generator import Generator
from ..view import Page, SourcePlayer
from .license import state_licence
from .recognize import Options, load, open_named

SAMPLES = Path(__file__).parents[1] / "samples"


def run_view(
    sources: Sequence[str], options: Options, generator: str = "default", host: str = "127.0.0.1", port: int = 8080,
    loop: bool = True,
) -> None:  # fmt: skip
    """Serve the page; without a source, of the recordings that ship."""
    if options.as_json or options.overlay:
        raise InputError("--view shows a page, expected neither --json nor --overlay beside it")
    require("viser", "viewer", "the viewer")
    recognizer, maker = load(options), Generator.load(generator)
    names = list(sources) or [str(path) for path in sorted(SAMPLES.glob("*.npz"))]
    loop = loop and all(Path(name).is_file() for name in names)
    player = SourcePlayer(recognizer, names, lambda name: open_named(name, options, realtime=True), loop)
    page = Page(player, maker, host, port)
    for model in (recognizer, maker):
        state_licence(model.bundle)
    typer.echo(f"{page.url}  (Ctrl-C ends)")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        page.close()

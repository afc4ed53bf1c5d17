"""view: serve a page for the browser until Ctrl-C."""

import threading
from collections.abc import Sequence
from pathlib import Path

import typer

from ..extras import require
from ..generation.generator import Generator
from ..io.media_folder import expand_video_folders
from ..robots.retargeter import Retargeter
from ..view import Page, SourcePlayer
from .license import print_license_notice
from .options import RecognizeOptions
from .recognize import open_source

SAMPLES = Path(__file__).parents[1] / "samples"


def run_view(
    sources: Sequence[str],
    options: RecognizeOptions,
    generator: str = "default",
    host: str = "127.0.0.1",
    port: int = 8080,
    loop: bool = True,
    robot: str | None = None,
) -> None:
    """Show the sources, by default the bundled recordings, and a robot that follows the first person."""
    require("viser", "viewer", "the viewer")
    if robot is not None:
        Retargeter(robot)  # an unknown one, before models are loaded
    models = recognizer, motion_generator = options.load(), Generator.load(generator)
    names = expand_video_folders(sources) or [str(path) for path in sorted(SAMPLES.glob("*.npz"))]
    loop = loop and all(Path(name).exists() for name in names)
    player = SourcePlayer(recognizer, names, lambda name: open_source(name, options, realtime=True), loop)
    page = Page(player, motion_generator, host, port, robot)
    for model in models:
        print_license_notice(model.bundle)
    try:
        typer.echo(f"{page.url}  (Ctrl-C to stop)")
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    finally:
        page.close()

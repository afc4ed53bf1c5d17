"""enroll: a label from a few recordings, into a file of gestures."""

import sys
from pathlib import Path

import typer

from ..errors import InputError
from ..io import read
from ..io.files import READERS
from ..io.gestures import MOST_EXAMPLES
from ..recognizer import Recognizer


def run_enroll(folder: Path, label: str, out: Path, model: str, layout: str | None = None) -> None:
    paths = [folder]
    if folder.is_dir():
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in READERS)
        paths = [path for path in paths if not (out.exists() and path.samefile(out))]
    if not 1 <= len(paths) <= MOST_EXAMPLES:
        raise InputError(f"{folder}: holds {len(paths)} recordings, expected 1 to {MOST_EXAMPLES}")
    motions = [read(path, layout) for path in paths]
    recognizer = Recognizer.load(model)
    if out.exists():
        recognizer.load_gestures(out)
    recognizer.enroll(label, motions)
    recognizer.save_gestures(out)
    if recognizer.bundle.manifest.non_commercial:
        print(f"model {recognizer.name!r} is not for commercial use: {recognizer.license}", file=sys.stderr)
    typer.echo(f"wrote {out}: {label.strip()!r} from {len(motions)} recording(s)")

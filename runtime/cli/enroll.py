"""enroll: learn a label from a few recordings and store it in a file of gestures."""

from pathlib import Path

import typer

from ..errors import InputError
from ..io.files import is_motion_file
from ..recognition.gestures import MAX_EXAMPLES
from ..recognition.recognizer import Recognizer
from .license import print_license_notice
from .options import FileOptions


def run_enroll(folder: Path, label: str, out: Path, model: str, options: FileOptions) -> None:
    paths = [folder]
    if folder.is_dir():
        paths = sorted(path for path in folder.iterdir() if is_motion_file(path))
        paths = [path for path in paths if not (out.exists() and path.samefile(out))]
    if not 1 <= len(paths) <= MAX_EXAMPLES:
        raise InputError(f"{folder}: has {len(paths)} recordings, expected 1 to {MAX_EXAMPLES}")
    motions = [options.read(path) for path in paths]
    recognizer = Recognizer.load(model)
    if out.exists():
        recognizer.load_gestures(out)
    recognizer.enroll(label, motions)
    recognizer.save_gestures(out)
    print_license_notice(recognizer.bundle)
    typer.echo(f"wrote {out}: {label.strip()!r} from {len(motions)} recording(s)")

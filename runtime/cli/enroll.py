"""enroll: learn labels from a few recordings and store them in a file of gestures."""

from pathlib import Path

import typer

from ..body.motion import Motion
from ..errors import InputError
from ..io.files import is_motion_file
from ..recognition.recognizer import Recognizer
from .license import print_license_notice
from .options import FileOptions


def run_enroll(folder: Path, label: str | None, out: Path, model: str, options: FileOptions) -> None:
    paths = [folder]
    if folder.is_dir():
        paths = sorted(path for path in folder.iterdir() if is_motion_file(path))
        paths = [path for path in paths if not (out.exists() and path.samefile(out))]
    if not paths:
        raise InputError(f"{folder}: has no recordings")
    motions: dict[str, list[Motion]] = {}
    for path in paths:
        motion = options.read(path)
        name = motion.meta.get("label") if label is None else label
        if not isinstance(name, str):
            raise InputError(f"{path}: does not say its label, expected --as LABEL")
        motions.setdefault(name.strip(), []).append(motion)
    recognizer = Recognizer.load(model)
    if out.exists():
        recognizer.load_gestures(out)
    for name, examples in motions.items():
        recognizer.enroll(name, examples)
    recognizer.save_gestures(out)
    print_license_notice(recognizer.bundle)
    found = ", ".join(f"{name!r} from {len(examples)} recording(s)" for name, examples in motions.items())
    typer.echo(f"wrote {out}: {found}")

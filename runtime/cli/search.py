"""search: find the files in a folder whose motion matches a text or another motion."""

import json
import os
import sys
from contextlib import suppress
from dataclasses import astuple, replace
from hashlib import sha256
from pathlib import Path

import typer

from ... import __version__
from ..cache import cache_folder
from ..errors import InputError, printable
from ..io.files import READERS, is_motion_file
from ..progress import progress
from ..retrieval.index import MotionIndex
from ..retrieval.retriever import Retriever
from .license import print_license_notice
from .options import FileOptions


def run_search(
    query: str, folder: Path, k: int, model: str, threads: int, backend: str, as_json: bool, options: FileOptions
) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder, expected a folder of motion files")
    retriever = Retriever.load(model, threads, backend=backend)
    print_license_notice(retriever.bundle)
    is_file = Path(query).suffix.lower() in READERS
    feature = retriever.feature(options.read(Path(query)) if is_file else query)
    skipped = load_folder(retriever, folder, options)
    for file, reason in skipped.items():
        print(printable(f"motionrt: {folder / file}: {reason}; skipped"), file=sys.stderr)
    if not len(retriever):
        raise InputError(f"{folder}: no motions to search, expected {', '.join(READERS)}")
    hits = [
        {"rank": rank, "score": hit.score, "file": hit.meta["file"], "text": hit.text, "seconds": hit.meta["seconds"]}
        for rank, hit in enumerate(retriever.library.nearest(feature, k), 1)
    ]
    if as_json:
        report = {"query": query, "model": retriever.name, "motions": len(retriever), "hits": hits, "left_out": skipped}
        typer.echo(printable(json.dumps(report, ensure_ascii=False, allow_nan=False)))
        return
    width = max(len(hit["file"]) for hit in hits)
    for hit in hits:
        row = f"{hit['rank']:3}  {hit['score']:6.3f}  {hit['file']:{width}}  {hit['seconds']:6.1f} s  {hit['text']}"
        typer.echo(printable(row.rstrip()))


def load_folder(retriever: Retriever, folder: Path, options: FileOptions) -> dict[str, str]:
    """Add a folder's motions to the retriever; those of unchanged files are in an index in this user's cache.

    Returns:
        Reasons by name of the files that cannot be used.
    """
    try:
        paths = [path for path in sorted(folder.iterdir()) if is_motion_file(path)]
        stamps = {path.name: stamp(path, options) for path in paths}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror or error}") from None
    library, index = retriever.library, index_file(folder)
    try:
        old = MotionIndex.read(index, library.width, library.model)
    except InputError:  # missing or unusable
        old = MotionIndex(library.width, library.model)
    unchanged = [i for i, meta in enumerate(old.metas) if stamps.get(meta["file"]) == meta["stamp"]]
    library.add(old.features[unchanged], [old.texts[i] for i in unchanged], [old.metas[i] for i in unchanged])
    skipped = {file: note for file, note in old.notes.items() if stamps.get(file) == note["stamp"]}
    indexed = skipped.keys() | {meta["file"] for meta in library.metas}
    changed = [path for path in paths if path.name not in indexed]
    for path in progress(changed, "reading motions"):
        record = {"file": path.name, "stamp": stamps[path.name]}
        try:
            motion = options.read(path)
            text = str(motion.meta.get("text", motion.meta.get("label", "")))
            retriever.add(replace(motion, meta={**record, "seconds": motion.seconds}), " ".join(text.split()))
        except InputError as error:
            skipped[path.name] = {**record, "reason": str(error).removeprefix(f"{path}: ")}
    if changed or (len(old), len(old.notes)) != (len(library), len(skipped)):
        library.notes = skipped
        with suppress(InputError, OSError):  # without write permission, the folder is read each time
            index.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            library.save(index)
    return {file: note["reason"] for file, note in sorted(skipped.items())}


def index_file(folder: Path) -> Path:
    """Index of a folder; it is not in the folder, where somebody else could have put it."""
    return cache_folder("search") / f"{sha256(os.fsencode(folder.resolve())).hexdigest()[:32]}.safetensors"


def stamp(path: Path, options: FileOptions) -> str:
    """Fingerprint that changes with the file, with how it is read, and with the version of this program."""
    status = path.stat()
    how = "" if options == FileOptions() else f" {astuple(options)}"
    return f"{__version__} {status.st_size} {status.st_mtime_ns}{how}"

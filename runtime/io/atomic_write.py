"""`atomic_write`: a file appears complete or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file next to `path`, which it replaces on success; on an error it is deleted.

    Its name cannot be guessed, and it is never a link. A file that is replaced keeps its permissions and, if the system
    allows it, its owner.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    old = path.stat() if path.exists() else None
    mode = 0o666 if old is None else 0o600
    with open(temporary, "x+b", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        try:
            if old is not None:
                with suppress(PermissionError):
                    os.chown(temporary, old.st_uid, old.st_gid)
                os.chmod(temporary, old.st_mode & 0o777)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if overwrite:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)  # fails if the file exists
        finally:
            temporary.unlink(missing_ok=True)

"""The notice about models that are not licensed for commercial use."""

import hashlib
import sys
from datetime import date

from ..bundles import bundle as bundles
from ..bundles.schema import MANIFEST
from ..cache import cache_folder
from ..io.atomic_write import atomic_write


def print_license_notice(bundle: bundles.Bundle) -> None:
    """Print one line on standard error if the model must not be used commercially; once a day for each user."""
    manifest = bundle.manifest
    if not manifest.non_commercial:
        return
    where = "motionrt models" if bundle.path.parent == bundles.MODELS else bundle.path / MANIFEST
    notice = f"model {manifest.name!r} is not for commercial use; its license: {where}"
    if not _printed_today(f"{notice}\n{manifest.license}"):
        sys.stdout.flush()  # print it after the output so far
        print(notice, file=sys.stderr)


def _printed_today(text: str) -> bool:
    """True if this was called with the text today, as far as the cache can be written."""
    stamp, today = cache_folder("notices") / hashlib.sha256(text.encode()).hexdigest()[:16], date.today().isoformat()
    try:
        if stamp.is_file() and stamp.read_text() == today:
            return True
        stamp.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_write(stamp) as file:
            file.write(today.encode())
    except (OSError, RuntimeError, UnicodeDecodeError):  # no cache: the notice is repeated
        pass
    return False

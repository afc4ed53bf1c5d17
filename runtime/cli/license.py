"""The notice about models that are not licensed for commercial use."""

import sys

from ..bundles import bundle as bundles
from ..bundles.schema import MANIFEST


def print_license_notice(bundle: bundles.Bundle) -> None:
    """Print one line on standard error if the model must not be used commercially."""
    manifest = bundle.manifest
    if manifest.non_commercial:
        where = "motionrt models" if bundle.path.parent == bundles.MODELS else bundle.path / MANIFEST
        sys.stdout.flush()  # print it after the output so far
        print(f"model {manifest.name!r} is not for commercial use; its license: {where}", file=sys.stderr)

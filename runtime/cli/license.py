"""What the command line says of a model that is not for commercial use."""

import sys

from ..bundles import bundle as bundles
from ..bundles.schema import MANIFEST


def state_licence(bundle: bundles.Bundle) -> None:
    """One short line on standard error, unless everybody may use it for anything."""
    manifest = bundle.manifest
    if manifest.non_commercial:
        where = "motionrt models" if bundle.path.parent == bundles.MODELS else bundle.path / MANIFEST
        sys.stdout.flush()  # so that it comes after what was said
        print(f"model {manifest.name!r} is not for commercial use; its licence: {where}", file=sys.stderr)

"""Reports of measurements as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def print_report(report: Mapping[str, Any], out: Path | None) -> None:
    """Print a report, and write it to a file, if one is given."""
    text = json.dumps(report, indent=1)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    print(text)

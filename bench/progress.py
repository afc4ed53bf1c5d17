"""A progress bar on standard error, so that standard output stays clean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The items, one by one, with a bar that goes when they are through."""
    return track(items, what, console=Console(stderr=True), transient=True)

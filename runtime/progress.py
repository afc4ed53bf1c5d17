"""Progress bars on standard error, so that standard output stays clean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, track

Item = TypeVar("Item")


def progress(items: Sequence[Item], title: str) -> Iterable[Item]:
    """The items, with a progress bar that disappears at the end; no bar if standard error is not a terminal."""
    console = Console(stderr=True)
    return track(items, title, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def spinner(title: str) -> Iterator[None]:
    """Show a spinner during a block; nothing if standard error is not a terminal."""
    console = Console(stderr=True)
    with console.status(title) if console.is_terminal else nullcontext():
        yield


class ProgressBar:
    """A bar for one stage after another. It redraws only on a call: no background thread disturbs a measurement."""

    def __init__(self) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
        self._task = self._progress.add_task("", total=1)

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, title: str, total: int = 1) -> None:
        """Start a stage of `total` calls of `advance`."""
        self._progress.reset(self._task, description=title, total=total)
        self._progress.refresh()

    def advance(self) -> None:
        self._progress.advance(self._task)
        self._progress.refresh()

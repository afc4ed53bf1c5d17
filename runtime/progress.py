"""Progress bars on standard error, so that standard output stays clean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, track

Item = TypeVar("Item")


def progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The items, one by one, with a bar that goes when they are through; none where nobody sees it."""
    console = Console(stderr=True)
    return track(items, what, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Says what is being done for as long as it takes; not where nobody sees it."""
    console = Console(stderr=True)
    with console.status(what) if console.is_terminal else nullcontext():
        yield


class Bar:
    """One stage after the other; drawn only when told: no thread of its own disturbs what is being measured."""

    def __init__(self) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
        self._task = self._progress.add_task("", total=1)

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, what: str, total: int = 1) -> None:
        """Begin something that `advance` will be called `total` times for."""
        self._progress.reset(self._task, description=what, total=total)
        self._progress.refresh()

    def advance(self) -> None:
        self._progress.advance(self._task)
        self._progress.refresh()

"""`LiveStatus`: what happens in a source right now, on a terminal: the labels, and the progress of a long file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

    from ..io.source import Source

PATIENCE_S = 2.0  # a file that takes longer gets a progress bar


class LiveStatus:
    """Lines that are redrawn in place, ten times a second, and disappear at the end.

    They are drawn on the output if it is a terminal and `console` is given; if the output goes elsewhere, the progress
    is drawn on standard error, if that is a terminal.

    Args:
        output: where the results go.
        console: of the output, when lines may be drawn between the results.
    """

    def __init__(self, output: TextIO, console: Console | None = None) -> None:
        from rich.console import Console

        self._live: Any = None
        self._bar: Any = None
        self._console: Console | None = None
        self._on_output = console is not None and console.is_terminal
        if self._on_output:
            self._console = console
        elif not output.isatty() and sys.stderr.isatty():
            self._console = Console(stderr=True)

    def start(self, source: Source, labels: Callable[[], str] = str) -> None:
        """Show the source; `labels` returns the labels of its people now."""
        if self._console is None:
            return
        from rich.live import Live

        self._source, self._labels, self._started_s = source, labels, time.monotonic()
        self._bar = None
        self._live = Live(get_renderable=self._lines, console=self._console, transient=True, refresh_per_second=10)
        self._live.start()

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _lines(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        lines: list[Any] = [Text(self._labels(), no_wrap=True)] if self._on_output else []
        progress = self._source.progress if self._source.recorded else None
        if progress is not None and time.monotonic() - self._started_s > PATIENCE_S:
            lines.append(self._progress_bar(progress))
        return Group(*lines)

    def _progress_bar(self, progress: float) -> Any:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

        if self._bar is None:
            columns = BarColumn(), TaskProgressColumn(), TimeRemainingColumn(compact=True)
            self._bar = Progress(*columns, console=self._console, auto_refresh=False)
            self._task = self._bar.add_task("", total=1.0)
        self._bar.update(self._task, completed=min(progress, 1.0))
        return self._bar

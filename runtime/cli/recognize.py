"""recognize: run the recognizer on every frame of every source and report a timeline or JSON lines."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ..errors import InputError
from ..io.source import Source
from ..recognition.frames import step_source
from ..recognition.recognizer import Recognizer
from .license import print_license_notice
from .options import RecognizeOptions
from .overlay import Overlay
from .report import JsonReport, Report, Summary, TextReport


def run_recognize(
    sources: Sequence[str],
    options: RecognizeOptions,
    *,
    as_json: bool = False,
    realtime: bool = False,
    overlay: Path | None = None,
) -> None:
    """Recognize each source in turn; Ctrl-C stops early and still prints the summary."""
    if overlay and len(sources) > 1:
        raise InputError(f"--overlay writes one video, but there are {len(sources)} sources")
    recognizer = options.load()
    report: Report = JsonReport(name_sources=len(sources) > 1) if as_json else TextReport()
    session = _Session(recognizer, report, options, realtime, overlay)
    try:
        for name in sources:
            session.run(name)
    except KeyboardInterrupt:
        pass
    report.summarize(session.summary)
    print_license_notice(recognizer.bundle)


def open_source(name: str, options: RecognizeOptions, realtime: bool) -> Source:
    """Open a source; a listener's address is printed."""
    source = options.open(name, realtime)
    if source.address:
        print(f"listening at {source.name}", file=sys.stderr, flush=True)
    return source


class _Session:
    """One recognizer and one report for several sources."""

    def __init__(
        self, recognizer: Recognizer, report: Report, options: RecognizeOptions, realtime: bool, overlay: Path | None
    ) -> None:
        self.summary = Summary()
        self._recognizer, self._report, self._options = recognizer, report, options
        self._realtime, self._overlay = realtime, overlay

    def run(self, name: str) -> None:
        """Recognize one source from its start."""
        dropped_before = self._recognizer.counters["dropped"]
        self._recognizer.reset()
        self._recognizer.background = self._realtime or not Path(name).is_file()
        with ExitStack() as stack:
            source = stack.enter_context(open_source(name, self._options, self._realtime))
            overlay = stack.enter_context(Overlay(self._overlay)) if self._overlay else None
            self._report.begin(source.name)
            stack.callback(self._report.end)
            try:
                self._process(source, overlay, recorded=Path(name).is_file())
            finally:
                self.summary.frames += source.frames_in
                self.summary.malformed += source.malformed
                self.summary.rejected += source.rejected
                self.summary.dropped += source.dropped + self._recognizer.counters["dropped"] - dropped_before

    def _process(self, source: Source, overlay: Overlay | None, recorded: bool) -> None:
        """Report every decision on the people in a source."""
        for t, decision, frame in step_source(self._recognizer, source):
            if frame is not None:
                self.summary.latencies_ms.append(decision.latency_ms)
                if overlay:
                    overlay.add(frame, decision)
            self._report.decide(t, decision)

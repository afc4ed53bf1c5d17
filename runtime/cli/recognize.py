"""recognize: run the recognizer on every frame of every source and report a timeline or JSON lines."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from ..errors import InputError
from ..io.frame import Frame
from ..io.source import Source
from ..recognition.decision import Decision
from ..recognition.frames import step_frames
from ..recognition.recognizer import Recognizer
from .license import print_license_notice
from .options import RecognizeOptions
from .overlay import Overlay
from .report import JsonReport, Report, Summary, TextReport

MIN_RECORDED_FRAMES = 2


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
        """Report every decision; a recording's first frame has to wait, as a single frame is an error."""
        n_decisions = 0
        pending: list[tuple[Frame, Decision]] = []
        for t, people in source.snapshots():
            decided = [
                (frame, decision)
                for frame, decision in self._step(source.name, people)
                if decision.status not in ("dropped", "missing")
            ]
            n_decisions += len(decided)
            self.summary.latencies_ms.extend(decision.latency_ms for _, decision in decided)
            pending += decided
            if not (recorded and source.frames_in < MIN_RECORDED_FRAMES):
                for frame, decision in pending:
                    if overlay:
                        overlay.add(frame, decision)
                    self._report.decide(frame.t, decision)
                pending.clear()
            for decision in self._recognizer.evict(t):
                self._report.decide(t, decision)
        frames = source.frames_in
        if recorded and frames < MIN_RECORDED_FRAMES:
            raise InputError(f"{source.name}: {frames} frame(s), expected at least {MIN_RECORDED_FRAMES}")
        if n_decisions == 0:
            raise InputError(f"{source.name}: nobody is visible in any of its {frames} frame(s)")

    def _step(self, name: str, people: Sequence[Frame]) -> Iterator[tuple[Frame, Decision]]:
        try:
            yield from step_frames(self._recognizer, people)
        except InputError as error:
            raise type(error)(f"{name}: {error}") from error

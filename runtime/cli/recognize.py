"""recognize: every frame of every source through the recogniser, told as a timeline or as JSON lines."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..io.frame import Frame
from ..io.source import Source, open_source
from ..recognition.decision import Decision
from ..recognition.frames import step_frames
from ..recognition.recognizer import Recognizer
from .license import state_licence
from .overlay import Overlay
from .report import JsonReport, Report, Summary, TextReport

MIN_RECORDED_FRAMES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What `motionrt recognize` was asked for."""

    model: str = "live"
    layout: str | None = None
    fps: float | None = None
    scale: float | None = None
    as_json: bool = False
    realtime: bool = False
    pose: str = "mediapipe"
    overlay: Path | None = None
    backend: str = "auto"
    threads: int = 1
    precision: str = "fp32"
    token: str | None = None
    labels: str | None = None
    gestures: Path | None = None


def run(sources: Sequence[str], options: Options) -> None:
    """Recognise every source in turn; Ctrl-C ends early, with the summary."""
    if options.overlay and len(sources) > 1:
        raise InputError(f"--overlay writes one video, but {len(sources)} sources were given")
    recognizer = load(options)
    report: Report = JsonReport(name_sources=len(sources) > 1) if options.as_json else TextReport()
    job = _Job(recognizer, report, options)
    try:
        for name in sources:
            job.play(name)
    except KeyboardInterrupt:
        pass
    report.summarize(job.summary)
    state_licence(recognizer.bundle)


def load(options: Options) -> Recognizer:
    """The recogniser that was asked for, with its labels and gestures."""
    recognizer = Recognizer.load(options.model, options.backend, options.threads, options.precision)
    if options.gestures is not None:
        recognizer.load_gestures(options.gestures)
    if options.labels is not None:
        recognizer.set_labels(options.labels.split(",") if options.labels.strip() else [])
    return recognizer


def open_named(name: str, options: Options, realtime: bool) -> Source:
    """A source of which the options tell what it does not tell itself."""
    source = open_source(
        name,
        layout=options.layout,
        fps=options.fps,
        scale=options.scale,
        realtime=realtime,
        pose=options.pose,
        token=options.token,
    )
    if source.address:
        print(f"listening at {source.name}", file=sys.stderr, flush=True)
    return source


class _Job:
    """One recogniser and one report for several sources."""

    def __init__(self, recognizer: Recognizer, report: Report, options: Options) -> None:
        self.summary = Summary()
        self._recognizer, self._report, self._options = recognizer, report, options

    def play(self, name: str) -> None:
        """Recognise one source from its beginning."""
        options, dropped_before = self._options, self._recognizer.counters["dropped"]
        self._recognizer.reset()
        self._recognizer.background = options.realtime or not Path(name).is_file()
        with ExitStack() as stack:
            source = stack.enter_context(open_named(name, options, options.realtime))
            overlay = stack.enter_context(Overlay(options.overlay)) if options.overlay else None
            self._report.begin(source.name)
            stack.callback(self._report.end)
            try:
                self._follow(source, overlay, recorded=Path(name).is_file())
            finally:
                self.summary.frames += source.frames_in
                self.summary.malformed += source.malformed
                self.summary.rejected += source.rejected
                self.summary.dropped += source.dropped + self._recognizer.counters["dropped"] - dropped_before

    def _follow(self, source: Source, overlay: Overlay | None, recorded: bool) -> None:
        """Tell every decision, a recording's first with its second moment: one frame alone is an error."""
        decisions = 0
        held: list[tuple[Frame, Decision]] = []
        for t, people in source.snapshots():
            decided = [told for told in self._step(source.name, people) if told[1].status not in ("dropped", "missing")]
            decisions += len(decided)
            self.summary.latencies_ms.extend(decision.latency_ms for _, decision in decided)
            held += decided
            if not (recorded and source.frames_in < MIN_RECORDED_FRAMES):
                for frame, decision in held:
                    if overlay:
                        overlay.add(frame, decision)
                    self._report.decide(frame.t, decision)
                held.clear()
            for decision in self._recognizer.evict(t):
                self._report.decide(t, decision)
        frames = source.frames_in
        if recorded and frames < MIN_RECORDED_FRAMES:
            raise InputError(f"{source.name}: {frames} frame(s), expected at least {MIN_RECORDED_FRAMES}")
        if decisions == 0:
            raise InputError(f"{source.name}: nobody is visible in any of its {frames} frame(s)")

    def _step(self, name: str, people: Sequence[Frame]) -> Iterator[tuple[Frame, Decision]]:
        try:
            yield from step_frames(self._recognizer, people)
        except InputError as error:
            raise type(error)(f"{name}: {error}") from error

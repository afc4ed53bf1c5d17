"""recognize: every frame of every source through the recogniser, told as a timeline or as JSON lines."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..io import Frame, Source, open_source
from ..recognizer import Decision, Recognizer
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


def run(sources: Sequence[str], options: Options) -> None:
    """Recognise every source in turn; Ctrl-C ends early, with the summary."""
    if options.overlay and len(sources) > 1:
        raise InputError(f"--overlay writes one video, but {len(sources)} sources were given")
    recognizer = Recognizer.load(options.model, options.backend, options.threads)
    report: Report = JsonReport(name_sources=len(sources) > 1) if options.as_json else TextReport()
    job = _Job(recognizer, report, options)
    try:
        for name in sources:
            job.play(name)
    except KeyboardInterrupt:
        pass
    report.summarize(job.summary)
    if recognizer.bundle.manifest.non_commercial:
        sys.stdout.flush()
        print(f"model {recognizer.name!r} is not for commercial use: {recognizer.license}", file=sys.stderr)


class _Job:
    """One recogniser and one report for several sources."""

    def __init__(self, recognizer: Recognizer, report: Report, options: Options) -> None:
        self.summary = Summary()
        self._recognizer, self._report, self._options = recognizer, report, options

    def play(self, name: str) -> None:
        """Recognise one source from its beginning."""
        options, dropped_before = self._options, self._recognizer.counters["dropped"]
        self._recognizer.reset()
        with ExitStack() as stack:
            source = open_source(
                name,
                layout=options.layout,
                fps=options.fps,
                scale=options.scale,
                realtime=options.realtime,
                pose=options.pose,
            )
            stack.enter_context(source)
            overlay = stack.enter_context(Overlay(options.overlay)) if options.overlay else None
            self._report.begin(source.name)
            stack.callback(self._report.end)
            try:
                self._follow(source, overlay, recorded=Path(name).is_file())
            finally:
                self.summary.frames += source.frames_in
                self.summary.dropped += source.dropped + self._recognizer.counters["dropped"] - dropped_before

    def _follow(self, source: Source, overlay: Overlay | None, recorded: bool) -> None:
        """Tell every decision, a recording's first with its second frame: one frame alone is an error."""
        decisions = 0
        held: list[tuple[Frame, Decision]] = []
        for frame in source:
            decision = self._step(source.name, frame)
            if decision.status in ("dropped", "missing"):
                continue
            decisions += 1
            self.summary.latencies_ms.append(decision.latency_ms)
            held.append((frame, decision))
            if recorded and source.frames_in < MIN_RECORDED_FRAMES:
                continue
            for told in held:
                if overlay:
                    overlay.add(*told)
                self._report.decide(*told)
            held.clear()
        frames = source.frames_in
        if recorded and frames < MIN_RECORDED_FRAMES:
            raise InputError(f"{source.name}: {frames} frame(s), expected at least {MIN_RECORDED_FRAMES}")
        if decisions == 0:
            raise InputError(f"{source.name}: nobody is visible in any of its {frames} frame(s)")

    def _step(self, name: str, frame: Frame) -> Decision:
        try:
            return self._recognizer.step(frame.joints, frame.t, frame.person, frame.confidence, frame.layout)
        except InputError as error:
            raise type(error)(f"{name}: {error}") from error

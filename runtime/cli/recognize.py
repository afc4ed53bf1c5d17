"""recognize: run the recognizer on every frame of every source and report a timeline or JSON lines."""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from pathlib import Path

from ..bundles.bundle import task_of
from ..bundles.schema import MatcherManifest
from ..errors import InputError
from ..io.frame import Frame
from ..io.media_folder import expand_video_folders
from ..io.mqtt import MqttPublisher
from ..io.source import Source, open_images
from ..progress import spinner
from ..recognition.frames import step_source
from ..recognition.recognizer import Recognizer
from ..recognition.segments import Segment, Segmenter
from .license import print_license_notice
from .options import RecognizeOptions, RecognizeOutputs, SourceOptions
from .overlay import Overlay, check_overlay
from .report import JsonReport, Report, Summary, TextReport
from .segment_files import check_table, write_csv, write_srt


def run_recognize(names: Sequence[str], options: RecognizeOptions, outputs: RecognizeOutputs) -> None:
    """Recognize each source in turn; Ctrl-C stops early and still writes the outputs and prints the summary."""
    if task_of(options.model) == MatcherManifest.task:
        from .match import run_match

        run_match(names, options, outputs)
        return
    sources = expand_video_folders(names)
    _check_outputs(outputs, len(sources))
    recognizer = options.load()
    report: Report = JsonReport(name_sources=len(sources) > 1) if outputs.as_json else TextReport()
    publisher = outputs.open_publisher([label for label in recognizer.labels if label != "none"])
    session = _Session(recognizer, report, options, outputs, publisher)
    with publisher or nullcontext():
        try:
            for name in sources:
                session.run(name)
        except KeyboardInterrupt:
            pass
    if publisher is not None:
        session.summary.published, session.summary.unpublished = publisher.published, publisher.dropped
    if outputs.srt:
        write_srt(outputs.srt, session.segments)
    if outputs.csv:
        write_csv(outputs.csv, session.segments)
    report.summarize(session.summary)
    print_license_notice(recognizer.bundle)


def open_source(name: str, options: SourceOptions, realtime: bool) -> Source:
    """Open a source; a listener's address is printed."""
    source = options.open(name, realtime)
    if source.address:
        print(f"listening at {source.name}", file=sys.stderr, flush=True)
    return source


def _check_outputs(outputs: RecognizeOutputs, sources: int) -> None:
    """Raise InputError for what could not be written in the end."""
    for option, path in (("--overlay", outputs.overlay), ("--srt", outputs.srt)):
        if path and sources > 1:
            raise InputError(f"{option} is for one source, but there are {sources}")
    if outputs.overlay:
        check_overlay(outputs.overlay)
    if outputs.srt:
        check_table(outputs.srt, ".srt")
    if outputs.csv:
        check_table(outputs.csv, ".csv")


class _Session:
    """One recognizer and one report for several sources.

    Attributes:
        summary: totals so far.
        segments: name of the source and segment, in seconds since the start of the source.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        report: Report,
        options: RecognizeOptions,
        outputs: RecognizeOutputs,
        publisher: MqttPublisher | None,
    ) -> None:
        self.summary = Summary()
        self.segments: list[tuple[str, Segment]] = []
        self._recognizer, self._report = recognizer, report
        self._options, self._outputs, self._publisher = options, outputs, publisher

    def run(self, name: str) -> None:
        """Recognize one source from its start; after Ctrl-C its outputs are complete up to then."""
        dropped_before = self._recognizer.counters["dropped"]
        started_s = time.perf_counter()
        self._recognizer.reset()
        segments: list[Segment] = []
        interrupted = False
        with ExitStack() as stack:
            source = stack.enter_context(open_source(name, self._options, self._outputs.realtime))
            self._recognizer.background = self._outputs.realtime or not source.recorded
            overlay = self._overlay(stack, source)
            self._report.begin(source)
            try:
                self._process(source, overlay, segments)
            except KeyboardInterrupt:
                interrupted = True
            finally:
                self._report.end()
                self._count(source, dropped_before, time.perf_counter() - started_s)
            if overlay:
                self._draw(overlay, source, name, segments)
        if interrupted:
            raise KeyboardInterrupt

    def _process(self, source: Source, overlay: Overlay | None, segments: list[Segment]) -> None:
        """Report every decision on the people in a source, and every segment; times of `segments` are the source's."""
        segmenter = Segmenter()

        def add(segment: Segment) -> None:
            segments.append(segment)
            start_s = source.start_s or 0.0
            shifted = replace(segment, start=segment.start - start_s, end=segment.end - start_s)
            self.segments.append((source.name, shifted))
            self._report.add(shifted)

        def observe(t: float, people: Sequence[Frame]) -> None:
            if overlay:
                overlay.observe(t, people, source.image)

        try:
            for t, decision, frame in step_source(self._recognizer, source, observe=observe):
                if frame is not None:
                    self.summary.latencies_ms.append(decision.latency_ms)
                self._report.decide(t, decision)
                if self._publisher is not None:
                    self._publisher.send(t, decision)
                if segment := segmenter.add(t, decision):
                    add(segment)
        finally:
            for segment in segmenter.finish():
                add(segment)

    def _count(self, source: Source, dropped_before: int, seconds: float) -> None:
        summary = self.summary
        summary.frames += source.frames_in
        summary.malformed += source.malformed
        summary.rejected += source.rejected
        summary.dropped += source.dropped + self._recognizer.counters["dropped"] - dropped_before
        summary.pose_latencies_ms.extend(source.pose_latencies_ms)
        if source.has_images:
            summary.video_s += seconds

    def _overlay(self, stack: ExitStack, source: Source) -> Overlay | None:
        path = self._outputs.overlay
        if path is None:
            return None
        if not source.has_images:
            raise InputError(f"{path}: --overlay needs a video source")
        return stack.enter_context(Overlay(path, keep_images=not source.recorded))

    def _draw(self, overlay: Overlay, source: Source, name: str, segments: list[Segment]) -> None:
        with spinner("drawing the overlay"):
            if source.recorded:
                with closing(open_images(Path(name), self._options.fps)) as images:
                    overlay.write(images, segments)
            else:
                overlay.write(None, segments)

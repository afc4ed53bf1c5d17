"""`RecognitionPanel`: who is seen and what they do, in a panel and in the scene."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..recognition.decision import Decision
from ..recognition.label_texts import NONE, resolve_labels
from .forms import bind_submit, note_html, show_errors
from .skeleton_scene import Color, Pose, SkeletonScene
from .source_player import Observation, SourcePlayer
from .timeline import GAP_S, people_html

RECORD_S = 3.0  # of a gesture
COLORS: tuple[Color, ...] = ((45, 116, 191), (217, 119, 20), (58, 145, 86), (186, 65, 98), (36, 148, 158))
_DRAW_S, _CHARTS_S = 1 / 40, 0.25  # at most so often

logger = logging.getLogger(__name__)


class RecognitionPanel:
    """What a player sees.

    Args:
        server: of viser; this adds to the panel that is open.
        player: started and closed here.
        stage: to draw people on.
    Attributes:
        now: everybody who is drawn, by person.
        labels_note, gesture_note, record: of the page: what has come of labels and of gestures, and the button for one.
    """

    def __init__(self, server: Any, player: SourcePlayer, stage: SkeletonScene) -> None:
        self._server, self.player, self._stage = server, player, stage
        self.now: dict[int, Observation] = {}
        self._add_charts()
        self._add_forms()
        self._painter = threading.Thread(target=self._paint, name="motionrt painter", daemon=True)
        player.start()
        self._painter.start()

    def close(self) -> None:
        """Stops the player, too."""
        self.player.close()
        self._painter.join()

    def _add_charts(self) -> None:
        gui = self._server.gui
        self._people = gui.add_html("")
        self._latency = gui.add_uplot(
            (np.zeros(1), np.ones(1)),
            ({}, {"label": "ms", "stroke": f"rgb{COLORS[0]}", "width": 1}),
            scales={"x": {"time": False}, "y": {"distr": 3}},  # logarithmic
            title="latency of a frame, ms",
            legend={"show": False},
            height=130,
            padding=(10, 24, 0, 0),
        )
        self._percentiles = gui.add_html("")

    def _add_forms(self) -> None:
        gui, recognizer = self._server.gui, self.player.recognizer
        fixed = recognizer.label_strategy.fixed
        with gui.add_form("Labels") as form:
            known = ", ".join(label for label in recognizer.labels if label != NONE)
            labels = gui.add_text("labels", known, multiline=True, disabled=fixed)
            button = gui.add_button("Recognise these", disabled=fixed)
            self.labels_note = gui.add_html(note_html(f"those of model {recognizer.name} are fixed" if fixed else ""))
        bind_submit(form, button, lambda: self.set_labels(labels.value))
        with gui.add_form("Gesture") as form:
            name = gui.add_text("name", "", disabled=fixed)
            person = gui.add_number("person", 0, min=0, step=1, disabled=fixed)
            self.record = gui.add_button(f"Record {RECORD_S:g} s and enroll", disabled=fixed)
            self.gesture_note = gui.add_html("")
        bind_submit(form, self.record, lambda: self.enroll(name.value, person.value))

    def set_labels(self, text: str) -> None:
        """Recognise what a text with commas between says; the page tells what is wrong with it."""
        with show_errors(self.labels_note):
            labels = parse_labels(text)
            self.player.recognizer.set_labels(labels)
            self.labels_note.content = note_html(f"{len(labels)} labels are recognised")

    def enroll(self, label: str, person: int) -> None:
        """Record somebody for `RECORD_S` seconds as an example of a label; the page tells what has come of it."""
        self.record.disabled = True
        try:
            with show_errors(self.gesture_note):
                resolve_labels([label])
                self.gesture_note.content = note_html("recording …")
                time.sleep(RECORD_S)
                motion = self.player.recent_motion(person, RECORD_S)
                self.player.enroll(label, motion)
                self.gesture_note.content = note_html(f"{label.strip()!r} is recognized from {motion.seconds:.1f} s")
        finally:
            self.record.disabled = False

    def _paint(self) -> None:
        """Draws what the player sees until that ends."""
        charts_due, error = 0.0, ""
        while True:
            try:
                seen = self.player.observations.take(_CHARTS_S)
            except Exception as problem:
                seen, error = None, str(problem)
                if not isinstance(problem, InputError):
                    logger.exception("the player has stopped")
            if seen is not None:
                self._draw(seen)
            now = time.monotonic()
            if seen is None or now >= charts_due:
                charts_due = now + _CHARTS_S
                self._draw_charts(now, error, ended=seen is None)
            if seen is None:
                return
            time.sleep(_DRAW_S)  # more than that nobody sees

    def _draw(self, seen: list[Observation]) -> None:
        clock = time.monotonic()
        for one in seen:
            if any(one.source != other.source for other in self.now.values()):
                self.now.clear()
                self._stage.reset()
            self.now[one.frame.person] = one
        self.now = {person: one for person, one in self.now.items() if clock - one.clock < GAP_S}
        poses = {
            person: Pose(
                joints=one.frame.joints,
                layout=one.frame.layout,
                color=COLORS[person % len(COLORS)],
                text=f"{one.decision.label} {one.decision.score:.2f}",
            )
            for person, one in self.now.items()
        }
        with self._server.atomic():
            self._stage.show(clock, poses)

    def _draw_charts(self, clock: float, error: str, ended: bool) -> None:
        now: dict[int, Decision] = {person: one.decision for person, one in self.now.items()}
        people = people_html(now, self.player.history(), clock)
        source = Path(self.player.name).name + (" has ended" if ended else "")
        latencies = np.array(self.player.latencies_ms())
        with self._server.atomic():
            self._people.content = note_html(error or source, wrong=bool(error)) + people
            if len(latencies):
                self._latency.data = (np.arange(1.0 - len(latencies), 1.0), latencies)
                p50, p99 = np.percentile(latencies, (50, 99))
                summary = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, {self.player.dropped} frames dropped"
                self._percentiles.content = note_html(summary)


def parse_labels(text: str) -> list[str]:
    """What is between commas and line ends. Raises InputError where there is nothing."""
    labels = [label.strip() for label in text.replace("\n", ",").split(",")]
    labels = [label for label in labels if label]
    if not labels:
        raise InputError("no labels, expected some with commas between, such as: wave, jump")
    return labels

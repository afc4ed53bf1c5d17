"""`RecognitionPanel`: people and their actions, in a panel and in the scene."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, LayoutError
from ..io.drawing import Person, draw_people
from ..recognition.decision import Decision
from ..recognition.label_texts import NONE, resolve_labels
from .forms import bind_submit, note_html, show_errors
from .robot_follower import RobotFollower
from .skeleton_scene import Color, Pose, SkeletonScene
from .source_player import Observation, SourcePlayer
from .timeline import GAP_S, people_html

RECORD_S = 3.0  # length of a recorded gesture
COLORS: tuple[Color, ...] = ((45, 116, 191), (217, 119, 20), (58, 145, 86), (186, 65, 98), (36, 148, 158))
ROBOT = -1  # in the place of a person's number
PICTURE_PX = 360  # width of the picture of a camera, at most; the panel is not wider
_DRAW_S, _CHARTS_S = 1 / 40, 0.15  # shortest time between updates

logger = logging.getLogger(__name__)


class RecognitionPanel:
    """The people of a player, their decisions, and forms for labels and gestures.

    Args:
        server: viser's server; the forms are added to its open panel.
        player: started and closed by the panel.
        scene: where people are drawn.
        robot: follows the first person, beside that one; None: no robot.
    Attributes:
        now: latest observations of the people who are drawn, by person.
        labels_note, gesture_note: notes below the forms. record: the button that records a gesture.
    """

    def __init__(
        self, server: Any, player: SourcePlayer, scene: SkeletonScene, robot: RobotFollower | None = None
    ) -> None:
        self._server, self.player, self._scene, self._robot = server, player, scene, robot
        self.now: dict[int, Observation] = {}
        self._texts: dict[int, str] = {}  # above the people in the scene, as the panel has them
        self._add_charts()
        self._add_forms()
        self._painter = threading.Thread(target=self._paint, name="motionrt painter", daemon=True)
        player.start()
        self._painter.start()

    def close(self) -> None:
        """Stop drawing, and close the player."""
        self.player.close()
        self._painter.join()

    def _add_charts(self) -> None:
        gui = self._server.gui
        self._picture = gui.add_image(np.zeros((2, 2, 3), np.uint8), format="jpeg", jpeg_quality=80, visible=False)
        self._people = gui.add_html("")
        self._latency = gui.add_uplot(
            (np.zeros(1), np.ones(1)),
            ({}, {"label": "ms", "stroke": f"rgb{COLORS[0]}", "width": 1}),
            scales={"x": {"time": False}, "y": {"distr": 3}},  # logarithmic
            title="latency per frame, ms",
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
            labels = gui.add_text("labels", known, multiline=True)
            button = gui.add_button("Set labels")
            self.labels_note = gui.add_html(note_html(f"some labels of model {recognizer.name}" if fixed else ""))
        bind_submit(form, button, lambda: self.set_labels(labels.value))
        with gui.add_form("Gesture") as form:
            name = gui.add_text("name", "", disabled=fixed)
            person = gui.add_number("person", 0, min=0, step=1, disabled=fixed)
            self.record = gui.add_button(f"Record {RECORD_S:g} s and enroll", disabled=fixed)
            self.gesture_note = gui.add_html("")
        bind_submit(form, self.record, lambda: self.enroll(name.value, person.value))

    def set_labels(self, text: str) -> None:
        """Set the labels from a comma-separated text; the page shows errors in it."""
        with show_errors(self.labels_note):
            labels = parse_labels(text)
            self.player.recognizer.set_labels(labels)
            self.labels_note.content = note_html(f"recognizing {len(labels)} labels")

    def enroll(self, label: str, person: int) -> None:
        """Record a person for `RECORD_S` seconds as an example of a label; the page shows the result."""
        self.record.disabled = True
        try:
            with show_errors(self.gesture_note):
                resolve_labels([label])
                self.gesture_note.content = note_html("recording …")
                time.sleep(RECORD_S)
                motion = self.player.recent_motion(person, RECORD_S)
                self.player.enroll(label, motion)
                self.gesture_note.content = note_html(f"enrolled {label.strip()!r} from {motion.seconds:.1f} s")
        finally:
            self.record.disabled = False

    def _paint(self) -> None:
        """Draw the player's observations until it ends."""
        charts_due, error = 0.0, ""
        while True:
            try:
                observations = self.player.observations.take(_CHARTS_S)
            except Exception as problem:
                observations, error = None, str(problem)
                if not isinstance(problem, InputError):
                    logger.exception("the player failed")
            if observations is not None:
                self._draw(observations)
            now = time.monotonic()
            if observations is None or now >= charts_due:
                charts_due = now + _CHARTS_S
                self._draw_charts(now, error, has_ended=observations is None)
            if observations is None:
                return
            time.sleep(_DRAW_S)  # drawing more often is not visible

    def _draw(self, observations: list[Observation]) -> None:
        clock = time.monotonic()
        for one in observations:
            if any(one.source != other.source for other in self.now.values()):
                self.now.clear()
                self._scene.reset()
            self.now[one.frame.person] = one
        self.now = {person: one for person, one in self.now.items() if clock - one.clock < GAP_S}
        with self._server.atomic():
            self._show(clock)

    def _show(self, clock: float) -> None:
        """Draw the people in the scene."""
        poses = {
            person: Pose(
                joints=one.frame.joints,
                layout=one.frame.layout,
                color=COLORS[person % len(COLORS)],
                text=self._texts.get(person, ""),
            )
            for person, one in self.now.items()
            if one.frame.joints.shape[-1] == 3  # others have no place in the scene
        }
        if self._robot is not None and poses:
            first = self.now[min(poses)]
            with suppress(LayoutError):  # a body that no robot can follow
                poses[ROBOT] = self._robot.pose(first.frame, first.clock)
        self._scene.show(clock, poses)

    def _draw_charts(self, clock: float, error: str, has_ended: bool) -> None:
        now: dict[int, Decision] = {person: one.decision for person, one in self.now.items()}
        people = people_html(now, self.player.history(), clock)
        source = Path(self.player.name).name + (" (ended)" if has_ended else "")
        latencies = np.array(self.player.latencies_ms())
        self._texts = {person: f"{one.label} {one.score:.2f}" for person, one in now.items()}
        picture = self._draw_picture()
        with self._server.atomic():
            self._show(clock)
            if picture is not None:
                self._picture.image, self._picture.visible = picture, True
            self._people.content = note_html(error or source, is_error=bool(error)) + people
            if len(latencies):
                self._latency.data = (np.arange(1.0 - len(latencies), 1.0), latencies)
                p50, p99 = np.percentile(latencies, (50, 99))
                summary = f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, {self.player.dropped} frames dropped"
                self._percentiles.content = note_html(summary)

    def _draw_picture(self) -> NDArray[np.uint8] | None:
        """The latest image of a camera or video with the people in it; None without one."""
        seen = [one.frame for one in self.now.values() if one.frame.image is not None and one.frame.pixels is not None]
        latest = max(seen, key=lambda frame: frame.t, default=None)
        if latest is None or latest.image is None:
            return None
        step = -(-latest.image.shape[1] // PICTURE_PX)
        image = np.ascontiguousarray(latest.image[::step, ::step])
        people = [
            Person(replace(frame, pixels=frame.pixels / step), self._texts.get(frame.person, ""))
            for frame in seen
            if frame.t == latest.t and frame.pixels is not None
        ]
        return draw_people(image, people)


def parse_labels(text: str) -> list[str]:
    """Labels separated by commas or line breaks. Raises InputError if there are none."""
    labels = [label.strip() for label in text.replace("\n", ",").split(",")]
    labels = [label for label in labels if label]
    if not labels:
        raise InputError("no labels, expected a comma-separated list such as: wave, jump")
    return labels

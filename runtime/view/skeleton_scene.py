"""Skeletons with solid bones on a round floor that follows them, in viser's scene.

Shapes: V joints, B bones; meters, y up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..body.layout import Layout
from ..io.glb import FACES, octahedra

Array = NDArray[np.float64]
Color = tuple[int, int, int]

RADIUS_M, TILE_M = 0.75, 0.25  # the floor and its tiles
PLATE, LINE = (236, 238, 241), (196, 201, 208)
_FOLLOW_S = 0.3  # time constant of the floor's horizontal motion
_RISE_S = 2.0  # time constant of its rise; it drops without delay
_HEAD_M = 0.1  # radius
_TEXT_M = 0.14  # height of the text above the highest joint


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pose:
    """Drawing of a person: joints [V, 3] (NaN if missing), color and text."""

    joints: NDArray[np.float32]
    layout: str
    color: Color
    text: str = ""


class SkeletonScene:
    """A round floor in the scene with the people who stand on it.

    Args:
        scene: scene of a viser server.
        name: name of the floor's node in it.
        x_m: position of its center.
        caption: text at its edge.
    """

    def __init__(self, scene: Any, name: str, x_m: float, caption: str) -> None:
        self._scene, self._name = scene, name
        self._figures: dict[int, Figure] = {}
        self._lines = scene.add_line_segments(f"{name}/lines", _lines(0, 0), LINE, thickness=0.006)
        scene.add_frame(name, show_axes=False, position=(x_m, 0, 0))
        scene.add_mesh_simple(f"{name}/plate", *_disc(), color=PLATE, side="double", cast_shadow=False)
        scene.add_label(f"{name}/caption", caption, position=(0, 0, RADIUS_M + 0.08), anchor="top-center")
        self.reset()

    def reset(self) -> None:
        """Move the floor to the next people without delay."""
        self._clock: float | None = None

    def show(self, clock: float, poses: Mapping[int, Pose]) -> None:
        """Draw these people and hide all others.

        Args:
            clock: seconds, increasing.
            poses: poses by person.
        """
        present = {person: pose.joints[np.isfinite(pose.joints).all(-1)] for person, pose in poses.items()}
        present = {person: joints for person, joints in present.items() if len(joints)}
        if present:
            self._follow(clock, list(present.values()))
        for person in self._figures.keys() - present.keys():
            self._figures[person].hide()
        for person in present:
            pose = poses[person]
            figure = self._figures.get(person)
            if figure is None or figure.layout.name != pose.layout:
                figure = self._figures[person] = Figure(self._scene, f"{self._name}/{person}", Layout.load(pose.layout))
            figure.show(pose.joints - self._origin, pose.color, pose.text)

    def _follow(self, clock: float, people: list[NDArray[np.float32]]) -> None:
        """Move the floor below the center of all people, at the height of the lowest recent joint."""
        center: Array = np.mean([joints.mean(0) for joints in people], axis=0, dtype=np.float64)
        center[1] = min(joints[:, 1].min() for joints in people)
        if self._clock is None:
            self._origin = center
        else:
            elapsed = max(0.0, clock - self._clock)
            rise = _RISE_S if center[1] > self._origin[1] else 1e-9
            seconds = np.array([_FOLLOW_S, rise, _FOLLOW_S])
            self._origin = self._origin + (1 - np.exp(-elapsed / seconds)) * (center - self._origin)
        self._clock = clock
        self._lines.points = _lines(self._origin[0], self._origin[2])


class Figure:
    """One person: an octahedron per bone, a ball for the head, and a text above it."""

    def __init__(self, scene: Any, name: str, layout: Layout) -> None:
        self.layout = layout
        self._ends, self._starts = np.array(layout.edges).T
        bones = len(self._ends)
        faces = np.concatenate([6 * bone + np.array(FACES) for bone in range(bones)])
        self._head_joint = layout.joints.index("head") if "head" in layout.joints else None
        self._body = scene.add_mesh_simple(name, np.zeros((6 * bones, 3)), faces, flat_shading=True, side="double")
        self._head = scene.add_icosphere(f"{name}/head", _HEAD_M)
        self._text = scene.add_label(f"{name}/text", "", anchor="bottom-center", font_screen_scale=1.15)

    def show(self, joints: Array, color: Color, text: str) -> None:
        """Draw joints [V, 3]; bones with a missing joint are hidden."""
        visible = np.asarray(np.isfinite(joints).all(-1))
        anywhere = joints[visible][0]  # where hidden bones collapse to a point
        whole = visible[self._starts] & visible[self._ends]
        starts, ends = (
            np.where(whole[:, None], joints[bone_ends], anywhere) for bone_ends in (self._starts, self._ends)
        )
        self._body.vertices = octahedra(starts, ends).reshape(-1, 3).astype(np.float32)
        self._body.color, self._body.visible = color, True
        self._head.visible = self._head_joint is not None and bool(visible[self._head_joint])
        if self._head.visible:
            self._head.position, self._head.color = joints[self._head_joint], color
        center, top = joints[visible].mean(0), joints[visible][:, 1].max()
        self._text.position = (center[0], top + _TEXT_M, center[2])
        self._text.text, self._text.visible = text, bool(text)

    def hide(self) -> None:
        self._body.visible = False


def _disc() -> tuple[Array, NDArray[np.int64]]:
    """Vertices and faces of the floor's plate, slightly below its lines."""
    angles = np.linspace(0, 2 * np.pi, 65)[:-1]
    edge = RADIUS_M * np.stack([np.cos(angles), np.zeros(64), np.sin(angles)], axis=1)
    faces = [(0, 1 + (i + 1) % 64, 1 + i) for i in range(64)]
    return np.concatenate([np.zeros((1, 3)), edge]) - (0, 0.01, 0), np.array(faces)


def _lines(x_m: float, z_m: float) -> NDArray[np.float32]:
    """Edges [L, 2, 3] of the tiles on a floor at this offset."""
    count = int(np.ceil(RADIUS_M / TILE_M)) + 1
    steps = TILE_M * np.arange(-count, count + 1)
    found = []
    for axis, offset in ((0, x_m), (2, z_m)):
        at = np.clip(steps - offset % TILE_M, -RADIUS_M, RADIUS_M)
        half = np.sqrt(RADIUS_M**2 - at**2)
        lines = np.zeros((len(at), 2, 3), np.float32)
        lines[:, :, axis] = at[:, None]
        lines[:, 0, 2 - axis], lines[:, 1, 2 - axis] = -half, half
        found.append(lines)
    return np.concatenate(found)

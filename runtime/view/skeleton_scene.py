"""Skeletons as bodies of bones on a round floor that goes along with them, in viser's scene.

Shapes: V joints, B bones; metres, y up.
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

RADIUS_M, TILE_M = 0.75, 0.25  # of the floor
PLATE, LINE = (236, 238, 241), (196, 201, 208)
_FOLLOW_S = 0.3  # time constant of the floor's way
_RISE_S = 2.0  # and of its height, where nobody has stood lower
_HEAD_M = 0.1  # radius
_ABOVE_M = 0.14  # of the text over the highest joint


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pose:
    """What is to be drawn of somebody: joints [V, 3], NaN where missing."""

    joints: NDArray[np.float32]
    layout: str
    color: Color
    text: str = ""


class SkeletonScene:
    """A round floor at a place of the scene, with those who stand on it.

    Args:
        scene: of a viser server.
        name: of its node in the scene.
        x_m: where its middle is.
        caption: at its edge.
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
        """Those who are drawn next were somewhere else before."""
        self._clock: float | None = None

    def show(self, clock: float, poses: Mapping[int, Pose]) -> None:
        """Draws these people and nobody else.

        Args:
            clock: seconds, rising.
            poses: by person.
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

    def _follow(self, clock: float, seen: list[NDArray[np.float32]]) -> None:
        """Moves the floor under the middle of everybody, at the height of the lowest joint of late."""
        middle: Array = np.mean([joints.mean(0) for joints in seen], axis=0, dtype=np.float64)
        middle[1] = min(joints[:, 1].min() for joints in seen)
        if self._clock is None:
            self._origin = middle
        else:
            passed = max(0.0, clock - self._clock)
            rise = _RISE_S if middle[1] > self._origin[1] else 1e-9
            seconds = np.array([_FOLLOW_S, rise, _FOLLOW_S])
            self._origin = self._origin + (1 - np.exp(-passed / seconds)) * (middle - self._origin)
        self._clock = clock
        self._lines.points = _lines(self._origin[0], self._origin[2])


class Figure:
    """One body: an octahedron along every bone, a ball for a head, and a text above."""

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
        """Draws [V, 3]; bones without an end are left out."""
        seen = np.asarray(np.isfinite(joints).all(-1))
        somewhere = joints[seen][0]
        whole = seen[self._starts] & seen[self._ends]
        starts, ends = (np.where(whole[:, None], joints[of], somewhere) for of in (self._starts, self._ends))
        self._body.vertices = octahedra(starts, ends).reshape(-1, 3).astype(np.float32)
        self._body.color, self._body.visible = color, True
        self._head.visible = self._head_joint is not None and bool(seen[self._head_joint])
        if self._head.visible:
            self._head.position, self._head.color = joints[self._head_joint], color
        middle, top = joints[seen].mean(0), joints[seen][:, 1].max()
        self._text.position = (middle[0], top + _ABOVE_M, middle[2])
        self._text.text, self._text.visible = text, bool(text)

    def hide(self) -> None:
        self._body.visible = False


def _disc() -> tuple[Array, NDArray[np.int64]]:
    """Vertices and faces of the floor, a little below it."""
    around = np.linspace(0, 2 * np.pi, 65)[:-1]
    edge = RADIUS_M * np.stack([np.cos(around), np.zeros(64), np.sin(around)], axis=1)
    faces = [(0, 1 + (i + 1) % 64, 1 + i) for i in range(64)]
    return np.concatenate([np.zeros((1, 3)), edge]) - (0, 0.01, 0), np.array(faces)


def _lines(x_m: float, z_m: float) -> NDArray[np.float32]:
    """[L, 2, 3]: the tiles' edges on a floor that has gone this far."""
    count = int(np.ceil(RADIUS_M / TILE_M)) + 1
    steps = TILE_M * np.arange(-count, count + 1)
    made = []
    for along, gone in ((0, x_m), (2, z_m)):
        at = np.clip(steps - gone % TILE_M, -RADIUS_M, RADIUS_M)
        half = np.sqrt(RADIUS_M**2 - at**2)
        lines = np.zeros((len(at), 2, 3), np.float32)
        lines[:, :, along] = at[:, None]
        lines[:, 0, 2 - along], lines[:, 1, 2 - along] = -half, half
        made.append(lines)
    return np.concatenate(made)

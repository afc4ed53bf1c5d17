"""Skeleton layouts: joint names and their order, the bones, and the mapping from one layout to another.

A layout is a file `skeletons/NAME.json`, or a file of yours that `Layout.read` registers. For each joint, in order, it
has

    name        a point of the body has the same name in every layout; `left_` and `right_` mark pairs
    parent      the parent joint, null for the root of the tree
    aliases     names in data files; the k-th aliases of all joints are the k-th naming scheme (a joint with fewer
                aliases keeps its last one, a joint without aliases its name)
    neighbours  groups of joints whose mean replaces this joint in a layout without it; the first group with all its
                joints is used, a repeated name counts twice

and for the whole layout `about`, `dims` (2: pixels, 3: meters) and `root`, the joint that poses are centered on.

Shapes: V joints of this layout, S joints of the source layout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import LayoutError
from .joint_names import identify, is_animal

FOLDER = Path(__file__).parents[1] / "skeletons"
MAX_STEPS = 10_000  # to replace one joint
_REGISTERED: dict[str, Layout] = {}  # by `Layout.read`


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Layout:
    """A skeleton layout; `Layout.load` returns the same object for the same name.

    Attributes:
        name, about: its name and a description.
        joints: V names.
        parents: V indices, -1 for the root of the tree.
        root: index of the joint that poses are centered on.
        dims: 3 (meters) or 2 (pixels).
        aliases: other names of each joint.
        neighbors: groups of joints whose mean replaces a joint in a layout without it.
    """

    name: str
    about: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    root: int
    dims: int
    aliases: tuple[tuple[str, ...], ...]
    neighbors: Mapping[str, tuple[tuple[str, ...], ...]]

    @staticmethod
    def names() -> list[str]:
        """Names of the known layouts, sorted."""
        return sorted({path.stem for path in FOLDER.glob("*.json")} | set(_REGISTERED))

    @staticmethod
    def load(name: str) -> Layout:
        """The layout with this name. Raises LayoutError, which lists the known ones."""
        return _load(name)

    @staticmethod
    def read(path: str | Path) -> Layout:
        """Register the layout in a file NAME.json: NAME is then known wherever a layout is named.

        Raises:
            LayoutError: no such file, not a layout, or a name that another layout has.
        """
        path = Path(path)
        try:
            layout = _parse(path.stem, path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise LayoutError(f"{path}: cannot be read: {error.strerror or error}") from None
        except (ValueError, RecursionError) as error:
            raise LayoutError(f"{path}: not a skeleton layout: {error}") from None
        known = _load(layout.name) if layout.name in Layout.names() else layout
        if astuple(known) != astuple(layout):
            raise LayoutError(f"{path}: there is another layout {layout.name!r}, choose a different name")
        return _REGISTERED.setdefault(layout.name, known)

    @staticmethod
    def match(names: Sequence[str], name: str | None = None, *, dims: int | None = None) -> tuple[Layout, list[int]]:
        """The largest layout (or `name`) whose joints are all among `names`, and the index of each joint in `names`.

        Joints are known by a layout's own naming schemes, or one by one, whatever their prefix and spelling (see
        `joint_names`). `dims` restricts the layouts to those in 2-D or 3-D.

        Raises LayoutError if no layout fits, which names the missing joints, or for the rig of an animal.
        """
        known = [_load(known) for known in (Layout.names() if name is None else [name])]
        known = [layout for layout in known if dims in (None, layout.dims)]
        found = identify(names)
        matches = [match for layout in known if (match := layout._match(names, found))]
        if name is None and is_animal(names):
            raise LayoutError(
                f"the joint names ({_some(names)}) are those of an animal, expected a person; "
                "for a person name the layout (--layout NAME)"
            )
        if matches:
            return max(matches, key=lambda match: len(match[1]))
        target = Layout.load("core14" if name is None else name)
        missing = [joint for joint in target.joints if joint not in found]
        raise LayoutError(
            f"the {len(names)} joint names ({_some(names)}) have no {_some(missing)}, expected all joints of "
            f"{'a person' if name is None else name}, or a layout of your own (--layout FILE.json)"
        )

    @staticmethod
    def find(names: Sequence[str]) -> Layout:
        """The layout with exactly these joints, in this order, in any of its naming schemes.

        Raises LayoutError if there is none.
        """
        layout, order = Layout.match(names)
        if order != list(range(len(names))):
            raise LayoutError(f"the joint names contain those of {layout.name}, but with others or in another order")
        return layout

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(left, right) indices of paired joints."""
        index = {name: i for i, name in enumerate(self.joints)}
        left = [name for name in self.joints if name.startswith("left_")]
        return tuple((index[name], index["right_" + name.removeprefix("left_")]) for name in left)

    @property
    def mirror(self) -> tuple[int, ...]:
        """Permutation [V] that swaps left and right: `joints[..., layout.mirror, :]`."""
        swap = dict(self.pairs) | {right: left for left, right in self.pairs}
        return tuple(swap.get(i, i) for i in range(len(self.joints)))

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(joint, parent) indices of every bone."""
        return tuple((i, parent) for i, parent in enumerate(self.parents) if parent >= 0)

    @property
    def facing(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Indices of the left and of the right hip, if there are any, and shoulder: people face (left - right) x up."""
        left, right = (tuple(self.joints.index(f"{side}_{part}") for part in ("hip", "shoulder")
                             if f"{side}_{part}" in self.joints)
                       for side in ("left", "right"))  # fmt: skip
        return left, right

    def map_from(self, source: Layout, *, needs_legs: bool = True) -> NDArray[np.float32]:
        """Weights [V, S] that compute this layout's joints from those of `source`; every row sums to 1.

        Args:
            needs_legs: False: rows are zeros of hips and joints below them that cannot be computed.
        Raises:
            LayoutError: another joint is not in `source` and cannot be replaced by the mean of neighbors.
        """
        return _weights(self, source, needs_legs)

    def _match(self, names: Sequence[str], found: Mapping[str, int]) -> tuple[Layout, list[int]] | None:
        """Itself and the index of each joint, if all are among the names or the joints found in them."""
        index = {_plain(joint): i for i, joint in reversed(list(enumerate(names)))}
        for scheme in self._naming_schemes():
            if all(joint in index for joint in scheme):
                return self, [index[joint] for joint in scheme]
        if self.dims == 3 and all(joint in found for joint in self.joints):
            return self, [found[joint] for joint in self.joints]
        return None

    def _naming_schemes(self) -> list[list[str]]:
        names = [(joint, *others) for joint, others in zip(self.joints, self.aliases, strict=True)]
        schemes = range(max(map(len, names)))
        return [[_plain(known[min(k, len(known) - 1)]) for known in names] for k in schemes]

    def _is_leg(self, joint: str) -> bool:
        """Whether a joint is a hip or below one."""
        v = self.joints.index(joint)
        while v >= 0 and self.joints[v] not in ("left_hip", "right_hip"):
            v = self.parents[v]
        return v >= 0

    def _row(
        self, joint: str, source: Layout, steps: Iterator[int], visited: tuple[str, ...] = ()
    ) -> NDArray[np.float32] | None:
        if next(steps, None) is None:
            raise LayoutError(f"{self.name}: neighbours of {visited[0]!r} refer to each other in too many ways")
        if joint in source.joints:
            return np.eye(len(source.joints), dtype=np.float32)[source.joints.index(joint)]
        if joint in visited:
            return None
        for group in self.neighbors.get(joint, ()):
            rows = [self._row(name, source, steps, (*visited, joint)) for name in group]
            found = [row for row in rows if row is not None]
            if len(found) == len(group):
                return np.mean(found, axis=0, dtype=np.float32)
        return None


@cache
def _load(name: str) -> Layout:
    if name not in Layout.names():
        raise LayoutError(
            f"unknown skeleton layout {name!r}, expected one of {', '.join(Layout.names())}; "
            "to add one, write a file (--layout FILE.json, Layout.read(FILE), see docs/extend.md)"
        )
    return (
        _REGISTERED[name]
        if name in _REGISTERED
        else _parse(name, (FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    )


def _parse(name: str, text: str) -> Layout:
    """Raises ValueError."""
    data = json.loads(text)
    try:
        layout = _layout(name, data)
    except KeyError as error:
        raise ValueError(f"there is no {error}") from None
    except (TypeError, AttributeError):
        raise ValueError("expected an object with 'about', 'dims', 'root' and a list 'joints' of objects") from None
    if len(set(layout.joints)) < len(layout.joints) or not all(isinstance(joint, str) for joint in layout.joints):
        raise ValueError("joint names are repeated or not strings")
    for joint, above in zip(layout.joints, layout.parents, strict=True):
        for _ in layout.joints:
            above = layout.parents[above] if above >= 0 else above
        if above >= 0:
            raise ValueError(f"joint {joint!r} is its own ancestor")
    if layout.dims not in (2, 3):
        raise ValueError(f"dims is {layout.dims!r}, expected 3 (meters) or 2 (pixels)")
    return layout


def _layout(name: str, data: Any) -> Layout:
    joints = tuple(joint["name"] for joint in data["joints"])
    index = {joint: i for i, joint in enumerate(joints)}
    parents = [joint["parent"] for joint in data["joints"]]
    return Layout(
        name=name,
        about=data["about"],
        joints=joints,
        parents=tuple(-1 if parent is None else index[parent] for parent in parents),
        root=index[data["root"]],
        dims=data["dims"],
        aliases=tuple(tuple(joint.get("aliases", ())) for joint in data["joints"]),
        neighbors={one["name"]: tuple(map(tuple, one.get("neighbours", ()))) for one in data["joints"]},
    )


@cache
def _weights(target: Layout, source: Layout, needs_legs: bool) -> NDArray[np.float32]:
    rows = {joint: target._row(joint, source, iter(range(MAX_STEPS))) for joint in target.joints}
    if not needs_legs:
        no_source = np.zeros(len(source.joints), np.float32)
        rows |= {joint: no_source for joint, row in rows.items() if row is None and target._is_leg(joint)}
    missing = [joint for joint, row in rows.items() if row is None]
    if missing:
        raise LayoutError(f"{target.name} cannot be computed from {source.name}, which lacks {', '.join(missing)}")
    weights = np.array(list(rows.values()), dtype=np.float32)
    weights.setflags(write=False)
    return weights


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


def _plain(name: str) -> str:
    return "".join(c for c in name.split(":")[-1].lower() if c.isalnum())

"""fork(): only the thread that forks goes on in the child, and locks that others held stay locked.

Objects with threads or locks register here and put themselves right in the child.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    def _after_fork(self) -> None:
        """Runs in the child: replace locks, and forget threads, which are gone."""


_objects: weakref.WeakSet[Forkable] = weakref.WeakSet()


def survive_fork(item: Forkable) -> None:
    """Call the object's `_after_fork` in every forked child, as long as it exists."""
    _objects.add(item)


def _after_fork() -> None:
    for item in list(_objects):
        item._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

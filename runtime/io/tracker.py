"""`Tracker`: ids that stay with people from frame to frame.

Shapes: M poses, V joints, D dimensions (2: pixels, 3: meters).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..body.motion_data import MAX_PEOPLE
from ..errors import InputError


class Tracker:
    """Tracks people by predicted position (constant velocity) and by body shape (bone lengths).

    A person keeps an id over `forget_s` seconds out of sight. For ten more seconds somebody whose bones clearly match
    gets the same id back; anybody else gets another one as long as there are any.

    Args:
        forget_s: seconds.
        max_people: most people tracked at the same time, including those out of sight for a moment; ids are below it.
        parents: [V] parent of each joint, -1 for a root; empty: position alone decides.
    """

    def __init__(self, forget_s: float = 0.5, max_people: int = MAX_PEOPLE, parents: Sequence[int] = ()) -> None:
        from .._core import Tracker as CoreTracker  # poses of files are read without it

        self.forget_s, self.max_people = forget_s, max_people
        try:
            self._tracker = CoreTracker(forget_s, max_people, list(parents))
        except ValueError as error:
            raise InputError(str(error)) from error

    def assign(
        self, t: float, poses: Sequence[NDArray[Any]], confidence: Sequence[ArrayLike] | None = None
    ) -> list[int]:
        """Ids of the poses of one frame; newcomers get the smallest free ones.

        Args:
            t: seconds, not decreasing; a clock that is set back by more than `forget_s` starts over.
            poses: [V, 2] pixels or [V, 3] meters each, NaN where a joint is missing. Shape is compared only for poses
                with as many joints as `parents`.
            confidence: of each pose, [V] or one number; if there are more newcomers than free ids, the most confident
                ones are tracked.
        Returns:
            Ids in the order of `poses`; -1 for a pose that is one too many or has no joint.
        Raises:
            InputError: a time that is not finite, or a pose of another shape.
        """
        weights = None if confidence is None else [np.atleast_1d(np.asarray(one, np.float32)) for one in confidence]
        try:
            return self._tracker.assign(t, [np.asarray(pose) for pose in poses], weights)
        except ValueError as error:
            raise InputError(str(error)) from error

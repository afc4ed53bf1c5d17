"""`load_estimator`: pose estimators by name."""

from ..errors import InputError
from .pose import PoseEstimator


def load_estimator(pose: str | PoseEstimator) -> PoseEstimator:
    """`mediapipe` (one person, offline), `rtmlib` (several people, fetches its models) or your own estimator.

    Raises MissingExtra where its packages are not installed.
    """
    if not isinstance(pose, str):
        return pose
    if pose == "mediapipe":
        from .mediapipe import MediaPipe

        return MediaPipe()
    if pose == "rtmlib":
        from .rtm import RTM

        return RTM()
    raise InputError(f"unknown pose estimator {pose!r}, expected mediapipe or rtmlib")

"""`recognize`: the actions in a recording, a video or the images of a webcam."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..body.motion_data import MotionData
from ..io.source import open_source
from .frames import step_source
from .recognizer import Recognizer
from .segments import Segment, Segmenter


def recognize(
    source: str | int | Path | MotionData,
    model: str | Path | Recognizer = "live",
    *,
    labels: Sequence[str] | None = None,
    layout: str | None = None,
    fps: float | None = None,
    scale: float | None = None,
    up: str | None = None,
    pose: str = "mediapipe",
    seconds: float | None = None,
) -> list[Segment]:
    """Recognize the actions in a source.

        for segment in motionrt.recognize("clip.npz"):
            print(segment.start, segment.end, segment.label)

    Args:
        source: a motion file, a video, a folder of images or of videos, a Motion, a webcam number, or an address
            (rtsp://…, udp://…, ws://…).
        model: name of a bundled model, path of a bundle, hf://ORG/NAME, or a Recognizer, which is not changed.
        labels: labels to recognize, see `Recognizer.set_labels`.
        layout, fps, scale, up: of a motion file, see `Motion.load`; `fps` also of a folder of images.
        pose: pose estimator for video, as in `PoseEstimator.load`.
        seconds: stop after this much of the source; None: at its end. Ctrl-C stops early, too.
    Returns:
        Segments of one label, "none" included, in order of their ends; times are on the clock of the source.
    Raises:
        InputError: the source cannot be opened or read, nobody is visible in it, or the model does not take the labels.
        MissingExtra: packages for videos are not installed.
    """
    recognizer = model.clone() if isinstance(model, Recognizer) else Recognizer.load(model)
    if labels is not None:
        recognizer.set_labels(labels)
    segmenter = Segmenter()
    segments: list[Segment] = []
    with open_source(source, layout=layout, fps=fps, scale=scale, up=up, pose=pose) as opened:
        recognizer.background = not opened.recorded
        try:
            for t, decision, _ in step_source(recognizer, opened, seconds):
                if segment := segmenter.add(t, decision):
                    segments.append(segment)
        except KeyboardInterrupt:
            pass
    return segments + segmenter.finish()

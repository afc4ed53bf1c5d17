"""The table of odd input in docs/input.md, made by `python tests/test_input_table.py > docs/input.md`."""

import logging
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import motionrt
from motionrt import Motion, Recognizer

PAGE = Path(__file__).resolve().parents[1] / "docs" / "input.md"
SAMPLES = Path(motionrt.__path__[0]) / "runtime" / "samples"
WAVE = "bandai_wave_right_hand.npz"

Change = Callable[[Motion], Motion]


def scaled(factor: float) -> Change:
    return lambda motion: replace(motion, joints=motion.joints * np.float32(factor))


def axes(order: tuple[int, int, int], signs: tuple[int, int, int] = (1, 1, 1)) -> Change:
    return lambda motion: replace(motion, joints=motion.joints[..., list(order)] * np.float32(signs))


def timed(factor: float, dtype: type = np.float64, start: float = 0.0) -> Change:
    def change(motion: Motion) -> Motion:
        times = ((motion.times + start) * factor).astype(dtype).astype(np.float64)
        return replace(motion, timestamps=times)

    return change


def among_empty_slots(motion: Motion) -> Motion:
    """The person in the last of six slots of a sensor; the others are zeros."""
    joints = np.zeros((motion.frames, 6, *motion.joints.shape[1:]), np.float32)
    joints[:, 5] = motion.joints
    return replace(motion, joints=joints)


def shuffled(motion: Motion) -> Motion:
    return replace(motion, joints=motion.joints[:, np.random.default_rng(0).permutation(motion.joints.shape[1])])


CLIPS: dict[str, Change] = {
    "a recording in meters, y up": lambda motion: motion,
    "… in the last of six slots of a sensor, the others zeros": among_empty_slots,
    "… mirrored": lambda motion: replace(motion, joints=motion.joints * np.float32([-1, 1, 1])),
    "… in millimeters": scaled(1000),
    "… in centimeters": scaled(100),
    "… in inches": scaled(1 / 0.0254),
    "… in feet": scaled(1 / 0.3048),
    "… of a tenth of its size": scaled(0.1),
    "… of a thousandth of its size": scaled(0.001),
    "only zeros": scaled(0),
    "only NaN": scaled(np.nan),
    "z up instead of y up": axes((0, 2, 1), (1, -1, 1)),
    "upside down": axes((0, 1, 2), (1, -1, -1)),
    "joints in another order": shuffled,
    "timestamps in milliseconds": timed(1e3),
    "timestamps in microseconds": timed(1e6),
    "timestamps in nanoseconds": timed(1e9),
    "timestamps that are frame numbers": lambda motion: replace(motion, timestamps=np.arange(motion.frames) * 1.0),
    "Unix time as float32": timed(1, np.float32, 1.7e9),
    "timestamps that are all the same": timed(0),
}
FILES: dict[str, tuple[str, bytes]] = {
    "an empty file": ("clip.npz", b""),
    "a file that is not what its name says": ("clip.npz", b"hello"),
    "a pointer of Git LFS": ("clip.bvh", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
    "FBX": ("clip.fbx", b"Kaydara FBX Binary  \x00"),
    "an unknown ending": ("clip.xyz", b"1 2 3"),
    "a BVH file without motion": ("clip.bvh", b"HIERARCHY\nROOT Hips\n{\n}\n"),
}
TEXTS = {"a label in Chinese": "挥手", "an emoji": "👋", "a label without letters": "???", "gibberish": "xqzvb kjwq"}


def outcome(action: Callable[[], str], folder: str = "") -> str:
    """The result of an action with its warnings, or the message of its error."""
    records: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    handler, logger = Keep(), logging.getLogger("motionrt")
    logger.addHandler(handler)
    try:
        result = action()
    except motionrt.InputError as error:
        return f"error: {clean(str(error), folder)}"
    finally:
        logger.removeHandler(handler)
    return "; ".join([*(f"warning: {clean(record, folder)}" for record in dict.fromkeys(records)), result])


def clean(message: str, folder: str) -> str:
    assert "\n" not in message
    return re.sub(r"\|", r"\\|", message.replace(f"{folder}/", "") if folder else message)


def rows() -> list[tuple[str, str]]:
    motion, recognizer = Motion.load(SAMPLES / WAVE), Recognizer.load("live")

    def recognized(change: Change) -> str:
        return f"recognized as {recognizer.clone().recognize(change(motion)).label}"

    def loaded(path: Path) -> str:
        return str(Motion.load(path))

    def labeled(text: str) -> str:
        open_labels.set_labels([text, "wave"])
        return "accepted"

    found = [(name, outcome(partial(recognized, change))) for name, change in CLIPS.items()]
    with tempfile.TemporaryDirectory() as folder:
        for name, (file, content) in FILES.items():
            path = Path(folder) / file
            path.write_bytes(content)
            found.append((name, outcome(partial(loaded, path), folder)))
    open_labels = Recognizer.load("zero-shot")
    found += [(name, outcome(partial(labeled, text))) for name, text in TEXTS.items()]
    return found


def page() -> str:
    table = "".join(f"| {name} | {result} |\n" for name, result in rows())
    return f"""# Odd input

Input is used correctly or reported in one line. This table is generated by the tests from a recording of a wave; the
same checks cover streams, messages, the server and the other commands.

| input | what happens |
|---|---|
{table}"""


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page()


def test_odd_input_is_recognized_as_before_or_reported() -> None:
    same = {"a recording in meters, y up", "… in the last of six slots of a sensor, the others zeros"}
    for name, result in rows():
        if name in same:
            assert result == "recognized as wave"
        else:
            assert result.startswith(("error: ", "warning: ")), name


if __name__ == "__main__":
    sys.stdout.write(page())

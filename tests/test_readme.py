"""The README fits on one screen, its numbers come from bench/results, and its code does what the text says."""

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import motionrt
from motionrt import Layout, Motion, Recognizer

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
SAMPLE = Path(motionrt.__path__[0]) / "runtime" / "samples" / "cmu_walk.npz"
SMPL = Layout.load("smpl22")
MAX_BYTES = 12_288
CHUNKS = 6  # of the endless stream


class Stop(Exception):
    """Ends the endless stream of the example."""


def test_it_is_short_and_starts_with_a_picture_and_the_installation() -> None:
    assert len(README.encode()) <= MAX_BYTES
    lines = README.splitlines()
    [picture] = re.findall(r"!\[.+\]\((\S+)\)", "\n".join(lines[:10]))
    assert (ROOT / picture).is_file()
    assert any("pip install" in line for line in lines[:25])


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / link).exists(), link


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Variables after each Python block has run, in order, beside a recording of a walk."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copy(SAMPLE, folder / "clip.npz")
    played: list[np.ndarray] = []

    class Tired:
        def __bool__(self) -> bool:
            return len(played) >= 2

    def play(joints: np.ndarray) -> None:
        played.append(joints)
        if len(played) == CHUNKS:
            raise Stop

    names: dict[str, Any] = {"play": play, "tired": Tired()}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, source in enumerate(re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL), 1):
            with suppress(Stop):
                exec(compile(source, f"README.md, block {number}", "exec"), names)
            if "step(" in source:
                names["walk_decision"] = names["out"]
    return names | {"played": np.concatenate(played), "folder": folder}


def test_the_walk_is_recognized(results: dict[str, Any]) -> None:
    assert results["walk_decision"].label == "walk"


def test_the_generated_person_walks_and_turns_left(results: dict[str, Any]) -> None:
    joints = Motion.load(results["folder"] / "turn.bvh").joints
    assert np.linalg.norm(joints[-1, SMPL.root] - joints[0, SMPL.root]) > 1
    assert 45 < heading_change(results["motion"].joints) < 135


def test_the_stream_walks_and_then_bows(results: dict[str, Any]) -> None:
    joints = results["played"]
    walked = np.linalg.norm(joints[40, SMPL.root, ::2] - joints[0, SMPL.root, ::2])
    assert walked > 1
    assert lowest_head(joints[60:]) < 0.93 * lowest_head(joints[:40])


def test_the_edit_bows_and_keeps_the_rest(results: dict[str, Any]) -> None:
    motion, edited = results["motion"].joints, results["edited"].joints
    np.testing.assert_allclose(edited[:32], motion[:32], atol=1e-5)
    np.testing.assert_allclose(edited[88:], motion[88:], atol=1e-5)
    assert lowest_head(edited[40:80]) < 0.95 * lowest_head(motion[40:80])


def test_an_enrolled_gesture_is_recognized(results: dict[str, Any]) -> None:
    assert results["recognizer"].recognize(results["motion"]).label == "my gesture"


def test_the_search_finds_the_bow(results: dict[str, Any]) -> None:
    assert results["retriever"].search("someone bows", k=1)[0].text == "a bow"


def test_live_agrees(results: dict[str, Any]) -> None:
    assert Recognizer.load("live").recognize(results["motion"]).label == "turn left"


def heading_change(joints: np.ndarray) -> float:
    """Degrees to the left, seen from above, between the first and the last frame."""
    across = joints[:, SMPL.joints.index("left_hip")] - joints[:, SMPL.joints.index("right_hip")]
    angles = np.unwrap(np.arctan2(-across[:, 2], across[:, 0]))
    return float(np.degrees(angles[-1] - angles[0]))


def lowest_head(joints: np.ndarray) -> float:
    return float(joints[:, SMPL.joints.index("head"), 1].min())

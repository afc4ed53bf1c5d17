"""The server's page in headless Chromium."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motionrt import Motion
from motionrt.bench.fuzz import formats

from .messages import frame_message
from .test_motion_file import pair

FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PATIENCE_MS = 120_000  # a busy machine draws slowly

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, url: str) -> Iterator[Callable[..., Any]]:
    """A function that opens the page at a window size; afterwards there must not have been an error."""
    problems: list[str] = []
    contexts = []

    def open_page(width: int = 1280, height: int = 800) -> Any:
        contexts.append(chromium.new_context(viewport={"width": width, "height": height}))
        contexts[-1].set_default_timeout(PATIENCE_MS)
        tab = contexts[-1].new_page()
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.goto(url)
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


COLORS = [(0x2A, 0x6F, 0x97), (0xC8, 0x6B, 0x12)]  # of the first two people
DRAWN = """colors => {
  const canvas = document.getElementById("view"), { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return colors.map(color => {
    const columns = [], rows = [];
    for (let i = 0; i < width * height; i++)
      if (color.every((value, k) => Math.abs(data[4 * i + k] - value) < 12)) {
        columns.push(i % width); rows.push(Math.floor(i / width));
      }
    const x = columns.reduce((sum, x) => sum + x / columns.length, 0);
    return { pixels: rows.length, x, height: rows.length ? (rows.at(-1) - rows[0]) / height : 0 };
  });
}"""


def choose(tab: Any, name: str, content: bytes) -> None:
    tab.set_input_files("#file", {"name": name, "mimeType": "application/octet-stream", "buffer": content})


def long_pair(motion: Motion) -> Motion:
    """Two people for several seconds."""
    two = pair(motion)
    return Motion(np.concatenate([two.joints, two.joints[::-1]] * 3)[1:], two.fps, two.layout)


@pytest.mark.parametrize("name", ["two.npz", "two.json"])
def test_everybody_in_a_file_is_drawn_and_named(
    open_page: Callable[..., Any], motion: Motion, tmp_path: Path, name: str
) -> None:
    two = long_pair(motion)
    if name.endswith(".npz"):
        two.save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
    else:
        people = [Motion(two.joints[:, m], two.fps, two.layout) for m in (0, 1)]
        messages = [frame_message(people[m], i, person=m) for i in range(60) for m in (0, 1)]
        content = json.dumps(messages).encode()
    tab = open_page()
    choose(tab, name, content)
    tab.locator("#score", has_text="1:").wait_for()
    assert tab.locator("#score").inner_text().startswith("0: ")
    first, second = tab.evaluate(DRAWN, COLORS)
    assert first["pixels"] > 500 < second["pixels"] and second["x"] > first["x"] + 100
    assert tab.locator("#notes").inner_text() == "" and "latency" in tab.locator("#status").inner_text()


@pytest.mark.parametrize("name", ["clip.bvh", "clip.csv"])
def test_a_file_plays_and_its_action_is_named(
    open_page: Callable[..., Any], motion: Motion, tmp_path: Path, name: str
) -> None:
    motion.save(tmp_path / "clip.bvh")
    (tmp_path / "clip.csv").write_bytes(formats.csv(motion.joints))
    tab = open_page()
    tab.locator("summary", has_text="does not say").click()
    tab.locator("[name=fps]").fill("30")
    choose(tab, name, (tmp_path / name).read_bytes())
    tab.locator("#score", has_text="%").wait_for()
    first, second = tab.evaluate(DRAWN, COLORS)
    assert first["pixels"] > 500 and 0.5 < first["height"] < 0.95 and second["pixels"] == 0  # one standing person


@pytest.mark.parametrize(
    ("name", "change", "note"),
    [
        ("mm.npz", lambda joints: joints * 1000, "mm.npz: the joints are"),
        ("z.npz", lambda joints: joints[..., [0, 2, 1]] * np.float32([1, -1, 1]), "y is expected to be up"),
        ("clip.fbx", lambda joints: joints, "clip.fbx: .fbx is not read: export it from Blender"),
    ],
)
def test_the_page_says_what_is_wrong_with_a_file(
    open_page: Callable[..., Any], motion: Motion, tmp_path: Path, name: str, change: Any, note: str
) -> None:
    Motion(change(motion.joints), motion.fps, motion.layout).save(tmp_path / "clip.npz")
    tab = open_page()
    choose(tab, name, (tmp_path / "clip.npz").read_bytes())
    tab.locator("#notes", has_text=note).wait_for()


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_the_page_fits_the_window(open_page: Callable[..., Any], size: tuple[int, int]) -> None:
    tab = open_page(*size)
    assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
    for name in ("#prompt", "#file", "#view", "#stop"):
        box = tab.locator(name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]

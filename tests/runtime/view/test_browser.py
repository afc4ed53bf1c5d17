"""The viewer in headless Chromium, with the models and recordings that ship."""

import shutil
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wait import wait_until

import motionrt.runtime
from motionrt import Generator, Motion, Recognizer
from motionrt.runtime.body.canonical import SMPL
from motionrt.runtime.io.source import open_source
from motionrt.runtime.view.recognition_panel import ROBOT

WAVE = str(Path(motionrt.runtime.__file__).parent / "samples" / "bandai_wave_right_hand.npz")
SIZE = {"width": 1200, "height": 700}
PATIENCE_MS = 120_000  # a busy machine draws slowly
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
    "--use-angle=swiftshader",
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served() -> Iterator[Any]:
    """A page that plays a recording of a wave in a loop."""
    pytest.importorskip("viser", reason="viser is not installed")
    from motionrt.runtime.view import Page, SourcePlayer

    player = SourcePlayer(
        Recognizer.load("zero-shot"), [WAVE], lambda name: open_source(name, realtime=True), loop=True
    )
    page = Page(player, Generator.load(), port=0, robot="g1")
    yield page
    page.close()


@pytest.fixture(scope="module")
def browser(served: Any) -> Iterator[Any]:
    """The loaded page in a browser tab."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        tab = driver.chromium.launch(executable_path=chromium, args=FLAGS).new_page(viewport=SIZE)
        tab.set_default_timeout(PATIENCE_MS)
        problems: list[str] = []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.goto(served.url)
        tab.get_by_role("button", name="Set labels").wait_for()
        wait_until(lambda: served.recognition.now and in_place(served), 60, "the scene is drawn")
        yield tab
        tab.context.browser.close()
    assert problems == []


def in_place(served: Any) -> bool:
    """Check that the browser's camera is at its initial position."""
    expected = served.server.initial_camera.position
    return any(
        np.allclose(client.camera.position, expected, atol=0.01) for client in served.server.get_clients().values()
    )


def on_screen(served: Any, tab: Any, points_m: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a screenshot that contain points [N, 3] of the scene."""
    [camera] = [client.camera for client in served.server.get_clients().values()]
    w, *v = camera.wxyz
    turn = np.array(v)
    rays = points_m - camera.position
    rays = rays - 2 * w * np.cross(turn, rays) + 2 * np.cross(turn, np.cross(turn, rays))  # x right, y down, z ahead
    canvas = tab.locator("canvas").first.bounding_box()
    focal = canvas["height"] / 2 / np.tan(camera.fov / 2)
    x = canvas["x"] + canvas["width"] / 2 + focal * rays[:, 0] / rays[:, 2]
    y = canvas["y"] + canvas["height"] / 2 + focal * rays[:, 1] / rays[:, 2]
    return slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1)


def picture(tab: Any) -> np.ndarray:
    image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    return np.asarray(image.open(BytesIO(tab.screenshot())).convert("RGB")).astype(int)


def changes(tab: Any, part: tuple[slice, slice], pause_s: float = 1.0) -> float:
    """Share of the pixels in a part of the page that change during a pause."""
    before = picture(tab)[part]
    time.sleep(pause_s)
    return float((np.abs(picture(tab)[part] - before).max(axis=-1) > 40).mean())


def body(served: Any, tab: Any, stage: str, person: int = 0) -> tuple[slice, slice]:
    scene = served.server.scene
    middle = np.asarray(scene.get_handle_by_name(f"/{stage}").position)
    return on_screen(served, tab, middle + scene.get_handle_by_name(f"/{stage}/{person}").vertices)


def test_the_skeleton_moves_and_the_space_beside_it_does_not(served: Any, browser: Any) -> None:
    wait_until(lambda: changes(browser, body(served, browser, "live")) > 0.02, 60, "the live skeleton moves")
    between = on_screen(served, browser, np.array([[-0.08, 0.3, 0.0], [0.08, 1.2, 0.0]]))
    assert changes(browser, between) == 0


def test_a_robot_moves_beside_the_skeleton(served: Any, browser: Any) -> None:
    wait_until(lambda: changes(browser, body(served, browser, "live", ROBOT)) > 0.02, 60, "the robot moves")
    rows, columns = body(served, browser, "live", ROBOT)
    _, beside = body(served, browser, "live")
    assert columns.start > beside.start and rows.stop - rows.start > 100


def test_typed_labels_change_the_decision(served: Any, browser: Any) -> None:
    labels = browser.locator("textarea:not([aria-hidden])")
    assert "waving a hand" not in browser.locator(".motionrt-label").all_inner_texts()
    labels.fill("waving a hand, kicking a ball")
    browser.get_by_role("button", name="Set labels").click()
    browser.get_by_text("recognizing 2 labels").wait_for()
    browser.locator(".motionrt-label", has_text="waving a hand").wait_for()
    assert served.recognition.now[0].decision.labels == ("waving a hand", "kicking a ball", "none")
    labels.fill("wave, wave")
    browser.get_by_role("button", name="Set labels").click()
    browser.get_by_text("label 'wave' is repeated").wait_for()


def test_a_prompt_generates_motion_that_is_edited_and_downloaded(served: Any, browser: Any, tmp_path: Path) -> None:
    text = browser.locator("form", has_text="Prompt").get_by_role("textbox")
    text.fill("a person waves with both hands")
    text.press("Enter")
    player = served.generation.player
    wait_until(lambda: player.motion and player.motion.frames >= 80, 60, "four seconds of motion")
    assert player.motion.meta["text"] == "a person waves with both hands"
    wait_until(lambda: changes(browser, body(served, browser, "generated")) > 0.02, 60, "the generated skeleton moves")
    browser.get_by_role("button", name="Stop").click()
    browser.get_by_text("in a loop").wait_for()
    before = player.motion
    browser.get_by_role("button", name="Regenerate").click()
    edited = wait_until(lambda: player.motion is not before and player.motion, 60, "the edited motion")
    assert edited.frames == before.frames and not np.array_equal(edited.joints, before.joints)
    with browser.expect_download() as download:
        browser.get_by_role("button", name="BVH").click()
    download.value.save_as(tmp_path / "motion.bvh")
    loaded = Motion.load(tmp_path / "motion.bvh")
    assert (loaded.fps, loaded.layout) == (edited.fps, edited.layout)
    assert loaded.frames == edited.frames
    lengths = np.linalg.norm(edited.joints[:, 1:] - edited.joints[:, list(SMPL.parents[1:])], axis=2)
    rigid = (np.abs(lengths - np.median(lengths, 0)) < 1e-4).all(1)  # bones stretch at seams
    assert rigid.sum() >= 40
    np.testing.assert_allclose(loaded.joints[rigid], edited.joints[rigid], atol=2e-3)

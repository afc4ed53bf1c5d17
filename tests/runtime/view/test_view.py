"""The viewer without a browser: players, panels, scenes and messages."""

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from viewer_server import viewer_server
from wait import wait_until

import motionrt.runtime
from motionrt import Generator, InputError, Motion, Recognizer
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.cli import main
from motionrt.runtime.io.latest_queue import LatestQueue
from motionrt.runtime.io.source import open_source
from motionrt.runtime.view import Page, SourcePlayer, recognition_panel
from motionrt.runtime.view.motion_player import MAX_FRAMES, MotionPlayer
from motionrt.runtime.view.page import FIELD_DEG, LOOK_AT_M, POSITION_M, _step_back
from motionrt.runtime.view.recognition_panel import parse_labels
from motionrt.runtime.view.skeleton_scene import RADIUS_M, Pose, SkeletonScene
from motionrt.runtime.view.source_player import HistoryEntry, Observation
from motionrt.runtime.view.timeline import people_html

SAMPLES = Path(motionrt.runtime.__file__).parent / "samples"
WAVE, WALK, BOW = (str(SAMPLES / f"{name}.npz") for name in ("bandai_wave_right_hand", "cmu_walk", "bandai_bow"))


def take_all(observations: LatestQueue[Observation]) -> list[Observation]:
    """All observations until the end."""
    found = []
    while (some := observations.take(60)) is not None:
        found += some
    return found


@pytest.fixture
def play() -> Iterator[Callable[..., SourcePlayer]]:
    """A function that starts a player; files play as fast as possible, unless `realtime`."""
    players = []

    def play(*sources: str, model: str = "live", realtime: bool = False, loop: bool = False) -> SourcePlayer:
        player = SourcePlayer(Recognizer.load(model), sources, lambda name: open_source(name, realtime=realtime), loop)
        players.append(player)
        player.start()
        return player

    yield play
    for player in players:
        player.close()


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator.load()


@pytest.fixture
def page(generator: Generator) -> Iterator[Callable[..., Page]]:
    pytest.importorskip("viser", reason="viser is not installed")
    pages = []

    def page(*sources: str, model: str = "zero-shot") -> Page:
        names = sources or (WAVE,)
        player = SourcePlayer(Recognizer.load(model), names, lambda name: open_source(name, realtime=True), loop=True)
        pages.append(Page(player, generator, port=0))
        return pages[-1]

    yield page
    for page_ in pages:
        page_.close()


# ----- the player -----


def test_a_player_decides_like_a_recognizer_on_the_file(play: Any) -> None:
    player = play(WAVE, WALK)
    take_all(player.observations)
    expected = []
    for path in (WAVE, WALK):
        recognizer, motion = Recognizer.load("live"), Motion.load(path)
        expected += [
            recognizer.step(joints, t, layout=motion.layout)
            for t, joints in zip(motion.times, motion.joints, strict=True)
        ]
    history = player.history()[0]
    assert [entry.label for entry in history] == [decision.label for decision in expected]
    np.testing.assert_allclose([entry.score for entry in history], [decision.score for decision in expected], rtol=1e-6)


def test_a_slow_reader_sees_the_newest_frame_and_does_not_delay_the_player(play: Any) -> None:
    player = play(WAVE)
    frames = Motion.load(WAVE).frames
    wait_until(lambda: player.observations.closed, 30, "the recording ends")
    [one] = player.observations.take(0)
    np.testing.assert_array_equal(one.frame.joints, Motion.load(WAVE).joints[-1])
    assert player.observations.dropped == frames - 1
    assert len(player.latencies_ms()) == frames


def test_a_loop_starts_over_without_known_people(play: Any) -> None:
    player = play(WAVE, WALK, loop=True)
    sources = [player.observations.take(60)[0].source for _ in range(200)]
    assert sources == sorted(sources) and sources[-1] > 2


def test_the_error_of_a_source_reaches_the_reader(play: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"t": 0, "layout": "coco18", "joints": ' + str([[0, 0]] * 18) + "}\n")
    player = play(str(bad))
    with pytest.raises(InputError, match="bad.jsonl: .*unknown skeleton layout 'coco18'"):
        take_all(player.observations)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(InputError, match="empty.jsonl: has no frames"):
        take_all(play(str(empty), loop=True).observations)


def test_the_last_seconds_of_a_person_become_a_motion(play: Any) -> None:
    player = play(WAVE)
    take_all(player.observations)
    motion, whole = player.recent_motion(0, 3.0), Motion.load(WAVE)
    assert motion.frames == 61 and motion.layout == whole.layout and motion.fps == pytest.approx(whole.fps)
    np.testing.assert_array_equal(motion.joints, whole.joints[-61:])
    with pytest.raises(InputError, match=r"person 3 was visible for 0.0 s, expected at least 0.5 s"):
        player.recent_motion(3, 3.0)


def test_an_enrolled_gesture_is_recognized(play: Any) -> None:
    player = play(BOW, model="zero-shot", realtime=True, loop=True)
    player.recognizer.set_labels(["wave", "run"])
    player.enroll("greet", Motion.load(BOW))
    wait_until(
        lambda: any(one.label == "greet" for one in player.history().get(0, [])), 60, "the gesture is recognized"
    )


@pytest.mark.parametrize("source", [WAVE, "udp://127.0.0.1:0"])
def test_a_player_ends_when_it_is_closed(play: Any, source: str) -> None:
    player = play(source, realtime=True)
    wait_until(lambda: player.latencies_ms() or source != WAVE, 30, "the first frame")
    player.close()
    assert not any(thread.name == "motionrt player" for thread in threading.enumerate())


# ----- motion from text -----


@pytest.fixture
def motion_player(generator: Generator) -> Iterator[tuple[MotionPlayer, list[tuple[np.ndarray, bool]]]]:
    drawn: list[tuple[np.ndarray, bool]] = []
    player = MotionPlayer(generator, lambda joints, is_edited: drawn.append((joints, is_edited)), pytest.fail)
    yield player, drawn
    player.close()


def test_a_streamed_motion_is_edited(motion_player: Any, generator: Generator) -> None:
    player, drawn = motion_player
    player.prompt("a person walks forward")
    wait_until(lambda: player.motion is not None and player.motion.frames >= 40, 30, "two seconds of motion")
    player.stop()
    motion = player.motion
    with generator.stream("a person walks forward", seconds=2) as chunks:
        np.testing.assert_array_equal(motion.joints[:40], np.concatenate([chunk.joints for chunk in chunks]))
    np.testing.assert_array_equal([joints for joints, _ in drawn[:20]], motion.joints[:20])
    drawn.clear()
    player.edit("a person bows", 0.5, 1.5)
    edited = player.motion
    np.testing.assert_array_equal(edited.joints[:10], motion.joints[:10])
    np.testing.assert_array_equal(edited.joints[30:], motion.joints[30:])
    assert np.abs(edited.joints[10:30] - motion.joints[10:30]).max() > 0.02
    wait_until(lambda: len(drawn) > 45, 30, "the edited motion plays")
    start = next(i for i, (joints, _) in enumerate(drawn) if np.array_equal(joints, edited.joints[0]))
    wait_until(lambda: len(drawn) >= start + 40, 30, "the edited motion plays to its end")
    assert [is_edited for _, is_edited in drawn[start : start + 40]] == [10 <= i < 30 for i in range(40)]


def test_another_prompt_steers_the_stream(motion_player: Any) -> None:
    player, _ = motion_player
    player.prompt("a person walks forward")
    wait_until(lambda: player.motion is not None, 30, "the first chunk")
    player.prompt("a person bows")
    wait_until(lambda: player.motion.meta["text"] == "a person bows", 30, "a chunk of the second prompt")
    assert 20 < player.motion.frames <= MAX_FRAMES


def test_an_invalid_request_is_an_error(motion_player: Any) -> None:
    player, drawn = motion_player
    for wrong in (
        lambda: player.prompt(" "),
        lambda: player.edit("a person bows", 0, 1),
        lambda: player.prompt("x" * 600),
    ):
        with pytest.raises(InputError):
            wrong()
    assert drawn == [] and player.motion is None


# ----- the page -----


def test_labels_are_separated_by_commas_and_lines() -> None:
    assert parse_labels(" wave, jump up ,\nsit down,, ") == ["wave", "jump up", "sit down"]
    with pytest.raises(InputError, match="no labels, expected"):
        parse_labels(" ,\n")


def test_decisions_use_the_labels_of_the_page(page: Any) -> None:
    panel = page().recognition
    panel.set_labels("waving a hand, running")
    wait_until(lambda: panel.now.get(0) and panel.now[0].decision.label == "waving a hand", 60, "a wave is recognized")
    assert panel.now[0].decision.labels == ("waving a hand", "running", "none")


@pytest.mark.parametrize(
    "text, problem", {"wave, wave": "is repeated", "none": "means no action", " , ": "no labels"}.items()
)
def test_errors_in_labels_are_displayed_in_the_page(page: Any, text: str, problem: str) -> None:
    panel = page().recognition
    panel.set_labels(text)
    assert problem in panel.labels_note.content and "red" in panel.labels_note.content
    assert "wave" in panel.player.recognizer.labels


def test_a_gesture_recorded_in_the_page_becomes_a_label(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognition_panel, "RECORD_S", 2.0)
    panel = page().recognition
    panel.enroll(" ", 0)
    assert "is empty" in panel.gesture_note.content
    wait_until(lambda: panel.player.latencies_ms(), 30, "the first frame")
    panel.enroll("greet", 0)
    found = re.search(r"enrolled .*greet.* from ([\d.]+) s", panel.gesture_note.content)
    assert found is not None and 0.5 <= float(found[1]) <= 2.1
    assert "greet" in panel.player.recognizer.labels


def test_fixed_labels_can_be_chosen_but_not_added(page: Any) -> None:
    panel = page(model="live").recognition
    assert panel.record.disabled
    panel.set_labels("wave, bow")
    assert panel.player.recognizer.labels == ("wave", "bow", "none")
    panel.set_labels("wave, waving a hand")
    assert "is not one of model" in panel.labels_note.content and "red" in panel.labels_note.content


def test_downloads_can_be_loaded(page: Any, tmp_path: Path) -> None:
    panel = page().generation
    with pytest.raises(InputError, match="there is no motion to download"):
        panel.download("motion.bvh")
    panel.prompt("a person waves")
    wait_until(lambda: panel.player.motion is not None, 30, "the first chunk")
    panel.stop()
    for name in ("motion.bvh", "motion.npz"):
        (tmp_path / name).write_bytes(panel.download(name))
        loaded = Motion.load(tmp_path / name)
        assert (loaded.fps, loaded.layout) == (20, "smpl22")
        np.testing.assert_allclose(loaded.joints, panel.player.motion.joints, atol=2e-3)
    pytest.importorskip("pygltflib", reason="pygltflib is not installed")
    assert panel.download("motion.glb").startswith(b"glTF")


@pytest.mark.parametrize("origin, is_allowed", {"http://evil.example": False, "http://127.0.0.1:8080": True}.items())
def test_pages_from_other_sites_are_refused(page: Any, origin: str, is_allowed: bool) -> None:
    viser = pytest.importorskip("viser")
    client = pytest.importorskip("websockets.sync.client")
    url = page().url.replace("http", "ws")
    protocol = f"viser-v{viser.__version__}"
    with client.connect(url, origin=origin, subprotocols=[protocol], max_size=None) as connection:
        if is_allowed:
            assert connection.recv(timeout=30)
        else:
            with pytest.raises(Exception, match="web pages from other sites"):
                connection.recv(timeout=30)


def test_viser_has_the_private_parts_that_refuse_other_sites() -> None:
    """After a failure, check view/page.py."""
    with viewer_server() as server:
        assert server._websock_server._live_connections == {}
        assert callable(server._websock_server.on_client_connect)
        assert server._websock_server._server_thread.is_alive()


# ----- scenes and timelines -----


@pytest.fixture
def scene() -> Iterator[SkeletonScene]:
    with viewer_server() as server:
        yield SkeletonScene(server.scene, "/people", 0.0, "")


def body(scene: SkeletonScene, person: int) -> Any:
    return scene._scene.get_handle_by_name(f"/people/{person}")


def test_panel_scene_and_picture_show_one_label_for_a_person(generator: Generator, tmp_path: Path) -> None:
    """A video of two people: at every update the panel has the texts of the scene, and the picture shows the people."""
    pytest.importorskip("viser", reason="viser is not installed")
    pytest.importorskip("av", reason="PyAV is not installed")
    from ..cli.test_recognize_video import PAIR, Actors, changed, film

    path = film(tmp_path / "clip.mp4", (PAIR, 100), size=(480, 640))
    player = SourcePlayer(
        Recognizer.load("live"),
        [str(path)],
        lambda name: open_source(name, realtime=True, pose=Actors()),  # type: ignore[arg-type]
        loop=True,
    )
    shown = Page(player, generator, port=0)
    try:
        panel = shown.recognition
        updates: list[dict[int, str]] = []  # texts of the scene
        odd: list[str] = []  # those that the panel did not have at the same time
        send = panel._server.atomic

        @contextmanager
        def atomic() -> Iterator[None]:
            with send():
                yield
                figures = panel._scene._figures.items()
                updates.append({person: one._text.text for person, one in figures if one._text.text})
                for person, text in updates[-1].items():
                    label, _, score = text.rpartition(" ")
                    who = f'person {person}</span> <b class="motionrt-label">{label}</b><span>{score}</span>'
                    if who not in panel._people.content:
                        odd.append(text)

        panel._server.atomic = atomic
        wait_until(lambda: len({str(texts) for texts in updates if len(texts) == 2}) > 5, 30, "scores change")
        panel.close()  # the last update stays
        assert odd == [] and updates[-1] == panel._texts
        picture = panel._picture.image
        assert picture.shape == (240, 320, 3)
        drawn = changed(np.full_like(picture, PAIR), picture)
        assert drawn[:, :160].sum() > 200 < drawn[:, 160:].sum()
    finally:
        shown.close()


@pytest.mark.parametrize(("aspect", "moves"), [(16 / 9, False), (390 / 844, True)])
def test_a_narrow_window_shows_both_floors(aspect: float, moves: bool) -> None:
    camera = SimpleNamespace(aspect=aspect, position=POSITION_M, look_at=LOOK_AT_M)
    _step_back(SimpleNamespace(camera=camera))
    assert (camera.position != POSITION_M) is moves
    half_width_m = camera.position[2] * np.tan(np.radians(FIELD_DEG) / 2) * aspect
    assert half_width_m >= 1.59  # two floors of 0.75 m radius, 1.7 m apart


def test_people_stand_on_a_floor_that_follows_them(scene: SkeletonScene) -> None:
    motion = Motion.load(WALK)
    for t, joints in zip(motion.times, motion.joints, strict=True):
        scene.show(t, {0: Pose(joints=joints + (5, 3, 5), layout=motion.layout, color=(1, 2, 3))})
        vertices = body(scene, 0).vertices
        assert np.abs(vertices[:, (0, 2)]).max() < 1.5 * RADIUS_M
        assert -0.05 < vertices[:, 1].min() < 0.15
    assert body(scene, 0).visible
    scene.show(motion.seconds, {})
    assert not body(scene, 0).visible


def test_bones_with_a_missing_joint_are_hidden(scene: SkeletonScene) -> None:
    motion = Motion.load(WALK)
    joints = motion.joints[0].copy()
    layout = Layout.load(motion.layout)
    joints[layout.joints.index("left_wrist")] = np.nan
    scene.show(0.0, {0: Pose(joints=joints, layout=motion.layout, color=(1, 2, 3))})
    bones = body(scene, 0).vertices.reshape(-1, 6, 3)
    flat = np.ptp(bones, axis=1).max(axis=1) == 0
    assert [layout.joints[layout.edges[bone][0]] for bone in np.flatnonzero(flat)] == ["left_wrist"]
    scene.show(0.1, {0: Pose(joints=np.full_like(joints, np.nan), layout=motion.layout, color=(1, 2, 3))})
    assert not body(scene, 0).visible


def test_a_timeline_has_a_segment_per_label_and_escapes_labels() -> None:
    history = [HistoryEntry(t / 10, label, 0.9) for t, label in enumerate(["<b>wave</b>"] * 30 + ["run"] * 30)]
    later = [entry._replace(clock=entry.clock + 9) for entry in history[30:]]
    html = people_html({}, {0: history + later}, clock=15.0)
    assert html.count('title="run"') == 2 and html.count("title=") == 3
    assert "<b>wave" not in html and "&lt;b&gt;wave" in html
    assert "no people in view" in people_html({}, {}, clock=0.0)


# ----- the command line -----


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (
            ("view", "--host", "0.0.0.0"),
            "--host 0.0.0.0: the page has no password, so it is served on this machine only",
        ),
        (("view", "missing.npz"), "missing.npz: no such file"),
        (("view", "--generator", "nothing"), "nothing"),
        (("view", "--model", "live", "--labels", "waving"), "label 'waving' is not one of model 'live'"),
        (
            ("recognize", WAVE, "--view", "--json"),
            "--view shows a page and cannot be combined with --json, --overlay, --srt, --csv or --publish",
        ),
    ],
)
def test_a_users_error_is_one_line(arguments: tuple[str, ...], problem: str, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("viser", reason="viser is not installed")
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == "" and problem in err and err.count("\n") == 1


def test_a_missing_viser_names_the_extra(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main(["view"]) == 2
    error = capfd.readouterr().err
    assert "the viewer needs viser" in error and "pip install '.[viewer]' in motionrt's checkout" in error

"""`Page`: the viewer in a browser, built with viser."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import InputError
from ..extras import require
from ..generation.generator import Generator
from ..net_security import is_local_origin, is_loopback
from .generation_panel import GenerationPanel
from .recognition_panel import COLORS, RecognitionPanel
from .robot_follower import RobotFollower
from .skeleton_scene import RADIUS_M, SkeletonScene
from .source_player import SourcePlayer

DISTANCE_M = 1.7  # between the centers of the two scenes
POSITION_M, LOOK_AT_M, FIELD_DEG = (0.0, 1.5, 5.8), (0.0, 0.85, 0.0), 35  # of the camera; the field is vertical
PANEL_WIDTH = 320  # pixels
CLOSED_S = 30  # for browsers that do not answer, at most


class Page:
    """The viewer at `url`: the people of a player beside the motion of a generator.

    Only pages that this machine serves may connect, since browsers let any web page connect to a loopback address.

    Args:
        player: recognizes people; started and closed by the page.
        generator: generates motion from prompts.
        host: a loopback address. port: the first port to try; the next free one is used.
        robot: as for `Retargeter`, a robot that follows the first person; None: none.
    Raises:
        MissingExtra: viser is not installed.
        InputError: the host is not a loopback address, or cannot be bound; or an unknown or bad robot.
    """

    def __init__(
        self,
        player: SourcePlayer,
        generator: Generator,
        host: str = "127.0.0.1",
        port: int = 8080,
        robot: str | None = None,
    ) -> None:
        viser = require("viser", "viewer", "the viewer")
        follower = None if robot is None else RobotFollower(robot)
        _check_host(host)
        with _quiet():
            self.server = viser.ViserServer(host, port, label="motionrt", verbose=False)
        _refuse_other_sites(self.server)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.server.get_port()}"
        gui, scene = self.server.gui, self.server.scene
        self._set_up()
        gui.main_panel.dock_right()
        gui.main_panel.set_width(PANEL_WIDTH)
        generated = SkeletonScene(scene, "/generated", DISTANCE_M / 2, "from text")
        self.generation = GenerationPanel(self.server, generator, generated)
        panel = gui.add_panel()
        panel.dock_left()
        panel.set_width(PANEL_WIDTH)
        with panel.add_tab("Recognition"):
            live = SkeletonScene(scene, "/live", -DISTANCE_M / 2, "live")
            self.recognition = RecognitionPanel(self.server, player, live, follower)

    def close(self) -> None:
        """Shut the viewer down, and close the player."""
        self.recognition.close()
        self.generation.close()
        with _quiet():
            self.server.stop()
            self.server._websock_server._server_thread.join(CLOSED_S)  # prints a line at its end

    def _set_up(self) -> None:
        server = self.server
        server.gui.configure_theme(show_logo=False, show_share_button=False, brand_color=COLORS[0])
        server.scene.set_up_direction("+y")
        camera = server.initial_camera
        camera.position, camera.look_at, camera.fov = POSITION_M, LOOK_AT_M, np.radians(FIELD_DEG)
        server.on_client_connect(_step_back)


def _step_back(client: Any) -> None:
    """Move the camera of a narrow window back until both floors are in it, above the sheet of a phone."""
    if client.camera.aspect < 1:
        half_width = np.tan(np.radians(FIELD_DEG) / 2) * client.camera.aspect  # of what is seen 1 m away
        distance_m = (DISTANCE_M / 2 + RADIUS_M) / half_width
        client.camera.position = (0.0, POSITION_M[1], distance_m)
        client.camera.look_at = (0.0, LOOK_AT_M[1] - 0.1 * distance_m, 0.0)


def _check_host(host: str) -> None:
    if not is_loopback(host):
        raise InputError(
            f"--host {host}: the page has no password, so it is served on this machine only, "
            "expected 127.0.0.1, ::1 or localhost (for remote access use ssh -L)"
        )
    try:  # viser would try ports forever
        family, *_, place = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        socket.create_server(place[:2], family=family).close()
    except OSError as error:
        raise InputError(f"--host {host}: cannot listen there: {error.strerror}") from None


def _refuse_other_sites(server: Any) -> None:
    """Close connections of pages from other sites before any message; viser has no such check.

    `_websock_server`, its `_live_connections` and its `_server_thread` are private, so pyproject.toml bounds viser's
    version.
    """
    connections = server._websock_server

    async def admit(client: Any) -> None:
        connection = connections._live_connections[client.client_id]
        if not all(is_local_origin(origin) for origin in connection.request.headers.get_all("Origin")):
            await connection.close(1008, "web pages from other sites are not allowed")

    connections.on_client_connect(admit)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress viser's messages on standard output."""
    import rich

    console = rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before

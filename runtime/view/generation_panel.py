"""`GenerationPanel`: motion that is generated from text, edited and downloaded, in a panel and in the scene."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..generation.generator import Generator
from .forms import bind_submit, note_html, show_errors
from .motion_player import MotionPlayer
from .skeleton_scene import Pose, SkeletonScene

DOWNLOADS = ("BVH", "GLB", "NPZ")
GENERATED, EDITED = (124, 92, 196), (214, 78, 118)  # colors of generated frames, and of those that an edit regenerated


class GenerationPanel:
    """Forms for prompts, edits and downloads, and the motion they result in.

    Args:
        server: viser's server; the forms are added to its open panel.
        generator: not used elsewhere for streaming.
        scene: where the motion is drawn.
    """

    def __init__(self, server: Any, generator: Generator, scene: SkeletonScene) -> None:
        self._server, self._scene = server, scene
        self._layout = generator.layout
        self._add_forms(server.gui)
        self.player = MotionPlayer(generator, self._show, self._failed)

    def close(self) -> None:
        self.player.close()

    def _add_forms(self, gui: Any) -> None:
        with gui.add_form("Prompt") as form:
            prompt = gui.add_text("text", "a person walks forward")
            go = gui.add_button("Stream", hint="While streaming: change the prompt.")
            stop = gui.add_button("Stop", color="gray")
            self._prompt_note = gui.add_html("")
        bind_submit(form, go, lambda: self.prompt(prompt.value))
        stop.on_click(lambda _: self.stop())
        with gui.add_form("Edit") as form:
            edit = gui.add_text("text", "a person bows")
            self._range = gui.add_multi_slider("seconds", 0.0, 10.0, 0.05, (2.0, 4.0), min_range=0.2)
            regenerate = gui.add_button("Regenerate")
            self._edit_note = gui.add_html("")
        bind_submit(form, regenerate, lambda: self.edit(edit.value, *self._range.value))
        with gui.add_folder("Download"):
            kind = gui.add_button_group("motion", DOWNLOADS)
            self._download_note = gui.add_html("")
        kind.on_click(lambda event: self._download(event.client, kind.value))

    def prompt(self, text: str) -> None:
        """Stream motion for a prompt, or change the prompt of the stream."""
        with show_errors(self._prompt_note):
            self.player.prompt(text)
            self._prompt_note.content = note_html(f"streaming: {text}")

    def stop(self) -> None:
        """Stop the stream and play its last frames in a loop."""
        self.player.stop()
        motion = self.player.motion
        if motion is not None:
            if self._range.value[1] > motion.seconds:
                self._range.value = (motion.seconds / 3, 2 * motion.seconds / 3)
            self._range.max = motion.seconds
            self._prompt_note.content = note_html(f"playing the last {motion.seconds:.1f} s in a loop")

    def edit(self, text: str, start_s: float, end_s: float) -> None:
        """Regenerate a part of the last motion, which is then drawn in another color."""
        self.stop()
        with show_errors(self._edit_note):
            self._edit_note.content = note_html("…")
            self.player.edit(text, start_s, end_s)
            self._edit_note.content = note_html(f"{start_s:.1f} to {end_s:.1f} s: {text}")

    def _show(self, joints: np.ndarray, is_edited: bool) -> None:
        pose = Pose(joints=joints, layout=self._layout, color=EDITED if is_edited else GENERATED)
        with self._server.atomic():
            self._scene.show(time.monotonic(), {0: pose})

    def _failed(self, error: str) -> None:
        self._prompt_note.content = note_html(error, is_error=True)

    def _download(self, client: Any, kind: str) -> None:
        with show_errors(self._download_note):
            self._download_note.content = ""
            name = f"motion.{kind.lower()}"
            client.send_file_download(name, self.download(name), save_immediately=True)

    def download(self, name: str) -> bytes:
        """The last motion as a file. Raises InputError if there is none, and the errors of `Motion.save`."""
        motion = self.player.motion
        if motion is None:
            raise InputError("there is no motion to download; generate one from a prompt first")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            motion.save(path)
            return path.read_bytes()

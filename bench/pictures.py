"""Pictures of generated motion for the documentation.

    python -m motionrt.bench.pictures animation MODEL -o motion.gif
    python -m motionrt.bench.pictures strip MODEL DATA -o generated.png
    python -m motionrt.bench.pictures robots MODEL -o robots.png
    python -m motionrt.bench.pictures prompts MODEL -o prompts.png

The animation shows generated motions with their prompts, and the label that the recognizer gives each while it runs.
The strip shows generated motions next to real motion of the same action; its MODEL is a generation bundle, or a folder
of the finished runs coamd-ae, coamd-mar and coamd-generator. The third shows a robot that follows generated motions.
The last one shows ten prompts of one action, ten of legs and arms at once, and ten of two after each other; GIFs of
the same motions are written beside it: prompts-one.gif, prompts-together.gif and prompts-sequences.gif.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..runtime.body.layout import Layout
from ..runtime.body.motion import Motion
from ..runtime.generation.generator import Generator
from ..runtime.generation.schedule import Sampling
from ..runtime.io.mannequin import body_scale
from ..runtime.io.preview import gif_palette
from ..runtime.io.render import Camera, follow, render, view_axes
from ..runtime.recognition.recognizer import Recognizer
from ..runtime.robots.retargeter import Retargeter
from .accuracy.protocols import composed

PROMPTS = {  # prompt -> action of the real motion shown next to it
    "a person walks forward": "walk",
    "a person runs": "run",
    "a person raises the right hand": "raise right hand",
    "a person raises the left hand": "raise left hand",
    "a person waves with the right hand": "wave",
    "a person waves with both hands": "wave both hands",
    "a person bows": "bow",
    "a person kicks": "kick",
    "a person jumps": "jump",
    "a person sits down": "sit down",
}
ANIMATED = {  # prompt -> seed
    "a person waves with both hands": 3,
    "a person walks and raises the right hand": 0,
    "a person bows, then runs forward": 0,
    "a person jumps": 0,
}
COMPOSED = slice(2, None, 5)  # of the prompts that are measured
ON_ROBOT = (  # prompts
    *PROMPTS,
    "a person punches",
    "a person claps",
    "a person walks backward",
    "a person turns left",
    "a person squats",
    "a person throws a ball",
    "a person walks and then stops",
    "a person dances",
    "a person picks something up",
    "a person stretches both arms",
)
ROBOT_S, ROBOT_POSES, ROBOT_CUT, ROBOT_COLUMNS = 3.0, 4, (slice(40, 460), slice(80, 400)), 4
PANEL, COLUMNS = (230, 276), 5  # width and height, pixels; panels in a row
ANIMATION_S, ANIMATION_FPS = 5.0, 10.0
ROW, CAPTION = (760, 196), 24  # pixels
POSES, SPACING_M = 8, 1.1
TEXT = (44, 48, 58)


def animation(model: str, path: Path) -> None:
    """Write a GIF of generated motions side by side, with their prompts and recognized labels."""
    generator, recognizer = Generator.load(model), Recognizer.load("live")
    motions = [generator.generate(prompt, ANIMATION_S, seed=seed) for prompt, seed in ANIMATED.items()]
    _animate(motions, recognizer, path)


def prompts(model: str, path: Path) -> None:
    """Write a picture of motions for thirty prompts, and GIFs of the same."""
    generator, recognizer = Generator.load(model), Recognizer.load("live")
    described = json.loads(composed.PROMPTS.read_text())
    columns = {"one": list(PROMPTS)}
    columns |= {kind: [text for text, *_ in described[kind]][COMPOSED] for kind in ("together", "sequences")}
    strips = []
    for kind, texts in columns.items():
        motions = [generator.generate(text, ANIMATION_S) for text in texts]
        _animate(motions, recognizer, path.with_name(f"{path.stem}-{kind}.gif"))
        rows = [_captioned(draw_poses(one.joints), text) for one, text in zip(motions, texts, strict=True)]
        strips.append(np.concatenate(rows))
    Image.fromarray(np.concatenate(strips, axis=1)).quantize(256).save(path, optimize=True)


def _animate(motions: Sequence[Motion], recognizer: Recognizer, path: Path) -> None:
    """Write a GIF of motions of one duration, at most COLUMNS in a row, with their prompts and recognized labels."""
    panels = [list(_panel(motion, motion.meta["text"], _labels(recognizer, motion))) for motion in motions]
    rows = [panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS)]
    palette, frames = gif_palette(1), []
    for k in range(len(panels[0])):
        picture = np.concatenate([np.concatenate([panel[k] for panel in row], axis=1) for row in rows])
        frames.append(Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE))
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=round(1000 / ANIMATION_FPS), loop=0)


def _labels(recognizer: Recognizer, motion: Motion) -> list[str]:
    """The label of every frame; empty while there is no action."""
    recognizer.reset()
    outs = [
        recognizer.step(joints, float(t), layout=motion.layout)
        for t, joints in zip(motion.times, motion.joints, strict=True)
    ]
    return ["" if out.label == "none" else out.label for out in outs]


def _panel(motion: Motion, prompt: str, labels: list[str]) -> Iterator[NDArray[np.uint8]]:
    layout = Layout.load(motion.layout)
    joints = motion.joints[:, None].astype(float)
    cameras = follow(joints, layout, motion.fps, PANEL, view_axes(joints, layout, np.radians(30), np.radians(12)))
    scales = [body_scale(joints[:, 0], layout)]
    for t in range(0, motion.frames, round(motion.fps / ANIMATION_FPS)):
        image = Image.fromarray(render(joints[t], layout, camera=cameras[t], scales=scales))
        _text(image, (PANEL[0] / 2, PANEL[1] - 16), labels[t], 17)
        yield _captioned(np.asarray(image), f"“{prompt}”", 13 if len(prompt) < 34 else 9)


def strip(model: str, data: Path, path: Path, sampling: Sampling | None = None, frames: int = 80) -> None:
    """Write a picture of generated motion for ten prompts next to real motion of the same action."""
    from ..training.coamd.pipeline import CoamdPipeline
    from ..training.data.motions import load_motions

    pipeline = CoamdPipeline.load(model)
    generated = pipeline.generate(list(PROMPTS), [frames] * len(PROMPTS), sampling)
    clips = [clip for clip in load_motions(data) if clip.split != "train"]
    rows = []
    for (prompt, action), motion in zip(PROMPTS.items(), generated, strict=True):
        row = [_captioned(draw_poses(motion[:frames]), prompt)]
        if same_action := [clip for clip in clips if clip.action == action]:
            real = max(same_action, key=lambda clip: (clip.quality == "mocap", len(clip.joints)))
            row.append(_captioned(draw_poses(real.joints[:frames]), f"real, {real.quality}"))
        else:
            row.append(np.full_like(row[0], 255))
        rows.append(np.concatenate(row, axis=1))
    Image.fromarray(np.concatenate(rows)).quantize(256).save(path, optimize=True)


def robots(model: str, path: Path) -> None:
    """Write a picture of a Unitree G1 that follows twenty generated motions, four moments of each."""
    from ..runtime.robots.mujoco_video import FPS, robot_images

    generator, robot = Generator.load(model), Retargeter("g1", "smpl22")
    cells = []
    for prompt, motion in zip(ON_ROBOT, generator.generate(list(ON_ROBOT), ROBOT_S), strict=True):
        followed = robot.retarget(motion)
        chosen = np.linspace(0, motion.frames - 1, ROBOT_POSES + 1).round().astype(int)[1:]
        moments = replace(
            followed,
            timestamps=np.arange(ROBOT_POSES) / FPS,
            positions=followed.positions[chosen] * [0, 0, 1],
            quaternions=followed.quaternions[chosen],
            angles=followed.angles[chosen],
        )
        images = [image[ROBOT_CUT][::3, ::3] for image in robot_images(moments, robot.mjcf())]
        cells.append(_captioned(np.concatenate(images, axis=1), prompt, 13))
    rows = [np.concatenate(cells[i : i + ROBOT_COLUMNS], axis=1) for i in range(0, len(cells), ROBOT_COLUMNS)]
    Image.fromarray(np.concatenate(rows)).quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def draw_poses(joints: NDArray[Any], poses: int = POSES, size: tuple[int, int] = ROW) -> NDArray[np.uint8]:
    """Draw poses of a motion [T, V, 3] side by side, seen from the front and a little from the left."""
    layout = Layout.load("smpl22")
    chosen = joints[np.linspace(0, len(joints) - 1, poses).round().astype(int)].astype(float)
    chosen = chosen - chosen[:, :1] * [1, 0, 1]
    axes = view_axes(chosen[:, None], layout, np.radians(22.5), np.radians(10))
    chosen += (SPACING_M * (np.arange(poses) - (poses - 1) / 2))[:, None, None] * axes[0]
    floor_m = float(chosen[..., 1].min()) - 0.03
    scale = size[0] / (poses * SPACING_M)
    target = np.array([0, floor_m + 0.43 * size[1] / scale, 0])
    camera = Camera(target=target, axes=axes, distance_m=40.0, scale=scale, size=size, floor_m=floor_m)
    return render(chosen, layout, camera=camera, scales=[body_scale(joints, layout)] * poses, one_color=True)


def _captioned(picture: NDArray[np.uint8], caption: str, font_size: int = 15) -> NDArray[np.uint8]:
    band = np.broadcast_to(picture[:1, :1], (CAPTION, *picture.shape[1:]))
    image = Image.fromarray(np.concatenate([band, picture]))
    _text(image, (image.width / 2, CAPTION / 2 + 2), caption, font_size)
    return np.asarray(image)


def _text(image: Image.Image, center: tuple[float, float], text: str, font_size: int) -> None:
    ImageDraw.Draw(image).text(center, text, TEXT, font=ImageFont.load_default(font_size), anchor="mm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", choices=("animation", "strip", "robots", "prompts"))
    parser.add_argument("model")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    if args.picture != "strip":
        {"animation": animation, "robots": robots, "prompts": prompts}[args.picture](args.model, args.out)
    elif args.data is None:
        parser.error("strip needs DATA, the folder of datasets")
    else:
        strip(args.model, args.data, args.out)


if __name__ == "__main__":
    main()

"""retarget: a motion file or a live person to the joint angles of a robot."""

import json
from pathlib import Path

import typer

from ..errors import InputError
from ..io.robot_motion import SUFFIXES, VIDEO_SUFFIXES, check_robot_target
from ..io.video import is_camera
from ..io.video_file import VIDEO_SUFFIXES as VIDEO_SOURCES
from ..progress import spinner
from ..robots.retargeter import Retargeter
from .options import SourceOptions


def run_retarget(
    source: str, robot: str, out: Path | None, to: list[str], person: int, as_json: bool, options: SourceOptions
) -> None:
    is_live = is_camera(source) or "://" in source or source == "-"
    if is_live or to or Path(source).suffix.lower() in VIDEO_SOURCES:
        if person:
            raise InputError("--person is for files; of a live source, the first person is followed")
        _follow(source, robot, out, to, as_json, options)
        return
    if out is None and not as_json:
        raise InputError("expected -o FILE for the robot's motion, --to ADDRESS, or --json for the report only")
    path = Path(source)
    if out is not None:
        check_robot_target(out, SUFFIXES + VIDEO_SUFFIXES)
    motion = options.read(path)
    retargeter = Retargeter(robot, motion.layout)
    result = retargeter.retarget(motion, person)
    if out is not None and out.suffix.lower() in VIDEO_SUFFIXES:
        with spinner("drawing"):
            retargeter.save_video(result, out)
    elif out is not None:
        result.save(out)
    report = result.report()
    if as_json:
        typer.echo(json.dumps(report))
        return
    typer.echo(f"wrote {out}: {report['frames']} frames of {len(result.joints)} joints")
    typer.echo(
        f"distance to the targets: median {report['error_cm']['p50']} cm, 95 % below {report['error_cm']['p95']} cm; "
        f"resting feet slip at most {report['slip_cm']} cm"
    )
    if report["support"]["frames"]:
        typer.echo(
            f"center of mass over the resting feet in {report['support']['share_over']:.0%} of "
            f"{report['support']['frames']} frames"
        )
    if report["collisions"]:
        typer.echo(f"parts of the body are in each other in {report['collisions']} frames")
    for joint, frames in report["unreached"].items():
        typer.echo(f"{joint} is out of reach in {frames} frames")
    if report["held"]:
        typer.echo(f"the pose is held in {report['held']} frames, in which hips or shoulders are missing")


def _follow(source: str, robot: str, out: Path | None, to: list[str], as_json: bool, options: SourceOptions) -> None:
    """Follow the person in a source in real time."""
    from .recognize import open_source
    from .robot import Player, feed_source, print_summary

    Retargeter(robot)  # an unknown robot, before a camera is opened
    player = Player(to or (["-"] if out is None else []), out)
    with open_source(source, options, realtime=True) as opened:
        summary = player.play(lambda player: feed_source(opened, robot, player))
        summary |= {"malformed": opened.malformed, "rejected": opened.rejected}
    if as_json:
        typer.echo(json.dumps({"summary": summary}))
    else:
        print_summary(summary)

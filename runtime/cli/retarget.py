"""retarget: a motion file to the joint angles of a robot, with a report of how well it follows."""

import json
from pathlib import Path

import typer

from ..errors import InputError
from ..io.robot_motion import check_robot_target
from ..robots.retargeter import Retargeter
from .options import FileOptions


def run_retarget(path: Path, robot: str, out: Path | None, person: int, as_json: bool, options: FileOptions) -> None:
    if out is None and not as_json:
        raise InputError("expected -o FILE for the robot's motion, or --json for the report only")
    if out is not None:
        check_robot_target(out)
    motion = options.read(path)
    result = Retargeter(robot, motion.layout).retarget(motion, person)
    if out is not None:
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

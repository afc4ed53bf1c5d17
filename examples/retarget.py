"""Brings a motion onto a robot of other proportions: joints, then rotations, then angles of its motors within limits.

    python retarget.py "a person waves with both hands" -o robot.npz --picture retarget.png

The robot is an invented humanoid, 0.8 m tall. Every arm and leg has three motors where it is attached (pitch, roll,
yaw) and a hinge halfway (bend: elbow or knee); at zero all four limbs hang down. Angles are in degrees; roll and yaw
are positive outwards on both sides.

Shapes: T time, A = 4 angles of a limb. Axes of the torso: x left, y up, z forward.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import motionrt
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.rotations import Rotations, solve

ANGLES = ("pitch", "roll", "yaw", "bend")
SPEED_DEG_S = 300.0  # the fastest that a motor turns
NECK_M, HEAD_M = 0.30, 0.42  # above the pelvis
CERTAIN = 0.2  # sine below which a direction does not tell the angle about an axis
DOWN = np.array([0.0, -1.0, 0.0])
OUTWARDS = {"left": np.array([1.0, 1.0, 1.0]), "right": np.array([-1.0, 1.0, 1.0])}  # x of that side


@dataclass(frozen=True, kw_only=True, slots=True)
class Limb:
    """A limb of the robot, and the three joints of the person that it follows."""

    joints: tuple[str, str, str]
    at_m: tuple[float, float, float]  # from the pelvis; the left limb's
    upper_m: float
    lower_m: float
    low: tuple[float, float, float, float]
    high: tuple[float, float, float, float]
    hinge: int  # sign of the bend: an elbow bends forwards, a knee backwards


ARM = Limb(
    joints=("shoulder", "elbow", "wrist"),
    at_m=(0.13, 0.27, 0.0),
    upper_m=0.13,
    lower_m=0.12,
    low=(-170, -15, -110, -140),
    high=(60, 65, 110, 0),
    hinge=-1,
)
LEG = Limb(
    joints=("hip", "knee", "ankle"),
    at_m=(0.06, -0.04, 0.0),
    upper_m=0.16,
    lower_m=0.16,
    low=(-110, -25, -45, 0),
    high=(40, 45, 45, 130),
    hinge=1,
)
LIMBS = {(side, name): limb for name, limb in (("arm", ARM), ("leg", LEG)) for side in ("left", "right")}
Angles = dict[tuple[str, str], np.ndarray]  # (side, limb) -> [T, A]


def wanted_angles(rotations: Rotations) -> Angles:
    """The angles that point the robot's limbs where the person's point, relative to the torso."""
    rig = rotations.rig
    turns = world_turns(rotations)
    torso = turns[:, rig.nodes.index("spine3")]
    found = {}
    for (side, name), limb in LIMBS.items():
        nodes = [rig.nodes.index(f"{side}_{joint}") for joint in limb.joints]
        upper, lower = (
            along(torso.swapaxes(1, 2) @ turns[:, begin], rig.offsets[end]) * OUTWARDS[side]
            for begin, end in zip(nodes, nodes[1:], strict=False)
        )
        found[side, name] = limb_angles(limb, upper, lower)
    return found


def limb_angles(limb: Limb, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Angles [T, A] for the directions [T, 3] of both parts of a limb."""
    roll = np.degrees(np.arcsin(np.clip(upper[:, 0], -1, 1)))
    pitch = np.degrees(np.arctan2(-upper[:, 2], -upper[:, 1]))
    pitch = held((pitch + 270) % 360 - 270, np.hypot(upper[:, 1], upper[:, 2]))  # overhead is -180
    x, y, z = ((about(0, pitch) @ about(2, roll)).swapaxes(1, 2) @ lower[..., None])[..., 0].T
    yaw = held(np.degrees(np.arctan2(-limb.hinge * x, -limb.hinge * z)), np.hypot(x, z))
    bend = limb.hinge * np.degrees(np.arccos(np.clip(-y, -1, 1)))
    return np.stack([pitch, roll, yaw, bend], axis=1)


def limited(wanted: Angles, fps: float) -> Angles:
    """The same within the motors' range, no faster than they turn."""
    step, found = SPEED_DEG_S / fps, {}
    for key, angles in wanted.items():
        angles = np.clip(angles, LIMBS[key].low, LIMBS[key].high)
        for before, now in zip(angles, angles[1:], strict=False):
            now[:] = np.clip(now, before - step, before + step)
        found[key] = angles
    return found


def robot_motion(angles: Angles, rotations: Rotations, fps: float) -> motionrt.Motion:
    """Where the robot's joints are, as a motion in layout core15 (forward kinematics)."""
    person, names = rotations.joints, rotations.rig.nodes
    torso = world_turns(rotations)[:, names.index("spine3")]
    places = {"pelvis": np.zeros((len(torso), 3))}
    places |= {name: along(torso, (0.0, height, 0.0), height) for name, height in (("neck", NECK_M), ("head", HEAD_M))}
    for (side, name), limb in LIMBS.items():
        pitch, roll, yaw, bend = angles[side, name].T
        turn = about(0, pitch) @ about(2, roll) @ about(1, yaw)
        points = [np.array(limb.at_m) + np.zeros((len(turn), 3))]
        points.append(points[0] + limb.upper_m * turn @ DOWN)
        points.append(points[1] + limb.lower_m * (turn @ about(0, bend)) @ DOWN)
        for joint, point in zip(limb.joints, points, strict=True):
            places[f"{side}_{joint}"] = (torso @ (point * OUTWARDS[side])[..., None])[..., 0]
    joints = np.stack([places[joint] for joint in Layout.load("core15").joints], axis=1)
    scale = (LEG.upper_m + LEG.lower_m) / sum(
        float(np.linalg.norm(rotations.rig.offsets[names.index(f"left_{joint}")])) for joint in ("knee", "ankle")
    )
    feet = [f"{side}_ankle" for side in OUTWARDS]
    person_low = person[:, [names.index(foot) for foot in feet], 1].min(1)
    robot_low = np.min([places[foot][:, 1] for foot in feet], axis=0)
    base = scale * person[:, names.index("pelvis")]
    base[:, 1] = scale * person_low - robot_low  # the lower foot is as high as the person's
    return motionrt.Motion((joints + base[:, None]).astype(np.float32), fps, "core15")


def world_turns(rotations: Rotations) -> np.ndarray:
    """Rotations [T, J, 3, 3] of all nodes against the world."""
    turns = rotations.matrices.copy()
    for node in rotations.rig.order:
        parent = rotations.rig.parents[node]
        if parent >= 0:
            turns[:, node] = turns[:, parent] @ turns[:, node]
    return turns


def along(turns: np.ndarray, vector: object, length: float = 1.0) -> np.ndarray:
    """[T, 3], so long, where `vector` points after each of the turns [T, 3, 3]."""
    unit = np.asarray(vector) / np.linalg.norm(np.asarray(vector, dtype=float))
    return length * turns @ unit


def held(angles: np.ndarray, sines: np.ndarray) -> np.ndarray:
    """Angles [T], where their sine tells nothing those of the frame before; 0 before the first that is told."""
    told = np.maximum.accumulate(np.where(sines > CERTAIN, np.arange(len(angles)), -1))
    return np.where(told < 0, 0.0, angles[told])


def about(axis: int, degrees: np.ndarray) -> np.ndarray:
    """Rotation matrices [T, 3, 3] about an axis."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.tile(np.eye(3), (len(degrees), 1, 1))
    matrix[:, i, i] = matrix[:, j, j] = cosine
    matrix[:, j, i], matrix[:, i, j] = sine, -sine
    return matrix


def draw(path: Path, person: motionrt.Motion, robot: motionrt.Motion, wanted: Angles, angles: Angles) -> None:
    """Person and robot side by side at four moments, and one arm's angles against what was wanted."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, rows = plt.subplots(2, 4, figsize=(11, 5.6), height_ratios=(1.25, 1))
    moments = np.linspace(0, person.frames - 1, 6).round().astype(int)[1:-1]
    for axes, frame in zip(rows[0], moments, strict=True):
        for motion, shift, colour in ((person, -0.4, "0.35"), (robot, 0.6, "tab:blue")):
            joints = motion.joints[frame] - motion.joints[frame, 0] * (1, 0, 1)
            for pair in Layout.load(motion.layout).edges:
                axes.plot(shift + joints[list(pair), 0], joints[list(pair), 1], color=colour, linewidth=2)
        axes.set(aspect="equal", xlim=(-0.9, 0.9), ylim=(-0.05, 1.75), title=f"{person.times[frame]:.1f} s")
        axes.axis("off")
    key = max(angles, key=lambda key: float(np.abs(wanted[key] - angles[key]).max()))
    for k, axes in enumerate(rows[1]):
        axes.axhspan(LIMBS[key].low[k], LIMBS[key].high[k], color="tab:blue", alpha=0.1, label="limits")
        axes.plot(person.times, wanted[key][:, k], color="0.4", linestyle=":", label="wanted")
        axes.plot(person.times, angles[key][:, k], color="tab:blue", label="robot")
        axes.set(title=f"{' '.join(key)}, {ANGLES[k]}", xlabel="s")
    rows[1, 0].set_ylabel("degrees")
    rows[1, 0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description="Brings a motion made from a text onto a small humanoid robot.")
    parser.add_argument("text", help="what somebody does")
    parser.add_argument("-o", "--out", type=Path, help=".npz with angles [T, 16] in degrees, their names and fps")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help=".png; needs matplotlib")
    options = parser.parse_args()
    person = motionrt.Generator.load().generate(options.text, seconds=options.seconds, seed=options.seed)
    rotations = solve(person)
    wanted = wanted_angles(rotations)
    angles = limited(wanted, person.fps)
    robot = robot_motion(angles, rotations, person.fps)
    if options.out:
        names = [f"{side}_{limb}_{angle}" for side, limb in LIMBS for angle in ANGLES]
        np.savez(options.out, angles=np.concatenate(list(angles.values()), axis=1), names=names, fps=person.fps)
    if options.picture:
        draw(options.picture, person, robot, wanted, angles)
    for key, given in angles.items():
        off = np.abs(wanted[key] - given).max(0)
        print(
            " ".join(key),
            "kept back by",
            ", ".join(f"{deg:.0f} ({name})" for name, deg in zip(ANGLES, off, strict=True)),
        )


if __name__ == "__main__":
    try:
        main()
    except motionrt.InputError as error:
        sys.exit(f"retarget.py: {error}")

"""Retarget a motion to a robot with other proportions: joints, then rotations, then motor angles within limits.

    python retarget.py "a person waves with both hands" -o robot.npz --picture retarget.png

The robot is a fictional humanoid, 0.8 m tall. Each arm and leg has three motors at its base (pitch, roll, yaw) and a
hinge in the middle (bend: elbow or knee); at zero, all four limbs hang down. Angles are in degrees; roll and yaw are
positive outwards on both sides.

Shapes: T time, A = 4 angles of a limb. Axes of the torso: x left, y up, z forward.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import motionrt
from motionrt import Layout

ANGLES = ("pitch", "roll", "yaw", "bend")
MAX_SPEED_DEG_S = 300.0  # of a motor
NECK_M, HEAD_M = 0.30, 0.42  # above the pelvis
MIN_SINE = 0.2  # below, a direction does not determine the angle about an axis
DOWN = np.array([0.0, -1.0, 0.0])
OUTWARDS = {"left": np.array([1.0, 1.0, 1.0]), "right": np.array([-1.0, 1.0, 1.0])}  # x of that side


@dataclass(frozen=True, kw_only=True, slots=True)
class Limb:
    """A limb of the robot, and the three joints of the person that it imitates."""

    joints: tuple[str, str, str]
    at_m: tuple[float, float, float]  # from the pelvis; of the left limb
    upper_m: float
    lower_m: float
    low: tuple[float, float, float, float]
    high: tuple[float, float, float, float]
    hinge: int  # sign of the bend: an elbow bends forward, a knee backward


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


def target_angles(rotations: motionrt.rotations.Rotations) -> Angles:
    """Angles that give the robot's limbs the directions of the person's, relative to the torso."""
    rig = rotations.rig
    world = world_rotations(rotations)
    torso = world[:, rig.nodes.index("spine3")]
    result = {}
    for (side, name), limb in LIMBS.items():
        nodes = [rig.nodes.index(f"{side}_{joint}") for joint in limb.joints]
        upper, lower = (
            rotate(torso.swapaxes(1, 2) @ world[:, begin], rig.offsets[end]) * OUTWARDS[side]
            for begin, end in zip(nodes, nodes[1:], strict=False)
        )
        result[side, name] = limb_angles(limb, upper, lower)
    return result


def limb_angles(limb: Limb, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Angles [T, A] for the directions [T, 3] of the two parts of a limb."""
    roll = np.degrees(np.arcsin(np.clip(upper[:, 0], -1, 1)))
    pitch = np.degrees(np.arctan2(-upper[:, 2], -upper[:, 1]))
    pitch = hold((pitch + 270) % 360 - 270, np.hypot(upper[:, 1], upper[:, 2]))  # overhead is -180
    x, y, z = ((axis_rotation(0, pitch) @ axis_rotation(2, roll)).swapaxes(1, 2) @ lower[..., None])[..., 0].T
    yaw = hold(np.degrees(np.arctan2(-limb.hinge * x, -limb.hinge * z)), np.hypot(x, z))
    bend = limb.hinge * np.degrees(np.arccos(np.clip(-y, -1, 1)))
    return np.stack([pitch, roll, yaw, bend], axis=1)


def limit(target: Angles, fps: float) -> Angles:
    """Limit angles to the range and the speed of the motors."""
    step, result = MAX_SPEED_DEG_S / fps, {}
    for key, angles in target.items():
        angles = np.clip(angles, LIMBS[key].low, LIMBS[key].high)
        for before, now in zip(angles, angles[1:], strict=False):
            now[:] = np.clip(now, before - step, before + step)
        result[key] = angles
    return result


def robot_motion(angles: Angles, rotations: motionrt.rotations.Rotations, fps: float) -> motionrt.Motion:
    """Joints of the robot as a motion in layout core15 (forward kinematics)."""
    person, names = rotations.joints, rotations.rig.nodes
    torso = world_rotations(rotations)[:, names.index("spine3")]
    positions = {"pelvis": np.zeros((len(torso), 3))}
    positions |= {
        name: rotate(torso, (0.0, height, 0.0), height) for name, height in (("neck", NECK_M), ("head", HEAD_M))
    }
    for (side, name), limb in LIMBS.items():
        pitch, roll, yaw, bend = angles[side, name].T
        upper = axis_rotation(0, pitch) @ axis_rotation(2, roll) @ axis_rotation(1, yaw)
        points = [np.array(limb.at_m) + np.zeros((len(upper), 3))]
        points.append(points[0] + limb.upper_m * upper @ DOWN)
        points.append(points[1] + limb.lower_m * (upper @ axis_rotation(0, bend)) @ DOWN)
        for joint, point in zip(limb.joints, points, strict=True):
            positions[f"{side}_{joint}"] = (torso @ (point * OUTWARDS[side])[..., None])[..., 0]
    joints = np.stack([positions[joint] for joint in Layout.load("core15").joints], axis=1)
    scale = (LEG.upper_m + LEG.lower_m) / sum(
        float(np.linalg.norm(rotations.rig.offsets[names.index(f"left_{joint}")])) for joint in ("knee", "ankle")
    )
    feet = [f"{side}_ankle" for side in OUTWARDS]
    person_low = person[:, [names.index(foot) for foot in feet], 1].min(1)
    robot_low = np.min([positions[foot][:, 1] for foot in feet], axis=0)
    base = scale * person[:, names.index("pelvis")]
    base[:, 1] = scale * person_low - robot_low  # the lower foot is as high as the person's
    return motionrt.Motion((joints + base[:, None]).astype(np.float32), fps, "core15")


def world_rotations(rotations: motionrt.rotations.Rotations) -> np.ndarray:
    """Rotations [T, J, 3, 3] of all nodes relative to the world."""
    world = rotations.matrices.copy()
    for node in rotations.rig.order:
        parent = rotations.rig.parents[node]
        if parent >= 0:
            world[:, node] = world[:, parent] @ world[:, node]
    return world


def rotate(matrices: np.ndarray, vector: object, length: float = 1.0) -> np.ndarray:
    """Rotate the direction of `vector` by each matrix [T, 3, 3], to vectors [T, 3] of this length."""
    unit = np.asarray(vector) / np.linalg.norm(np.asarray(vector, dtype=float))
    return length * matrices @ unit


def hold(angles: np.ndarray, sines: np.ndarray) -> np.ndarray:
    """Hold the last angle [T] while its sine is too small to determine it; 0 before the first."""
    last = np.maximum.accumulate(np.where(sines > MIN_SINE, np.arange(len(angles)), -1))
    return np.where(last < 0, 0.0, angles[last])


def axis_rotation(axis: int, degrees: np.ndarray) -> np.ndarray:
    """Rotation matrices [T, 3, 3] about a coordinate axis."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.tile(np.eye(3), (len(degrees), 1, 1))
    matrix[:, i, i] = matrix[:, j, j] = cosine
    matrix[:, j, i], matrix[:, i, j] = sine, -sine
    return matrix


def draw(path: Path, person: motionrt.Motion, robot: motionrt.Motion, target: Angles, angles: Angles) -> None:
    """Plot person and robot side by side at four times, and the angles of one limb with their targets."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, rows = plt.subplots(2, 4, figsize=(11, 5.6), height_ratios=(1.25, 1))
    frames = np.linspace(0, person.frames - 1, 6).round().astype(int)[1:-1]
    for axes, frame in zip(rows[0], frames, strict=True):
        for motion, shift, color in ((person, -0.4, "0.35"), (robot, 0.6, "tab:blue")):
            joints = motion.joints[frame] - motion.joints[frame, 0] * (1, 0, 1)
            for pair in Layout.load(motion.layout).edges:
                axes.plot(shift + joints[list(pair), 0], joints[list(pair), 1], color=color, linewidth=2)
        axes.set(aspect="equal", xlim=(-0.9, 0.9), ylim=(-0.05, 1.75), title=f"{person.times[frame]:.1f} s")
        axes.axis("off")
    key = max(angles, key=lambda key: float(np.abs(target[key] - angles[key]).max()))
    for k, axes in enumerate(rows[1]):
        axes.axhspan(LIMBS[key].low[k], LIMBS[key].high[k], color="tab:blue", alpha=0.1, label="limits")
        axes.plot(person.times, target[key][:, k], color="0.4", linestyle=":", label="target")
        axes.plot(person.times, angles[key][:, k], color="tab:blue", label="robot")
        axes.set(title=f"{' '.join(key)}, {ANGLES[k]}", xlabel="s")
    rows[1, 0].set_ylabel("degrees")
    rows[1, 0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description="Retarget a generated motion to a small humanoid robot.")
    parser.add_argument("text", help="description of the motion")
    parser.add_argument("-o", "--out", type=Path, help=".npz with angles [T, 16] in degrees, their names and fps")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, help=".png; needs matplotlib")
    options = parser.parse_args()
    person = motionrt.Generator.load().generate(options.text, seconds=options.seconds, seed=options.seed)
    rotations = motionrt.rotations.solve(person)
    target = target_angles(rotations)
    angles = limit(target, person.fps)
    robot = robot_motion(angles, rotations, person.fps)
    if options.out:
        names = [f"{side}_{limb}_{angle}" for side, limb in LIMBS for angle in ANGLES]
        np.savez(options.out, angles=np.concatenate(list(angles.values()), axis=1), names=names, fps=person.fps)
    if options.picture:
        draw(options.picture, person, robot, target, angles)
    for key, values in angles.items():
        error = np.abs(target[key] - values).max(0)
        print(
            " ".join(key),
            "limited by",
            ", ".join(f"{deg:.0f} ({name})" for name, deg in zip(ANGLES, error, strict=True)),
        )


if __name__ == "__main__":
    try:
        main()
    except motionrt.InputError as error:
        sys.exit(f"retarget.py: {error}")

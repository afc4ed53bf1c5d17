"""Retargeting beside mink, and a robot's motion there and back.

    python -m motionrt.bench.speed.robots [--data DIR] [-o robots.json]

Needs mink and MuJoCo. `mink`: the same clips, targets, weights, limits and numbers of iterations in both; times are
those of the thread. `there_and_back`, with --data: the set lafan22w has joint positions of a G1 that follows people of
LAFAN1, scaled by 1.3. Its angles, which the set does not have, are recovered from all these positions at once, and
compared with those of `Retargeter`, which only sees the joints of a person. Wrists are left out: positions do not show
their twist.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.body.layout import Layout
from ...runtime.body.motion import Motion
from ...runtime.robots.retargeter import Retargeter
from ...runtime.robots.robot_motion import KEYPOINTS, MAX_SPEED, RobotMotion
from .environment import commit, cpu_model
from .retarget import clips
from .workloads import samples

Array = NDArray[np.float64]

mink: Any = import_module("mink")
mujoco: Any = import_module("mujoco")

ITERATIONS = 3  # of a frame
WARM_UP = 20  # frames that are not measured; mink starts with more iterations
CONTACT_WEIGHT = 200.0  # of a resting foot, as in retargeter.cpp
WEIGHTS = dict(zip(KEYPOINTS, np.repeat([2, 1, 2, 1, 1, 1.5, 1], 2), strict=True))
SCALE = 1.3  # of lafan22w
EXACT_M = 0.01  # frames with a joint that remains farther away are left out
WINDOWS = 30
POINTS = {  # joint of lafan22w -> body and offset
    "pelvis": ("pelvis", (0, 0, 0)),
    "left_hip": ("pelvis", (0, 0.0582, -0.1332)),
    "right_hip": ("pelvis", (0, -0.0582, -0.1332)),
    "spine1": ("torso_link", (0, 0, 0)),
    **{
        f"{side}_{joint}": (f"{side}_{link}_link", offset)
        for side in ("left", "right")
        for joint, link, offset in (
            ("knee", "knee", (0, 0, 0)),
            ("ankle", "ankle_roll", (0, 0, 0)),
            ("foot", "ankle_roll", (0.12, 0, -0.03)),
            ("shoulder", "shoulder_roll", (0, 0, 0)),
            ("elbow", "elbow", (0, 0, 0)),
            ("wrist", "wrist_yaw", (0, 0, 0)),
        )
    },
}


def bench_robots(data: Path | None) -> dict[str, Any]:
    return {
        "robot": "g1",
        "cpu": cpu_model(),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "mink": beside_mink(samples()),
        "there_and_back": None if data is None else there_and_back(clips(data, "lafan22w", WINDOWS)),
    }


def beside_mink(motions: list[Motion]) -> dict[str, Any]:
    ours_s, ours_m, minks_s, minks_m = [], [], [], []
    for motion in motions:
        robot = Retargeter("g1", motion.layout)
        targets, contacts = [], []
        for i, joints in enumerate(motion.joints):
            started = time.thread_time()
            pose = robot.step(joints, i / motion.fps)
            spent = time.thread_time() - started
            targets.append(robot._core.tracking()[1])
            contacts.append(pose.contacts)
            if i >= WARM_UP:
                ours_s.append(spent)
                ours_m.append(pose.errors)
        found_s, found_m = follow_with_mink(robot, np.array(targets), np.array(contacts), motion.fps)
        minks_s.extend(found_s)
        minks_m.extend(found_m)
    ours, other = speed_and_error(ours_s, ours_m), speed_and_error(minks_s, minks_m)
    versions = {name: metadata.version(name) for name in ("mink", "mujoco", "daqp")}
    times = ours["frames_per_s"] / other["frames_per_s"]
    return {"frames": len(ours_s), **versions, "motionrt": ours, "other": other, "times_faster": times}


def speed_and_error(seconds: list[float], errors: list[Array]) -> dict[str, Any]:
    error_cm = {"mean": 100 * float(np.mean(errors))}
    error_cm |= {f"p{p}": 100 * float(np.percentile(errors, p)) for p in (50, 95)}
    return {
        "p50_ms": 1e3 * float(np.median(seconds)),
        "frames_per_s": 1 / float(np.mean(seconds)),
        "error_cm": error_cm,
    }


def follow_with_mink(
    robot: Retargeter, targets: Array, contacts: NDArray[np.bool_], fps: float
) -> tuple[list[float], list[Array]]:
    """Seconds of a frame and errors [14] of its keypoints, for targets [T, 14, 3]."""
    model = mujoco.MjModel.from_xml_string(robot.mjcf())
    configuration = mink.Configuration(model)
    tasks = [
        mink.FrameTask(name, "site", position_cost=float(np.sqrt(WEIGHTS[name])), orientation_cost=0.0)
        for name in KEYPOINTS
    ]
    posture = mink.PostureTask(model, cost=float(np.sqrt(1e-3)))
    fastest = {name: min(speed, MAX_SPEED) for name, speed in zip(robot.joints, robot.limits[:, 2], strict=True)}
    limits = [mink.ConfigurationLimit(model), mink.VelocityLimit(model, fastest)]
    qpos = np.zeros(model.nq)
    qpos[:3], qpos[3:7] = robot.rest.position, robot.rest.quaternion
    qpos[[model.joint(name).qposadr[0] for name in robot.joints]] = robot.rest.angles
    hips = targets[0, :2].mean(axis=0)
    qpos[:2] = hips[:2]
    left = targets[0, 0] - targets[0, 1]
    half = np.arctan2(-left[0], left[1]) / 2
    qpos[3:7] = np.cos(half), 0, 0, np.sin(half)
    configuration.update(qpos)
    posture.set_target(qpos)
    seconds, errors = [], []
    sites = [model.site(name).id for name in KEYPOINTS]
    for i, wanted in enumerate(targets):
        started = time.thread_time()
        for k, task in enumerate(tasks):
            rests = contacts[i, k % 2] and KEYPOINTS[k].endswith(("ankle", "foot"))
            task.set_position_cost(float(np.sqrt(CONTACT_WEIGHT if rests else WEIGHTS[KEYPOINTS[k]])))
            task.set_target(mink.SE3.from_translation(wanted[k]))
        iterations = 100 if i == 0 else ITERATIONS
        dt = 1 / fps / ITERATIONS
        for _ in range(iterations):
            velocity = mink.solve_ik(configuration, [*tasks, posture], dt, "daqp", damping=1e-3, limits=limits)
            configuration.integrate_inplace(velocity, dt)
        spent = time.thread_time() - started
        if i >= WARM_UP:
            seconds.append(spent)
            errors.append(np.linalg.norm(configuration.data.site_xpos[sites] - wanted, axis=1))
    return seconds, errors


def there_and_back(windows: list[Motion]) -> dict[str, Any]:
    """Angles of windows of lafan22w against those of the retargeter."""
    theirs, ours, residuals, frames = [], [], [], 0
    robot = Retargeter("g1", "smpl22")
    for motion in windows:
        result = robot.retarget(motion)
        angles, residual = recover_angles(robot, motion, result)
        exact = residual.max(axis=1) < EXACT_M
        theirs.append(angles[exact])
        residuals.append(residual[exact])
        ours.append(result.angles[exact])
        frames += motion.frames
    before, after = np.concatenate(theirs), np.concatenate(ours)
    kept = [j for j, name in enumerate(robot.joints) if "wrist" not in name]
    apart = np.degrees(np.abs(before - after)[:, kept])
    moving = [j for j in kept if before[:, j].std() > 0.05]
    correlations = {robot.joints[j]: float(np.corrcoef(before[:, j], after[:, j])[0, 1]) for j in moving}
    return {
        "windows": len(windows),
        "frames": frames,
        "recovered": len(before),
        "recovered_to_mm": {f"p{p}": 1e3 * float(np.percentile(np.concatenate(residuals), p)) for p in (50, 99)},
        "error_deg": {
            "mean": float(apart.mean()),
            **{f"p{p}": float(np.percentile(apart, p)) for p in (50, 95)},
        },
        "correlation": {
            "median": float(np.median(list(correlations.values()))),
            "lowest": min(correlations.items(), key=lambda item: item[1]),
            "by_joint": correlations,
        },
        "error_deg_by_joint": {robot.joints[j]: float(apart[:, i].mean()) for i, j in enumerate(kept)},
    }


def recover_angles(robot: Retargeter, motion: Motion, start: RobotMotion) -> tuple[Array, Array]:
    """Angles [T, J] whose links are at the joints of a window of lafan22w, and distances [T, P] that remain, in meters.

    Gauss-Newton within the limits, with hardly any damping, from the frame before and, if that leads nowhere, from the
    pose of `start`.
    """
    model = mujoco.MjModel.from_xml_string(robot.mjcf())
    data = mujoco.MjData(model)
    names = list(POINTS)
    bodies = [model.body(POINTS[name][0]).id for name in names]
    offsets = np.array([POINTS[name][1] for name in names])
    columns = [model.joint(name).qposadr[0] for name in robot.joints]
    index = [Layout.load(motion.layout).joints.index(name) for name in names]
    targets = motion.joints[:, index][..., [2, 0, 1]].astype(float) / SCALE  # y up -> z up
    qpos = data.qpos
    jacobian = np.empty((len(names), 3, model.nv))

    def solve(wanted: Array, iterations: int) -> Array:
        """Move qpos; returns the distances that remain."""
        for i in range(iterations + 1):
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            points = data.xpos[bodies] + np.einsum("pij,pj->pi", data.xmat[bodies].reshape(-1, 3, 3), offsets)
            if i == iterations:
                break
            for k, body in enumerate(bodies):
                mujoco.mj_jac(model, data, jacobian[k], None, points[k], body)
            rows = jacobian.reshape(-1, model.nv)
            step = np.linalg.solve(rows.T @ rows + 1e-5 * np.eye(model.nv), rows.T @ (wanted - points).ravel())
            mujoco.mj_integratePos(model, qpos, np.clip(step, -0.3, 0.3), 1)
            qpos[columns] = np.clip(qpos[columns], robot.limits[:, 0], robot.limits[:, 1])
        return np.linalg.norm(wanted - points, axis=1)

    found, residuals = [], []
    for i, wanted in enumerate(targets):
        residual = solve(wanted, 6) if i else np.array([np.inf])
        if residual.max() > EXACT_M:
            qpos[:7] = *wanted[0], *start.quaternions[i]
            qpos[columns] = start.angles[i]
            residual = solve(wanted, 20)
        found.append(qpos[columns].copy())
        residuals.append(residual)
    return np.array(found), np.array(residuals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    report = bench_robots(args.data)
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()

"""Retargeting beside mink, and a robot's motion there and back.

    python -m motionrt.bench.speed.robots [--data DIR] [-o robots.json]

Needs mink and MuJoCo. `mink`: the same clips, targets, weights, limits and numbers of iterations in both, without parts
of the body that stay apart, which would be limits of another kind in mink; `apart` is `Retargeter` as it is, with them.
Times are those of the thread. `there_and_back`, with --data: the set lafan22w has joint positions of a G1 that follows
people of LAFAN1, scaled by 1.3. Its angles, which the set does not have, are recovered from all these positions at
once, and compared with those of `Retargeter`, which only sees the joints of a person; the hips of that person are as
wide as the legs, not half of it as in the set. Wrists are left out: positions do not show their twist.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import datetime, timezone
from importlib import import_module, metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...runtime.body.layout import Layout
from ...runtime.body.motion import Motion
from ...runtime.robots.retargeter import FOLDER, Retargeter
from ...runtime.robots.robot_motion import KEYPOINTS, MAX_SPEED, RobotMotion
from ..report import print_report
from .environment import commit, cpu_model
from .retarget import clips
from .workloads import samples

Array = NDArray[np.float64]
Found = tuple[list[float], list[Array]]  # of each frame: seconds, errors [14]

mink: Any = import_module("mink")
mujoco: Any = import_module("mujoco")

ITERATIONS = 3  # of a frame
REPEATS = 5
WARM_UP = 20  # frames that are not measured; mink starts with more iterations
CONTACT_WEIGHT, REST_WEIGHT = 200.0, 3e-4  # of a resting foot, and of the pose at rest, as in retargeter.cpp
LEVEL_M, LEVEL_WEIGHTS = 0.05, (0.1, 20.0)  # of a point beside each ankle, of feet that move and that rest
SIDES = ("left", "right")
ANKLES, FEET = ([KEYPOINTS.index(f"{side}_{part}") for side in SIDES] for part in ("ankle", "foot"))
WEIGHTS = dict(zip(KEYPOINTS, np.repeat([2, 1, 2, 1, 1, 1.5, 1], 2), strict=True))
SCALE = 1.3  # of lafan22w
HIPS_M = 0.2329  # from one leg of g1 to the other
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
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "mink": beside_mink(samples()),
        "there_and_back": None if data is None else there_and_back(clips(data, "lafan22w", WINDOWS)),
    }


def beside_mink(motions: list[Motion]) -> dict[str, Any]:
    """`REPEATS` runs of the same clips, one system after the other; speeds are medians over the runs."""
    robot = json.loads((FOLDER / "g1.json").read_text())
    del robot["capsules"]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "g1.json"
        path.write_text(json.dumps(robot))
        runs = [run_beside_mink(motions, path) for _ in range(REPEATS)]
    found: dict[str, Any] = {"repeats": REPEATS, "frames": len(runs[0][0][0])}
    found |= {name: metadata.version(name) for name in ("mink", "mujoco", "daqp")}
    for name, results in zip(("motionrt", "apart", "other"), zip(*runs, strict=True), strict=True):
        found[name] = speed_and_error([seconds for seconds, _ in results], results[0][1])
    for name in ("motionrt", "apart"):
        found[f"{name}_times_faster"] = found[name]["frames_per_s"] / found["other"]["frames_per_s"]
    return found


def run_beside_mink(motions: list[Motion], without_capsules: Path) -> list[Found]:
    """Seconds and errors of each frame: without and with capsules, and of mink."""
    ours: Found = ([], [])
    apart: Found = ([], [])
    minks: Found = ([], [])
    for motion in motions:
        follow(Retargeter("g1", motion.layout), motion, apart)
        targets, contacts = follow(Retargeter(without_capsules, motion.layout), motion, ours)
        follow_with_mink(Retargeter("g1", motion.layout), targets, contacts, motion.fps, minks)
    return [ours, apart, minks]


def follow(robot: Retargeter, motion: Motion, found: Found) -> tuple[Array, NDArray[np.bool_]]:
    """Targets [T, 14, 3] and resting feet [T, 2] of a motion; seconds and errors of its frames are added to `found`."""
    targets, contacts = [], []
    for i, joints in enumerate(motion.joints):
        started = time.thread_time()
        pose = robot.step(joints, i / motion.fps)
        spent = time.thread_time() - started
        targets.append(robot._core.tracking()[1])
        contacts.append(pose.contacts)
        if i >= WARM_UP:
            found[0].append(spent)
            found[1].append(pose.errors)
    return np.array(targets), np.array(contacts)


def speed_and_error(runs: list[list[float]], errors: list[Array]) -> dict[str, Any]:
    error_cm = {"mean": 100 * float(np.mean(errors))}
    error_cm |= {f"p{p}": 100 * float(np.percentile(errors, p)) for p in (50, 95)}
    return {
        "p50_ms": 1e3 * float(np.median(runs)),
        "frames_per_s": float(np.median(1 / np.mean(runs, axis=1))),
        "error_cm": error_cm,
    }


def follow_with_mink(robot: Retargeter, targets: Array, contacts: NDArray[np.bool_], fps: float, found: Found) -> None:
    """Add the seconds and errors [14] of each frame, for targets [T, 14, 3], to `found`."""
    spec = mujoco.MjSpec.from_string(robot.mjcf())
    for side in SIDES:
        spec.body(f"{side}_ankle_roll_link").add_site(name=f"{side}_level", pos=[0, LEVEL_M, 0])
    model = spec.compile()
    configuration = mink.Configuration(model)
    names = (*KEYPOINTS, *(f"{side}_level" for side in SIDES))
    tasks = [mink.FrameTask(name, "site", position_cost=1.0, orientation_cost=0.0) for name in names]
    posture = mink.PostureTask(model, cost=float(np.sqrt(REST_WEIGHT)))
    ankles, toes = targets[:, ANKLES], targets[:, FEET]
    heading = np.arctan2(*(toes - ankles)[..., 1::-1].transpose(2, 0, 1))
    beside = ankles + LEVEL_M * np.stack([-np.sin(heading), np.cos(heading), 0 * heading], axis=-1)
    wanted_all = np.concatenate([targets, beside], axis=1)
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
    sites = [model.site(name).id for name in KEYPOINTS]
    for i, wanted in enumerate(wanted_all):
        started = time.thread_time()
        for k, (name, task) in enumerate(zip(names, tasks, strict=True)):
            rests = bool(contacts[i, k % 2])
            if name.endswith("level"):
                weight = LEVEL_WEIGHTS[rests]
            else:
                weight = CONTACT_WEIGHT if rests and name.endswith(("ankle", "foot")) else WEIGHTS[name]
            task.set_position_cost(weight**0.5)
            task.set_target(mink.SE3.from_translation(wanted[k]))
        iterations = 100 if i == 0 else ITERATIONS
        dt = 1 / fps / ITERATIONS
        for _ in range(iterations):
            velocity = mink.solve_ik(configuration, [*tasks, posture], dt, "daqp", damping=1e-3, limits=limits)
            configuration.integrate_inplace(velocity, dt)
        spent = time.thread_time() - started
        if i >= WARM_UP:
            found[0].append(spent)
            found[1].append(np.linalg.norm(configuration.data.site_xpos[sites] - wanted[: len(sites)], axis=1))


def there_and_back(windows: list[Motion]) -> dict[str, Any]:
    """Angles of windows of lafan22w against those of the retargeter."""
    theirs, ours, residuals, frames = [], [], [], 0
    robot = Retargeter("g1", "smpl22")
    for motion in windows:
        result = robot.retarget(with_wide_hips(motion))
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


def with_wide_hips(motion: Motion) -> Motion:
    joints = motion.joints.copy()
    hips = joints[:, 1:3]
    middle = hips.mean(axis=1, keepdims=True)
    width = np.linalg.norm(hips[:, :1] - hips[:, 1:], axis=-1, keepdims=True)
    joints[:, 1:3] = middle + SCALE * HIPS_M / width * (hips - middle)
    return Motion(joints, motion.fps, motion.layout)


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
    print_report(bench_robots(args.data), args.out)


if __name__ == "__main__":
    main()

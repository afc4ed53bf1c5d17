"""Speed and quality of retargeting to a robot, on one thread.

    python -m motionrt.bench.speed.retarget [--data DIR] [-o retarget.json]

Clips: the bundled recordings and, with --data, 200 of its sets bandai22, mocap22 and lafan22w, at most 40 s of each.
The latency is that of `Retargeter.step`, with the conversions from and to Python: `wall`, and `cpu`, without the time
in which other processes had the core. Sliding is measured while the person's toes are slower than 0.2 m/s and lower
than 4 cm, by the person's motion alone. `penetration_mm` is how far a corner of a sole is below the floor at most.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.body.motion import Motion
from ...runtime.robots.retargeter import Retargeter
from .environment import commit, cpu_model
from .timing import percentiles, timed
from .workloads import samples

SETS = ("bandai22", "mocap22", "lafan22w")
CLIPS, LONGEST_S = 200, 40.0
SLOW, LOW_M = 0.2, 0.04
FEET = slice(10, 12)


def bench_retarget(robot: str, data: Path | None) -> dict[str, Any]:
    sets = {"bundled": samples()}
    if data is not None:
        sets |= {name: clips(data, name, CLIPS // len(SETS) + (i < CLIPS % len(SETS))) for i, name in enumerate(SETS)}
    return {
        "robot": robot,
        "cpu": cpu_model(),
        "load_average": round(os.getloadavg()[0], 2),
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "step": speed(robot, sets["bundled"]),
        "sets": {name: quality(robot, motions) for name, motions in sets.items()},
    }


def speed(robot: str, motions: list[Motion], calls: int = 20_000) -> dict[str, Any]:
    motion = max(motions, key=lambda one: one.frames)
    retargeter = Retargeter(robot, motion.layout)
    forth = np.concatenate([motion.joints, motion.joints[::-1]])  # without a jump at the end

    def step(i: int) -> None:
        retargeter.step(forth[i % len(forth)], i / motion.fps)

    latencies = timed(step, calls)[100:]
    cpu_ns = np.empty(calls, np.int64)
    for i in range(calls):
        started = time.thread_time_ns()
        step(calls + i)
        cpu_ns[i] = time.thread_time_ns() - started
    rate = 1e3 / float(np.median(latencies))
    return {"wall": percentiles(latencies), "cpu": percentiles(cpu_ns / 1e6), "frames_per_s": rate}


def quality(robot: str, motions: list[Motion]) -> dict[str, Any]:
    errors, slips, sliding, persons_sliding, jumps, clearance, support = [], [], [], [], [], [], []
    violations, held = np.zeros(2, int), 0
    depth = 0.0
    for motion in motions:
        retargeter = Retargeter(robot, motion.layout)
        depth = max(depth, penetration(retargeter, motion))
        result = retargeter.retarget(motion)
        report = result.report()
        violations += report["limit_violations"], report["velocity_violations"]
        held += report["held"]
        errors.append(result.errors.ravel())
        slips += result.slips()
        clearance.append(result.clearance)
        support.append(result.support[np.isfinite(result.support)])
        jumps.append(np.abs(result.velocities).max())
        toes = motion.joints[:, FEET]
        speeds = np.linalg.norm(np.diff(toes, axis=0), axis=-1) * motion.fps
        rests = (speeds < SLOW) & (toes[1:, :, 1] - toes[..., 1].min() < LOW_M)
        over_floor = np.linalg.norm(np.diff(result.feet[..., :2], axis=0), axis=-1) * motion.fps
        sliding.append(over_floor[rests])
        persons_sliding.append(np.linalg.norm(np.diff(toes[..., [0, 2]], axis=0), axis=-1)[rests] * motion.fps)
    all_errors = 100 * np.concatenate(errors)
    all_slips = 100 * np.array(slips or [0.0])
    return {
        "clips": len(motions),
        "frames": sum(motion.frames for motion in motions),
        "held": held,
        "limit_violations": int(violations[0]),
        "velocity_violations": int(violations[1]),
        "fastest_rad_per_s": float(max(jumps)),
        "error_cm": {f"p{p}": float(np.percentile(all_errors, p)) for p in (50, 95, 99)},
        "collisions": int((np.concatenate(clearance) < 0).sum()),
        "clearance_cm": 100 * float(np.concatenate(clearance).min()),
        "penetration_mm": 1000 * depth,
        "over_support": float((np.concatenate(support) > 0).mean()),
        "slip_cm": {
            "contacts": len(slips),
            **{f"p{p}": float(np.percentile(all_slips, p)) for p in (50, 95, 99, 100)},
            "share_within_1_cm": float((all_slips <= 1).mean()),
        },
        "sliding_cm_per_s": {
            "robot": 100 * float(np.concatenate(sliding).mean()),
            "person": 100 * float(np.concatenate(persons_sliding).mean()),
        },
    }


def penetration(robot: Retargeter, motion: Motion) -> float:
    """Meters that a corner of a sole is below the floor at most."""
    lowest = 0.0
    for i, joints in enumerate(motion.joints):
        robot.step(joints, i / motion.fps)
        lowest = min(lowest, *(float(sole[:, 2].min()) for sole in robot._core.soles()))
    return -lowest


def clips(data: Path, name: str, count: int) -> list[Motion]:
    """Clips evenly spread over a set, with absolute joints."""
    described = json.loads((data / f"{name}.json").read_text())
    found = []
    with np.load(data / f"{name}.npz") as file:
        joints, root_xz, start = file["joints"], file["root_xz"], file["start"]
    for i in np.linspace(0, len(start) - 2, count).astype(int):
        fps = float(described["clips"][i].get("fps") or described["fps"])
        begin, end = start[i], min(start[i + 1], start[i] + int(LONGEST_S * fps))
        absolute = joints[begin:end].astype(np.float32)
        absolute[..., [0, 2]] += root_xz[begin:end, None]
        if len(absolute) > 1:
            found.append(Motion(absolute, fps, "smpl22"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot", default="g1")
    parser.add_argument("--data", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    report = bench_retarget(args.robot, args.data)
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()

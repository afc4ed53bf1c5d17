"""A robot's reference in real time: from a source or a generated motion to outputs, at 50 Hz."""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from ..errors import InputError
from ..generation.stream import Stream
from ..io.robot_motion import check_robot_target, write_robot_motion
from ..io.robot_output import ROS, RobotOutput, open_robot_output
from ..io.ros import joint_state, time_of_day
from ..io.source import Source
from ..robots.live import LiveRobot, Reference
from ..robots.robot_motion import far_keypoints

RATE_HZ = 50
AHEAD_S = 0.004  # before it is due, a reference is computed
SWITCH_S = 0.0005  # after which a thread lets another one run
DELAY_S = 0.1  # of the robot behind a live person, to interpolate between poses
LEAD_S = 0.1  # before the end of a generated chunk, the next one is taken
RESYNC_S = 0.25  # a larger difference of the clocks is a jump of the source's, not delay
LONGEST_S = 3600  # of a file


class Player:
    """Sends the references of a robot, which another thread feeds, to outputs.

    Args:
        outputs: names as for `open_robot_output`.
        out: file to write in the end; None: none.
    """

    def __init__(self, outputs: Sequence[str], out: Path | None) -> None:
        if out is not None:
            check_robot_target(out)
        self._outputs, self._out = outputs, out
        self._robot: LiveRobot | None = None
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._end_s: float | None = None
        self._references: list[Reference] = []
        self._late_ms: list[float] = []
        self._statuses: Counter[str] = Counter()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def follow(self, robot: LiveRobot) -> None:
        self._robot = robot

    def play(self, feed: Callable[[Player], float]) -> dict[str, Any]:
        """Play until Ctrl-C or the end of the motion, the time at which `feed`, run in a thread, returns.

        It gets the player, and passes the robot to `follow`. Returns a summary.
        """
        with ExitStack() as stack:
            outputs = []
            for name in self._outputs:
                outputs.append(open_robot_output(name))
                stack.callback(outputs[-1].close)
            thread = threading.Thread(target=self._feed, args=(feed,), name="motionrt person", daemon=True)
            thread.start()
            try:
                with _on_time():
                    self._run(outputs)
            except KeyboardInterrupt:
                pass
            finally:
                self._stopped.set()
        if self._error is not None:
            raise self._error
        if self._robot is None:
            raise InputError("nobody was seen")
        if self._out is not None:
            self._save(self._robot, self._out)
        late = self._late_ms or [0.0]
        return {
            "references": len(self._late_ms),
            **{status: self._statuses[status] for status in ("waiting", "blending", "following", "holding")},
            "late_p50_ms": round(float(np.median(late)), 3),
            "late_p99_ms": round(float(np.percentile(late, 99)), 3),
            "dropped": sum(output.dropped for output in outputs),
        }

    def _feed(self, feed: Callable[[Player], float]) -> None:
        try:
            self._end_s = feed(self)
        except BaseException as error:  # raised in the main thread
            self._error = error
            self._end_s = 0.0

    def _run(self, outputs: Sequence[RobotOutput]) -> None:
        start, tick = time.monotonic(), 0
        while self._end_s is None or start + tick / RATE_HZ < self._end_s:
            due = start + tick / RATE_HZ
            _sleep_until(due - AHEAD_S)
            robot = self._robot
            if robot is not None:
                reference = robot.reference(due)
                messages = [_message(name, reference, robot, due, tick) for name in self._outputs]
                _sleep_until(due)
                self._late_ms.append(1000 * (time.monotonic() - due))
                for output, message in zip(outputs, messages, strict=True):
                    output.send(message)
                self._statuses[reference.status] += 1
                if self._out is not None and len(self._references) < LONGEST_S * RATE_HZ:
                    self._references.append(reference)
            tick = max(tick + 1, int((time.monotonic() - start) * RATE_HZ))  # a tick that is missed is left out

    def _save(self, robot: LiveRobot, out: Path) -> None:
        found = self._references
        if not found:
            raise InputError(f"{out}: there is nothing to write")
        motion: dict[str, Any] = {"robot": robot.robot, "joints": robot.joints}
        motion["t"] = np.array([one.t - found[0].t for one in found])
        names = {"root_position": "position", "root_quaternion": "quaternion"}
        for name in ("root_position", "root_quaternion", "angles", "velocities", "contacts", "errors", "held"):
            motion[name] = np.array([getattr(one, names.get(name, name)) for one in found])
        write_robot_motion(motion | {"unreached": [far_keypoints(one.errors) for one in found]}, out)


def _message(output: str, reference: Reference, robot: LiveRobot, due_s: float, tick: int) -> str | bytes:
    if output.startswith(ROS):
        return joint_state(time_of_day(due_s), robot.joints, reference.angles, reference.velocities)
    return json.dumps(reference.message(robot.robot) | {"t": round(tick / RATE_HZ, 4)})


def _sleep_until(due_s: float) -> None:
    if (left_s := due_s - time.monotonic()) > 0:
        time.sleep(left_s)


@contextmanager
def _on_time() -> Iterator[None]:
    """Let this thread wake up on time: before those of other programs, if the system allows, and of this one."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()
    policy = _schedule(getattr(os, "SCHED_FIFO", None), 1)
    try:
        yield
    finally:
        _schedule(policy, 0)
        gc.unfreeze()
        sys.setswitchinterval(interval_s)


def _schedule(policy: int | None, priority: int) -> int | None:
    """Set the scheduling policy of this thread; returns the one before, None if it cannot be set."""
    if policy is None or sys.platform != "linux":
        return None
    before = os.sched_getscheduler(0)
    try:
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except OSError:
        return None
    return before


def feed_source(source: Source, robot: str, player: Player) -> float:
    """Give the poses of one person in a source to a player; returns when the last one is due.

    Follows the first person; when that one is gone, the next.
    """
    live: LiveRobot | None = None
    person: int | None = None
    offset = last_s = seen_s = -np.inf
    for _, people in source.snapshots():
        if player.stopped:
            break
        now = time.monotonic()
        frame = next((one for one in people if one.person == person), None)
        if frame is None and people and now - seen_s > RESYNC_S:
            frame = people[0]
        if frame is None:
            continue
        try:
            if live is None:
                live = LiveRobot(robot, frame.layout)
                player.follow(live)
            if frame.layout != live.layout:
                raise InputError(f"layout is {frame.layout}, expected {live.layout} as before")
            if not abs(now - frame.t - offset) < RESYNC_S:
                offset = now - frame.t
            offset += 0.02 * (now - frame.t - offset)
            live.put(frame.t + offset + DELAY_S, frame.joints, frame.confidence)
        except InputError as error:
            if source.recorded or live is None:
                raise
            source.count_malformed(str(error), f"person {frame.person}")
            continue
        person, seen_s, last_s = frame.person, now, frame.t + offset + DELAY_S
    return last_s


def feed_chunks(chunks: Stream, robot: str, player: Player, prompts: SimpleQueue[str]) -> float:
    """Give generated motion to a player, each chunk shortly before it is due; returns when the last one ends.

    A new prompt replaces what has not been played, from the next frame on.
    """
    live: LiveRobot | None = None
    base = -np.inf
    end = -np.inf
    for chunk in chunks:
        if player.stopped:
            break
        start, now = chunk.meta["start"], time.monotonic()
        if live is None:
            base = end = now
            live = LiveRobot(robot, chunk.layout)
            player.follow(live)
        times = base + start + chunk.times
        late = max(0.0, now - max(end, times[0]))  # nothing to play: the clock waits
        base, times = base + late, times + late
        live.forget(times[0] - 0.5 / chunk.fps)
        for t, joints in zip(times, chunk.joints, strict=True):
            live.put(float(t), joints)
        end = float(times[-1])
        while (text := _take(prompts, end - LEAD_S)) is not None:
            try:
                chunks.change(text, math.ceil((time.monotonic() - base) * chunk.fps))
                break
            except InputError as error:
                print(f"motionrt: {error}", file=sys.stderr)
    return end


def _take(prompts: SimpleQueue[str], until_s: float) -> str | None:
    """The next prompt; None if there is none until a time of `time.monotonic`."""
    try:
        return prompts.get(timeout=max(0.0, until_s - time.monotonic()))
    except Empty:
        return None


def print_summary(summary: dict[str, Any]) -> None:
    seconds = summary["references"] / RATE_HZ
    held = summary["holding"] + summary["waiting"]
    times = ", ".join(
        f"{word} {count / RATE_HZ:.1f} s"
        for word, count in (("followed", summary["following"]), ("blended", summary["blending"]), ("held", held))
    )
    late = f"median {summary['late_p50_ms']} ms, p99 {summary['late_p99_ms']} ms"
    print(f"{seconds:.1f} s: {times}; references late by: {late}", file=sys.stderr)

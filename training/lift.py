"""Kinect skeletons brought to the 22 joints of SMPL: gaps filled, smoothed, limbs of constant length. Needs no torch.

Shapes: T time, V joints. Metres, y up, the camera looks along z.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..runtime.skeleton import Layout
from .clips import REACH_M

KINECT, SMPL = Layout.load("kinect20"), Layout.load("smpl22")
CUTOFF_HZ = 4.0  # half of a movement's amplitude passes; a punch has hardly any above 3 Hz, a tracker's noise has
FLOOR_HZ = 1.0  # what is slower than this in the height of the lower foot is the sensor's, not a jump
NOISE_M = 0.08  # a residual of so much halves a sample's weight
JUMP_M = 0.35  # a joint so far from where it is in the two frames before and after has jumped
PLAY = 0.15  # a limb may differ so much from the mean body's

# The mean body of the mocap sets, metres; x to the left, y up, z forward. From the middle of the hips:
TRUNK = {
    "pelvis": (0.0, 0.06, -0.01),
    "spine1": (0.0, 0.18, -0.02),
    "spine2": (0.0, 0.24, -0.015),
    "spine3": (0.0, 0.30, -0.01),
}
# from the middle of the shoulders:
CHEST = {"neck": (0.0, 0.03, 0.015), "left_collar": (0.07, -0.02, 0.0), "right_collar": (-0.07, -0.02, 0.0)}
# and from the ankle, the sole flat:
FOOT = (0.015, -0.05, 0.105)
LENGTHS = {
    "hip": 0.11, "knee": 0.41, "ankle": 0.42, "foot": 0.117, "spine1": 0.12, "spine2": 0.06, "spine3": 0.06,
    "neck": 0.20, "head": 0.085, "collar": 0.165, "shoulder": 0.105, "elbow": 0.265, "wrist": 0.215,
}  # fmt: skip
RAISED_M = (0.12, 0.35)  # an ankle so high: below, the sole is flat; above, it stands at right angles to the shin


def lift(joints: np.ndarray, fps: float, rate_hz: float) -> np.ndarray:
    """Joints [T, 20, 3] of layout kinect20 -> [T', 22, 3] of smpl22 at `rate_hz`, the floor about y = 0.

    Joints out of reach or that jump are replaced, the motion is smoothed without delay, each joint that Kinect lacks
    is put where anatomy has it, and every bone gets one length for the whole clip: its median there, left and right
    alike, within `PLAY` of the mean body's.
    """
    return _on_floor(_with_feet(_rebuilt(_posed(smoothed(joints, fps, rate_hz)))), rate_hz)


def levelling(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Rotation [3, 3] that makes those who stand upright in clips [T, 20, 3] of one sensor stand along y.

    Its camera is seldom level. Who stands is told by the distance from ankles to neck, near the longest of each clip.
    """
    ankles, neck = [KINECT.joints.index(f"{side}_ankle") for side in ("left", "right")], KINECT.joints.index("neck")
    found = []
    for joints in clips:
        up = joints[:, neck] - joints[:, ankles].mean(1)
        tall = np.linalg.norm(up, axis=1)
        found.append(up[tall >= np.quantile(tall, 0.6)])
    return _turn_onto(_unit(np.median(np.concatenate(found), 0)), np.array([0.0, 1.0, 0.0]))


def smoothed(joints: np.ndarray, fps: float, rate_hz: float, cutoff_hz: float = CUTOFF_HZ) -> np.ndarray:
    """Joints [T, V, 3] resampled to `rate_hz`, outliers replaced, smoothed without delay.

    The result x minimises  sum_t w_t |(A x)_t - y_t|^2 + l |D x|^2  for every joint, with A the linear interpolation
    at the times of the samples y and D the second difference: a low-pass 1 / (1 + (f / cutoff)^4) of zero phase
    (Whittaker 1923; Eilers 2003). The weights w fall with the residual, twice re-estimated.
    """
    T, V, _ = joints.shape
    frames = max(2, round((T - 1) * rate_hz / fps) + 1)
    at = np.linspace(0, frames - 1, T)
    A = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(frames)))  # [T, frames]
    D = np.diff(np.eye(frames), 2, axis=0)
    stiffness = fps / rate_hz / (2 * np.sin(np.pi * min(cutoff_hz / rate_hz, 0.5))) ** 4 * D.T @ D
    stiffness = stiffness + 1e-9 * np.eye(frames)
    missing = _outliers(joints)
    seen = _filled(joints, missing)
    trust = np.where(missing, 0.02, 1.0)  # [T, V]
    weights = trust
    for _ in range(3):
        normal = np.einsum("ti,tv,tj->vij", A, weights, A, optimize=True) + stiffness
        fitted = np.linalg.solve(normal, np.einsum("ti,tv,tvc->vic", A, weights, seen, optimize=True))
        residual = np.linalg.norm(np.einsum("ti,vic->tvc", A, fitted) - seen, axis=2)
        weights = trust / (1 + (residual / NOISE_M) ** 2)
    return fitted.transpose(1, 0, 2)


def _outliers(joints: np.ndarray) -> np.ndarray:
    """Which joints [T, V] are not finite, out of the root's reach, or jump away for a frame or two."""
    root = KINECT.root
    missing = ~np.isfinite(joints).all(2)
    joints = np.where(missing[..., None], 0, joints)
    missing |= np.linalg.norm(joints - joints[:, [root]], axis=2) > REACH_M
    around = np.pad(joints, ((2, 2), (0, 0), (0, 0)), "edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(around, 5, axis=0), axis=-1)
    missing |= np.linalg.norm(joints - middle, axis=2) > JUMP_M
    return missing


def _filled(joints: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Missing joints linearly between the seen ones before and after, relative to the root."""
    joints = joints.astype(np.float64).copy()
    order = [KINECT.root, *(v for v in range(joints.shape[1]) if v != KINECT.root)]
    for v in order:
        seen = np.flatnonzero(~missing[:, v])
        if not 0 < len(seen) < len(joints):
            continue
        base = 0 if v == KINECT.root else joints[:, KINECT.root]
        local, gaps = joints[:, v] - base, np.flatnonzero(missing[:, v])
        for c in range(3):
            local[gaps, c] = np.interp(gaps, seen, local[seen, c])
        joints[:, v] = local + base
    return joints


def _posed(joints: np.ndarray) -> np.ndarray:
    """Where the joints of smpl22 are in a pose of kinect20, lengths as they come; the feet not yet."""
    at = {name: joints[:, i] for i, name in enumerate(KINECT.joints)}
    hips, shoulders = (at[f"left_{part}"] + at[f"right_{part}"] for part in ("hip", "shoulder"))
    hips, shoulders = hips / 2, shoulders / 2
    up = _unit(shoulders - hips)
    across = [_unit(at[f"left_{part}"] - at[f"right_{part}"]) for part in ("hip", "shoulder")]
    tall = np.median(np.linalg.norm(shoulders - hips, axis=1)) / 0.46  # to the mean body's trunk
    posed = np.full((len(joints), len(SMPL.joints), 3), np.nan)

    def put(name: str, place: np.ndarray) -> None:
        posed[:, SMPL.joints.index(name)] = place

    for name, offset in TRUNK.items():  # the trunk twists from the hips to the shoulders
        share = offset[1] / 0.46
        put(name, hips + _placed(offset, _unit((1 - share) * across[0] + share * across[1]), up) * tall)
    for name, offset in CHEST.items():
        put(name, shoulders + _placed(offset, across[1], up) * tall)
    neck = posed[:, SMPL.joints.index("neck")]
    put("head", neck + at["head"] - at["neck"])
    for side in ("left", "right"):
        for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
            put(f"{side}_{part}", at[f"{side}_{part}"])
        put(f"{side}_foot", at[f"{side}_ankle"])
    return posed


def _rebuilt(posed: np.ndarray) -> np.ndarray:
    """The same directions of bones from the pelvis outwards, every bone as long in every frame."""
    bone = {j: posed[:, j] - posed[:, parent] for j, parent in SMPL.edges}
    median = {j: np.median(np.linalg.norm(bone[j], axis=1)) for j in bone}
    rebuilt = posed.copy()
    for j, parent in SMPL.edges:  # parents come before children
        mean = LENGTHS[SMPL.joints[j].removeprefix("left_").removeprefix("right_")]
        length = np.clip((median[j] + median[SMPL.mirror[j]]) / 2, (1 - PLAY) * mean, (1 + PLAY) * mean)
        rebuilt[:, j] = rebuilt[:, parent] + length * _unit(bone[j])
    return rebuilt


def _with_feet(joints: np.ndarray) -> np.ndarray:
    """Feet that point where the person faces: flat near the ground, at right angles to the shin when raised."""
    joints = joints.copy()
    left, right = SMPL.facing
    across = _unit((joints[:, list(left)].sum(1) - joints[:, list(right)].sum(1)) * [1, 0, 1])
    for side in ("left", "right"):
        knee, ankle, foot = (SMPL.joints.index(f"{side}_{part}") for part in ("knee", "ankle", "foot"))
        floor = np.quantile(joints[:, ankle, 1], 0.1) - RAISED_M[0] * 0.75
        raised = np.clip((joints[:, ankle, 1] - floor - RAISED_M[0]) / (RAISED_M[1] - RAISED_M[0]), 0, 1)[:, None]
        shin = _unit(joints[:, knee] - joints[:, ankle])
        up = _unit((1 - raised) * [0.0, 1.0, 0.0] + raised * shin)
        offset = np.array(FOOT) * ([1, 1, 1] if side == "left" else [-1, 1, 1])
        joints[:, foot] = joints[:, ankle] + _placed(offset, across, up)
    return joints


def _on_floor(joints: np.ndarray, rate_hz: float) -> np.ndarray:
    """The lower foot on y = 0 but for what is too fast to be the sensor's drift."""
    feet = [SMPL.joints.index(f"{side}_foot") for side in ("left", "right")]
    lowest = joints[:, feet, 1].min(1)
    drift = smoothed(np.pad(lowest[:, None, None], ((0, 0), (0, 0), (0, 2))), rate_hz, rate_hz, FLOOR_HZ)[..., :1, 0]
    return (joints - drift[..., None] * [0.0, 1.0, 0.0]).astype(np.float32)


def _placed(offset: Sequence[float] | np.ndarray, across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """An offset (left, up, forward) in the frame of two directions [T, 3], `up` kept."""
    left = _unit(across - (across * up).sum(1, keepdims=True) * up)
    return offset[0] * left + offset[1] * up + offset[2] * np.cross(left, up)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _turn_onto(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation of direction a onto b (Rodrigues)."""
    v, c = np.cross(a, b), float(a @ b)
    K = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + K + K @ K / (1 + c)

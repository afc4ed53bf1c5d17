"""Conversion of Kinect skeletons to SMPL's 22 joints: gaps filled, smoothed, constant bone lengths. Needs no torch.

Shapes: T time, V joints. Meters, y up, the camera looks along z.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ...runtime.body.layout import Layout
from .clips import REACH_M

KINECT, SMPL = Layout.load("kinect20"), Layout.load("smpl22")
CUTOFF_HZ = 3.0  # where half the amplitude passes; a punch or a clap keeps its reach and 90 % of its speed
FLOOR_HZ = 2.5  # slower changes of the lower foot's height are sensor drift or a bending knee, not a jump
NOISE_M = 0.08  # residual that halves a sample's weight
JUMP_M = 0.35  # distance from the median of five frames at which a joint counts as an outlier
BLOCK = 16  # samples
CROSSED_M, CROSSED_SHARE = 0.12, 0.3  # tracking failed if ankles are crossed by more for a larger share of a clip
MAX_SPEED = 12.0  # m/s; the foot of a kick reaches 10
MIN_HEIGHT_M = 1.0  # of the head, in the frames where it is highest; at least 1.1 m in clips of sitting down
LENGTH_TOLERANCE = 0.15  # of bones, relative to the mean body

# Mean body of the mocap sets in meters; x to the left, y up, z forward. Relative to the center of the hips:
TRUNK = {
    "pelvis": (0.0, 0.06, -0.01),
    "spine1": (0.0, 0.18, -0.02),
    "spine2": (0.0, 0.24, -0.015),
    "spine3": (0.0, 0.30, -0.01),
}
# relative to the center of the shoulders:
CHEST = {"neck": (0.0, 0.03, 0.015), "left_collar": (0.07, -0.02, 0.0), "right_collar": (-0.07, -0.02, 0.0)}
# and relative to the ankle, with a flat foot:
FOOT = (0.015, -0.05, 0.105)
LENGTHS = {
    "hip": 0.11, "knee": 0.41, "ankle": 0.42, "foot": 0.117, "spine1": 0.12, "spine2": 0.06, "spine3": 0.06,
    "neck": 0.20, "head": 0.085, "collar": 0.165, "shoulder": 0.105, "elbow": 0.265, "wrist": 0.215,
}  # fmt: skip
MEAN_LENGTH = np.array([LENGTHS.get(name.removeprefix("left_").removeprefix("right_"), 0) for name in SMPL.joints])
MIRROR = list(SMPL.mirror)
RAISED_M = (0.12, 0.35)  # ankle height: below the first, the foot is flat; above the second, perpendicular to the shin


def lift(joints: np.ndarray, fps: float, rate_hz: float) -> np.ndarray:
    """Convert joints [T, 20, 3] of layout kinect20 to [T', 22, 3] of smpl22 at `rate_hz`, with the floor near y = 0.

    Outliers are replaced, the motion is smoothed without delay, missing joints are placed anatomically, and every bone
    gets a constant length: its median over the clip, equal left and right, within `LENGTH_TOLERANCE` of the mean body.
    Kinect assumes that people face it, so left and right are swapped if they turn their back.
    """
    kinect = smooth(joints, fps, rate_hz)
    if _faces_away(kinect, rate_hz):
        kinect = kinect[:, list(KINECT.mirror)]
    return _put_on_floor(_orient_feet(_fix_bone_lengths(_place_joints(kinect))), rate_hz)


def tracking_ok(joints: np.ndarray, rate_hz: float) -> bool:
    """Return whether a lifted clip [T, 22, 3] is plausible: legs do not cross, no joint too fast, people are tall."""
    hips, ankles = [[SMPL.joints.index(f"{side}_{part}") for side in ("left", "right")] for part in ("hip", "ankle")]
    across = _unit((joints[:, hips[0]] - joints[:, hips[1]]) * [1, 0, 1])
    apart = ((joints[:, ankles[0]] - joints[:, ankles[1]]) * across).sum(1)
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=2).max() * rate_hz
    tall = np.quantile(joints[:, SMPL.joints.index("head"), 1] - joints[..., 1].min(1), 0.9)
    return bool((apart < -CROSSED_M).mean() < CROSSED_SHARE and speed < MAX_SPEED and tall > MIN_HEIGHT_M)


def leveling_rotation(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Rotation [3, 3] that levels the camera of clips [T, 20, 3]: people who stand upright are aligned with y.

    Frames of standing are those in which the distance from ankles to neck is near its maximum in the clip.
    """
    ankles, neck = [KINECT.joints.index(f"{side}_ankle") for side in ("left", "right")], KINECT.joints.index("neck")
    standing = []
    for joints in clips:
        up = joints[:, neck] - joints[:, ankles].mean(1)
        up = up[np.isfinite(up).all(1)]
        tall = np.linalg.norm(up, axis=1)
        if len(up):
            standing.append(up[tall >= np.quantile(tall, 0.6)])
    if not standing:
        return np.eye(3)
    return _rotation_between(_unit(np.median(np.concatenate(standing), 0)), np.array([0.0, 1.0, 0.0]))


def smooth(joints: np.ndarray, fps: float, rate_hz: float, cutoff_hz: float = CUTOFF_HZ) -> np.ndarray:
    """Resample joints [T, V, 3] to `rate_hz`, replace outliers and smooth without delay: [T', V, 3].

    Robust iteration: a sample at distance r from the smooth curve is pulled toward it by 1 - 1 / (1 + (r / NOISE_M)^2),
    and the curve is fitted again.
    """
    T, V, _ = joints.shape
    missing = _outliers(joints)
    padding = ((0, -T % BLOCK), (0, 0), (0, 0))  # few different lengths, few matrices
    seen = np.pad(_fill_gaps(joints, missing), padding, "reflect", reflect_type="odd")
    trust = np.where(np.pad(missing, padding[:2]), 0.05, 1.0)
    smoother, i, share = _smoother(len(seen), fps, rate_hz, cutoff_hz)
    adjusted = seen
    for _ in range(4):
        fitted = (smoother @ adjusted.reshape(len(seen), -1)).reshape(-1, V, 3)
        at_samples = fitted[i] * (1 - share) + fitted[i + 1] * share
        residual = seen - at_samples
        weight = trust / (1 + np.einsum("tvc,tvc->tv", residual, residual) / NOISE_M**2)
        adjusted = at_samples + weight[..., None] * residual
    return fitted[: int((T - 1) * rate_hz / fps + 1e-6) + 1]


@lru_cache(maxsize=512)
def _smoother(T: int, fps: float, rate_hz: float, cutoff_hz: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrix [T', T] from samples y to the minimizer x of |A x - y|^2 + l |D x|^2, and A as indices and weights.

    A interpolates between frames i and i + 1 at the sample times, D is the second difference: a zero-phase low-pass
    1 / (1 + (f / cutoff)^4) (Whittaker 1923; Eilers 2003).
    """
    at = np.arange(T) * rate_hz / fps
    frames = int(at[-1]) + 2
    A = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(frames)))
    D = np.diff(np.eye(frames), 2, axis=0)
    stiffness = fps / rate_hz / (2 * np.sin(np.pi * min(cutoff_hz / rate_hz, 0.5))) ** 4
    i = at.astype(int)
    return np.linalg.solve(A.T @ A + stiffness * D.T @ D, A.T), i, (at - i)[:, None, None]


def _outliers(joints: np.ndarray) -> np.ndarray:
    """Mask [T, V] of joints that are not finite, too far from the root, or jump away for a frame or two."""
    root = KINECT.root
    missing = ~np.isfinite(joints).all(2)
    joints = np.where(missing[..., None], 0, joints)
    missing |= np.linalg.norm(joints - joints[:, [root]], axis=2) > REACH_M
    around = np.pad(joints, ((2, 2), (0, 0), (0, 0)), "edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(around, 5, axis=0), axis=-1)
    missing |= np.linalg.norm(joints - middle, axis=2) > JUMP_M
    return missing


def _fill_gaps(joints: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Interpolate missing joints linearly in time, relative to the root."""
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


def _faces_away(joints: np.ndarray, rate_hz: float) -> bool:
    """True if knees, forearms and steps point away from the direction that a kinect20 skeleton faces."""
    at = {name: joints[:, i] for i, name in enumerate(KINECT.joints)}
    across = sum(at[f"left_{part}"] - at[f"right_{part}"] for part in ("hip", "shoulder"))
    ahead = _unit(np.cross(across * [1, 0, 1], [0, 1, 0]))
    knees = sum(at[f"{s}_knee"] - (at[f"{s}_hip"] + at[f"{s}_ankle"]) / 2 for s in ("left", "right")) / 2
    wrists = sum(at[f"{s}_wrist"] - at[f"{s}_elbow"] for s in ("left", "right")) / 2
    step = np.diff(at["pelvis"], axis=0, append=at["pelvis"][-1:]) * rate_hz
    knee_m, wrist_m, speed = ((part * ahead).sum(1).mean() for part in (knees, wrists, step))
    return bool(np.clip(knee_m / 0.02, -2, 2) + wrist_m / 0.033 + speed / 0.3 < -3)


def _place_joints(joints: np.ndarray) -> np.ndarray:
    """Joints of smpl22 for poses of kinect20, without bone lengths and feet."""
    at = {name: joints[:, i] for i, name in enumerate(KINECT.joints)}
    hips, shoulders = (at[f"left_{part}"] + at[f"right_{part}"] for part in ("hip", "shoulder"))
    hips, shoulders = hips / 2, shoulders / 2
    up = _unit(shoulders - hips)
    across = [_unit(at[f"left_{part}"] - at[f"right_{part}"]) for part in ("hip", "shoulder")]
    scale = np.median(np.linalg.norm(shoulders - hips, axis=1)) / 0.46  # relative to the mean body's trunk
    posed = np.full((len(joints), len(SMPL.joints), 3), np.nan)

    def put(name: str, position: np.ndarray) -> None:
        posed[:, SMPL.joints.index(name)] = position

    for name, offset in TRUNK.items():  # the trunk twists between hips and shoulders
        share = offset[1] / 0.46
        put(name, hips + _body_frame(offset, _unit((1 - share) * across[0] + share * across[1]), up) * scale)
    for name, offset in CHEST.items():
        put(name, shoulders + _body_frame(offset, across[1], up) * scale)
    neck = posed[:, SMPL.joints.index("neck")]
    put("head", neck + at["head"] - at["neck"])
    for side in ("left", "right"):
        for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
            put(f"{side}_{part}", at[f"{side}_{part}"])
        put(f"{side}_foot", at[f"{side}_ankle"])
    return posed


def _fix_bone_lengths(posed: np.ndarray) -> np.ndarray:
    """Give every bone a constant length, keeping directions."""
    parents = [max(parent, 0) for parent in SMPL.parents]
    bones = posed - posed[:, parents]
    lengths = np.linalg.norm(bones, axis=2)
    median = np.median(lengths, axis=0)
    median = np.clip(
        (median + median[MIRROR]) / 2, (1 - LENGTH_TOLERANCE) * MEAN_LENGTH, (1 + LENGTH_TOLERANCE) * MEAN_LENGTH
    )
    bones *= (median / np.maximum(lengths, 1e-6))[..., None]
    rebuilt = posed.copy()
    for j, parent in SMPL.edges:  # parents come before children
        rebuilt[:, j] = rebuilt[:, parent] + bones[:, j]
    return rebuilt


def _orient_feet(joints: np.ndarray) -> np.ndarray:
    """Point the feet where the person faces: flat near the ground, perpendicular to the shin when raised."""
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
        joints[:, foot] = joints[:, ankle] + _body_frame(offset, across, up)
    return joints


def _put_on_floor(joints: np.ndarray, rate_hz: float) -> np.ndarray:
    """Put the lower foot on y = 0, except for changes too fast to be sensor drift."""
    feet = [SMPL.joints.index(f"{side}_foot") for side in ("left", "right")]
    lowest = joints[:, feet, 1].min(1)
    drift = smooth(np.pad(lowest[:, None, None], ((0, 0), (0, 0), (0, 2))), rate_hz, rate_hz, FLOOR_HZ)[..., :1, 0]
    return (joints - drift[..., None] * [0.0, 1.0, 0.0]).astype(np.float32)


def _body_frame(offset: Sequence[float] | np.ndarray, across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """An offset (left, up, forward) in the frames of two directions [T, 3]; `up` is exact."""
    left = _unit(across - (across * up).sum(1, keepdims=True) * up)
    return offset[0] * left + offset[1] * up + offset[2] * np.cross(left, up)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Smallest rotation of direction a onto b (Rodrigues)."""
    v, c = np.cross(a, b), float(a @ b)
    K = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + K + K @ K / (1 + c)

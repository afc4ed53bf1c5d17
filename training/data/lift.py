"""Kinect skeletons brought to the 22 joints of SMPL: gaps filled, smoothed, limbs of constant length. Needs no torch.

Shapes: T time, V joints. Metres, y up, the camera looks along z.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ...runtime.body.layout import Layout
from .clips import REACH_M

KINECT, SMPL = Layout.load("kinect20"), Layout.load("smpl22")
CUTOFF_HZ = 3.0  # half the amplitude passes there. A punch or a clap keeps its reach and nine tenths of its speed
FLOOR_HZ = (
    2.5  # what is slower than this in the height of the lower foot is the sensor's or a knee that bends, not a jump
)
NOISE_M = 0.08  # a residual of so much halves a sample's weight
JUMP_M = 0.35  # a joint so far from where it is in the two frames before and after has jumped
BLOCK = 16  # samples
CROSSED_M, CROSSED_SHARE = 0.12, 0.3  # ankles so far on each other's side for so much of a clip
FASTEST = 12.0  # m/s; a kick's foot reaches 10
LOWEST_M = 1.0  # of a head at its highest; who sits down was 1.1 m tall at least
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
MEAN_LENGTH = np.array([LENGTHS.get(name.removeprefix("left_").removeprefix("right_"), 0) for name in SMPL.joints])
MIRROR = list(SMPL.mirror)
RAISED_M = (0.12, 0.35)  # an ankle so high: below, the sole is flat; above, it stands at right angles to the shin


def lift(joints: np.ndarray, fps: float, rate_hz: float) -> np.ndarray:
    """Joints [T, 20, 3] of layout kinect20 -> [T', 22, 3] of smpl22 at `rate_hz`, the floor about y = 0.

    Joints out of reach or that jump are replaced, the motion is smoothed without delay, each joint that Kinect lacks
    is put where anatomy has it, and every bone gets one length for the whole clip: its median there, left and right
    alike, within `PLAY` of the mean body's. Kinect takes everybody to face it: who turns their back has their sides
    exchanged.
    """
    seen = smooth(joints, fps, rate_hz)
    if _from_behind(seen, rate_hz):
        seen = seen[:, list(KINECT.mirror)]
    return _on_floor(_with_feet(_rebuilt(_posed(seen))), rate_hz)


def tracking_ok(joints: np.ndarray, rate_hz: float) -> bool:
    """Whether a lifted clip [T, 22, 3] can be a person's motion.

    Where tracking failed, legs cross, joints fly or the body folds up.
    """
    hips, ankles = [[SMPL.joints.index(f"{side}_{part}") for side in ("left", "right")] for part in ("hip", "ankle")]
    across = _unit((joints[:, hips[0]] - joints[:, hips[1]]) * [1, 0, 1])
    apart = ((joints[:, ankles[0]] - joints[:, ankles[1]]) * across).sum(1)
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=2).max() * rate_hz
    tall = np.quantile(joints[:, SMPL.joints.index("head"), 1] - joints[..., 1].min(1), 0.9)
    return bool((apart < -CROSSED_M).mean() < CROSSED_SHARE and speed < FASTEST and tall > LOWEST_M)


def leveling_rotation(clips: Sequence[np.ndarray]) -> np.ndarray:
    """Rotation [3, 3] that makes those who stand upright in clips [T, 20, 3] of one sensor stand along y.

    Its camera is seldom level. Who stands is told by the distance from ankles to neck, near the longest of each clip.
    """
    ankles, neck = [KINECT.joints.index(f"{side}_ankle") for side in ("left", "right")], KINECT.joints.index("neck")
    found = []
    for joints in clips:
        up = joints[:, neck] - joints[:, ankles].mean(1)
        up = up[np.isfinite(up).all(1)]
        tall = np.linalg.norm(up, axis=1)
        if len(up):
            found.append(up[tall >= np.quantile(tall, 0.6)])
    if not found:
        return np.eye(3)
    return _turn_onto(_unit(np.median(np.concatenate(found), 0)), np.array([0.0, 1.0, 0.0]))


def smooth(joints: np.ndarray, fps: float, rate_hz: float, cutoff_hz: float = CUTOFF_HZ) -> np.ndarray:
    """Joints [T, V, 3] resampled to `rate_hz`, outliers replaced, smoothed without delay: [T', V, 3].

    A sample that the smooth curve misses by a distance r is drawn to it by 1 - 1 / (1 + (r / NOISE_M)^2), and the
    curve is laid anew.
    """
    T, V, _ = joints.shape
    missing = _outliers(joints)
    beyond = ((0, -T % BLOCK), (0, 0), (0, 0))  # few lengths, few matrices
    seen = np.pad(_filled(joints, missing), beyond, "reflect", reflect_type="odd")
    trust = np.where(np.pad(missing, beyond[:2]), 0.05, 1.0)
    smoother, i, share = _smoother(len(seen), fps, rate_hz, cutoff_hz)
    drawn = seen
    for _ in range(4):
        fitted = (smoother @ drawn.reshape(len(seen), -1)).reshape(-1, V, 3)
        at_samples = fitted[i] * (1 - share) + fitted[i + 1] * share
        residual = seen - at_samples
        weight = trust / (1 + np.einsum("tvc,tvc->tv", residual, residual) / NOISE_M**2)
        drawn = at_samples + weight[..., None] * residual
    return fitted[: int((T - 1) * rate_hz / fps + 1e-6) + 1]


@lru_cache(maxsize=512)
def _smoother(T: int, fps: float, rate_hz: float, cutoff_hz: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrix [T', T] from samples y to the x that minimises  |A x - y|^2 + l |D x|^2, and A as index and share.

    A interpolates between frames i and i + 1 at the times of the samples, D is the second difference: a low-pass
    1 / (1 + (f / cutoff)^4) of zero phase (Whittaker 1923; Eilers 2003).
    """
    at = np.arange(T) * rate_hz / fps
    frames = int(at[-1]) + 2
    A = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(frames)))
    D = np.diff(np.eye(frames), 2, axis=0)
    stiffness = fps / rate_hz / (2 * np.sin(np.pi * min(cutoff_hz / rate_hz, 0.5))) ** 4
    i = at.astype(int)
    return np.linalg.solve(A.T @ A + stiffness * D.T @ D, A.T), i, (at - i)[:, None, None]


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


def _from_behind(joints: np.ndarray, rate_hz: float) -> bool:
    """Whether knees and elbows bend, and the steps go, away from where a person of kinect20 is said to face."""
    at = {name: joints[:, i] for i, name in enumerate(KINECT.joints)}
    across = sum(at[f"left_{part}"] - at[f"right_{part}"] for part in ("hip", "shoulder"))
    ahead = _unit(np.cross(across * [1, 0, 1], [0, 1, 0]))
    knees = sum(at[f"{s}_knee"] - (at[f"{s}_hip"] + at[f"{s}_ankle"]) / 2 for s in ("left", "right")) / 2
    wrists = sum(at[f"{s}_wrist"] - at[f"{s}_elbow"] for s in ("left", "right")) / 2
    step = np.diff(at["pelvis"], axis=0, append=at["pelvis"][-1:]) * rate_hz
    knee_m, wrist_m, speed = ((part * ahead).sum(1).mean() for part in (knees, wrists, step))
    return bool(np.clip(knee_m / 0.02, -2, 2) + wrist_m / 0.033 + speed / 0.3 < -3)


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
    parents = [max(parent, 0) for parent in SMPL.parents]
    bones = posed - posed[:, parents]
    lengths = np.linalg.norm(bones, axis=2)
    median = np.median(lengths, axis=0)
    median = np.clip((median + median[MIRROR]) / 2, (1 - PLAY) * MEAN_LENGTH, (1 + PLAY) * MEAN_LENGTH)
    bones *= (median / np.maximum(lengths, 1e-6))[..., None]
    rebuilt = posed.copy()
    for j, parent in SMPL.edges:  # parents come before children
        rebuilt[:, j] = rebuilt[:, parent] + bones[:, j]
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
    drift = smooth(np.pad(lowest[:, None, None], ((0, 0), (0, 0), (0, 2))), rate_hz, rate_hz, FLOOR_HZ)[..., :1, 0]
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

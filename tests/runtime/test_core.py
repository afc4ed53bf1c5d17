"""The compiled core against a plain numpy model of the same chain, and its behavior under stress."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime._core import Config, Engine, Session
from motionrt.runtime.backends.factory import create
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.bundles.bundle import Bundle

V = 6  # pelvis, left hip, right hip, left shoulder, right shoulder, head
REST = np.float32([[0, 1, 0], [0.1, 1, 0], [-0.1, 1, 0], [0.2, 1.5, 0], [-0.2, 1.5, 0], [0, 1.7, 0.05]])  # faces +z
SKELETON = {"joints": V, "root": 0, "left": [1, 3], "right": [2, 4]}
WAVE, JUMP, NONE = range(3)


def make(**settings) -> Session:
    """A session whose layout 0 is the model's own."""
    settings = {**SKELETON, "rate_hz": 20.0, "labels": 3, "none": NONE, **settings}
    session = Session(Config(**settings))
    session.add_layout(np.eye(settings["joints"], dtype=np.float32))
    return session


def hide(pose: np.ndarray, *joints: int) -> np.ndarray:
    pose = pose.copy()
    pose[list(joints)] = np.nan
    return pose


def see(session: Session, wave: float, jump: float = 0, times: int = 1) -> list:
    """Observes these probabilities for person 0, NONE gets the rest; returns (event, label) after each."""
    logits = np.log(np.maximum([wave, jump, 1 - wave - jump], 1e-9)).astype(np.float32)
    events = []
    for _ in range(times):
        session.observe(0, logits)
        events.append(session.decision(0)[3:5])
    return events


@dataclass
class Reference:
    """One person's push chain in plain numpy, double precision."""

    weights: np.ndarray  # [V, Vs]
    root: int
    left: list[int]
    right: list[int]
    rate_hz: float
    facing_s: float = 1.0
    reach_m: float = 2.0
    max_gap_s: float = 0.5
    last_t: float = -np.inf
    times: list[float] = field(default_factory=list)  # of the filled world poses since the start
    poses: list[np.ndarray] = field(default_factory=list)
    emitted: int = 0

    def map(self, joints, confidence):  # [Vs, 3], [Vs] -> [V, 3]
        present = np.isfinite(joints).all(1)
        if confidence is not None:
            present &= confidence > 0
        w = self.weights * present
        total = w.sum(1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return np.where(total > 0, w @ np.where(present[:, None], joints, 0) / total, np.nan)

    def push(self, t, joints, confidence=None):
        """Returns (frames [n, V, 3], status)."""
        nothing = np.zeros((0, len(self.weights), 3))
        if t <= self.last_t:
            return nothing, "dropped"
        if t - self.last_t > self.max_gap_s + 1e-4:
            self.poses = []
        self.last_t = t
        pose = self.map(np.float64(joints), confidence)
        first = not self.poses
        if first:
            if np.isnan(pose[self.root]).any():
                return nothing, "missing"
            self.offset = np.zeros_like(pose)
            self.seen = np.full(len(pose), t)
            self.times, self.emitted, self.mean = [], 0, np.zeros(2)
        if np.isfinite(pose[self.root]).all():
            self.at = pose[self.root]
        visible = np.linalg.norm(pose - self.at, axis=1) <= self.reach_m
        self.offset[visible] = (pose - self.at)[visible]
        self.seen[visible] = t
        unseen = t - self.seen > self.max_gap_s + 1e-4
        if first and visible.sum() < len(pose) / 2:
            return nothing, "missing"
        if not first and (unseen[self.root] or unseen.sum() > len(pose) / 2):
            self.poses = []
            return nothing, "lost"
        self.times.append(t)
        self.poses.append(self.at + self.offset)
        frames = []
        while self.times[0] + self.emitted / self.rate_hz <= t + 1e-4:
            frames.append(self.frame(self.times[0] + self.emitted / self.rate_hz))
            self.emitted += 1
        return np.array(frames) if frames else nothing, "ok"

    def frame(self, t):
        flat = np.reshape(self.poses[-2:], (-1, self.poses[0].size))
        pose = np.array([np.interp(t, self.times[-2:], c) for c in flat.T]).reshape(-1, 3)
        pose -= pose[self.root]
        if self.facing_s <= 0:
            return pose
        across = pose[self.left].sum(0) - pose[self.right].sum(0)
        across = across[[0, 2]]
        length = np.linalg.norm(across)
        if length >= 0.01:
            a = max(1 / (self.emitted + 1), min(1, 1 / (self.rate_hz * self.facing_s)))
            self.mean = (1 - a) * self.mean + a * across / length
        if not self.mean.any():
            return pose
        angle = np.arctan2(self.mean[1], self.mean[0])
        c, s = np.cos(angle), np.sin(angle)
        return pose @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def compare(session: Session, layout: int, reference: Reference, stream) -> dict[str, int]:
    """Pushes (t, joints, confidence) through both; returns the count of each status."""
    seen: dict[str, int] = {}
    for t, joints, confidence in stream:
        got = session.push(0, t, joints, confidence, layout)
        frames, status = reference.push(t, joints, confidence)
        assert got.status == status
        assert got.frames.shape == frames.shape and got.frames.dtype == np.float32
        np.testing.assert_allclose(got.frames, frames, atol=1e-5)
        seen[status] = seen.get(status, 0) + len(frames)
    return seen


def random_walk(rng: np.random.Generator, source: np.ndarray, seconds: float, hz: float):
    """A walking, turning, jittering body with missing joints, outliers, late frames and gaps."""
    t, angle, at = float(rng.uniform(0, 1e4)), rng.uniform(-np.pi, np.pi), np.zeros(3)
    end = t + seconds
    absent_until = t
    while t < end:
        angle += rng.normal(0, 0.1)
        at[[0, 2]] += rng.normal(0, 0.03, 2)
        c, s = np.cos(angle), np.sin(angle)
        joints = source @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + at
        joints += rng.normal(0, 0.02, joints.shape)
        confidence = rng.uniform(0.1, 1, len(source)) if rng.random() < 0.5 else None
        joints[rng.random(len(source)) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
        if rng.random() < 0.05:
            joints[rng.integers(len(source))] += rng.uniform(3, 5)
        if confidence is not None:
            confidence[rng.random(len(source)) < 0.1] = rng.choice([0, -1, np.nan])
        if rng.random() < 0.01:
            absent_until = t + rng.uniform(0, 1.5)
        if t < absent_until:
            joints[:] = np.nan
        yield t, joints.astype(np.float32), None if confidence is None else confidence.astype(np.float32)
        t += rng.choice([0, -0.1, 0.9]) if rng.random() < 0.03 else rng.exponential(1 / hz)


@pytest.mark.parametrize("rate_hz, hz, facing_s", [(20, 30, 1.0), (20, 15, 0.3), (25, 60, 0), (50, 20, 2.0)])
def test_push_matches_numpy_on_random_walks(rate_hz: float, hz: float, facing_s: float) -> None:
    rng = np.random.default_rng(int(hz))
    source = np.concatenate([REST, rng.normal(0, 0.3, (5, 3)) + [0, 1, 0]])  # 11 sensor joints
    weights = np.where(rng.random((V, 11)) < 0.25, rng.random((V, 11)), 0) + np.eye(V, 11)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    session = make(rate_hz=rate_hz, facing_s=facing_s)
    reference = Reference(weights, SKELETON["root"], SKELETON["left"], SKELETON["right"], rate_hz, facing_s)
    seen = compare(session, session.add_layout(weights), reference, random_walk(rng, source, 60, hz))
    assert seen["ok"] > 500 and {"dropped", "lost"} <= seen.keys()


@pytest.mark.parametrize("clip", [0, 1200, 2015])
def test_push_matches_numpy_on_a_kinect_clip(shared: Path, clip: int) -> None:
    info = json.loads((shared / "kinect20.json").read_text())
    names, fps = info["joints"], info["clips"][clip]["fps"]
    with np.load(shared / "kinect20.npz") as data:
        frames = slice(*data["start"][clip : clip + 2])
        joints = data["joints"][frames].astype(np.float32)
        joints[..., [0, 2]] += data["root_xz"][frames, None]
    left = [names.index("hip_left"), names.index("shoulder_left")]
    right = [names.index("hip_right"), names.index("shoulder_right")]
    session = make(joints=20, root=0, left=left, right=right)
    reference = Reference(np.eye(20), 0, left, right, 20.0)
    stream = ((i / fps, pose, None) for i, pose in enumerate(joints))
    seen = compare(session, 0, reference, stream)
    assert seen["ok"] == pytest.approx(len(joints) * 20 / fps, abs=1)


def test_the_first_pose_is_immediately_a_frame_and_faces_forward() -> None:
    quarter = REST[:, [2, 1, 0]] * np.float32([1, 1, -1])  # rotated to face +x
    pushed = make().push(0, 3.0, quarter + np.float32([5, 0, 7]), None, 0)
    assert pushed.status == "ok" and pushed.reset
    np.testing.assert_allclose(pushed.frames, [REST - REST[0]], atol=1e-6)


def test_late_and_repeated_frames_are_dropped_and_counted() -> None:
    session = make()
    for t in (1.0, 1.0, 0.9):
        session.push(0, t, REST, None, 0)
    assert session.counters == {"frames": 3, "dropped": 2, "resets": 0, "lost": 0}
    np.testing.assert_array_equal(session.push(0, 1.05, REST, None, 0).frames.shape, [1, V, 3])


def test_a_gap_resets_and_ends_the_action() -> None:
    session = make(smooth_s=0)
    session.push(0, 0, REST, None, 0)
    see(session, 0.9, times=3)
    assert not session.push(0, 0.5, REST, None, 0).reset
    pushed = session.push(0, 1.1, REST, None, 0)
    assert pushed.reset and len(pushed.frames) == 1 and session.counters["resets"] == 1
    label, score, probs, event, event_label, _ = session.decision(0)
    assert (label, score, event, event_label) == (NONE, 1.0, "offset", WAVE)
    assert list(probs) == [0, 0, 1]
    assert session.decision(0).event is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_unseen_person_is_held_then_lost_and_can_return(bad: float) -> None:
    session = make(smooth_s=0)
    session.push(0, 0, REST, None, 0)
    see(session, 0.9, times=3)
    nobody = np.full((V, 3), bad, np.float32)
    for i in range(1, 11):
        held = session.push(0, i / 20, nobody, None, 0)
        np.testing.assert_allclose(held.frames, [REST - REST[0]], atol=1e-6)
    lost = session.push(0, 0.55, nobody, None, 0)
    assert lost.status == "lost" and lost.reset and lost.frames.shape == (0, V, 3)
    assert session.decision(0)[3:5] == ("offset", WAVE)
    assert session.push(0, 0.6, nobody, None, 0).status == "missing"
    back = session.push(0, 0.65, REST, None, 0)
    assert back.status == "ok" and len(back.frames) == 1
    assert session.counters == {"frames": 14, "dropped": 0, "resets": 0, "lost": 1}


def test_confidence_of_zero_is_equivalent_to_nan() -> None:
    by_nan, by_confidence = make(), make()
    for t, pose in ((0, REST), (0.05, REST * np.float32(1.1))):
        hidden = [3] if t else []
        confidence = np.ones(V, np.float32)
        confidence[hidden] = 0
        a = by_nan.push(0, t, hide(pose, *hidden), None, 0)
        b = by_confidence.push(0, t, pose, confidence, 0)
        np.testing.assert_array_equal(a.frames, b.frames)


def test_a_person_is_missing_until_root_and_half_the_joints_are_seen() -> None:
    session = make()
    for t, hidden in enumerate([range(V), [0], [1, 2, 3, 4]]):
        assert session.push(0, t * 0.1, hide(REST, *hidden), None, 0).status == "missing"
    assert session.push(0, 0.3, hide(REST, 1, 2, 3), None, 0).status == "ok"


def test_people_are_independent() -> None:
    rng = np.random.default_rng(0)
    walks = {person: list(random_walk(rng, REST, 5, 30)) for person in (3, -1, 10**12)}
    together = make()
    got: dict[int, list] = {person: [] for person in walks}
    for i in range(max(map(len, walks.values()))):
        for person, stream in walks.items():
            if i < len(stream):
                pushed = together.push(person, *stream[i], 0)
                got[person].append(pushed.frames)
    for person, stream in walks.items():
        alone = make()
        for frames, frame in zip(got[person], stream, strict=True):
            np.testing.assert_array_equal(frames, alone.push(0, *frame, 0).frames)
    assert together.people == [-1, 3, 10**12]
    together.reset(3)
    assert together.people == [-1, 10**12]
    together.reset()
    assert together.people == []


def test_the_number_of_people_is_limited_to_max_people() -> None:
    session = make(max_people=2)
    session.push(0, 0.0, REST, None, 0)
    session.push(1, 0.3, REST, None, 0)
    with pytest.raises(ValueError, match="person 2 is one too many, expected at most 2 people at once"):
        session.push(2, 0.4, REST, None, 0)
    assert session.push(2, 0.6, REST, None, 0).reset  # person 0 left more than max_gap_s ago
    assert session.people == [1, 2]


def test_scores_are_calibrated_and_smoothed() -> None:
    rng = np.random.default_rng(0)
    session = make(temperature=1.7, smooth_s=0.3)
    session.push(0, 0, REST, None, 0)
    expected = np.eye(3)[NONE]
    evidence = np.zeros(3)
    for logits in rng.normal(0, 3, (50, 3)).astype(np.float32):
        session.observe(0, logits)
        p = np.exp(logits / 1.7) / np.exp(logits / 1.7).sum()
        expected += (1 - np.exp(-1 / (20 * 0.3))) * (p - expected)
        evidence += p
        label, score, probs, *_ = session.decision(0)
        np.testing.assert_allclose(probs, expected, atol=1e-6)
        assert label == expected.argmax() and score == probs[label]
    evidence[NONE] = 0
    np.testing.assert_allclose(session.clip(0).probs, evidence / evidence.sum(), atol=1e-6)


def test_without_a_none_label_scores_start_at_the_first_frame() -> None:
    session = make(none=-1)
    session.push(0, 0, REST, None, 0)
    assert session.decision(0).label == session.clip(0).label == -1
    see(session, 0.2, 0.7)
    assert session.decision(0).label == session.clip(0).label == JUMP
    assert session.decision(0).score == pytest.approx(0.7)


def test_onset_and_offset_have_hysteresis_and_onset_must_hold() -> None:
    session = make(smooth_s=0, hold_s=0.1)  # two frames
    session.push(0, 0, REST, None, 0)
    none = (None, -1)
    assert see(session, 0.9) + see(session, 0.5) == [none, none]  # too short
    assert see(session, 0.61, times=3) == [none, ("onset", WAVE), none]
    assert see(session, 0.31, times=3) == [none] * 3
    assert see(session, 0.31, 0.61, times=2) == [none, ("onset", JUMP)]  # takes over
    assert see(session, 0, 0.29, times=2) == [("offset", JUMP), none]


def test_labels_change_without_a_reset() -> None:
    session = make()
    assert session.push(0, 0.0, REST, None, 0).reset
    assert see(session, 1.0, times=40)[-1] == (None, -1) and session.decision(0).label == WAVE
    session.relabel(2, 1)
    found = session.decision(0)
    assert (found.label, found.event, found.probs.tolist()) == (1, None, [0, 1]), "the action has ended silently"
    assert not session.push(0, 0.05, REST, None, 0).reset and session.counters["frames"] == 2
    session.observe(0, np.float32([9, 0]))
    assert session.decision(0).probs.shape == session.clip(0).probs.shape == (2,)
    with pytest.raises(ValueError, match=r"logits has shape \[3\], expected float32 \[2\]"):
        session.observe(0, np.zeros(3, np.float32))
    for labels, none, message in ((0, -1, "labels is 0, expected at least 1"), (2, 2, "none is 2, expected -1 or a")):
        with pytest.raises(ValueError, match=message):
            session.relabel(labels, none)
    assert session.decision(0).probs.shape == (2,)


def test_only_streams_in_python_can_change_their_labels() -> None:
    bundle = Bundle.load("live")
    manifest = bundle.manifest
    config = manifest.frontend.config(Layout.load(manifest.layout), len(manifest.labels), max_people=2)
    engine = Engine(config, create("native", bundle).streams(2))
    with pytest.raises(ValueError, match="labels is 7, expected 58"):
        engine.relabel(7, 6)


def test_a_clip_without_an_action_is_none() -> None:
    session = make(smooth_s=0)
    session.push(0, 0, REST, None, 0)
    assert session.clip(0).label == NONE
    see(session, 0.1, 0.05, times=9)
    label, score, probs = session.clip(0)
    assert label == NONE and score == pytest.approx(0.85)
    np.testing.assert_allclose(probs, [0.1, 0.05, 0.85], atol=1e-6)
    see(session, 0.9, 0.05)
    label, score, probs = session.clip(0)
    assert label == WAVE and score == probs[WAVE] and probs[NONE] == 0
    np.testing.assert_allclose(probs.sum(), 1, atol=1e-6)


def test_other_number_types_and_strides_are_accepted() -> None:
    a, b = make(), make()
    strided = np.zeros((2 * V, 6))
    strided[::2, ::2] = REST
    a.push(0, 0, REST, None, 0)
    pushed = b.push(np.int64(0), np.float32(0), strided[::2, ::2], np.ones(V, np.int64), 0)
    np.testing.assert_allclose(pushed.frames, [REST - REST[0]], atol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda s: s.push(0, np.nan, REST, None, 0), "t of person 0 is nan, expected seconds"),
        (lambda s: s.push(0, 1.7e12, REST, None, 0), "expected seconds"),
        (lambda s: s.push(0, 0, REST[:5], None, 0), r"joints has shape \[5, 3\], expected float32 \[6, 3\]"),
        (lambda s: s.push(0, 0, REST[:, :2], None, 0), r"joints has shape \[6, 2\]"),
        (lambda s: s.push(0, 0, REST.tolist(), None, 0), r"joints is a list, expected float32 \[6, 3\]"),
        (lambda s: s.push(0, 0, REST.astype(object), None, 0), "joints has dtype object"),
        (lambda s: s.push(0, 0, REST, REST, 0), r"confidence has shape \[6, 3\], expected float32 \[6\]"),
        (lambda s: s.push(0, 0, REST, None, 1), "layout 1 is unknown, 1 were added"),
        (lambda s: s.push(0, 0, REST, None, -1), "layout -1 is unknown"),
        (lambda s: s.observe(0, np.zeros(3, np.float32)), "person 0 is unknown"),
        (lambda s: s.observe(0, np.zeros(4, np.float32)), r"logits has shape \[4\], expected float32 \[3\]"),
        (lambda s: s.decision(4), "person 4 is unknown"),
        (lambda s: s.clip(4), "person 4 is unknown"),
        (lambda s: s.add_layout(np.eye(5)), r"weights has shape \[5, 5\], expected float32 \[6, n\]"),
        (lambda s: s.add_layout(np.zeros((6, 3))), "weights row 0 is all zero"),
        (lambda s: s.add_layout(np.ones((6, 257))), "257 columns, expected 1 to 256"),
        (lambda s: make(joints=0), "joints is 0"),
        (lambda s: make(none=3), "none is 3, expected -1 or a label index below 3"),
        (lambda s: make(left=[1]), "left has 1 joints and right 2"),
        (lambda s: make(temperature=0), "temperature is 0"),
        (lambda s: make(on=0.2), "off and on are 0.3 and 0.2"),
    ],
)
def test_errors_are_one_line_that_names_the_problem(call, message: str) -> None:
    session = make()
    with pytest.raises(ValueError, match=message) as error:
        call(session)
    assert "\n" not in str(error.value)
    assert session.people == [] and session.counters["frames"] == 0


def test_logits_that_are_not_finite_are_rejected():
    session = make()
    session.push(0, 0, REST, None, 0)
    with pytest.raises(ValueError, match=r"logits\[1\] of person 0 is nan"):
        session.observe(0, np.float32([0, np.nan, 0]))

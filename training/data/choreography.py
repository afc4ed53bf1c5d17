"""Motion made by rule: labeled actions of every size, speed, height and direction, on top of real people at rest.

A data set shows an action in one style. Here hands, feet, trunk and pelvis follow random paths that any person would
call by the label, and elbows and knees follow by inverse kinematics. Needs no torch.

Shapes: T time, V joints of core15. Paths of hands are in arm lengths from the shoulder: (outward, up, forward).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from ...runtime.body.layout import Layout
from .clips import LabeledClip
from .puppet import FPS, REST, Keys, Score, perform

SOURCE = "choreography"
AT_A_DESK = 0.15  # share of the gestures that a seated person makes
Rule = Callable[[Generator], Score]
RULES: dict[str, Rule] = {}


def rule(label: str) -> Callable[[Rule], Rule]:
    def add(make: Rule) -> Rule:
        RULES[label] = make
        return make

    return add


# ---- parts of a score


def direction(rng: Generator, side: tuple[float, float], height: tuple[float, float]) -> np.ndarray:
    """A unit vector: `side` degrees outward from straight ahead, `height` degrees above the shoulder."""
    azimuth, elevation = np.radians(rng.uniform(*side)), np.radians(rng.uniform(*height))
    return np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])


def held(rng: Generator, at: np.ndarray, seconds: tuple[float, float] = (0.1, 1.3)) -> Keys:
    """From rest to a point, stay there, and back to rest."""
    rise, hold, fall = rng.uniform(0.3, 0.9), rng.uniform(*seconds), rng.uniform(0.3, 0.9)
    return [(0, REST), (rise, at), (rise + hold, at + rng.normal(0, 0.03, 3)), (rise + hold + fall, REST)]


def raised(rng: Generator) -> Keys:
    """A hand over the head, which may go there and back with a stretched arm, forward or by the side."""
    keys = held(rng, direction(rng, (-20, 100), (45, 90)) * rng.uniform(0.8, 0.99))
    if rng.random() < 0.5:
        way, (_, (up, _), (down, _), (end, _)) = direction(rng, (0, 95), (-20, 10)) * 0.97, keys
        keys = [keys[0], (up / 2, way), *keys[1:3], ((down + end) / 2, way), keys[3]]
    return keys


def strokes(rng: Generator, points: Sequence[np.ndarray], seconds: Sequence[float]) -> Keys:
    """From rest through the points, with the time of each stroke, and back to rest."""
    time = rng.uniform(0.25, 0.7)
    keys: Keys = [(0, REST), (time, points[0])]
    if rng.random() < 0.4:
        time += rng.uniform(0.05, 0.3)
        keys.append((time, points[0]))
    for point, duration in zip(points[1:], seconds, strict=True):
        time += duration
        keys.append((time, point))
    return [*keys, (time + rng.uniform(0.3, 0.8), REST)]


def repeated(rng: Generator, a: np.ndarray, b: np.ndarray, times: int, seconds: float) -> Keys:
    """From rest to a, then to b and back several times, and back to rest."""
    points = [a, b] * times + [a]
    return strokes(rng, points, [seconds * rng.uniform(0.85, 1.15) for _ in points[1:]])


def canvas(rng: Generator) -> Callable[[float, float], np.ndarray]:
    """A board in front of the acting hand: (outward, up) in its half widths -> point."""
    center = direction(rng, (-20, 35), (-25, 35)) * rng.uniform(0.5, 0.85)
    width, height = rng.uniform(0.22, 0.55, 2)
    yaw, pitch = rng.normal(0, 0.25, 2)

    def at(out: float, up: float) -> np.ndarray:
        x, y = width * out, height * up
        return center + np.array([x * np.cos(yaw), y * np.cos(pitch), -x * np.sin(yaw) - y * np.sin(pitch)])

    return at


def both(keys: Keys) -> dict[str, Keys]:
    return {"acting": keys, "other": keys}


def one_or_both(rng: Generator, keys: Keys, share_both: float = 0.3) -> dict[str, Keys]:
    return both(keys) if rng.random() < share_both else {"acting": keys}


def times_of(rng: Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


# ---- hands


@rule("wave")
def wave(rng: Generator) -> Score:
    center = direction(rng, (-20, 80), (-20, 70)) * rng.uniform(0.55, 0.92)
    swing = np.array([1, -rng.uniform(-0.1, 0.6), 0]) * rng.uniform(0.05, 0.5)
    keys = repeated(rng, center - swing, center + swing, times_of(rng, 1, 4), rng.uniform(0.15, 0.5))
    return Score(hands={"acting": keys})


@rule("wave both hands")
def wave_both_hands(rng: Generator) -> Score:
    center = direction(rng, (0, 80), (20, 80)) * rng.uniform(0.65, 0.97)
    swing = np.array([rng.uniform(0.12, 0.5), rng.uniform(-0.1, 0.1), 0])
    times, seconds = times_of(rng, 2, 4), rng.uniform(0.18, 0.5)
    keys = repeated(rng, center - swing, center + swing, times, seconds)
    return Score(hands=both(keys))


@rule("wave sideways")
def wave_sideways(rng: Generator) -> Score:
    height = (-10.0, 20.0)
    a, b = direction(rng, (40, 90), height), direction(rng, (-40, 10), height)
    reach = rng.uniform(0.8, 0.98)
    return Score(hands={"acting": repeated(rng, a * reach, b * reach, times_of(rng, 1, 2), rng.uniform(0.4, 0.8))})


@rule("raise right hand")
def raise_hand(rng: Generator) -> Score:
    return Score(hands={"acting": raised(rng)})


@rule("raise both hands")
def raise_both_hands(rng: Generator) -> Score:
    return Score(hands=both(raised(rng)))


@rule("point")
def point(rng: Generator) -> Score:
    return Score(hands={"acting": held(rng, direction(rng, (-40, 90), (-30, 35)) * rng.uniform(0.8, 0.99), (0.2, 1.6))})


@rule("signal stop")
def signal_stop(rng: Generator) -> Score:
    ready = np.array([rng.uniform(-0.1, 0.25), rng.uniform(-0.35, 0.1), rng.uniform(0.25, 0.45)])
    out = direction(rng, (-20, 25), (-10, 30)) * rng.uniform(0.65, 0.97)
    hold = rng.uniform(0.2, 1.4)
    return Score(hands=one_or_both(rng, strokes(rng, [ready, out, out], [rng.uniform(0.2, 0.5), hold]), 0.15))


@rule("beckon")
def beckon(rng: Generator) -> Score:
    far = direction(rng, (-10, 50), (-35, 25)) * rng.uniform(0.6, 0.9)
    near = np.array([rng.uniform(-0.1, 0.3), rng.uniform(-0.25, 0.35), rng.uniform(0.2, 0.45)])
    return Score(hands={"acting": repeated(rng, far, near, times_of(rng, 1, 4), rng.uniform(0.2, 0.5))})


def swipe(rng: Generator, outward: bool) -> Score:
    level = (-25.0, 30.0)
    out, across = direction(rng, (35, 90), level), direction(rng, (-60, -5), level)
    (across if outward else out)[1] -= rng.uniform(0, 0.5)  # it often starts on the way up
    middle = direction(rng, (0, 30), level) * (0.9 if outward else 1)
    points = [across, middle, out] if outward else [out, middle, across]
    reach = rng.uniform(0.55, 0.95)
    half = rng.uniform(0.25, 0.9) / 2
    return Score(hands={"acting": strokes(rng, [reach * one for one in points], [half, half])})


@rule("swipe left")  # with the right hand; mirrored, swipe right with the left hand
def swipe_inward(rng: Generator) -> Score:
    return swipe(rng, outward=False)


@rule("swipe right")
def swipe_outward(rng: Generator) -> Score:
    return swipe(rng, outward=True)


def drawn(rng: Generator, corners: Sequence[tuple[float, float]], pause: Sequence[int] = ()) -> Score:
    """Straight strokes on a board; strokes to the corners in `pause` are made faster, off the board."""
    at, base = canvas(rng), rng.uniform(0.25, 0.6)
    points = [at(*corner) for corner in corners]
    for i in pause:
        points[i] = points[i] + np.array([0, 0, rng.uniform(-0.1, 0)])
    seconds = [base * rng.uniform(0.8, 1.2) * (0.7 if i in pause else 1) for i in range(1, len(points))]
    return Score(hands={"acting": strokes(rng, points, seconds)})


@rule("draw x")
def draw_x(rng: Generator) -> Score:
    flip = 1 if rng.random() < 0.5 else -1
    return drawn(rng, [(flip, 1), (-flip, -1), (-flip, 1), (flip, -1)], pause=(2,))


@rule("draw tick")
def draw_tick(rng: Generator) -> Score:
    return drawn(rng, [(-1, rng.uniform(0, 0.5)), (-0.4, -1), (1, 1)])


@rule("draw triangle")
def draw_triangle(rng: Generator) -> Score:
    flip, corners = 1 if rng.random() < 0.5 else -1, [(0.0, 1.0), (1.0, -1.0), (-1.0, -1.0)]
    start = rng.integers(3) if rng.random() < 0.3 else 0
    corners = [(flip * x, y) for x, y in (*corners[start:], *corners[:start])]
    return drawn(rng, [*corners, corners[0]])


@rule("draw circle")
def draw_circle(rng: Generator) -> Score:
    at, turns, flip = canvas(rng), rng.choice([1.0, 1.0, 1.1, 2.0, 3.0]), 1 if rng.random() < 0.5 else -1
    start = np.pi / 2 + (rng.uniform(-np.pi, np.pi) if rng.random() < 0.4 else rng.normal(0, 0.3))
    angles = start + flip * np.linspace(0, 2 * np.pi * turns, round(16 * turns) + 1)
    seconds = rng.uniform(0.7, 2.0) / 16
    return Score(
        hands={"acting": strokes(rng, [at(np.cos(a), np.sin(a)) for a in angles], [seconds] * (len(angles) - 1))}
    )


def chest(rng: Generator) -> np.ndarray:
    return np.array([rng.uniform(-0.2, 0.2), rng.uniform(-0.5, 0.0), rng.uniform(0.2, 0.4)])


@rule("push")
def push(rng: Generator) -> Score:
    out = direction(rng, (-15, 20), (-25, 15)) * rng.uniform(0.8, 0.98)
    keys = strokes(rng, [chest(rng), out, out], [rng.uniform(0.2, 0.6), rng.uniform(0.05, 0.5)])
    return Score(
        hands=one_or_both(rng, keys, 0.6), trunk=[(0, (0, 0, 0)), (1, (rng.uniform(0, 0.25), 0, 0)), (2, (0, 0, 0))]
    )


@rule("pull")
def pull(rng: Generator) -> Score:
    out = direction(rng, (-15, 20), (-35, 10)) * rng.uniform(0.75, 0.97)
    near = chest(rng) - np.array([0, 0.2, 0])
    keys = strokes(rng, [out, out, near], [rng.uniform(0.1, 0.4), rng.uniform(0.25, 0.7)])
    lean = rng.uniform(-0.2, 0.1)
    return Score(hands=one_or_both(rng, keys, 0.5), trunk=[(0.6, (0, 0, 0)), (1.4, (lean, 0, 0)), (2.2, (0, 0, 0))])


def guard(rng: Generator) -> np.ndarray:
    return np.array([rng.uniform(-0.3, 0.1), rng.uniform(-0.2, 0.25), rng.uniform(0.3, 0.5)])


def punches(rng: Generator, side: tuple[float, float]) -> Score:
    ready, out = guard(rng), direction(rng, side, (-10, 20)) * rng.uniform(0.85, 0.99)
    quick, turn = rng.uniform(0.1, 0.3), rng.uniform(0, 0.5)
    keys = repeated(rng, ready, out, times_of(rng, 1, 3), quick)
    score = Score(
        hands={"acting": keys}, trunk=[(keys[1][0], (0, -turn / 2, 0)), (keys[2][0], (0.1, turn, 0)), (2.5, (0, 0, 0))]
    )
    if rng.random() < 0.5:
        cover = guard(rng)
        score.hands["other"] = [(0, REST), (keys[1][0], cover), (keys[-2][0], cover), (keys[-1][0], REST)]
    return score


@rule("punch")
def punch(rng: Generator) -> Score:
    return punches(rng, (-25, 15))


@rule("side boxing")
def side_boxing(rng: Generator) -> Score:
    return punches(rng, (55, 100))


@rule("clap")
def clap(rng: Generator) -> Score:
    height, forward, width = rng.uniform(-0.5, 0.3), rng.uniform(0.4, 0.85), rng.uniform(0.15, 1.2)
    together = np.array([-0.36, height, forward])  # shoulders are about 0.7 arm lengths apart
    apart = np.array([-0.36 + width, height + rng.uniform(-0.3, 0.1), forward * rng.uniform(0.3, 1)])
    return Score(hands=both(repeated(rng, apart, together, times_of(rng, 1, 5), rng.uniform(0.12, 0.4))))


@rule("bend elbow")
def bend_elbow(rng: Generator) -> Score:
    out = rng.uniform(0, 0.35)
    low, high = np.array([0.05, -0.97, 0.1]), np.array([out, rng.uniform(-0.2, 0.25), rng.uniform(0.0, 0.3)])
    middle = np.array([out, -0.55, 0.5])
    points = [low, middle, high, middle] * times_of(rng, 1, 2)
    second = rng.uniform(0.2, 0.5)
    return Score(hands=one_or_both(rng, strokes(rng, [*points, low], [second] * len(points)), 0.5))


@rule("catch")
def catch(rng: Generator) -> Score:
    far = direction(rng, (-40, 50), (-10, 70)) * rng.uniform(0.75, 0.97)
    near = np.array([rng.uniform(-0.2, 0.2), rng.uniform(-0.4, 0.2), rng.uniform(0.25, 0.5)])
    keys = strokes(rng, [far, far, near], [rng.uniform(0.05, 0.5), rng.uniform(0.15, 0.4)])
    return Score(hands=one_or_both(rng, keys, 0.3))


@rule("throw")
def throw(rng: Generator) -> Score:
    if rng.random() < 0.65:  # over the shoulder
        back = np.array([rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.6), rng.uniform(-0.4, 0.1)])
        out, low = direction(rng, (-30, 15), (0, 40)) * 0.95, np.array([-0.3, -0.6, 0.5])
    else:  # from below
        back = np.array([rng.uniform(0.0, 0.3), rng.uniform(-0.9, -0.6), rng.uniform(-0.6, -0.2)])
        out, low = np.array([0, -0.7, 0.65]), direction(rng, (-20, 20), (-10, 50)) * 0.95
    quick, turn = rng.uniform(0.12, 0.3), rng.uniform(0, 0.6)
    keys = strokes(rng, [back, out, low], [quick, quick])
    start = keys[-4][0]
    trunk: Keys = [
        (0, (0, 0, 0)),
        (start, (-0.1, -turn, 0)),
        (start + 2 * quick, (rng.uniform(0, 0.4), turn, 0)),
        (start + 1.3, (0, 0, 0)),
    ]
    return Score(hands={"acting": keys}, trunk=trunk)


@rule("hammer")
def hammer(rng: Generator) -> Score:
    up = np.array([rng.uniform(-0.1, 0.3), rng.uniform(0.2, 0.7), rng.uniform(0.1, 0.4)])
    down = np.array([rng.uniform(-0.2, 0.2), rng.uniform(-0.6, -0.2), rng.uniform(0.55, 0.75)])
    return Score(
        hands={"acting": repeated(rng, up, down, times_of(rng, 1, 3), rng.uniform(0.15, 0.35))[:-2] + [(3, REST)]}
    )


@rule("basketball shoot")
def basketball_shoot(rng: Generator) -> Score:
    out = direction(rng, (-25, 5), (35, 75)) * rng.uniform(0.85, 0.98)
    keys = strokes(rng, [chest(rng), out, out], [rng.uniform(0.2, 0.5), rng.uniform(0.05, 0.4)])
    dip = rng.uniform(0.02, 0.15)
    start = keys[1][0]
    return Score(
        hands=both(keys),
        pelvis=[
            (0, (0, 0, 0)),
            (start, (0, -dip, 0)),
            (start + 0.3, (0, rng.uniform(0, 0.15), 0)),
            (start + 0.7, (0, 0, 0)),
        ],
    )


def to_the_head(rng: Generator, at: Sequence[float], spread: float) -> Score:
    return Score(hands={"acting": held(rng, np.array(at) + rng.normal(0, spread, 3), (0.4, 2.0))})


@rule("drink")
def drink(rng: Generator) -> Score:
    return to_the_head(rng, (-0.33, 0.25, 0.38), 0.05)


@rule("answer phone")
def answer_phone(rng: Generator) -> Score:
    return to_the_head(rng, (-0.12, 0.3, 0.12), 0.05)


@rule("read watch")
def read_watch(rng: Generator) -> Score:
    return to_the_head(rng, (-0.3, -0.2, 0.5), 0.08)


# ---- trunk and legs


def bent(rng: Generator, angle: float, seconds: tuple[float, float] = (0.0, 0.8)) -> Keys:
    down, hold, up = rng.uniform(0.4, 1.0), rng.uniform(*seconds), rng.uniform(0.4, 1.0)
    return [(0, (0, 0, 0)), (down, (angle, 0, 0)), (down + hold, (angle, 0, 0)), (down + hold + up, (0, 0, 0))]


def lowered(trunk: Keys, depth: float) -> Keys:
    """The pelvis, lower by `depth` while the trunk is bent: the knees give way."""
    (start, _), (down, _), (up, _), (end, _) = trunk
    low = (0, -depth, -0.2 * depth)
    return [(start, (0, 0, 0)), (down, low), (up, low), (end, (0, 0, 0))]


@rule("bow")
def bow(rng: Generator) -> Score:
    return Score(trunk=bent(rng, np.radians(rng.uniform(20, 85))))


@rule("pick up")
def pick_up(rng: Generator) -> Score:
    trunk = bent(rng, np.radians(rng.uniform(45, 95)), (0.1, 0.5))
    pelvis = lowered(trunk, rng.uniform(0.05, 0.4))
    ground = np.array([rng.uniform(-0.4, 0.3), -rng.uniform(0.2, 0.6), rng.uniform(0.7, 0.95)])  # turned with the trunk
    hands: Keys = [
        (0, REST),
        (trunk[1][0], ground),
        (trunk[2][0], ground),
        (trunk[3][0], REST if rng.random() < 0.5 else chest(rng)),
    ]
    return Score(hands=one_or_both(rng, hands, 0.4), trunk=trunk, pelvis=pelvis)


@rule("tie lace")
def tie_lace(rng: Generator) -> Score:
    trunk = bent(rng, np.radians(rng.uniform(50, 95)), (1.0, 2.5))
    down, up = trunk[1][0], trunk[2][0]
    pelvis = lowered(trunk, rng.uniform(0.1, 0.5))
    foot = np.array([rng.uniform(-0.4, 0), -rng.uniform(0.3, 0.7), rng.uniform(0.6, 0.8)])
    busy: Keys = [(t, foot + rng.normal(0, 0.06, 3)) for t in np.arange(down, up, 0.25)]
    return Score(hands=both([(0, REST), *busy, (trunk[3][0], REST)]), trunk=trunk, pelvis=pelvis)


@rule("squat")
def squat(rng: Generator) -> Score:
    depth, lean = rng.uniform(0.2, 0.5), rng.uniform(0.1, 0.6)
    pelvis: Keys = [
        (t, (0, -depth * share, -0.3 * depth * share))
        for t, share in ((0, 0), (0.8, 1), (0.8 + rng.uniform(0, 0.6), 1), (2.2, 0))
    ]
    trunk: Keys = [(0, (0, 0, 0)), (0.8, (lean, 0, 0)), (1.1, (lean, 0, 0)), (2.2, (0, 0, 0))]
    hands = both(held(rng, direction(rng, (-10, 20), (-20, 20)) * 0.95)) if rng.random() < 0.5 else {}
    return Score(hands=hands, pelvis=pelvis, trunk=trunk)


def seated(rng: Generator) -> tuple[tuple[float, float, float], float]:
    return (0, -rng.uniform(0.28, 0.45), -rng.uniform(0.25, 0.42)), rng.uniform(0.3, 0.9)


@rule("sit down")
def sit_down(rng: Generator) -> Score:
    low, lean = seated(rng)
    time = rng.uniform(0.6, 1.4)
    pelvis: Keys = [(0.2, (0, 0, 0)), (0.2 + time, low), (time + 1.2, low)]
    trunk: Keys = [(0.1, (0, 0, 0)), (0.1 + 0.6 * time, (lean, 0, 0)), (time + 0.7, (rng.uniform(-0.15, 0.15), 0, 0))]
    return Score(pelvis=pelvis, trunk=trunk)


@rule("stand up")
def stand_up(rng: Generator) -> Score:
    low, lean = seated(rng)
    time, wait = rng.uniform(0.6, 1.4), rng.uniform(0.1, 0.6)
    pelvis: Keys = [(wait, low), (wait + time, (0, 0, 0)), (wait + time + 0.5, (0, 0, 0))]
    trunk: Keys = [
        (0, (rng.uniform(-0.15, 0.15), 0, 0)),
        (wait + 0.4 * time, (lean, 0, 0)),
        (wait + 1.1 * time, (0, 0, 0)),
    ]
    return Score(pelvis=pelvis, trunk=trunk)


@rule("jump")
def jump(rng: Generator) -> Score:
    pelvis: Keys = [(0, (0, 0, 0))]
    feet: Keys = [(0, (0, 0, 0))]
    time = 0.0
    forward = rng.uniform(0, 0.5) if rng.random() < 0.4 else 0.0
    for i in range(times_of(rng, 1, 3)):
        dip, height = rng.uniform(0.1, 0.35), rng.uniform(0.1, 0.4)
        at = forward * i
        pelvis += [
            (time + 0.4, (0, -dip, at)),
            (time + 0.6, (0, 0.05, at)),
            (time + 0.8, (0, height, at + forward / 2)),
            (time + 1.0, (0, -0.05, at + forward)),
            (time + 1.15, (0, -dip / 2, at + forward)),
            (time + 1.4, (0, 0, at + forward)),
        ]
        feet += [
            (time + 0.6, (0, 0, at)),
            (time + 0.8, (0, height * rng.uniform(0.8, 1.3), at + forward / 2)),
            (time + 1.0, (0, 0, at + forward)),
        ]
        time += 1.4
    swing = direction(rng, (0, 40), (-30, 70)) * 0.9
    back = np.array([0.1, -0.8, -0.4])
    hands = both([(0, REST), (0.4, back), (0.75, swing), (1.2, REST), (time, REST)]) if rng.random() < 0.7 else {}
    return Score(hands=hands, feet=both(feet), pelvis=pelvis)


@rule("jumping jack")
def jumping_jack(rng: Generator) -> Score:
    times, half, wide = times_of(rng, 2, 4), rng.uniform(0.25, 0.5), rng.uniform(0.2, 0.4)
    up, side = direction(rng, (70, 100), (60, 88)) * 0.97, direction(rng, (85, 95), (-5, 5)) * 0.97
    hands: Keys = [(0, REST)]
    feet: Keys = [(0, (0, 0, 0))]
    pelvis: Keys = [(0, (0, 0, 0))]
    for i in range(times):
        t = 2 * half * i
        hands += [(t + half / 2, side), (t + half, up), (t + 1.5 * half, side), (t + 2 * half, REST)]
        feet += [
            (t + half / 2, (wide / 2, 0.06, 0)),
            (t + half, (wide, 0, 0)),
            (t + 1.5 * half, (wide / 2, 0.06, 0)),
            (t + 2 * half, (0, 0, 0)),
        ]
        pelvis += [
            (t + half / 2, (0, 0.08, 0)),
            (t + half, (0, -0.06, 0)),
            (t + 1.5 * half, (0, 0.08, 0)),
            (t + 2 * half, (0, 0, 0)),
        ]
    return Score(hands=both(hands), feet=both(feet), pelvis=pelvis)


@rule("raise knee")
def raise_knee(rng: Generator) -> Score:
    high, forward = rng.uniform(0.25, 0.5), rng.uniform(0.05, 0.3)
    up, hold, down = rng.uniform(0.25, 0.6), rng.uniform(0, 0.5), rng.uniform(0.25, 0.6)
    raised = (rng.normal(0, 0.04), high, forward)
    keys: Keys = [(0, (0, 0, 0)), (up, raised), (up + hold, raised), (up + hold + down, (0, 0, 0))]
    feet = {"acting": keys}
    if rng.random() < 0.5:
        total = up + hold + down
        feet["other"] = [(0, (0, 0, 0)), *((total + t, p) for t, p in keys)]
    if rng.random() < 0.6:
        return Score(feet=feet)
    bend, turn = rng.uniform(0, 0.6), rng.uniform(0, 0.5)  # an elbow meets the knee
    head = np.array([rng.uniform(-0.3, 0.3), rng.uniform(-0.1, 0.4), rng.uniform(0.05, 0.35)])
    trunk: Keys = [(0, (0, 0, 0)), (up, (bend, -turn, 0)), (up + hold, (bend, -turn, 0)), (up + hold + down, (0, 0, 0))]
    return Score(feet=feet, trunk=trunk, hands=one_or_both(rng, [(0, REST), (up, head), (up + hold + down, head)], 0.5))


def kicks(rng: Generator, at: tuple[float, float, float]) -> Score:
    swing, back = rng.uniform(0.15, 0.4), rng.uniform(0.3, 0.6)
    chamber = (0, rng.uniform(0.05, 0.35), rng.uniform(-0.3, 0.05))
    times = times_of(rng, 1, 2)
    keys: Keys = [(0, (0, 0, 0))]
    for i in range(times):
        t = i * (0.35 + swing + back)
        keys += [(t + 0.35, chamber), (t + 0.35 + swing, at), (t + 0.35 + swing + back, (0, 0, 0))]
    lean = rng.uniform(-0.35, 0.05)
    trunk: Keys = [(0, (0, 0, 0)), (0.35 + swing, (lean, 0, rng.normal(0, 0.1))), (1.3, (0, 0, 0))]
    return Score(feet={"acting": keys}, trunk=trunk)


@rule("kick")
def kick(rng: Generator) -> Score:
    return kicks(rng, (rng.normal(0, 0.08), rng.uniform(0.15, 0.75), rng.uniform(0.4, 0.8)))


@rule("side kick")
def side_kick(rng: Generator) -> Score:
    return kicks(rng, (rng.uniform(0.45, 0.75), rng.uniform(0.1, 0.6), rng.uniform(-0.1, 0.15)))


@rule("lunge")
def lunge(rng: Generator) -> Score:
    step, drop = rng.uniform(0.5, 0.85), rng.uniform(0.18, 0.4)
    go, hold, back = rng.uniform(0.4, 0.8), rng.uniform(0, 0.6), rng.uniform(0.4, 0.9)
    down = (0, -drop, step / 2)
    pelvis: Keys = [(0, (0, 0, 0)), (go, down), (go + hold, down), (go + hold + back, (0, 0, 0))]
    front = (0, 0, step)
    foot: Keys = [
        (0, (0, 0, 0)),
        (go / 2, (0, 0.1, step / 2)),
        (go, front),
        (go + hold, front),
        (go + hold + back / 2, (0, 0.1, step / 2)),
        (go + hold + back, (0, 0, 0)),
    ]
    return Score(feet={"acting": foot}, pelvis=pelvis)


@rule("side step")
def side_step(rng: Generator) -> Score:
    wide, half = rng.uniform(0.2, 0.55), rng.uniform(0.3, 0.7)
    end = wide if rng.random() < 0.5 else 0.0  # the other foot follows, or the first one comes back
    still, middle = (0, 0, 0), (-wide / 2, 0, 0)
    out: Keys = [(0, still), (half, (wide, 0, 0)), (2 * half, (wide, 0, 0)), (3 * half, (end, 0, 0))]
    other: Keys = [(0, still), (2 * half, still), (3 * half, (-end, 0, 0))]
    pelvis: Keys = [(0, still), (half, middle), (2 * half, middle), (3 * half, (-end, 0, 0))]
    return Score(feet={"acting": out, "other": other}, pelvis=pelvis)


def choreography(
    labels: Sequence[str], rests: Sequence[tuple[np.ndarray, float]], layout: Layout, count: int, seed: int
) -> list[LabeledClip]:
    """`count` clips of every label that has a rule, each by one of the people at rest.

    Args:
        rests: (joints [R, V, 3], frames a second), see `streams.rest_windows`; without any, there are no clips.
    """
    rng, clips = np.random.default_rng(seed), []
    for label in labels:
        for _ in range(count if rests and label in RULES else 0):
            rest, _ = rests[int(rng.integers(len(rests)))]
            score = RULES[label](rng)
            if not (score.pelvis or score.feet) and rng.random() < AT_A_DESK:
                score.pelvis = [(0, seated(rng)[0])]
            joints = perform(score, rest, layout, rng)
            clips.append(LabeledClip(joints=joints, fps=FPS, label=label, source=SOURCE, record={}))
    return clips

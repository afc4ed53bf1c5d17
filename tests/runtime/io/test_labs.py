"""Files of motion capture labs: TRC, C3D, ASF/AMC, MVNX."""

import io

import numpy as np
import pytest

from motionrt.bench.fuzz.formats import ASF
from motionrt.runtime.body.layout import Layout
from motionrt.runtime.errors import InputError
from motionrt.runtime.io.files import read
from motionrt.runtime.io.markers import PLUG_IN_GAIT

T = 12


@pytest.fixture(scope="module")
def core(wave):
    """[12, 15, 3] in the order of core15."""
    return (Layout.load("core15").map_from(Layout.load("smpl22")) @ wave.joints)[:T].astype(float)


NAMES = Layout.load("core15").joints


def refused(path, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        read(path, **options)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def trc(points, names=NAMES, unit="mm", scale=1000.0) -> str:
    about = {"DataRate": 60, "CameraRate": 60, "NumFrames": len(points), "NumMarkers": len(names), "Units": unit}
    lines = ["PathFileType\t4\t(X/Y/Z)\tclip.trc", "\t".join(about), "\t".join(map(str, about.values()))]
    lines.append("Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t")
    lines.append("\t\t" + "\t".join(f"{axis}{k + 1}" for k in range(len(names)) for axis in "XYZ"))
    lines.append("")
    for t, frame in enumerate(points):
        cells = ["" if np.isnan(x) else f"{scale * x:.5f}" for x in frame.ravel()]
        lines.append("\t".join([str(t + 1), f"{t / 60:.5f}", *cells]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1000.0), ("m", 1.0), ("in", 1 / 0.0254)])
def test_trc_states_its_unit(tmp_path, core, unit, scale):
    path = tmp_path / "clip.trc"
    core = core.copy()
    core[3, 4] = np.nan
    path.write_bytes(b"\xef\xbb\xbf" + trc(core, unit=unit, scale=scale).replace("\n", "\r\n").encode())
    motion = read(path)
    assert motion.fps == 60
    joints = [
        Layout.load(motion.layout).joints.index(name) for name in NAMES if name in Layout.load(motion.layout).joints
    ]
    same = [NAMES.index(Layout.load(motion.layout).joints[joint]) for joint in joints]
    np.testing.assert_allclose(motion.joints[:, joints], core[:, same], atol=1e-5)


def test_damaged_trc(tmp_path, core):
    path = tmp_path / "clip.trc"
    whole = trc(core)
    for text, message in (
        ("nothing", "is not TRC: the first line does not begin with PathFileType"),
        (whole.replace("\tmm", "\tfurlong"), "its third line does not have DataRate, NumFrames, NumMarkers and Units"),
        (whole.replace("pelvis\t\t\t", ""), "has 14 names in its fourth line, its header states 15 points"),
        (whole.rsplit("\n", 3)[0], f"has {T - 2} frames, its header states {T}"),
        (whole.replace(whole.splitlines()[8].split("\t")[5], "x"), "has a word in line [0-9]+ where a number"),
    ):
        path.write_text(text)
        refused(path, message)


def plug_in_gait(core: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Markers of which the joints are the means; the ASIS and sacrum such that the hips come out of Bell's shares."""
    index = NAMES.index
    points = {}
    for joint, group in PLUG_IN_GAIT.items():
        place = core[:, index(joint)] if joint in NAMES else core[:, index(joint.replace("foot", "ankle"))]
        for k, marker in enumerate(group):
            points[marker] = place + [0, 0, 0.02 * (k - (len(group) - 1) / 2)]
    hips = core[:, [index("left_hip"), index("right_hip")]]
    center, across = hips.mean(axis=1), hips[:, 0] - hips[:, 1]
    width = np.linalg.norm(across, axis=-1, keepdims=True) / 0.72
    side = across / np.linalg.norm(across, axis=-1, keepdims=True)
    up = np.array([0, 1, 0]) - side * side[:, [1]]
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    forward = np.cross(side, up)
    middle = center + width * (0.19 * forward + 0.30 * up)
    points |= {"LASI": middle + width / 2 * side, "RASI": middle - width / 2 * side}
    points |= {"LPSI": middle - 0.15 * forward + 0.05 * side, "RPSI": middle - 0.15 * forward - 0.05 * side}
    return list(points), np.stack(list(points.values()), axis=1)


def test_plug_in_gait_markers_become_joints(tmp_path, core):
    names, points = plug_in_gait(core)
    (tmp_path / "clip.trc").write_text(trc(points, [f"Subject:{name}" for name in names]))
    motion = read(tmp_path / "clip.trc")
    known = Layout.load(motion.layout).joints
    for name in set(NAMES) & set(known) - {"pelvis"}:
        np.testing.assert_allclose(
            motion.joints[:, known.index(name)], core[:, NAMES.index(name)], atol=1e-4, err_msg=name
        )
    (tmp_path / "clip.trc").write_text(trc(points[:, 1:], names[1:]))
    refused(tmp_path / "clip.trc", "joint names")


def c3d_bytes(points, names=NAMES, up="Z", unit="mm  ", scale=1000.0) -> bytes:
    c3d = pytest.importorskip("c3d", reason="c3d is not installed")
    writer = c3d.Writer(point_rate=100.0, point_units=unit)
    writer.set_point_labels([f"{name:<16}" for name in names])
    writer.set_screen_axis("+X", f"+{up}")
    frames = []
    for frame in points:
        table = np.zeros((len(names), 5), np.float32)
        table[:, :3] = np.nan_to_num(frame) * scale
        table[np.isnan(frame[:, 0]), 3:] = -1
        frames.append((table, np.zeros((0, 0))))
    writer.add_frames(frames)
    output = io.BytesIO()
    writer.write(output)
    return output.getvalue()


@pytest.mark.parametrize("up", ["Y", "Z"])
def test_c3d_states_unit_and_axes(tmp_path, core, up):
    core = core.copy()
    core[3, 4] = np.nan
    points = core if up == "Y" else core[..., [0, 2, 1]] * [1, -1, 1]
    (tmp_path / "clip.c3d").write_bytes(c3d_bytes(points, up=up))
    motion = read(tmp_path / "clip.c3d")
    assert (motion.fps, motion.frames) == (100, T)
    known = Layout.load(motion.layout).joints
    for name in set(NAMES) & set(known):
        np.testing.assert_allclose(motion.joints[:, known.index(name)], core[:, NAMES.index(name)], atol=1e-4)


def test_damaged_c3d(tmp_path, core):
    whole = c3d_bytes(core)
    for data, message in (
        (whole[:-600], r"is cut short: [0-9]+ of 12 frames"),
        (b"\x00" * 600, "is damaged or not C3D"),
    ):
        (tmp_path / "clip.c3d").write_bytes(data)
        refused(tmp_path / "clip.c3d", message)
    (tmp_path / "clip.c3d").write_bytes(c3d_bytes(core, unit="ells"))
    refused(tmp_path / "clip.c3d", "has the unit 'ells', expected one of m, mm")


def test_mvnx(tmp_path, wave):
    joints = {
        **{"Pelvis": "pelvis", "L5": "spine1", "L3": "spine2", "T12": "spine3", "T8": "spine3"},
        **{"Neck": "neck", "Head": "head"},
        **{
            f"{side}{segment}": f"{side.lower()}_{joint}"
            for side in ("Right", "Left")
            for segment, joint in {
                "Shoulder": "collar", "UpperArm": "shoulder", "ForeArm": "elbow", "Hand": "wrist",
                "UpperLeg": "hip", "LowerLeg": "knee", "Foot": "ankle", "Toe": "foot",
            }.items()
        },
    }  # fmt: skip
    index = Layout.load("smpl22").joints.index
    points = wave.joints[:T, [index(name) for name in joints.values()]]
    z_up = points[..., [0, 2, 1]] * np.array([1, -1, 1], np.float32)
    segments = "".join(f'<segment label="{name}" id="{k + 1}"/>' for k, name in enumerate(joints))

    def frame(t, kind="normal"):
        return f'<frame time="{t}" type="{kind}"><position>{" ".join(map(str, z_up[t].ravel()))}</position></frame>'

    body = frame(5, "identity") + frame(6, "tpose") + "".join(frame(t) for t in range(T))
    text = (
        '<?xml version="1.0"?><mvnx version="4" xmlns="http://www.xsens.com/mvn/mvnx">'
        f'<subject label="A" frameRate="240" segmentCount="23"><segments>{segments}</segments>'
        f"<frames>{body}</frames></subject></mvnx>"
    )
    path = tmp_path / "clip.mvnx"
    path.write_text("\ufeff" + text, encoding="utf-8")
    motion = read(path)
    assert (motion.fps, motion.frames) == (240, T)
    known = Layout.load(motion.layout).joints
    for name in ("pelvis", "head", "left_shoulder", "right_wrist", "left_knee", "right_ankle"):
        np.testing.assert_allclose(motion.joints[:, known.index(name)], wave.joints[:T, index(name)], atol=1e-5)
    for damaged, message in (
        (text[:-40], "is not valid XML"),
        (text.replace("<frames>", "<frames>" + frame(0).replace("<position>", "<position>7 ")), "in frame 1 of 13"),
        ("<a/>", "is not MVNX: has 0 segments"),
        (text.replace('type="normal"', 'type="tpose"'), "has no frames"),
    ):
        path.write_text(damaged)
        refused(path, message)


UNIT_M = 0.0254 / 0.45


def acclaim(wave) -> tuple[str, str, np.ndarray]:
    """A skeleton and a motion of the joints of cmu31, whose bones turn about axes of their own."""
    layout = Layout.load("cmu31")
    joints = (layout.map_from(Layout.load("smpl22")) @ wave.joints)[:T]
    names = [aliases[0] for aliases in layout.aliases]
    rest = joints[0].astype(float) / UNIT_M
    bones, tree, frames = [], {}, [[] for _ in range(T)]
    turns = np.random.default_rng(3).uniform(-40, 40, (T, len(names), 3))
    for j, (name, parent) in enumerate(zip(names, layout.parents, strict=True)):
        if parent < 0:
            continue
        bone = rest[j] - rest[parent]
        length = float(np.linalg.norm(bone))
        direction = bone / length if length > 0 else np.array([0, 1, 0])
        tree.setdefault(names[parent], []).append(name)
        dof = ["rx ry rz", "rz", ""][j % 3]
        bones.append(
            f"  begin\n     id {j}\n     name {name}\n     direction {' '.join(map(repr, direction.tolist()))}\n"
            f"     length {length!r}\n     axis {10 * j} {-5 * j} 20  XYZ\n"
            + (f"    dof {dof}\n    limits (-180 180)\n" if dof else "") + "  end"
        )  # fmt: skip
        for t in range(T):
            if dof:
                frames[t].append(f"{name} " + " ".join(repr(x) for x in turns[t, j, : len(dof.split())].tolist()))
    asf = ASF.format(bones="\n".join(bones), tree="\n".join(f"    {p} {' '.join(c)}" for p, c in tree.items()))
    root = " ".join(map(repr, rest[layout.root].tolist()))
    amc = ":FULLY-SPECIFIED\n:DEGREES\n" + "".join(
        f"{t + 1}\nroot {root} 10 {t} -20\n" + "\n".join(rows) + "\n" for t, rows in enumerate(frames)
    )
    return asf, amc, expected(layout, names, rest, turns)


def expected(layout, names, rest, turns) -> np.ndarray:
    """Ends of the bones by matrices of 4 x 4, one frame and bone at a time."""

    def matrix(angles, axes="XYZ"):
        result = np.eye(3)
        for axis, degrees in zip(axes, angles, strict=False):
            c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
            turn = {"X": [[1, 0, 0], [0, c, -s], [0, s, c]], "Y": [[c, 0, s], [0, 1, 0], [-s, 0, c]], "Z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis]  # fmt: skip  # noqa: E501
            result = np.array(turn) @ result
        return result

    ends = np.zeros((T, len(names), 3))
    for t in range(T):
        world = {}
        order = sorted(range(len(names)), key=lambda j: len(_above(layout, j)))
        for j in order:
            parent = layout.parents[j]
            if parent < 0:
                world[j], ends[t, j] = matrix([10, t, -20]), rest[j]
                continue
            frame = matrix([10 * j, -5 * j, 20])
            local = {0: matrix(turns[t, j]), 1: matrix(turns[t, j, :1], "Z"), 2: np.eye(3)}[j % 3]
            world[j] = world[parent] @ frame @ local @ np.linalg.inv(frame)
            ends[t, j] = ends[t, parent] + world[j] @ (rest[j] - rest[parent])
    return ends * UNIT_M


def _above(layout, j) -> list[int]:
    return [] if layout.parents[j] < 0 else [j, *_above(layout, layout.parents[j])]


def test_asf_amc(tmp_path, wave):
    asf, amc, ends = acclaim(wave)
    (tmp_path / "07.asf").write_text(asf)
    (tmp_path / "other.asf").write_text("nothing")
    (tmp_path / "07_01.amc").write_text("\ufeff" + amc, encoding="utf-8")
    motion = read(tmp_path / "07_01.amc", fps=120.0)
    assert (motion.layout, motion.fps) == ("cmu31", 120)
    np.testing.assert_allclose(motion.joints, ends, atol=1e-4)


def test_damaged_asf_amc(tmp_path, wave):
    asf, amc, _ = acclaim(wave)
    path = tmp_path / "07_01.amc"
    path.write_text(amc)
    refused(path, r"does not store its frame rate: pass fps \(--fps\), 120 for most of CMU's")
    refused(path, r"needs its skeleton 07\.asf in the same folder", fps=120.0)
    (tmp_path / "07.asf").write_text(asf.replace("length 0.45", "length many"))
    refused(path, r"its skeleton 07\.asf has many as length, expected 1 number", fps=120.0)
    (tmp_path / "07.asf").write_text(asf.replace(":hierarchy", ":tree"))
    refused(path, r"its skeleton 07\.asf has no section :hierarchy", fps=120.0)
    (tmp_path / "07.asf").write_text(asf)
    refused(tmp_path / "07.asf", r"\.asf is not read: it is the skeleton of motions: name an \.amc beside it")
    lines = amc.splitlines()
    for text, message in (
        ("\n".join(lines[:-2]), "has no values of .* in frame 12"),
        (amc.replace("ltibia", "tail", 1), "has 'tail' in line [0-9]+, expected a bone of the skeleton"),
        (amc.replace("\n7\nroot ", "\n7\nroot 5 "), "has 7 values of root in line [0-9]+, expected 6"),
        (amc.replace(lines[4].split()[1], "x", 1), "has a word where a number was expected"),
        (":DEGREES\n", "has no frames"),
    ):
        path.write_text(text)
        refused(path, message, fps=120.0)

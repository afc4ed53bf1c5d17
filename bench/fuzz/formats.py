"""Small valid files of the formats that others write, as seeds for `parsers`.

Shapes: T time, V joints of smpl22.
"""

from __future__ import annotations

import base64
import io
import json
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...runtime.body.layout import Layout
from ...runtime.extras import installed

JOINTS = Layout.load("smpl22").joints
ASF = """:version 1.10
:name test
:units
  mass 1.0
  length 0.45
  angle deg
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
{bones}
:hierarchy
  begin
{tree}
  end
"""
BONE = """  begin
     name {name}
     direction 0.3 -0.9 0.2
     length 7.5
     axis 10 20 30 XYZ
     dof rx ry rz
  end"""
CMU = Layout.load("cmu31")
BONES = [aliases[0] for aliases in CMU.aliases]


def csv(frames: NDArray[np.floating]) -> bytes:
    """A table with times, a person and a row per frame."""
    header = ["time", "person", *(f"{joint}_{axis}" for joint in JOINTS for axis in "xyz")]
    rows = [[f"{t / 30:.4f}", "1", *(f"{x:.4f}" for x in frame.ravel())] for t, frame in enumerate(frames)]
    return "\n".join(",".join(row) for row in [header, *rows]).encode()


def optitrack(frames: NDArray[np.floating]) -> bytes:
    """Motive's table of one skeleton."""
    columns = [(joint, axis) for joint in JOINTS for axis in range(3)]
    rows = [
        ["Format Version", "1.23", "Export Frame Rate", "120", "Length Units", "Meters"],
        ["", "", *("Bone" for _ in columns)],
        ["", "", *(f"Actor:{joint}" for joint, _ in columns)],
        ["", "", *("Position" for _ in columns)],
        ["Frame", "Time (Seconds)", *("XYZ"[axis] for _, axis in columns)],
    ]
    rows += [[str(t), f"{t / 120:.4f}", *(f"{x:.4f}" for x in frame.ravel())] for t, frame in enumerate(frames)]
    return "\n".join(",".join(row) for row in rows).encode()


def trc(frames: NDArray[np.floating]) -> bytes:
    """Points of OpenSim."""
    lines = [
        "PathFileType\t4\t(X/Y/Z)\tclip.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits",
        f"60\t60\t{len(frames)}\t{len(JOINTS)}\tm",
        "Frame#\tTime\t" + "\t\t\t".join(JOINTS) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{k + 1}" for k in range(len(JOINTS)) for axis in "XYZ"),
        "",
    ]
    lines += [f"{t + 1}\t{t / 60:.4f}\t" + "\t".join(f"{x:.4f}" for x in f.ravel()) for t, f in enumerate(frames)]
    return "\n".join(lines).encode()


def mvnx(frames: NDArray[np.floating]) -> bytes:
    """Segments of Xsens."""
    segments = "".join(f'<segment label="{joint}" id="{k}"/>' for k, joint in enumerate(JOINTS))
    body = "".join(
        f'<frame time="{t}" type="normal"><position>{" ".join(f"{x:.4f}" for x in frame.ravel())}</position></frame>'
        for t, frame in enumerate(frames)
    )
    subject = f'<subject label="A" frameRate="60"><segments>{segments}</segments><frames>{body}</frames></subject>'
    return f'<?xml version="1.0"?><mvnx version="4">{subject}</mvnx>'.encode()


def asf() -> bytes:
    """A skeleton of Acclaim."""
    bones = "\n".join(BONE.format(name=name) for name in BONES if name != "root")
    return ASF.format(bones=bones, tree="\n".join(f"{BONES[a]} {BONES[j]}" for j, a in CMU.edges)).encode()


def amc(frames: NDArray[np.floating]) -> bytes:
    """A motion for it."""
    lines = [":FULLY-SPECIFIED", ":DEGREES"]
    for t in range(len(frames)):
        lines += [str(t + 1), f"root 0 15 {t} 1 2 3", *(f"{name} {t} 5 -7" for name in BONES if name != "root")]
    return "\n".join(lines).encode()


def openpose(frames: NDArray[np.floating]) -> bytes:
    """One frame of OpenPose."""
    pose = np.c_[100 * frames[0, :18, :2] + 200, np.ones(18)].ravel().round(2).tolist()
    return json.dumps({"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": pose}]}).encode()


def gltf(frames: NDArray[np.floating]) -> bytes:
    """An animation with its data inside."""
    keys = np.arange(len(frames), dtype="<f4") / 30
    data = keys.tobytes() + frames[:, 0].astype("<f4").tobytes()
    nodes = [{"name": joint, "translation": frames[0, k].round(4).tolist()} for k, joint in enumerate(JOINTS)]
    counts = {"componentType": 5126, "count": len(frames)}
    document = {
        "asset": {"version": "2.0"},
        "nodes": nodes,
        "animations": [
            {
                "samplers": [{"input": 0, "output": 1}],
                "channels": [{"sampler": 0, "target": {"node": 0, "path": "translation"}}],
            }
        ],
        "accessors": [{"bufferView": 0, "type": "SCALAR"} | counts, {"bufferView": 1, "type": "VEC3"} | counts],
        "bufferViews": [
            {"buffer": 0, "byteLength": keys.nbytes},
            {"buffer": 0, "byteOffset": keys.nbytes, "byteLength": len(data) - keys.nbytes},
        ],
        "buffers": [{"byteLength": len(data), "uri": "data:;base64," + base64.b64encode(data).decode()}],
    }
    return json.dumps(document).encode()


def data_sets(frames: NDArray[np.floating]) -> tuple[bytes, ...]:
    """Text files of MSR-Action3D, UTKinect and Florence 3D."""
    joints = [frame[np.arange(20) % len(frame)] for frame in frames]
    msr = [f"{x:.4f} {y:.4f} {z:.4f} 1" for frame in joints for x, y, z in frame]
    utkinect = [f"{2 * t} " + " ".join(f"{x:.4f}" for x in frame.ravel()) for t, frame in enumerate(joints)]
    florence = ["1 2 3 " + " ".join(f"{1000 * x:.1f}" for x in frame[:15].ravel()) for frame in joints]
    return tuple("\n".join(lines).encode() for lines in (msr, utkinect, florence))


def vectors(frames: NDArray[np.floating]) -> bytes:
    """HumanML3D's vectors."""
    output = io.BytesIO()
    np.save(output, np.full((len(frames), 263), 0.5, np.float32))
    return output.getvalue()


def amass(frames: NDArray[np.floating]) -> bytes:
    """Parameters of SMPL-H."""
    output = io.BytesIO()
    poses = np.zeros((len(frames), 156))
    np.savez(output, poses=poses, trans=frames[:, 0], mocap_framerate=60.0, gender="male", betas=np.zeros(16))
    return output.getvalue()


def body_model() -> bytes:
    """A body model of 52 joints, with a vertex each."""
    output = io.BytesIO()
    arrays = {
        "J_regressor": np.eye(52),
        "v_template": np.random.default_rng(0).normal(size=(52, 3)),
        "shapedirs": np.zeros((52, 3, 16)),
    }
    np.savez(output, kintree_table=np.array([[0, *range(51)], range(52)], np.uint32), **arrays)  # type: ignore[arg-type]
    return output.getvalue()


def with_packages(frames: NDArray[np.floating]) -> Iterator[tuple[str, bytes]]:
    """Extensions and files that packages write, of those that are installed."""
    if installed("c3d"):
        import c3d

        writer = c3d.Writer(point_rate=60.0)
        writer.set_point_labels(list(JOINTS))
        tables = [np.c_[1000 * frame, np.zeros((len(frame), 2))] for frame in frames]
        writer.add_frames([(table.astype(np.float32), np.zeros((0, 0))) for table in tables])
        output = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            writer.write(output)
        yield ".c3d", output.getvalue()
    if installed("scipy"):
        from scipy.io import savemat

        output = io.BytesIO()
        joints = frames[:, np.arange(20) % frames.shape[1]]
        savemat(output, {"d_skel": joints.transpose(1, 2, 0).astype(np.float64)}, do_compression=True)
        yield ".mat", output.getvalue()

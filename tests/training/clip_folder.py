"""A small folder in the format of the data sets, built from the recordings in the package.

It has all cases of the vocabulary: labeled and unknown clips, trainable clips, validation clips and others that
are held out, three naming schemes of records, clips at 15, 20 and 30 frames per second.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion

Record = dict[str, Any]

BANDAI = {"bow": 0, "run": 1, "wave-right-hand": 2, "walk": 3}  # content -> sample that shows it
KINECT = {"bend": 0, "jogging": 1, "high arm wave": 2, "walk around": 3}
VALIDATION_TAKES = {"bow": (8, 16, 24, 32, 40), "run": (8, 16), "wave-right-hand": (8,), "walk": (8,)}
COPIED = {"ds": "nw-ucla", "action": "walk around", "subject": 1, "rep": 0, "view": 3}  # has the joints of its view 1


def write_folder(folder: Path, samples: Sequence[Motion]) -> Path:
    """Write the clip sets `bandai`, `kinect` and `other` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    smpl22, kinect20 = Layout.load("smpl22"), Layout.load("kinect20")
    joints = [motion.joints for motion in samples]
    write_set(folder, "bandai", smpl22, [(take(joints[s], k), r) for k, (s, r) in enumerate(_bandai())], fps=20)
    to_kinect = kinect20.map_from(smpl22)
    kinect = [(np.einsum("vw,twc->tvc", to_kinect, take(joints[s], k)), r) for k, (s, r) in _kinect()]
    write_set(folder, "kinect", kinect20, kinect)
    write_set(folder, "other", smpl22, [(take(joints[3], k), r) for k, r in enumerate(_other(), 200)], fps=20)
    return folder


def write_motions(folder: Path, samples: Sequence[Motion]) -> Path:
    """Write what a generator is trained on: 72 mocap clips of three actions as `bandai22`, 16 Kinect clips."""
    smpl22, kinect20 = Layout.load("smpl22"), Layout.load("kinect20")
    bandai, kinect = [], []
    for content, sample in (("bow", 0), ("run", 1), ("wave-right-hand", 2)):
        for style in ("normal", "happy"):
            for number in range(1, 13):
                record = {"content": content, "style": style, "take": number, "set": 2}
                record["id"] = f"{content} {style} {number}"
                bandai.append((take(samples[sample].joints, len(bandai)), record))
    for source, action, sample in (("nw-ucla", "walk around", 3), ("msr-action3d", "high arm wave", 2)):
        for subject in range(1, 9):
            record = {"ds": source, "action": action, "subject": subject, "rep": 0, "view": 1, "fps": 20}
            joints = np.einsum("vw,twc->tvc", kinect20.map_from(smpl22), take(samples[sample].joints, len(kinect)))
            kinect.append((joints, record))
    write_set(folder, "bandai22", smpl22, bandai, fps=20)
    write_set(folder, "kinect20", kinect20, kinect)
    return folder


def write_set(
    folder: Path, name: str, layout: Layout, clips: Sequence[tuple[np.ndarray, Record]], fps: float | None = None
) -> None:
    """Write NAME.npz and NAME.json: joints [T, V, 3] and the record of every clip."""
    root_xz = [joints[:, 0][:, [0, 2]] for joints, _ in clips]
    local = [joints.astype(np.float32).copy() for joints, _ in clips]
    for joints, origin in zip(local, root_xz, strict=True):
        joints[..., [0, 2]] -= origin[:, None]
    np.savez(
        folder / f"{name}.npz",
        joints=np.concatenate(local).astype(np.float16),
        root_xz=np.concatenate(root_xz).astype(np.float32),
        start=np.cumsum([0, *(len(joints) for joints in local)]).astype(np.int32),
    )
    about: Record = {"joints": list(layout.joints), "clips": [record for _, record in clips]}
    (folder / f"{name}.json").write_text(json.dumps(about if fps is None else about | {"fps": fps}))


def take(joints: np.ndarray, k: int) -> np.ndarray:
    """The k-th way of performing a recording: faster or slower, by a smaller or larger person. No two are equal."""
    frames = 30 + 7 * k % 23
    at = np.linspace(0, len(joints) - 1, frames).round().astype(int)
    return joints[at] * np.float32(0.9 + 0.001 * k)


def _bandai() -> list[tuple[int, Record]]:
    records = []
    for content, sample in BANDAI.items():
        takes = [(2, "normal", n) for n in (1, 2, 3, *VALIDATION_TAKES[content])] + [(1, "old", 1)]
        records += [(sample, _content(content, *take)) for take in takes]
    return records + [(0, _content("respond", 2, "normal", 1)), (0, _content("respond", 2, "normal", 8))]


def _content(content: str, set_: int, style: str, take: int) -> Record:
    name = f"dataset-{set_}_{content}_{style}_{take:03}"
    return {"id": name, "set": set_, "content": content, "style": style, "take": take}


def _kinect() -> list[tuple[int, tuple[int, Record]]]:
    """Variant, sample and record; the clip `COPIED` is the same variant as its view 1."""
    rows: list[tuple[int, tuple[int, Record]]] = []
    for action, subject, view in [(a, s, v) for a in ("walk around", "bend") for s in (1, 2, 3) for v in (1, 2, 3)]:
        record = {"ds": "nw-ucla", "action": action, "subject": subject, "rep": 0, "view": view, "fps": 30}
        same = all(record[key] == value for key, value in COPIED.items())
        rows.append((100 if same else 100 + len(rows), (KINECT[action], record)))
    for source, action, subjects in (
        ("msr-action3d", "high arm wave", (1, 3)),
        ("utkinect", "jogging", (1, 2)),
        ("florence3d", "bend", (1, 8)),
    ):
        for subject in subjects:
            record = {"ds": source, "action": action, "subject": subject, "view": 1, "fps": 15}
            rows.append((100 + len(rows), (KINECT[action], record)))
    return rows


def _other() -> list[Record]:
    near = {"id": "near-0", "label": "jog", "desc": "a person jogs"}
    return [near, *({"id": f"unknown-{i}", "label": "crawl", "desc": "a person crawls"} for i in range(8))]

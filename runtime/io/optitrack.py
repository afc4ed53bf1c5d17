"""CSV of OptiTrack Motive: skeletons (meters or as the header states, y up) with several header rows."""

from __future__ import annotations

from pathlib import Path

from ..body.motion_data import MAX_PEOPLE, MotionData
from ..errors import InputError
from .named_joints import joints_by_name
from .table import numbers, split_rows
from .text import check_size, read_text

BEGINNING = b"format version"
UNITS_M = {"meters": 1.0, "centimeters": 0.01, "millimeters": 0.001, "inches": 0.0254, "feet": 0.3048}
BONES = {  # Motive's names of bones -> MotionBuilder's names of the joints at which they start
    "Hip": "Hips",
    "Ab": "Spine",
    "Chest": "Spine1",
    "Neck": "Neck",
    "Head": "Head",
} | {
    f"{side[0]}{short}": f"{side}{long}"
    for side in ("Left", "Right")
    for short, long in {
        "Shoulder": "Shoulder",
        "UArm": "Arm",
        "FArm": "ForeArm",
        "Hand": "Hand",
        "Thigh": "UpLeg",
        "Shin": "Leg",
        "Foot": "Foot",
        "Toe": "ToeBase",
    }.items()
}


def is_optitrack(path: Path) -> bool:
    """Whether a table begins as Motive's do, in any encoding."""
    with path.open("rb") as file:
        beginning = file.read(4 * len(BEGINNING))
    return BEGINNING in beginning.replace(b"\0", b"").lower()


def read_optitrack(path: Path, layout: str | None, fps: float | None) -> MotionData:
    """Positions of the bones of all skeletons; markers and rigid bodies are ignored."""
    rows = split_rows(read_text(path))
    about = dict(zip(rows[0][::2], rows[0][1::2], strict=False))
    unit = about.get("Length Units", "Meters").strip().lower()
    if unit not in UNITS_M:
        raise InputError(f"has the length unit {unit!r}, expected one of {', '.join(UNITS_M)}")
    header = next((n for n, row in enumerate(rows[:20]) if row and row[0].strip().lower() == "frame"), None)
    if header is None:
        raise InputError("has no row that begins with Frame")
    if fps is None:
        try:
            fps = float(about["Export Frame Rate"])
        except (KeyError, ValueError):
            raise InputError("its first row has no Export Frame Rate: pass fps (--fps)") from None
    people = _columns(rows[:header], rows[header])
    body = [row for row in rows[header + 1 :] if any(cell.strip() for cell in row)]
    shared = [bone for bone in next(iter(people.values())) if all(bone in bones for bones in people.values())]
    check_size(len(body), len(people) * len(shared))
    wanted = [column for bones in people.values() for bone in shared for column in bones[bone]]
    points = numbers(body, wanted, header + 2).reshape(len(body), len(people), len(shared), 3) * UNITS_M[unit]
    joints, known = joints_by_name([BONES.get(bone, bone) for bone in shared], points, layout)
    motion = MotionData(joints, fps, known)
    return motion if len(people) > 1 else motion.person(0)


def _columns(above: list[list[str]], axes: list[str]) -> dict[str, dict[str, list[int]]]:
    """Columns x, y, z of each bone of each skeleton."""
    kinds = next((row for row in above if "Bone" in row), None)
    if kinds is None:
        raise InputError("holds no skeleton, only markers or rigid bodies: export bones in Motive")
    names = above[above.index(kinds) + 1]
    fields = next((row for row in above if "Position" in row), [])
    people: dict[str, dict[str, list[int]]] = {}
    for column, (kind, full, quantity, axis) in enumerate(zip(kinds, names, fields, axes, strict=False)):
        if (kind.strip(), quantity.strip()) != ("Bone", "Position") or axis.strip() not in ("X", "Y", "Z"):
            continue
        skeleton, _, bone = full.strip().rpartition(":")
        bone = "Hip" if bone == skeleton else bone  # the root has the name of the skeleton
        people.setdefault(skeleton, {}).setdefault(bone, []).append(column)
    whole = {name: {b: cs for b, cs in bones.items() if len(cs) == 3} for name, bones in people.items()}
    if not 1 <= len(whole) <= MAX_PEOPLE:
        raise InputError(f"{len(whole)} skeletons with positions, expected 1 to {MAX_PEOPLE}")
    return whole

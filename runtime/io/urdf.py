"""URDF: the links and joints of a robot, for robot files (docs/robots.md)."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from ..errors import InputError
from .text import check_bytes, decode

MAX_URDF_BYTES = 1 << 24


def read_urdf(path: Path) -> dict[str, Any]:
    """The `root`, `joints` and `masses` of a robot file, from a URDF file; in radians, meters and kilograms.

    Raises InputError, with the path, for a file that is missing, not XML, or lacks what a joint needs.
    """
    try:
        return _parse(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _parse(path: Path) -> dict[str, Any]:
    check_bytes(path, MAX_URDF_BYTES)
    try:
        text = decode(path.read_bytes())
        if "<!" in text.replace("<!--", ""):  # entities can expand without bounds
            raise InputError("has a document type, entity or CDATA section, expected elements and comments only")
        robot = ElementTree.fromstring(text)
    except UnicodeDecodeError:
        raise InputError("is not text") from None
    except ElementTree.ParseError as error:
        raise InputError(f"is not valid XML ({error})") from None
    if robot.tag != "robot":
        raise InputError(f"the outermost element is <{robot.tag}>, expected <robot>")
    links = [link.get("name", "") for link in robot.findall("link")]
    joints = [_joint(joint, links) for joint in robot.findall("joint")]
    children = {joint["child"] for joint in joints}
    roots = [link for link in links if link not in children]
    if len(roots) != 1:
        raise InputError(f"{len(roots)} links have no parent ({', '.join(roots[:4])}), expected one, the root")
    masses = [_mass(link) for link in robot.findall("link") if link.find("inertial/mass") is not None]
    return {"root": roots[0], "joints": joints, "masses": masses}


def _mass(element: ElementTree.Element) -> dict[str, Any]:
    name = element.get("name", "")
    mass, origin = element.find("inertial/mass"), element.find("inertial/origin")
    (kg,) = _numbers("" if mass is None else mass.get("value", ""), 1, f"link {name!r}: mass")
    xyz = _numbers("0 0 0" if origin is None else origin.get("xyz", "0 0 0"), 3, f"link {name!r}: inertial xyz")
    return {"link": name, "kg": kg, "xyz": xyz}


def _joint(element: ElementTree.Element, links: list[str]) -> dict[str, Any]:
    name = element.get("name", "")
    joint: dict[str, Any] = {"name": name, "type": element.get("type", "")}
    for end in ("parent", "child"):
        found = element.find(end)
        joint[end] = "" if found is None else found.get("link", "")
        if joint[end] not in links:
            raise InputError(f"joint {name!r}: there is no link {joint[end]!r}, its {end}")
    origin = element.find("origin")
    for key in ("xyz", "rpy"):
        joint[key] = _numbers("0 0 0" if origin is None else origin.get(key, "0 0 0"), 3, f"joint {name!r}: {key}")
    if joint["type"] != "revolute":
        return joint
    axis, limit = element.find("axis"), element.find("limit")
    joint["axis"] = _numbers("1 0 0" if axis is None else axis.get("xyz", "1 0 0"), 3, f"joint {name!r}: axis")
    if limit is None:
        raise InputError(f"joint {name!r}: has no <limit>, expected one with lower, upper and velocity")
    for key, attribute in (("lower", "lower"), ("upper", "upper"), ("max_velocity", "velocity")):
        default = None if key == "max_velocity" else "0"  # as in URDF's specification
        (joint[key],) = _numbers(limit.get(attribute, default) or "", 1, f"joint {name!r}: {attribute}")
    return joint


def _numbers(text: str, count: int, where: str) -> list[float]:
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(abs(number) < 1e9 for number in numbers):
        raise InputError(f"{where} is {text[:40]!r}, expected {count} finite number{'s' if count > 1 else ''}")
    return numbers

"""MJCF: a robot file as a model of MuJoCo, whose bodies are capsules; no meshes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from typing import Any

LINE_RADIUS_M = 0.02  # from a joint to the next one, of links without capsules
COLORS = {"left": "0.93 0.49 0.20 1", "right": "0.24 0.49 0.77 1", "": "0.55 0.57 0.62 1"}
GYRATION_M = 0.05  # radius of gyration of all links: robot files have no inertia
LIGHT_KG = 0.01  # of links without a mass; MuJoCo refuses a massless body that moves


def robot_mjcf(robot: Mapping[str, Any], name: str) -> str:
    """The model of a robot file (see docs/robots.md), with a free joint at the root and a floor."""
    top = ElementTree.Element("mujoco", model=name)
    ElementTree.SubElement(top, "compiler", angle="radian", eulerseq="XYZ", autolimits="true")
    look = ElementTree.SubElement(top, "visual")
    ElementTree.SubElement(look, "global", offwidth="1280", offheight="1280")
    assets = ElementTree.SubElement(top, "asset")
    ElementTree.SubElement(
        assets, "texture", name="sky", type="skybox", builtin="flat", rgb1="1 1 1", rgb2="1 1 1", width="8", height="48"
    )
    ElementTree.SubElement(
        assets,
        "texture",
        name="tiles",
        type="2d",
        builtin="checker",
        rgb1="0.89 0.90 0.93",
        rgb2="0.84 0.86 0.89",
        width="64",
        height="64",
    )
    ElementTree.SubElement(assets, "material", name="floor", texture="tiles", texrepeat="40 40")
    world = ElementTree.SubElement(top, "worldbody")
    ElementTree.SubElement(world, "light", pos="1 1 4", dir="-0.2 -0.2 -1", directional="true")
    ElementTree.SubElement(world, "geom", name="floor", type="plane", size="20 20 1", material="floor")
    root = _body(world, robot["root"], robot)
    root.insert(0, ElementTree.Element("freejoint", name="root"))
    _add_children(root, robot["root"], robot)
    ElementTree.indent(top)
    return ElementTree.tostring(top, encoding="unicode")


def _add_children(parent: ElementTree.Element, link: str, robot: Mapping[str, Any]) -> None:
    """Bodies of the links below a link; a stack, as chains may be deep."""
    pending = [(parent, link)]
    while pending:
        above, name = pending.pop()
        for joint in (joint for joint in robot["joints"] if joint["parent"] == name):
            body = _body(above, joint["child"], robot, _text(joint.get("xyz")), _text(joint.get("rpy")))
            if joint["type"] == "revolute":
                ElementTree.SubElement(
                    body,
                    "joint",
                    name=joint["name"],
                    axis=_text(joint.get("axis", [1, 0, 0])),
                    range=_text([joint["lower"], joint["upper"]]),
                )
            pending.append((body, joint["child"]))


def _body(
    parent: ElementTree.Element, link: str, robot: Mapping[str, Any], pos: str = "0 0 0", euler: str = "0 0 0"
) -> ElementTree.Element:
    # URDF's rpy turns about the fixed axes x, y, z: about z, y, x of the moving ones, eulerseq "XYZ" in MuJoCo
    body = ElementTree.SubElement(parent, "body", name=link, pos=pos, euler=euler)
    mass: Mapping[str, Any] = next((mass for mass in robot.get("masses", []) if mass["link"] == link), {})
    kg = max(float(mass.get("kg", 0)), LIGHT_KG)
    inertia = _text([kg * GYRATION_M**2] * 3)
    ElementTree.SubElement(body, "inertial", pos=_text(mass.get("xyz")), mass=repr(kg), diaginertia=inertia)
    capsules = [one for one in robot.get("capsules", []) if one["link"] == link]
    lines = [joint["xyz"] for joint in robot["joints"] if joint["parent"] == link and any(joint.get("xyz", []))]
    parts = [(one.get("from", [0, 0, 0]), one.get("to", [0, 0, 0]), one["radius"]) for one in capsules]
    for begin, end, radius in parts or [([0, 0, 0], xyz, LINE_RADIUS_M) for xyz in lines]:
        shape = (
            {"type": "sphere", "pos": _text(begin), "size": repr(radius)}
            if begin == end
            else {"type": "capsule", "fromto": _text([*begin, *end]), "size": repr(radius)}
        )
        side = next((side for side in ("left", "right") if side in link), "")
        bits = {} if parts else {"contype": "0", "conaffinity": "0"}
        ElementTree.SubElement(body, "geom", {**shape, "rgba": COLORS[side], **bits})
    for name, point in robot["keypoints"].items():
        if point["link"] == link:
            ElementTree.SubElement(body, "site", name=name, pos=_text(point.get("xyz")), group="4")  # not drawn
    return body


def _text(numbers: list[float] | None) -> str:
    return " ".join(repr(float(number)) for number in numbers or (0, 0, 0))

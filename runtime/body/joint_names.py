"""`identify`: the joints of a person by the names that tools and sensors write, whatever their prefix and spelling.

A name is split into words (`J_Bip_L_UpperArm`: j, bip, l, upper, arm), the prefix that all names share is dropped, one
word tells the side, and the rest is looked up. What a word means depends on the others: `LeftShoulder` is the collar
where there is a `LeftArm`, and `LeftFoot` is the ankle unless there is a `LeftAnkle`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

LONGEST_PREFIX = 5  # words
SIDES = {"l": "left", "left": "left", "lft": "left", "r": "right", "right": "right", "rgt": "right"}
CENTER = {"c", "m", "center"}
FILLERS = {"joint", "jnt", "bone", "jt"}

# Spellings of the parts of one side, without hyphens and the like; earlier ones win.
THIGH = ("thigh", "upleg", "upperleg", "legupper", "hip")
KNEE = ("knee", "lowleg", "lowerleg", "leglower", "shin", "calf", "leg")
ANKLE = ("ankle", "footankle", "foot")
TOES = ("toebase", "football", "toes", "toe", "ball", "foot")
UPPER_ARM = ("upperarm", "uparm", "armupper", "shldr")
COLLAR = ("clavicle", "collar", "clav", "shoulder")
ELBOW = ("elbow", "forearm", "lowerarm", "lowarm", "armlower")
WRIST = ("wrist", "handwrist", "hand")
HAND = ("hand", "handpalm", "palm")
LIMB: dict[str, tuple[str, ...]] = {  # in the order in which names are taken
    **{"hip": THIGH, "knee": KNEE, "ankle": ANKLE, "foot": TOES, "shoulder": UPPER_ARM, "collar": COLLAR},
    **{"elbow": ELBOW, "wrist": WRIST, "hand": HAND, "hand_tip": ("handtip",), "thumb": ("thumb",)},
}
ONE_SIDE = {"arm", *(spelling for spellings in LIMB.values() for spelling in spellings)}

PELVIS = ("pelvis", "hips", "hip", "spinebase", "midhip", "root")
NECK = ("spineshoulder", "neck", "shoulder")
SPINE = (  # from below; those of one spelling by their number
    *(
        "lowerback",
        "spinelower",
        "abdomen",
        "waist",
        "belly",
        "torso",
        "spine",
        "spinenaval",
        "spinenavel",
        "navalspine",
    ),
    *(
        "spinemiddle",
        "spinemid",
        "spineupper",
        "upperback",
        "chest",
        "spinechest",
        "chestspine",
        "thorax",
        "upperchest",
    ),
)
MIDDLE = {*PELVIS, *NECK, *SPINE, "head"}

ANIMAL = {"tail", "paw", "hoof", "wing"}
HAIR = {"pony", "pig", "hair", "coat", "skirt"}  # whose tails people wear
ENDS = {"site", "end", "nub"}
LEGS_OF_FOUR = re.compile(r"(front|hind|rear|back|fore)(upper|lower)?(leg|thigh)")

Words = tuple[str, ...]
Parts = dict[tuple[str, str], list[tuple[int, int]]]  # (side or "", part) -> (number or -1, index of the name)


def identify(names: Sequence[str]) -> dict[str, int]:
    """Joints of the layouts (`left_knee`) among the names of a file, and the index of each in `names`."""
    words = [_words(name) for name in names]
    prefixes = {
        name[:length]
        for name in words
        for length in range(min(len(name), LONGEST_PREFIX + 1))
        if _is_thigh(name, name[:length])
    }
    shared = sorted(prefixes, key=lambda prefix: (len(prefix), prefix))
    return max((_joints(_parts(words, prefix)) for prefix in [(), *shared]), key=len)


def is_animal(names: Iterable[str]) -> bool:
    """Whether the names are those of a rig with four legs, a tail or wings."""
    for name in names:
        words = [word for word in _words(name) if not word.isdecimal() and word not in {*ENDS, *SIDES}]
        if words and words[-1] in ANIMAL and not HAIR & {*words}:
            return True
        if LEGS_OF_FOUR.search("".join(words)):
            return True
    return False


def _words(name: str) -> Words:
    split = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return tuple(word.lower() for word in split if word.lower() not in FILLERS)


def _part(words: Words, prefix: Words) -> tuple[str, str, int] | None:
    """Side, part and number of a name that starts with the prefix; None if it does not."""
    if words[: len(prefix)] != prefix:
        return None
    rest = [word for word in words[len(prefix) :] if word not in CENTER]
    numbers = [word for word in rest if word.isdecimal()]
    rest = [word for word in rest if not word.isdecimal()]
    number = int(numbers[-1]) if numbers else -1
    sides = [word for word in (*rest[:1], *rest[-1:]) if word in SIDES]
    if sides:
        rest.remove(sides[0])
    part = "".join(rest)
    if sides:
        return SIDES[sides[0]], part, number
    if part not in MIDDLE:
        for word, side in SIDES.items():  # leftfoot, lfoot
            if part.startswith(word) and part.removeprefix(word) in ONE_SIDE:
                return side, part.removeprefix(word), number
    return "", part, number


def _is_thigh(words: Words, prefix: Words) -> bool:
    part = _part(words, prefix)
    return part is not None and part[0] == "left" and part[1] in THIGH


def _parts(words: Sequence[Words], prefix: Words) -> Parts:
    parts: Parts = {}
    for index, name in enumerate(words):
        found = _part(name, prefix)
        if found is not None and found[1] in (ONE_SIDE if found[0] else MIDDLE):
            parts.setdefault(found[:2], []).append((found[2], index))
    return parts


def _joints(parts: Parts) -> dict[str, int]:
    joints = _trunk(parts)
    for side in ("left", "right"):
        # of several names of one part, such as `LeftArm` and `LeftArm2`, the one with the lowest number
        limb = {part: min(found)[1] for (its_side, part), found in parts.items() if its_side == side}
        joints |= {f"{side}_{joint}": index for joint, index in _limbs(limb).items()}
    return joints


def _limbs(part: Mapping[str, int]) -> dict[str, int]:
    """Joints of one side."""
    shoulder: tuple[str, ...] = UPPER_ARM
    if "elbow" in part and "shoulder" in part:
        shoulder = (*UPPER_ARM, "shoulder")
    elif "arm" in part:
        shoulder = (*UPPER_ARM, "arm")
    elif not part.keys() & {*UPPER_ARM}:
        shoulder = ("shoulder",)
    joints: dict[str, int] = {}
    for joint, spellings in (LIMB | {"shoulder": shoulder}).items():
        left = (part[spelling] for spelling in spellings if spelling in part)
        index = next((index for index in left if index not in joints.values()), None)
        if index is not None:
            joints[joint] = index
    return joints


def _trunk(parts: Parts) -> dict[str, int]:
    """Pelvis, spine, neck and head, of which some rigs number several."""
    middle = {part: [index for _, index in sorted(found)] for (side, part), found in parts.items() if not side}
    spine = [index for part in SPINE for index in middle.get(part, ())]
    joints: dict[str, int] = {}
    if (pelvis := next((part for part in PELVIS if part in middle), None)) is not None:
        joints["pelvis"] = middle[pelvis][0]
    elif "head" not in middle and len(middle.get("spine", ())) == 7:  # Rigify: spine, spine.001, …, spine.006
        joints["pelvis"], *spine, joints["neck"], _, joints["head"] = middle["spine"]
    neck = [index for part in NECK for index in middle.get(part, ())]
    if neck:
        joints["neck"] = neck[0]
        if len(neck) > 1:
            joints["upper_neck"] = neck[-1]
    if "head" in middle:
        joints["head"] = middle["head"][0]
    if len(spine) >= 3:
        joints |= {"spine1": spine[0], "spine2": spine[len(spine) // 2], "spine3": spine[-1]}
    elif spine:
        joints["spine"] = spine[0]
    return joints

"""The public names and their signatures are those of public_api.txt, so that every change of them is deliberate.

After a deliberate change: `python tests/test_public_api.py > tests/public_api.txt`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import motionrt

LISTED = Path(__file__).with_name("public_api.txt")


def public_api() -> Iterator[str]:
    """One line per public function, class, method, property and attribute."""
    for name in motionrt.__all__:
        yield from describe(f"motionrt.{name}", getattr(motionrt, name))


def describe(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, ModuleType):
        for member in sorted(vars(value)):
            if not member.startswith("_") and getattr(vars(value)[member], "__module__", None) == value.__name__:
                yield from describe(f"{name}.{member}", vars(value)[member])
    elif isinstance(value, type) and issubclass(value, Exception):
        yield f"{name}: exception, {', '.join(base.__name__ for base in value.__bases__)}"
    elif isinstance(value, type):
        yield f"{name}{signature(value)}"
        for member, kind in sorted(members(value).items()):
            yield f"{name}.{member}{kind}"
    elif callable(value):
        yield f"{name}{signature(value)}"
    else:
        yield f"{name}: {type(value).__name__}"


def members(cls: type) -> dict[str, str]:
    """Public members of a class and of its bases in motionrt, with what follows their names."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("motionrt."):
            continue
        if "__init__" in vars(base) and inspect.isfunction(base.__init__) and not hasattr(base, "__dataclass_fields__"):
            found |= dict.fromkeys(assigned(base.__init__), ": attribute")
        for name, value in vars(base).items():
            if name in ("__enter__", "__call__", "__iter__", "__next__") or not name.startswith("_"):
                found[name] = member(value)
    return found


def member(value: Any) -> str:
    if isinstance(value, property):
        return f": {annotation(inspect.signature(value.fget).return_annotation)}, property"  # type: ignore[arg-type]
    if isinstance(value, classmethod | staticmethod):
        return f"{signature(value.__func__)}, {type(value).__name__}"
    if inspect.isfunction(value):
        return signature(value)
    return ": field" if inspect.ismemberdescriptor(value) else f" = {value!r}"


def assigned(method: Any) -> list[str]:
    """Public attributes of `self` that a method assigns."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    return [
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and not node.attr.startswith("_")
    ]


def signature(function: Any) -> str:
    """The signature as it stands in the source, without `self`."""
    found = inspect.signature(function)
    parts, keyword_only = [], False
    for name, parameter in found.parameters.items():
        if name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            parts.append("*")
            keyword_only = True
        text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "") + name
        if parameter.annotation is not parameter.empty:
            text += f": {annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {parameter.default!r}"
        parts.append(text)
    returns = "" if found.return_annotation is found.empty else f" -> {annotation(found.return_annotation)}"
    return f"({', '.join(parts)})" + ("" if isinstance(function, type) else returns)


def annotation(value: Any) -> str:
    return value if isinstance(value, str) else inspect.formatannotation(value)


def test_public_names_and_signatures_are_those_listed() -> None:
    assert list(public_api()) == LISTED.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    print(*public_api(), sep="\n")

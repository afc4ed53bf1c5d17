"""requirements.lock has every direct dependency, in the versions of constraints.txt, with a hash."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("files", "net", "serve", "mqtt", "hub", "wandb")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = (re.match(r"([\w.-]+)==([\w.]+)", line) for line in lines)
    return {normal(match[1]): match[2] for match in found if match}


def test_direct_dependencies_are_locked_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in extras[extra] if "[" not in one)]
    locked, tested = pinned("requirements.lock"), pinned("constraints.txt")
    assert {normal(re.split(r"[<>=;\[ ]", one)[0]) for one in wanted} <= set(locked)
    assert {name: tested[name] for name in locked.keys() & tested} == {
        name: locked[name] for name in locked if name in tested
    }
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()[1:]
    assert all(re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)

"""Install the lowest versions that pyproject.toml allows in build/lowest, and run commands there: `make lowest`.

Only direct dependencies are held back, since those are the ones that are promised.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "lowest"
EXTRAS = ("files", "net", "serve", "mqtt", "hub", "wandb")
WALK = str(ROOT / "runtime" / "samples" / "cmu_walk.npz")
COMMANDS = (
    ("--version",),
    ("--help",),
    ("recognize", "--help"),
    ("doctor",),
    ("models",),
    ("recognize", WALK),
    ("recognize", WALK, "--json"),
    ("recognize", "--model", "zero-shot", "--labels", "walk,wave", WALK),
    ("generate", "a person walks", "--seconds", "2", "-o", str(FOLDER / "walk.gif")),
    ("generate", "a person walks", "--seconds", "2", "-o", str(FOLDER / "walk.glb")),
    ("serve", "--help"),
)
EXTRAS_IN_USE = """
import os
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
import wandb
from motionrt import InputError
from motionrt.runtime.bundles.hub import fetch
from motionrt.runtime.io.mqtt import MqttPublisher
from motionrt.runtime.serve.app import create_app
from motionrt.runtime.serve.settings import Settings
create_app(Settings())
for call, message in (
    (lambda: MqttPublisher("mqtt://127.0.0.1:9/hall", ["walk"]), "cannot connect to the broker"),
    (lambda: fetch("hf://me/none"), "the Hub cannot be reached"),
):
    try:
        call()
    except InputError as error:
        assert message in str(error), error
    else:
        raise AssertionError(message)
wandb.init(project="lowest", mode="offline", dir=".").finish()
"""


def requirements() -> list[str]:
    """Direct dependencies of the base install and of `EXTRAS`, without other extras in them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [one for extra in EXTRAS for one in project["optional-dependencies"][extra]]
    return [one for one in (*project["dependencies"], *extras) if not one.startswith("motionrt[")]


def floors() -> list[str]:
    """Their lowest versions, as "name==version"."""
    found = {}
    for requirement in requirements():
        match = re.match(r"([\w.-]+)>=([\d.]+)", requirement)
        if match is None:
            sys.exit(f"pyproject.toml: {requirement!r} has no lowest version")
        found[match[1]] = match[2]
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def run(*command: str | Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=environment, cwd=FOLDER, capture_output=True, text=True)
    if done.returncode != 0:
        output = f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
        sys.exit(f"{output}\nlowest: exit {done.returncode}: {' '.join(map(str, command))}")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    held = FOLDER / "floors.txt"
    held.write_text("\n".join(floors()) + "\n")
    run(sys.executable, "-m", "venv", "--clear", FOLDER / "venv")
    python = FOLDER / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", held, ROOT, *requirements())
    for command in COMMANDS:
        run(FOLDER / "venv" / "bin" / "motionrt", *command)
    run(python, "-c", EXTRAS_IN_USE)
    print(f"lowest: {len(COMMANDS)} commands run with {', '.join(floors())}")


if __name__ == "__main__":
    main()

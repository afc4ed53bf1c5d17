"""The documentation builds without a warning, and what it shows runs as it is written."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import motionrt
from motionrt.runtime.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"\]\(\.\./([\w/]+\.py)\)((?:,? `\w+`)+)")  # [file](../file.py) `name`, `other`


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """What can be run, in the order of the page: ("python", source) and ("sh", a line that calls motionrt)."""
    for language, text in BLOCK.findall(page.read_text()):
        if language == "python":
            yield language, text
        else:
            yield from ((language, line) for line in text.splitlines() if line.startswith("motionrt "))


PAGES = [page for page in sorted(DOCS.glob("*.md")) if list(blocks(page))]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    Path("PATH_OF_THE_CHECKOUT").symlink_to(ROOT)
    names: dict[str, object] = {}
    for number, (language, text) in enumerate(blocks(page), 1):
        if language == "python":
            exec(compile(text, f"{page.name}, block {number}", "exec"), names)
        else:
            assert main(shlex.split(text, comments=True)[1:]) == 0, text


def test_what_pages_say_is_in_a_file_is_there() -> None:
    named = [
        (page.name, file, name)
        for page in DOCS.glob("*.md")
        for file, names in NAMED.findall(page.read_text())
        for name in re.findall(r"\w+", names)
    ]
    assert len(named) > 50
    for page, file, name in named:
        defined = re.compile(rf"^ *(def|class) {name}\b|^{name}\b.* = ", re.MULTILINE)
        assert defined.search((ROOT / file).read_text()), f"{page}: {name} is not in {file}"


def test_the_api_page_has_every_public_name() -> None:
    shown = set(re.findall(r"^::: motionrt\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE))
    assert shown == set(motionrt.__all__) - {"__version__"}


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    for module in ("mkdocs", "material", "mkdocstrings"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    done = subprocess.run([*command, "--site-dir", str(tmp_path)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "api.html").read_text()
    for name in ("Recognizer.step", "Generator.stream", "Motion.save", "Retriever.search"):
        assert f'id="motionrt.{name}"' in api, name
    results = sorted(path.name for path in (tmp_path / "files/bench/results").iterdir())
    assert "live.json.txt" in results  # what the README's tables name

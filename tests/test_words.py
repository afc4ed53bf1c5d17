"""Names and texts of the package: standard terms, American spelling, docstrings that open with a verb or a noun."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import motionrt

ROOT = Path(motionrt.__file__).parent
PACKAGES = ("runtime", "kernels", "training", "export", "bench")
VAGUE = {"told", "said", "begun", "moved", "shown", "given", "taught"}  # never a name, and rarely the best word
MAX_VAGUE = 60  # in docstrings and messages of the whole package
BRITISH = re.compile(
    r"\b(?:\w*(?:recognis|normalis|initialis|quantis|synchronis|serialis|optimis|summaris|standardis|visualis"
    r"|generalis|minimis|maximis|organis|sanitis|labelled|colour|favour|behaviour|neighbour|analyse)\w*"
    r"|(?:milli|centi|kilo)?metres?|licences?|centred?|centres|grey)\b",
    re.IGNORECASE,
)
KEYS = {"licence", "neighbours", "recognised", "recogniser"}  # of files and commands that exist
CLAUSE = re.compile(r"(what|who|whom|whose|whoever|whatever|how|which|where|when)\b", re.IGNORECASE)

FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that the code defines or uses, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield node.lineno, node.arg


def texts(path: Path, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Docstrings, messages and comments, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def words(name: str) -> set[str]:
    return {word.lower() for word in re.split(r"_|(?<=[a-z0-9])(?=[A-Z])", name)}


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if documented and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def problems(path: Path, source: str) -> list[str]:
    tree = ast.parse(source)
    found = [f"{line}: name {name}" for line, name in names(tree) if words(name) & VAGUE or BRITISH.search(name)]
    for line, text in texts(path, tree):
        found += [f"{line}: {match[0]}" for match in BRITISH.finditer(text) if match[0] not in KEYS]
    found += [f"{line}: {text.splitlines()[0]}" for line, text in docstrings(tree) if CLAUSE.match(text)]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_spelling_and_docstrings(path: Path) -> None:
    assert problems(path, path.read_text(encoding="utf-8")) == []


def test_vague_words_are_rare() -> None:
    pattern = re.compile(rf"\b(?:{'|'.join(sorted(VAGUE))})\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]}"
        for path in FILES
        for line, text in texts(path, ast.parse(path.read_text(encoding="utf-8")))
        for match in pattern.finditer(text)
    ]
    assert len(found) < MAX_VAGUE, found


@pytest.mark.parametrize(
    "source",
    [
        "def what_was_told(): ...",
        "moved = 1",
        "x.taught",
        "f(shown=1)",
        "class Said: ...",
        '"""What people say."""',
        "def f():\n    'Who came.'",
        "x = 'the quantiser'",
        "y = 1  # metres",
        "def normalise(): ...",
    ],
)
def test_a_problem_is_found(tmp_path: Path, source: str) -> None:
    path = tmp_path / "a.py"
    path.write_text(source)
    assert len(problems(path, source)) == 1

"""Import rules, read from the source: arrows between the packages, no torch in the runtime, no cycles in it."""

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import motionrt

ROOT = Path(motionrt.__file__).parent
PACKAGES = ("runtime", "kernels", "training", "export", "bench")
MAY_IMPORT = {
    "runtime": set(),
    "kernels": set(),
    "training": {"runtime", "kernels"},
    "export": {"training", "runtime"},
    "bench": {"runtime", "kernels", "training", "export"},
}
MAY_IMPORT_IN_FUNCTIONS = {  # folder or file -> packages
    "runtime/cli/": {"kernels", "training", "export", "bench"},
    "runtime/backends/cuda.py": {"training"},
}
HEAVY = {"torch", "triton", "tensorrt"}
MAY_BE_HEAVY = ("runtime/backends/cuda.py", "runtime/backends/tensorrt.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """One imported module, absolute (`motionrt.runtime.body.motion`). `lazy`: inside a function."""

    module: str
    line: int
    lazy: bool


def imports(source: str, module: str) -> Iterator[Import]:
    """Imports in a module's source. `module` is its absolute name, that of a package ends in `.__init__`."""
    yield from _imports(ast.parse(source), module, lazy=False)


def _imports(node: ast.AST, module: str, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        for name in _imported(child, module):
            yield Import(module=name, line=child.lineno, lazy=lazy)  # type: ignore[attr-defined]
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, module, lazy or is_function)


def _imported(node: ast.AST, module: str) -> list[str]:
    """Absolute names imported by one statement, or by one call of import_module or __import__."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = _absolute("." * node.level + (node.module or ""), module)
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            return [_absolute(node.args[0].value, module)]
    return []


def _absolute(name: str, module: str) -> str:
    level = len(name) - len(name.lstrip("."))
    if level == 0:
        return name
    parents = module.split(".")[:-level]
    return ".".join([*parents, *filter(None, [name[level:]])])


def problems(root: Path) -> list[str]:
    """Forbidden imports of a tree that is laid out like the package."""
    found = [
        f"__init__.py:{imported.line}: imports {imported.module} at module level"
        for imported in imports((root / "__init__.py").read_text(encoding="utf-8"), "motionrt.__init__")
        if imported.module.split(".")[0] in HEAVY and not imported.lazy
    ]
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            module = ".".join(["motionrt", *path.relative_to(root).with_suffix("").parts])
            for imported in imports(path.read_text(encoding="utf-8"), module):
                if problem := _problem(file, package, imported):
                    found.append(f"{file}:{imported.line}: {problem}")
    return found


def _problem(file: str, package: str, imported: Import) -> str | None:
    top, *rest = imported.module.split(".")
    if package == "runtime" and top in HEAVY and not imported.lazy and file not in MAY_BE_HEAVY:
        return f"imports {top} at module level"
    if top in PACKAGES:
        return f"imports {top} without its parent; imports across folders are relative"
    if top != "motionrt" or not rest or rest[0] not in PACKAGES or rest[0] == package:
        return None
    allowed = set(MAY_IMPORT[package])
    if imported.lazy:
        for place, more in MAY_IMPORT_IN_FUNCTIONS.items():
            allowed |= more if file.startswith(place) else set()
    where = "inside a function" if imported.lazy else "at module level"
    return None if rest[0] in allowed else f"{package} imports {rest[0]} {where}"


def cycles(root: Path, lazy: bool) -> list[list[str]]:
    """Groups of modules in `runtime` that import each other.

    An import depends on the module and on the `__init__` of every package that it enters, so a package whose
    `__init__` imports something is a link like any other. `lazy`: with the imports inside functions.
    """
    files = {
        ".".join(["motionrt", *path.relative_to(root).with_suffix("").parts]): path
        for path in sorted((root / "runtime").rglob("*.py"))
    }
    links = {
        module: {
            target
            for imported in imports(path.read_text(encoding="utf-8"), module)
            if lazy or not imported.lazy
            for target in _targets(imported.module, module, files) - {module}
        }
        for module, path in files.items()
    }
    reachable = {module: _reachable(module, links) for module in links}
    groups = {tuple(other for other in seen if module in reachable[other]) for module, seen in reachable.items()}
    return sorted(list(group) for group in groups if group)


def _targets(imported: str, importer: str, files: Collection[str]) -> set[str]:
    """The imported module, or that of the imported name; and the `__init__` of packages that are entered for it."""
    parts = imported.split(".")
    parents = [".".join(parts[:n]) for n in range(1, len(parts))]
    entered = {f"{parent}.__init__" for parent in parents if not importer.startswith(f"{parent}.")}
    names = [imported, f"{imported}.__init__", parents[-1], f"{parents[-1]}.__init__"] if parents else []
    return (entered & set(files)) | set([name for name in names if name in files][:1])


def _reachable(module: str, links: dict[str, set[str]]) -> list[str]:
    """All modules that an import of `module` leads to, sorted; `module` itself only through a cycle."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        waiting += (new := links[waiting.pop()] - seen)
        seen |= new
    return sorted(seen)


def test_imports_follow_the_design() -> None:
    assert problems(ROOT) == []


@pytest.mark.parametrize("lazy", [False, True], ids=["at module level", "with function-level imports"])
def test_the_runtime_has_no_import_cycle(lazy: bool) -> None:
    assert cycles(ROOT, lazy) == []


def test_every_package_is_checked() -> None:
    assert {path.name for path in ROOT.iterdir() if path.is_dir() and list(path.glob("*.py"))} <= {
        *PACKAGES,
        ".ci",
        "cmake",
        "docs",
        "examples",
        "tests",
    }
    assert len(list((ROOT / "runtime").rglob("*.py"))) > 10


BAD = {
    "runtime imports training": ("runtime/a.py", "from ..training import loop"),
    "runtime imports training, one by one": ("runtime/a.py", "from .. import training"),
    "runtime imports kernels": ("runtime/io/a.py", "from ...kernels.conv import conv"),
    "runtime imports bench in a function": ("runtime/a.py", "def f():\n    from ..bench import x"),
    "absolute": ("runtime/a.py", "import motionrt.training.loop"),
    "only for types": ("runtime/a.py", "if TYPE_CHECKING:\n    from ..export import onnx"),
    "in a class": ("runtime/a.py", "class A:\n    from ..export import onnx"),
    "by name": ("runtime/a.py", "import importlib\nx = importlib.import_module('..training', __package__)"),
    "from a package's own file": ("runtime/io/__init__.py", "from ...training import loop"),
    "the command line at module level": ("runtime/cli/a.py", "from ...training.recipes import train"),
    "the cuda backend at module level": ("runtime/backends/cuda.py", "from ...training import models"),
    "the cuda backend from export": ("runtime/backends/cuda.py", "def f():\n    from ...export import x"),
    "kernels import runtime": ("kernels/conv/reference.py", "from ...runtime.errors import InputError"),
    "training imports export": ("training/a.py", "from ..export import x"),
    "training imports bench": ("training/models/a.py", "def f():\n    from ...bench import x"),
    "export imports bench": ("export/a.py", "from ..bench import x"),
    "export imports kernels": ("export/a.py", "from ..kernels.conv import conv"),
    "torch in the runtime": ("runtime/a.py", "import torch"),
    "part of torch in the runtime": ("runtime/cli/a.py", "from torch.nn import functional"),
    "torch if it is installed": ("runtime/a.py", "try:\n    import torch\nexcept ImportError:\n    torch = None"),
    "triton in the runtime": ("runtime/backends/onnx.py", "import triton.language as tl"),
    "tensorrt in the runtime": ("runtime/backends/factory.py", "import numpy, tensorrt"),
    "torch in the root": ("__init__.py", "import torch"),
    "a folder as a package": ("training/a.py", "from runtime.motion import Motion"),
}
GOOD = {
    "within a package": ("runtime/io/a.py", "from ..motion import Motion\nfrom .frame import Frame"),
    "training": (
        "training/models/a.py",
        "from ...runtime.skeleton import Layout\nfrom ...kernels import conv",
    ),
    "export": (
        "export/a.py",
        "import torch\nfrom ..training.models import x\nfrom ..runtime.bundle import y",
    ),
    "bench": ("bench/a.py", "from ..export import x\nfrom ..kernels import y\nfrom ..training import z"),
    "the command line in a function": (
        "runtime/cli/a.py",
        "def f():\n    from ...bench.evaluate import evaluate",
    ),
    "the cuda backend": (
        "runtime/backends/cuda.py",
        "import torch\ndef f():\n    from ...training import models",
    ),
    "the tensorrt backend": ("runtime/backends/tensorrt.py", "import tensorrt"),
    "torch in a function of the runtime": ("runtime/a.py", "def f():\n    import torch"),
    "torch in kernels": ("kernels/conv/triton.py", "import torch\nimport triton"),
    "torch in a text": ("runtime/a.py", "'''import torch'''\nx = 'from ..training import y'"),
    "the root": ("__init__.py", "from .runtime.motion import Motion"),
}


CYCLES = {  # modules of runtime -> whether there is a cycle at module level, and with function-level imports
    "two modules": ({"a": "from . import b", "b": "from .a import x"}, True, True),
    "one import in a function": ({"a": "from . import b", "b": "def f():\n    from .a import x"}, False, True),
    "both in functions": (
        {"a": "def f():\n    from . import b", "b": "class B:\n    def f(self):\n        from .a import x"},
        False,
        True,
    ),
    "three modules": ({"a": "from .b import x", "b": "from .p.c import x", "p/c": "from ..a import x"}, True, True),
    "through a package": (
        {"a": "from .p.c import x", "p/__init__": "from .d import x", "p/c": "", "p/d": "from ..a import x"},
        True,
        True,
    ),
    "through a package, in a function": (
        {"a": "from . import p", "p/__init__": "def f():\n    from .d import x", "p/d": "from ..a import x"},
        False,
        True,
    ),
    "a name of its own package": ({"p/__init__": "from .c import x", "p/c": "from ..p import y"}, True, True),
    "a name of its own package, relative": ({"p/__init__": "from .c import x", "p/c": "from . import y"}, True, True),
    "only for types": ({"a": "from . import b", "b": "if TYPE_CHECKING:\n    from .a import x"}, True, True),
    "by name": ({"a": "from . import b", "b": "x = import_module('.a', __package__)"}, True, True),
    "a chain": (
        {"a": "from .b import x", "b": "from .p.c import x", "p/c": "from ..d import x", "d": ""},
        False,
        False,
    ),
    "a diamond": ({"a": "from . import b, c", "b": "from .d import x", "c": "from .d import y", "d": ""}, False, False),
    "an __init__ that exports": (
        {"a": "from .p import x", "p/__init__": "from .c import x", "p/c": "from .d import x", "p/d": ""},
        False,
        False,
    ),
    "siblings under an empty __init__": (
        {"p/__init__": "", "p/c": "from .d import x", "p/d": "from ..a import x", "a": "from .q import x", "q": ""},
        False,
        False,
    ),
}


def tree(root: Path, file: str, source: str) -> Path:
    """Write a package with one file."""
    (root / "__init__.py").touch()
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(source)
    return root


@pytest.mark.parametrize("name", CYCLES)
def test_cycles_of_either_kind_are_found(tmp_path: Path, name: str) -> None:
    modules, eager, lazy = CYCLES[name]
    for module, source in modules.items():
        tree(tmp_path, f"runtime/{module}.py", source)
    assert (bool(cycles(tmp_path, lazy=False)), bool(cycles(tmp_path, lazy=True))) == (eager, lazy)


@pytest.mark.parametrize("name", BAD)
def test_a_forbidden_import_is_found(tmp_path: Path, name: str) -> None:
    file, source = BAD[name]
    found = problems(tree(tmp_path, file, source))
    assert len(found) == 1 and found[0].startswith(f"{file}:")


@pytest.mark.parametrize("name", GOOD)
def test_an_allowed_import_is_not(tmp_path: Path, name: str) -> None:
    assert problems(tree(tmp_path, *GOOD[name])) == []

"""The root of the package: public names, imported on first use."""

import importlib
import shutil
import subprocess
import sys

import pytest

import motionrt


def test_public_names_are_listed_and_resolve() -> None:
    assert dir(motionrt) == sorted(motionrt.__all__)
    assert sorted([*motionrt._HOMES, *motionrt._MODULES, "__version__"]) == motionrt.__all__
    for name, home in motionrt._HOMES.items():
        assert getattr(motionrt, name) is getattr(importlib.import_module(home, "motionrt"), name)
    for name, home in motionrt._MODULES.items():
        assert getattr(motionrt, name) is importlib.import_module(home, "motionrt")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="motionrt.*Recogn1zer"):
        _ = motionrt.Recogn1zer


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, motionrt; print({'numpy', 'onnxruntime', 'torch', 'typer'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_native_recognizer_starts_without_onnx_runtime() -> None:
    code = """
import sys, motionrt
recognizer = motionrt.Recognizer.load("live")
recognizer.step([[0, 0, 0]] * len(motionrt.Layout.load(recognizer.layout).joints))
print(recognizer.backend, {"onnxruntime", "tokenizers", "torch", "rich"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "native set()"


def test_uncompiled_source_says_so_in_one_line(tmp_path) -> None:
    source = tmp_path / "motionrt"
    (source / "runtime").mkdir(parents=True)
    (source / "runtime" / "__init__.py").touch()
    shutil.copy(motionrt.__file__, source)
    code = "import motionrt; motionrt.Recognizer"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"{source} is motionrt's source, not compiled" in done.stderr.splitlines()[-1]

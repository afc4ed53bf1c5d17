"""Bundles that are opened in a child first."""

from pathlib import Path

import numpy as np
import pytest

from motionrt import BundleError, Generator, Motion, Recognizer, Retriever
from motionrt.runtime.bundles import isolation
from motionrt.runtime.bundles.bundle import Bundle
from motionrt.runtime.bundles.schema import Manifest

from ..tiny import tiny_bundle


def faulty_onnxruntime(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the child import this instead of ONNX Runtime; this process has imported the real one."""
    import onnxruntime  # noqa: F401

    (folder / "onnxruntime.py").write_text(f"import os, signal\n{code}\n")
    monkeypatch.syspath_prepend(str(folder))


def test_an_isolated_recognizer_is_the_same(samples: list[Motion]) -> None:
    isolated, other = (Recognizer.load("live", isolate=isolate) for isolate in (True, False))
    np.testing.assert_array_equal(isolated.recognize(samples[0]).probs, other.recognize(samples[0]).probs)


@pytest.mark.parametrize("load", [Generator.load, Retriever.load])
def test_generation_bundles_can_be_isolated(coamd_bundle: Path, load) -> None:
    assert load(coamd_bundle, isolate=True).name == load(coamd_bundle).name


@pytest.mark.parametrize("name", ["zero-shot", "text"])
def test_other_bundles_can_be_isolated(name: str) -> None:
    assert isolation.load_isolated(name, Manifest).sha256 == Bundle.load(name, Manifest).sha256


def test_what_the_child_refuses_is_told(tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "tiny")
    (path / "step.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"step\.onnx: 0 bytes, the manifest says"):
        Recognizer.load(path, isolate=True)


def test_a_crash_ends_the_child_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty_onnxruntime(tmp_path, monkeypatch, "os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(BundleError, match="live: a child that opened it was ended by SIGSEGV"):
        Recognizer.load("live", isolate=True)


def test_an_endless_run_is_ended_by_its_time_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "MAX_CPU_S", 1)
    faulty_onnxruntime(tmp_path, monkeypatch, "while True: pass")
    with pytest.raises(BundleError, match="live: a child that opened it took more than 1 s on the CPU"):
        Recognizer.load("live", isolate=True)


def test_a_child_that_waits_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "MAX_S", 2)
    faulty_onnxruntime(tmp_path, monkeypatch, "signal.pause()")
    with pytest.raises(BundleError, match="live: a child that opened it took longer than 2 s"):
        Recognizer.load("live", isolate=True)


def test_a_child_that_takes_too_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty_onnxruntime(tmp_path, monkeypatch, f"bytes({isolation.MAX_BYTES})")
    with pytest.raises(BundleError, match=f"live: needs more than {isolation.MAX_BYTES} bytes of memory"):
        Recognizer.load("live", isolate=True)


def test_the_child_writes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faulty_onnxruntime(tmp_path, monkeypatch, f"open({str(tmp_path / 'new')!r}, 'w', 1).write('new\\n')")
    with pytest.raises(BundleError, match="live: cannot be run .*File too large"):
        Recognizer.load("live", isolate=True)


def test_a_bundle_that_was_changed_meanwhile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Bundle.load("nwucla-stream")
    monkeypatch.setattr(Bundle, "load", lambda name, kind: other)
    with pytest.raises(BundleError, match="live: was changed while it was opened"):
        isolation.load_isolated("live", Manifest)

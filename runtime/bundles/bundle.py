"""Bundles: a trained model as a folder with manifest, weights and graphs, verified before anything runs."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import numpy as np

from ..errors import BundleError
from . import hub
from .int8 import dequantize
from .onnx_graph import ExternalTensor, OnnxGraph, read_graph
from .onnx_shapes import check_operators
from .safetensors import unpack
from .schema import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    WEIGHTS,
    FileEntry,
    Manifest,
    RecognitionManifest,
    check_file_name,
    parse_manifest,
)
from .strict_json import load_object

MODELS = Path(__file__).parents[1] / "models"

# TensorProto.DataType -> numpy dtype of the safetensors view (BF16 is read as its bit pattern).
ONNX_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 16: "uint16"}

M = TypeVar("M", bound=Manifest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle(Generic[M]):
    """A verified bundle.

    Attributes:
        manifest: of the type that belongs to the bundle's task.
        files: content of the files in `manifest.required_files`.
        weights: arrays by name, as the graphs take them.
        manifest_file: content of the manifest.
        sha256: hash of the manifest, which in turn holds the hashes of all files.
    """

    path: Path
    manifest: M
    files: Mapping[str, bytes]
    weights: Mapping[str, np.ndarray]
    manifest_file: bytes
    sha256: str

    @property
    def graphs(self) -> dict[str, bytes]:
        """Content of the graph files by name."""
        return {graph.file: self.files[graph.file] for graph in self.manifest.graphs.values()}

    @property
    def weights_file(self) -> bytes:
        return self.files[WEIGHTS]

    @overload
    @classmethod
    def load(cls, name: str | Path) -> "Bundle[RecognitionManifest]": ...

    @overload
    @classmethod
    def load(cls, name: str | Path, kind: type[M]) -> "Bundle[M]": ...

    @classmethod
    def load(cls, name: str | Path, kind: type[Manifest] = RecognitionManifest) -> "Bundle[Any]":
        """Read and verify a bundle.

        Args:
            name: a bundled model's name, the path of a bundle's folder, or hf://ORG/NAME[@REVISION] on the Hub.
            kind: manifest class of the expected task; `Manifest` accepts any task.
        Raises:
            BundleError: unknown name, another task, or a file that is missing, damaged or not as in the manifest.
        """
        path = _find(name, kind.task or None)
        text = _read_file(path / MANIFEST, None)
        manifest = parse_manifest(load_object(text, str(path / MANIFEST)), str(path / MANIFEST))
        if not isinstance(manifest, kind):
            raise BundleError(f"{path / MANIFEST}: task {manifest.task!r}, expected {kind.task!r}")
        for file, entry in manifest.files.items():  # before any is read
            _check_size(path / file, entry)
        files: dict[str, bytes] = {}
        for file, entry in manifest.files.items():
            data = _read_file(path / file, entry)
            if file in manifest.required_files:
                files[file] = data
        weights = unpack(files[WEIGHTS], str(path / WEIGHTS))
        return Bundle(
            path=path,
            manifest=manifest,
            files=files,
            weights=dequantize(weights) if manifest.quantized else weights,
            manifest_file=text,
            sha256=_sha256(text),
        )

    def read_graph(self, file: str) -> OnnxGraph:
        """Read one of the graph files.

        Raises:
            BundleError: not an ONNX graph, one with operators that the graphs of bundles do not use, or it refers to
                weights that the bundle does not have.
        """
        where = str(self.path / file)
        graph = read_graph(self.files[file], WEIGHTS, where)
        check_operators(graph, where)
        _check_initializers(graph.external, self.weights, where)
        return graph


def bundled(task: str | None = None) -> list[str]:
    """Names of the models in this installation: all, or those of one task."""
    if not MODELS.is_dir():
        return []
    folders = sorted(folder for folder in MODELS.iterdir() if (folder / MANIFEST).is_file())
    return [folder.name for folder in folders if task is None or _task(folder) == task]


def write_bundle(path: str | Path, manifest: Mapping[str, Any], files: Mapping[str, bytes | Path]) -> Path:
    """Write a bundle whole or not at all.

    Args:
        path: the folder to create; an existing bundle is replaced.
        manifest: every field of manifest.json except `files`, which is computed here.
        files: plain file name -> content, or a file that is moved into the bundle.
    Returns:
        `path`.
    Raises:
        BundleError: the result would not load, or `path` holds something that is not a bundle.
    """
    target = Path(path)
    for file in files:
        check_file_name(file, str(target))
    entries = {name: _entry(data) for name, data in files.items()}
    text = json.dumps({**manifest, "files": entries}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    _check_replaceable(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        new = work / target.name
        new.mkdir()
        for name, data in {**files, MANIFEST: text.encode()}.items():
            if isinstance(data, Path):
                shutil.move(data, new / name)
                continue
            with open(new / name, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        bundle = Bundle.load(new, Manifest)
        for file in bundle.graphs:
            bundle.read_graph(file)
        _replace(new, target, work / "replaced")
    except OSError as error:
        raise BundleError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _entry(data: bytes | Path) -> dict[str, Any]:
    """Hash and size of a file."""
    if isinstance(data, bytes):
        return {"sha256": _sha256(data), "size": len(data)}
    return {"sha256": file_sha256(data), "size": data.stat().st_size}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex, read in parts."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while part := stream.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def task_of(name: str | Path) -> str | None:
    """Task of a bundle that `Bundle.load` takes; None if there is none, or its manifest cannot be read."""
    try:
        return _task(_find(name, None))
    except BundleError:
        return None


def _task(folder: Path) -> Any:
    """Task in a folder's manifest, None if it cannot be read."""
    try:
        return load_object(_read_file(folder / MANIFEST, None), str(folder / MANIFEST)).get("task")
    except BundleError:
        return None


def _find(name: str | Path, task: str | None) -> Path:
    if isinstance(name, str) and name in bundled():
        return MODELS / name
    if isinstance(name, str) and name.startswith(hub.SCHEME):
        return hub.fetch(name)
    path = Path(name)
    if path.is_dir():
        return path
    problem = f"{name}: not the folder of a bundle" if path.exists() else f"no model named {str(name)!r}"
    known = ", ".join(bundled(task)) or "none"
    raise BundleError(f"{problem}; bundled models are: {known} (or give the path of a bundle, or hf://ORG/NAME)")


def _read_file(path: Path, entry: FileEntry | None) -> bytes:
    """Content of a file, checked against its `entry`; None for the manifest, which is only limited in size."""
    limit = MAX_MANIFEST_BYTES if entry is None else entry.size
    _check_size(path, entry)
    with _errors(path), open(path, "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit or (entry is not None and len(data) < limit):
        raise BundleError(f"{path}: {len(data)} bytes, expected {'at most ' if entry is None else ''}{limit}")
    if entry is not None and _sha256(data) != entry.sha256:
        raise BundleError(f"{path}: content does not match the sha256 in the manifest")
    return data


def _check_size(path: Path, entry: FileEntry | None) -> None:
    with _errors(path):
        status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path}: not a regular file")
    if entry is not None and status.st_size != entry.size:
        raise BundleError(f"{path}: {status.st_size} bytes, the manifest says {entry.size}")


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BundleError(f"{path}: file is missing from the bundle") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error})") from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _check_initializers(tensors: Mapping[str, ExternalTensor], weights: Mapping[str, np.ndarray], where: str) -> None:
    for name, tensor in tensors.items():
        if name not in weights:
            raise BundleError(f"{where}: initializer {name!r} is not in {WEIGHTS}")
        array = weights[name]
        dtype = ONNX_DTYPES.get(tensor.onnx_type)
        if array.dtype.name != dtype or array.shape != tensor.shape:
            found = f"{array.dtype.name} {list(array.shape)}"
            expected = f"{dtype} {list(tensor.shape)}"
            raise BundleError(f"{where}: initializer {name!r} is {expected}, {WEIGHTS} has {found}")


def _check_replaceable(target: Path) -> None:
    """Raises BundleError unless `target` does not exist, is an empty folder, or holds a bundle and nothing else."""
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise BundleError(f"{target}: exists and is not a bundle's folder; nothing was written")
    present = {item.name for item in target.iterdir()}
    if not present:
        return
    if MANIFEST not in present:
        raise BundleError(f"{target}: holds files but no {MANIFEST}; nothing was written")
    manifest = load_object(_read_file(target / MANIFEST, None), str(target / MANIFEST))
    listed = manifest.get("files")
    foreign = sorted(present - set(listed if isinstance(listed, dict) else {}) - {MANIFEST})
    if "schema" not in manifest or foreign:
        found = f"{foreign[0]!r}, which is not part of it" if foreign else "a foreign manifest.json"
        raise BundleError(f"{target}: not only a bundle, it holds {found}; nothing was written")


def _replace(new: Path, target: Path, old: Path) -> None:
    """Rename `new` to `target`; the previous folder stays at `old` until that has worked."""
    if not target.exists():
        os.rename(new, target)
        return
    os.rename(target, old)
    try:
        os.rename(new, target)
    except BaseException:
        os.rename(old, target)
        raise

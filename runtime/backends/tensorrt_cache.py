"""TensorRT engines on disk. A plan is executable code: only the user's own are read, and only on the machine and for
the versions that they were built for.

A file is 8 bytes, the length of the header (little-endian); a JSON header of `key`, `size` and `sha256`; the plan.
"""

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..bundles.schema import Graph, Manifest
from ..bundles.signatures import INT8_SUFFIX, SIGNATURES
from ..bundles.strict_json import load_object
from ..cache import cache_folder
from ..errors import BundleError, InputError

BUILDER = 1  # version of `export/tensorrt_graph.py`: changes whenever its graphs change
PRECISIONS = ("fp32", "fp16", "bf16")
MAX_HEADER_BYTES = 64 * 1024
MAX_PLAN_BYTES = 4 * 1024**3
_LENGTH = 8
_OTHERS_CAN_WRITE = 0o022

Profile = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # smallest, usual and largest shape of an input


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanKey:
    """Everything that an engine depends on; an engine is used only if all of it matches.

    Attributes:
        graph, weights: sha256 of the ONNX file and of the weights.
        tensorrt: version.
        gpu: name and compute capability.
        precision: one of `PRECISIONS`.
        profiles: shapes of the inputs.
        builder: version of the code that prepared the graph.
    """

    graph: str
    weights: str
    tensorrt: str
    gpu: str
    precision: str
    profiles: dict[str, Profile]
    builder: int = BUILDER

    @property
    def fields(self) -> dict[str, Any]:
        """The fields as read back from JSON."""
        fields: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return fields

    @property
    def path(self) -> Path:
        """File of the plan in the cache."""
        text = json.dumps(self.fields, sort_keys=True)
        return cache_folder("tensorrt") / f"{hashlib.sha256(text.encode()).hexdigest()}.plan"


def check_precision(precision: str) -> None:
    """Raises InputError unless it is one of `PRECISIONS`."""
    if precision == "int8":
        raise InputError(
            "precision 'int8' needs MatMulInteger, which TensorRT does not support: expected fp32, fp16 or bf16"
        )
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}, TensorRT expects fp32, fp16 or bf16")


def engine_graphs(manifest: Manifest) -> list[str]:
    """Names of the graphs that TensorRT runs: float graphs with sizes for an engine. The rest runs in ONNX Runtime."""
    task = SIGNATURES[manifest.task]

    def has_engine(name: str) -> bool:
        sizes = task.open_sizes(name)
        names = {size for shape in manifest.graphs[name].inputs.values() for size in shape if isinstance(size, str)}
        return not name.endswith(INT8_SUFFIX) and all(sizes[size].engine is not None for size in names)

    return [name for name in manifest.graphs if has_engine(name)]


def profiles(task: str, name: str, graph: Graph) -> dict[str, Profile]:
    """Smallest, usual and largest shape of every input of one of a task's graphs.

    Raises:
        BundleError: an open size of an input has no sizes for an engine.
    """
    engines = {size: about.engine for size, about in SIGNATURES[task].open_sizes(name).items()}
    result: dict[str, Profile] = {}
    for tensor, shape in graph.inputs.items():
        ranges: list[tuple[int, int, int]] = []
        for size in shape:
            engine = (size, size, size) if isinstance(size, int) else engines.get(size)
            if engine is None:
                raise BundleError(f"graph {name} of task {task!r}: TensorRT has no sizes for {size!r} of {tensor}")
            ranges.append(engine)
        low, usual, high = (tuple(sizes[i] for sizes in ranges) for i in range(3))
        result[tensor] = low, usual, high
    return result


def store_plan(key: PlanKey, plan: bytes) -> Path:
    """Store a plan atomically where only the user can write. Raises InputError if it cannot be written."""
    header = {"key": key.fields, "size": len(plan), "sha256": hashlib.sha256(plan).hexdigest()}
    text = json.dumps(header).encode()
    path = key.path
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(path.parent, path.parent.stat())
        descriptor, work = tempfile.mkstemp(dir=path.parent)  # with mode 0600
        try:
            with open(descriptor, "wb") as stream:
                stream.write(len(text).to_bytes(_LENGTH, "little") + text)
                stream.write(plan)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(work, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(work)
            raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def load_plan(key: PlanKey, bundle: Path) -> bytes:
    """Load the plan that was built for a key.

    Args:
        bundle: path of the bundle, for the instructions in errors.
    Raises:
        BundleError: it is missing, damaged or foreign, or another user can change it.
    """
    path = key.path
    option = "" if key.precision == "fp32" else f" --precision {key.precision}"
    fix = f"build it here: motionrt export {bundle} --tensorrt{option}"
    try:
        _check_owner(path.parent, path.parent.stat())
        with open(path, "rb", opener=_open_no_link) as stream:
            status = os.fstat(stream.fileno())
            _check_owner(path, status)
            if status.st_size > MAX_PLAN_BYTES:
                raise BundleError(f"{path}: {status.st_size} bytes, expected at most {MAX_PLAN_BYTES}")
            return _check_plan(stream.read(), key, path)
    except FileNotFoundError:
        engine = f"{key.precision}, TensorRT {key.tensorrt}, {key.gpu}"
        raise BundleError(f"{bundle}: has no TensorRT engine yet ({engine}); {fix}") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error}); {fix}") from error
    except BundleError as error:
        raise BundleError(f"{error}; {fix}") from None


def _check_plan(data: bytes, key: PlanKey, path: Path) -> bytes:
    end = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    if not _LENGTH < end <= min(len(data), _LENGTH + MAX_HEADER_BYTES):
        raise BundleError(f"{path}: not a TensorRT engine of motionrt, or truncated")
    header, plan = load_object(data[_LENGTH:end], str(path)), data[end:]
    found, expected = header.get("key"), key.fields
    if not isinstance(found, dict) or found.keys() != expected.keys():
        raise BundleError(f"{path}: its header is not that of a TensorRT engine of this version")
    for name, value in expected.items():
        if found[name] != value:
            raise BundleError(f"{path}: built for {name} {str(found[name])[:200]!r}, expected {str(value)[:200]!r}")
    if header.get("size") != len(plan):
        raise BundleError(f"{path}: {len(plan)} bytes of plan, its header says {header.get('size')!r}")
    if header.get("sha256") != hashlib.sha256(plan).hexdigest():
        raise BundleError(f"{path}: the plan does not match the sha256 in its header")
    return plan


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise BundleError(f"{path}: belongs to user {status.st_uid}; a plan is code, only your own are run")
    if status.st_mode & _OTHERS_CAN_WRITE:
        raise BundleError(f"{path}: others can write to it (mode {status.st_mode & 0o777:o}); a plan is code")

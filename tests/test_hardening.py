"""The compiled files are hardened: what their ELF headers say."""

import struct
from pathlib import Path
from typing import NamedTuple

import pytest

from motionrt.runtime import _core

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "build" / "release" / "libmotionrt.so"  # if the C++ tests were built
FILES = [Path(_core.__file__), *([LIBRARY] if LIBRARY.exists() else [])]
LOAD, DYNAMIC, GNU_STACK, GNU_RELRO = 1, 2, 0x6474E551, 0x6474E552
STRTAB, SYMTAB, STRSZ, TEXTREL, FLAGS, RPATH, RUNPATH = 5, 6, 10, 22, 30, 15, 29
BIND_NOW, EXECUTABLE = 8, 1

pytestmark = pytest.mark.skipif(FILES[0].read_bytes()[:5] != b"\x7fELF\x02", reason="not a 64-bit ELF file")


class Elf(NamedTuple):
    """Flags by type of a segment, entries of the dynamic section, names of imported and exported symbols."""

    segments: dict[int, int]
    dynamic: dict[int, int]
    imported: set[str]
    exported: set[str]


def read(path: Path) -> Elf:
    data = path.read_bytes()
    offset, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", data, offset + i * size) for i in range(count)]

    def at(address: int) -> int:
        """Position in the file."""
        return next(h[2] + address - h[3] for h in headers if h[0] == LOAD and h[3] <= address < h[3] + h[5])

    (start, length) = next((h[2], h[5]) for h in headers if h[0] == DYNAMIC)
    dynamic = dict(struct.unpack_from("<QQ", data, i) for i in range(start, start + length, 16))
    names, symbols = at(dynamic[STRTAB]), at(dynamic[SYMTAB])
    imported, exported = set(), set()
    for i in range(symbols + 24, names, 24):  # the table of names follows that of symbols
        name, _, _, section = struct.unpack_from("<IBBH", data, i)
        end = data.index(b"\0", names + name)
        (exported if section else imported).add(data[names + name : end].decode())
    return Elf({h[0]: h[1] for h in headers}, dynamic, imported, exported)


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def elf(request: pytest.FixtureRequest) -> Elf:
    return read(request.param)


def test_tables_of_addresses_are_read_only_and_the_stack_holds_no_code(elf: Elf) -> None:
    assert elf.dynamic[FLAGS] & BIND_NOW and GNU_RELRO in elf.segments
    assert not elf.segments[GNU_STACK] & EXECUTABLE
    assert TEXTREL not in elf.dynamic


def test_no_library_is_searched_in_another_folder(elf: Elf) -> None:
    assert not {RPATH, RUNPATH} & set(elf.dynamic)


def test_the_stack_and_buffers_are_guarded(elf: Elf) -> None:
    assert "__stack_chk_fail" in elf.imported
    assert not {"snprintf", "sprintf", "strcat", "strcpy"} & elf.imported  # but __snprintf_chk


def test_only_what_is_public_is_exported(elf: Elf) -> None:
    assert elf.exported == {"PyInit__core"} or all(name.startswith("motionrt_") for name in elf.exported)

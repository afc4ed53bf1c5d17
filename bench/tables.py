"""Tables of measurements in Markdown pages: `python -m motionrt.bench.tables PAGE... RESULTS`.

A page holds a table between the markers `<!-- NAME: begin -->` and `<!-- NAME: end -->`; RESULTS is the folder of the
JSON files that the benchmarks wrote. The tables are data in `rows.py`: a row is two templates whose fields, such as
`{step.p50_ms:.3f}`, are paths into its JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from string import Formatter
from typing import Any

from .rows import TABLES, Row


class Paths(Formatter):
    """`str.format` with fields that are paths through dictionaries and lists."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[Any, str]:
        value: Any = kwargs
        for key in field_name.split("."):
            value = value[int(key)] if isinstance(value, list) else value[key]
        return value, field_name


def fill_page(text: str, results: Path, link: str) -> str:
    """Fill every table whose markers are in a page; `link` is the results folder as seen from the page."""
    for name, rows in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        body = re.escape(begin) + ".*?" + re.escape(end)
        if begin in text:
            table = f"{begin}\n{render(rows, results, link)}\n{end}"
            text = re.sub(body, table.replace("\\", r"\\"), text, flags=re.DOTALL)
    return text


def render(rows: Iterable[Row], results: Path, link: str) -> str:
    lines = ["| measurement | result | file |", "|---|---|---|"]
    for row in rows:
        names = (row.files,) if isinstance(row.files, str) else row.files
        links = ", ".join(f"[{name}]({link}/{name})" for name in names)
        lines += [f"| {what} | {measured} | {links} |" for what, measured in cells(row, results)]
    return "\n".join(lines)


def cells(row: Row, results: Path) -> Iterable[tuple[str, str]]:
    if isinstance(row.files, str):
        report = load(results, row.files)
    else:
        report = {Path(name).stem: load(results, name) for name in row.files}
    fields = report | {name: derive(report) for name, derive in row.derived.items()}
    repeats = [{}] if row.each is None else [{"key": key, "item": item} for key, item in row.each(report)]
    for extra in repeats:
        what, measured = (Paths().vformat(template, (), fields | extra) for template in (row.what, row.measured))
        yield what, measured


def load(results: Path, name: str) -> Any:
    return json.loads((results / name).read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE")
    parser.add_argument("results", type=Path, metavar="RESULTS")
    args = parser.parse_args()
    for page in args.pages:
        link = Path(os.path.relpath(args.results, page.parent)).as_posix()
        page.write_text(fill_page(page.read_text(), args.results, link))


if __name__ == "__main__":
    main()

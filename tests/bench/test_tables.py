"""Tables of measurements: the pages hold what the result files say."""

import json
from pathlib import Path

import pytest

from motionrt.bench.rows import TABLES, Row
from motionrt.bench.tables import fill_page, render

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"


def test_the_page_of_benchmarks_holds_all_tables_of_the_results() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert fill_page(page, RESULTS, "../bench/results") == page
    assert all(page.count(f"<!-- {name}: begin -->") == 1 for name in TABLES)


def test_the_readme_holds_the_short_table_of_five_rows() -> None:
    readme = (ROOT / "README.md").read_text()
    assert fill_page(readme, RESULTS, "bench/results") == readme and "<!-- measured: begin -->" in readme
    assert len(render(TABLES["measured"], RESULTS, "bench/results").splitlines()) == 2 + 5


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "a.json").write_text(json.dumps({"n": 3, "runs": [{"ms": 1.25}], "sets": {"x": {"R@1": 90.04}}}))
    (tmp_path / "b.json").write_text(json.dumps({"n": 4}))
    return tmp_path


def test_rows_read_paths_derived_values_and_several_files(results: Path) -> None:
    rows = [
        Row("{n} runs", "{runs.0.ms:.1f} ms, {twice}", "a.json", {"twice": lambda report: 2 * report["n"]}),
        Row("set {key}", "{item.R@1:.1f} %", "a.json", each=lambda report: report["sets"].items()),
        Row("both", "{a.n} + {b.n}", ("a.json", "b.json")),
    ]
    assert render(rows, results, "../r").splitlines()[2:] == [
        "| 3 runs | 1.2 ms, 6 | [a.json](../r/a.json) |",
        "| set x | 90.0 % | [a.json](../r/a.json) |",
        "| both | 3 + 4 | [a.json](../r/a.json), [b.json](../r/b.json) |",
    ]


def test_only_tables_with_markers_are_filled() -> None:
    assert fill_page("no table", RESULTS, "r") == "no table"
    page = fill_page("before\n<!-- gpu: begin -->\nold\n<!-- gpu: end -->\nafter\n", RESULTS, "r")
    assert "old" not in page and page.startswith("before\n") and page.endswith("-->\nafter\n") and "sm_90" in page

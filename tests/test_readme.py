"""The README's numbers are those of bench/results."""

from pathlib import Path

from motionrt.bench.readme import with_tables

ROOT = Path(__file__).resolve().parents[1]


def test_the_tables_are_made_from_the_results() -> None:
    readme = (ROOT / "README.md").read_text()
    assert with_tables(readme, ROOT / "bench" / "results") == readme

"""Nested reports as short tables."""

from typing import Any

import pytest

from motionrt.runtime.cli.report_table import FOLDED, report_lines


def sets(count: int) -> dict[str, Any]:
    return {f"set{k}": {"n": 10 * k, "top1": 91.23456 + k} for k in range(1, count + 1)}


def test_a_small_report_is_printed_whole_with_groups_of_the_same_fields_as_a_table() -> None:
    report = {
        "benchmark": "live",
        "macro_top1": 90.7476,
        "fid": {"mean": 0.08706, "low": 0.081019, "high": 0.0931, "n": 20},
        "thresholds": {"on": 0.7, "smooth": {"s": 0.1, "of": ["a", "b"]}},
        "per_set": sets(2),
        "nothing": {},
    }
    assert report_lines(report) == [
        "benchmark   live",
        "macro_top1  90.75",
        "fid         0.08706 (0.08102 to 0.0931)",
        "thresholds",
        "  on      0.7",
        "  smooth",
        "    s   0.1",
        "    of  a, b",
        "per_set   n   top1",
        "  set1   10  92.23",
        "  set2   20  93.23",
        "nothing     none",
    ]


@pytest.mark.parametrize("limit", [8, 30])
def test_a_long_report_is_folded_into_the_limit(limit: int) -> None:
    report = {"n": 715, "per_class": sets(40), "per_set": sets(3), "mistakes": [["a", "b", k] for k in range(9)]}
    lines = report_lines(report, limit=limit)
    assert "per_class  40 values" in lines and "  set3   30  94.23" in lines and "mistakes   9 values" in lines
    assert len(lines) <= limit and lines[-1] == FOLDED


def test_more_values_than_lines_are_cut() -> None:
    lines = report_lines({f"value{k}": k for k in range(99)})
    assert len(lines) == 30 and lines[-1] == FOLDED


def test_lines_fit_the_width() -> None:
    wide = {"test": {f"a long name {k}": k for k in range(9)}}
    lines = report_lines({"protocol": "a text of many words " * 9, "counts": wide}, width=60, limit=8)
    assert [len(line) <= 60 for line in lines] == [True] * 7
    assert lines[-3:] == ["counts", "  test  a long name 0 0, a long name 1 1, a long name 2 2, …", FOLDED]

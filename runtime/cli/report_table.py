"""`report_lines`: a nested JSON report as a short table."""

from __future__ import annotations

import textwrap
from collections import deque
from collections.abc import Mapping
from typing import Any

Report = Mapping[str, Any]

INTERVAL = {"mean", "low", "high"}  # a mean with its confidence interval is one value
INDENT = "  "
MORE = ", …"
FOLDED = "The rest is in the output of --json."


def report_lines(report: Report, width: int = 100, limit: int = 30) -> list[str]:
    """The report in at most `limit` lines, if not more than that are needed for its outermost values.

    Groups are opened one level after the other, in the order of the report, as long as their lines fit; of the others
    one line is printed, with their first values or the number of them. Groups with the same fields are a table.

    Args:
        report: JSON object.
        width: of a line, in characters; long texts are wrapped.
    """
    opened: set[int] = set()
    lines = _lines(report, opened, width)
    closed = deque(_groups(report))
    folded = len(lines) > limit
    while closed:
        group = closed.popleft()
        longer = _lines(report, opened | {id(group)}, width)
        if len(longer) < limit:  # one more is for `FOLDED`
            opened.add(id(group))
            lines = longer
            closed.extend([] if _table("", group, width) else _groups(group))
        else:
            folded = True
    return [*lines[: limit - 1], FOLDED] if folded else lines


def _groups(report: Report) -> list[Report]:
    """The groups in a group that do not fit into one value."""
    return [value for value in report.values() if isinstance(value, Mapping) and _value(value) is None]


def _lines(report: Report, opened: set[int], width: int) -> list[str]:
    name_width = max((len(name) for name in report), default=0)
    lines: list[str] = []
    for name, value in report.items():
        text = _value(value)
        if text is None and id(value) in opened:
            nested = (INDENT + line for line in _lines(value, opened, width - len(INDENT)))
            lines += _table(name, value, width) or [name, *nested]
        else:
            head = f"{name:{name_width}}  "
            text = _start(value, width - len(head)) if text is None else text
            lines += textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head)) or [head]
    return lines


def _start(group: Report, width: int) -> str:
    """As many values of a group as fit into one line, or their number."""
    pairs = [f"{name} {value}" for name, one in group.items() if (value := _value(one)) is not None]
    line = ", ".join(pairs)
    if len(pairs) == len(group) and len(line) <= width:
        return line
    while pairs and len(line) > width - len(MORE):
        pairs.pop()
        line = ", ".join(pairs)
    return f"{line}{MORE}" if pairs else f"{len(group)} values"


def _table(name: str, group: Report, width: int) -> list[str]:
    """The members of a group as rows, if all have the same fields and the lines fit; else nothing."""
    members = list(group.values())
    if not all(isinstance(member, Mapping) and list(member) == list(members[0]) for member in members):
        return []
    if any(_value(value) is None for member in members for value in member.values()):
        return []
    rows = [[name, *members[0]], *([INDENT + key, *map(_text, row.values())] for key, row in group.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sum(widths) + 2 * len(widths) > width:
        return []
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def _value(value: Any) -> str | None:
    """A value in one line; None for a group that has to be opened for that."""
    if isinstance(value, Mapping):
        if set(value) >= INTERVAL and not any(isinstance(one, Mapping) for one in value.values()):
            return f"{_text(value['mean'])} ({_text(value['low'])} to {_text(value['high'])})"
        return None if value else "none"
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return _value(value) or ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        short = len(value) <= 4 and not any(isinstance(one, (list, Mapping)) for one in value)
        return ", ".join(map(_text, value)) if short else f"{len(value)} values"
    return str(value)

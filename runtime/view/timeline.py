"""Current label and score of each person above a timeline of past labels, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from zlib import crc32

from ..recognition.decision import Decision
from ..recognition.label_texts import NONE
from .forms import note_html
from .source_player import HISTORY_S, HistoryEntry

GAP_S = 0.5  # a pause without decisions that ends a segment
_SCALE = (
    "display:flex;justify-content:space-between;padding:0 1.2em .5em;font-size:.65em;color:var(--mantine-color-dimmed)"
)
_MIN_NAMED_S = 1.5  # shortest segment that is wide enough for its label


def people_html(now: Mapping[int, Decision], history: Mapping[int, Sequence[HistoryEntry]], clock: float) -> str:
    """A block for each person with a history; `clock` is the current time on the history's clock."""
    blocks = [
        _person_html(person, now.get(person), entries, clock, len(history) > 1) for person, entries in history.items()
    ]
    scale = f"<span>{HISTORY_S:g} s ago</span><span>now</span>"
    return "".join(blocks) + f'<div style="{_SCALE}">{scale}</div>' if blocks else note_html("no people in view")


def _person_html(
    person: int, now: Decision | None, entries: Sequence[HistoryEntry], clock: float, is_named: bool
) -> str:
    who = f'<span style="opacity:.55">person {person}</span> ' if is_named else ""
    if now is None:
        head, score, others = "out of view", "", ""
    else:
        head, score = escape(now.label), f"{now.score:.2f}"
        others = " · ".join(f"{escape(label)} {score:.2f}" for label, score in now.top(4) if label != now.label)
    return (
        '<div style="padding:.3em .9em .5em">'
        f'<div style="display:flex;justify-content:space-between;font-size:1.05em">{who}'
        f'<b class="motionrt-label">{head}</b><span>{score}</span></div>'
        f'<div style="font-size:.75em;color:var(--mantine-color-dimmed);white-space:nowrap;overflow:hidden">{others}'
        "&nbsp;</div>"
        '<div style="position:relative;height:1.5em;margin-top:.2em;border-radius:3px;overflow:hidden;'
        f'background:rgba(128,128,128,.12)">{"".join(_segments(entries, clock))}</div></div>'
    )


def _segments(entries: Sequence[HistoryEntry], clock: float) -> list[str]:
    """Runs of one label as colored blocks on the time axis."""
    blocks = []
    for label, run in groupby(_number_gaps(entries), lambda item: (item[0], item[1].label)):
        clocks = [entry.clock for _, entry in run]
        start, end = clocks[0], clocks[-1]
        left, width = 1 - (clock - start) / HISTORY_S, (end - start) / HISTORY_S
        name = escape(label[1])
        text = name if end - start >= _MIN_NAMED_S and label[1] != NONE else ""
        blocks.append(
            f'<div title="{name}" style="position:absolute;left:{100 * left:.2f}%;width:{100 * width + 0.2:.2f}%;'
            f"height:100%;background:{_color(label[1])};color:#222;font-size:.7em;line-height:2.1em;padding-left:.3em;"
            f'box-sizing:border-box;overflow:hidden;white-space:nowrap">{text}</div>'
        )
    return blocks


def _number_gaps(entries: Sequence[HistoryEntry]) -> list[tuple[int, HistoryEntry]]:
    """Entries, each with the number of gaps before it."""
    gaps, numbered = 0, []
    for before, entry in zip([entries[0], *entries], entries, strict=False):
        gaps += entry.clock - before.clock > GAP_S
        numbered.append((gaps, entry))
    return numbered


def _color(label: str) -> str:
    return "transparent" if label in ("", NONE) else f"hsl({crc32(label.encode()) % 360} 62% 72%)"

"""What people do, as HTML: label and score of everybody, over a strip of what they did before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from zlib import crc32

from ..recognition.decision import Decision
from ..recognition.label_texts import NONE
from .forms import note_html
from .source_player import HISTORY_S, HistoryEntry

GAP_S = 0.5  # without a decision ends a stretch
_SCALE = (
    "display:flex;justify-content:space-between;padding:0 1.2em .5em;font-size:.65em;color:var(--mantine-color-dimmed)"
)
_MIN_NAMED_S = 1.5  # a stretch this long is wide enough for its label


def people_html(now: Mapping[int, Decision], history: Mapping[int, Sequence[HistoryEntry]], clock: float) -> str:
    """A block for everybody of whom there is something to tell; `clock` is that of the history, now."""
    blocks = [_person(person, now.get(person), told, clock, len(history) > 1) for person, told in history.items()]
    scale = f"<span>{HISTORY_S:g} s ago</span><span>now</span>"
    return "".join(blocks) + f'<div style="{_SCALE}">{scale}</div>' if blocks else note_html("nobody is in sight")


def _person(person: int, now: Decision | None, told: Sequence[HistoryEntry], clock: float, named: bool) -> str:
    who = f'<span style="opacity:.55">person {person}</span> ' if named else ""
    if now is None:
        head, score, others = "out of sight", "", ""
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
        f'background:rgba(128,128,128,.12)">{"".join(_stretches(told, clock))}</div></div>'
    )


def _stretches(told: Sequence[HistoryEntry], clock: float) -> list[str]:
    """The runs of one label, each where it was in the last `HISTORY_S` seconds."""
    blocks = []
    for label, run in groupby(_runs(told), lambda one: (one[0], one[1].label)):
        decisions = [one for _, one in run]
        begin, end = decisions[0].clock, decisions[-1].clock
        left, width = 1 - (clock - begin) / HISTORY_S, (end - begin) / HISTORY_S
        name = escape(label[1])
        shown = name if end - begin >= _MIN_NAMED_S and label[1] != NONE else ""
        blocks.append(
            f'<div title="{name}" style="position:absolute;left:{100 * left:.2f}%;width:{100 * width + 0.2:.2f}%;'
            f"height:100%;background:{_color(label[1])};color:#222;font-size:.7em;line-height:2.1em;padding-left:.3em;"
            f'box-sizing:border-box;overflow:hidden;white-space:nowrap">{shown}</div>'
        )
    return blocks


def _runs(told: Sequence[HistoryEntry]) -> list[tuple[int, HistoryEntry]]:
    """Decisions with the number of the gaps before them."""
    gaps, numbered = 0, []
    for before, one in zip([told[0], *told], told, strict=False):
        gaps += one.clock - before.clock > GAP_S
        numbered.append((gaps, one))
    return numbered


def _color(label: str) -> str:
    return "transparent" if label in ("", NONE) else f"hsl({crc32(label.encode()) % 360} 62% 72%)"

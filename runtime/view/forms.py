"""Forms of the page, and the line beneath one that tells what has come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from ..errors import InputError


def bind_submit(form: Any, button: Any, act: Callable[[], None]) -> None:
    """What a form is for: done when its button is pressed, and on Enter in a line of text."""
    form.on_submit(lambda _: act())
    button.on_click(lambda _: form.submit())


@contextmanager
def show_errors(note: Any) -> Iterator[None]:
    """What the user can mend is told in the page, in one line."""
    try:
        yield
    except InputError as error:
        note.content = note_html(str(error), wrong=True)


def note_html(text: str, wrong: bool = False) -> str:
    """One line beneath an input."""
    color = "var(--mantine-color-red-7)" if wrong else "var(--mantine-color-dimmed)"
    return f'<div style="padding:.15em .9em .4em;font-size:.8em;color:{color}">{escape(text)}</div>' if text else ""

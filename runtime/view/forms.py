"""Forms of the page and the notes below them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

from ..errors import InputError


def bind_submit(form: Any, button: Any, action: Callable[[], None]) -> None:
    """Run an action when the button of a form is pressed, or Enter in one of its text fields."""
    form.on_submit(lambda _: action())
    button.on_click(lambda _: form.submit())


@contextmanager
def show_errors(note: Any) -> Iterator[None]:
    """Show the user's errors in a note of the page."""
    try:
        yield
    except InputError as error:
        note.content = note_html(str(error), is_error=True)


def note_html(text: str, is_error: bool = False) -> str:
    """A line of text below a form."""
    color = "var(--mantine-color-red-7)" if is_error else "var(--mantine-color-dimmed)"
    return f'<div style="padding:.15em .9em .4em;font-size:.8em;color:{color}">{escape(text)}</div>' if text else ""

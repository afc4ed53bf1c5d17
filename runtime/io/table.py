"""Rows of text files whose cells are separated, and their numbers.

Shapes: R rows.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

HEADER_ROWS = 20  # a header is among the first
EMPTY = {"", "nan", "null", "none", "na", "n/a", "-"}


def split_rows(text: str) -> list[list[str]]:
    """Cells of each row, separated by commas, semicolons (then with decimal commas) or tabs."""
    head = "\n".join(text.splitlines()[:HEADER_ROWS])
    delimiter = max(",;\t", key=head.count)
    if delimiter == ";":
        text = re.sub(r"(?<=\d),(?=\d)", ".", text)  # decimal commas
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise InputError(f"is not a table ({error})") from None


def numbers(body: Sequence[Sequence[str]], columns: Sequence[int], first_line: int) -> NDArray[np.float64]:
    """Values [R, len(columns)], NaN for an empty cell. Raises InputError that names the line."""
    values = np.empty((len(body), len(columns)))
    for number, row in enumerate(body):
        try:
            cells = [row[column].strip() if column < len(row) else "" for column in columns]
            values[number] = [np.nan if cell.lower() in EMPTY else float(cell) for cell in cells]
        except ValueError as error:
            where = f"line {first_line + number}"
            raise InputError(f"has a word in {where} where a number was expected ({str(error)[:80]})") from None
    return values

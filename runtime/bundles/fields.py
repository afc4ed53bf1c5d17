"""Typed access to the fields of a JSON object; errors name the field, its value and what was expected."""

import re
from collections.abc import Mapping
from typing import Any

from ..errors import BundleError

MAX_LABELS = 10_000
MAX_TEXT = 10_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Fields:
    """Typed access to a JSON object; an error names the field by its path."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self._raw = raw
        self.where = where

    def get(self, key: str) -> Any:
        if key not in self._raw:
            raise BundleError(f"{self.where}: {key} is missing")
        return self._raw[key]

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
            raise self._error(key, f"a text of 1 to {MAX_TEXT} characters")
        return value

    def sha256(self, key: str) -> str:
        value = self.text(key)
        if not _SHA256.fullmatch(value):
            raise self._error(key, "64 lower-case hex digits")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.get(key)
        valid = isinstance(value, list) and all(isinstance(item, str) and 0 < len(item) <= MAX_TEXT for item in value)
        if not valid or not 0 < len(value) <= MAX_LABELS:
            raise self._error(key, f"a list of 1 to {MAX_LABELS} texts")
        return tuple(value)

    def number(self, key: str, low: float, high: float) -> float:
        value = self.get(key)
        if type(value) not in (int, float) or not low <= value <= high:  # NaN is not
            raise self._error(key, f"a number from {low} to {high}")
        return float(value)

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.get(key)
        if type(value) is not int or not low <= value <= high:
            raise self._error(key, f"a whole number from {low} to {high}")
        return value

    def integers(self, key: str) -> list[int]:
        value = self.get(key)
        if not isinstance(value, list) or not value or not all(type(item) is int for item in value):
            raise self._error(key, "a list of whole numbers")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.get(key)
        if not isinstance(value, dict):
            raise self._error(key, "an object")
        return value

    def section(self, key: str) -> "Fields":
        return Fields(self.mapping(key), f"{self.where}: {key}")

    def _error(self, key: str, expected: str) -> BundleError:
        text = repr(self._raw[key])
        return BundleError(f"{self.where}: {key}: {text[:80]}, expected {expected}")

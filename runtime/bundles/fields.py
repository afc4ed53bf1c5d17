"""Typed access to the fields of a JSON object; errors name the field, its value and what was expected."""

import json
import re
from collections.abc import Mapping
from typing import Any

from ..errors import BundleError

MAX_LABELS = 10_000
MAX_TEXT = 10_000
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Fields:
    """Typed access to a JSON object; an error names the field by its path."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self._raw = raw
        self.where = where

    def has(self, key: str) -> bool:
        return key in self._raw

    def get(self, key: str) -> Any:
        if key not in self._raw:
            raise BundleError(f"{self.where}: {key} is missing")
        return self._raw[key]

    def read(self, key: str, rule: Mapping[str, Any]) -> Any:
        """The value of a field that meets a rule of recognition_schema.json."""
        kind = rule["type"]
        low: Any = rule.get("min")
        high: Any = rule.get("max")
        if kind == "number":
            return self.number(key, low, high)
        if kind == "number or null":
            return None if self.get(key) is None else self.number(key, low, high, " or null")
        if kind == "integer":
            return self.integer(key, low, high)
        if kind == "numbers":
            return self.numbers(key, low, high, rule["max_items"])
        if kind == "boolean":
            return self.boolean(key)
        if kind == "sha256":
            return self.sha256(key)
        if kind == "name":
            return self.name(key)
        if kind == "texts":
            return self.texts(key, rule["max_items"], high)
        if kind == "text or null":
            return None if self.get(key) is None else self.text(key, high, " or null")
        return self.text(key, high)

    def text(self, key: str, most: int = MAX_TEXT, otherwise: str = "") -> str:
        value: str = self.get(key)
        if not _is_text(value, most):
            raise self._error(key, f"a text of 1 to {most} characters{otherwise}")
        return value

    def sha256(self, key: str) -> str:
        value = self.text(key)
        if not _SHA256.fullmatch(value):
            raise self._error(key, "64 lower-case hex digits")
        return value

    def name(self, key: str) -> str:
        value: str = self.get(key)
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self._error(key, "a plain name of letters, digits, '.', '_' and '-'")
        return value

    def texts(self, key: str, most_items: int = MAX_LABELS, most: int = MAX_TEXT) -> tuple[str, ...]:
        value = self.get(key)
        if (
            not isinstance(value, list)
            or not all(_is_text(item, most) for item in value)
            or (not 0 < len(value) <= most_items)
        ):
            raise self._error(key, f"a list of 1 to {most_items} texts of 1 to {most} characters")
        return tuple(value)

    def number(self, key: str, low: float, high: float, otherwise: str = "") -> float:
        value = self.get(key)
        if not _is_number(value, low, high):
            raise self._error(key, f"a number from {low} to {high}{otherwise}")
        return float(value)

    def numbers(self, key: str, low: float, high: float, most_items: int) -> tuple[float, ...]:
        value = self.get(key)
        if (
            not isinstance(value, list)
            or not 0 < len(value) <= most_items
            or not all(_is_number(item, low, high) for item in value)
        ):
            raise self._error(key, f"a list of 1 to {most_items} numbers from {low} to {high}")
        return tuple(map(float, value))

    def probabilities(self, key: str, count: int, width: int) -> tuple[tuple[float, ...], ...]:
        """A list of `count` lists of `width` numbers."""
        value = self.get(key)
        valid = isinstance(value, list) and all(
            isinstance(row, list) and len(row) == width and all(_is_number(item, 0, 1) for item in row) for row in value
        )
        if not valid or len(value) != count:
            raise self._error(key, f"{count} lists of {width} numbers from 0 to 1")
        return tuple(tuple(map(float, row)) for row in value)

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value: str = self.get(key)
        if value not in allowed:
            raise self._error(key, " or ".join(allowed))
        return value

    def boolean(self, key: str) -> bool:
        value = self.get(key)
        if not isinstance(value, bool):
            raise self._error(key, "true or false")
        return value

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

    def excerpt(self, key: str) -> str:
        """The field's JSON text, shortened to one line for messages."""
        text = json.dumps(self.get(key), ensure_ascii=False)
        return text if len(text) <= 80 else text[:80] + "..."

    def _error(self, key: str, expected: str) -> BundleError:
        return BundleError(f"{self.where}: {key}: {self.excerpt(key)}, expected {expected}")


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and low <= value <= high  # NaN is not


def _is_text(value: Any, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most

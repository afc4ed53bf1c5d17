"""JSON of bundles: one object, UTF-8, no duplicate keys, no NaN or infinity."""

import json
from typing import Any

from ..errors import BundleError


def load_object(data: bytes, where: str) -> dict[str, Any]:
    """Parse `data` as one JSON object.

    Args:
        data: UTF-8 bytes.
        where: names the file in errors.
    Raises:
        BundleError: not UTF-8, not JSON, not an object, a duplicate key, or NaN or infinity.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_reject)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise BundleError(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r}")
    return result


def _reject(constant: str) -> Any:
    raise ValueError(f"{constant} is not allowed")

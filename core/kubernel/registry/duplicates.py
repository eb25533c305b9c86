"""Fields that stand twice in a JSON object: decoders keep the last and say nothing."""

from __future__ import annotations

import json
from typing import Any

import orjson

__all__ = ["duplicate_fields", "may_repeat"]

MOST_TOLD = 100
"""How many are told; as in sigs.k8s.io/json."""


def may_repeat(raw: bytes, obj: Any, apart: bytes = b"") -> bool:
    """The quick look, for what was decoded from ``raw`` and has not been changed: False is certain.

    Each field has one colon, and colons in strings survive a decode and encode (unless they were escaped), so
    fewer colons after that mean that fields were lost. ``apart`` is the JSON of a field's value that was taken out of
    ``obj``.
    """
    try:
        again = orjson.dumps(obj)
    except orjson.JSONEncodeError:
        return True
    colons = again.count(b":") + (apart.count(b":") + 1 if apart else 0)
    return raw.count(b":") != colons or (b"\\" in raw and b"\\u003a" in raw.lower())


def duplicate_fields(raw: bytes) -> list[str]:
    """``duplicate field "spec.replicas"`` for each, in the order they stand. Empty when ``raw`` is not JSON.

    The body is parsed with all its pairs, which takes five times as long as the quick look that comes first.
    """
    try:
        if not may_repeat(raw, orjson.loads(raw)):
            return []
        parsed = json.JSONDecoder(object_pairs_hook=_Pairs).decode(raw.decode())
    except (ValueError, RecursionError):
        return []
    found: list[str] = []
    _walk(parsed, found)
    return found


class _Pairs(list[tuple[str, Any]]):
    """An object as it stands in the text."""


def _walk(root: Any, found: list[str]) -> None:
    # Iterative, since bodies may nest more deeply than Python calls; depth first, to keep the text's order.
    told: set[str] = set()
    waiting: list[tuple[Any, str, bool]] = [(root, "", False)]
    while waiting:
        value, path, duplicate = waiting.pop()
        if duplicate and path not in told:
            told.add(path)
            if len(found) < MOST_TOLD:
                found.append(f'duplicate field "{path}"')
        children: list[tuple[Any, str, bool]] = []
        if isinstance(value, _Pairs):
            seen: set[str] = set()
            for key, item in value:
                children.append((item, f"{path}.{key}" if path else key, key in seen))
                seen.add(key)
        elif isinstance(value, list):
            children.extend((item, f"{path}[{index}]", False) for index, item in enumerate(value))
        waiting.extend(reversed(children))

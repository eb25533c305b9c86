"""From JSON values to CEL values, where a schema says that they differ, and equality as schemas see it.

Conversion happens where a field is selected, so objects are never copied: a date-time is a string until an
expression looks at it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from .errors import EvaluationError
from .times import parse_date, parse_duration, parse_timestamp
from .types import Type
from .values import Duration, Timestamp, equal

__all__ = ["converter", "schema_equal"]


def converter(type_: Type) -> Callable[[Any], Any] | None:
    """What makes a CEL value of a JSON value of this type; None when they are the same."""
    simple = _SIMPLE.get(type_.kind)
    if simple is not None:
        return simple
    if type_.kind not in ("list", "map"):
        return None
    inner = converter(type_.parameters[-1])
    if inner is None:
        return None
    if type_.kind == "list":
        return lambda value: [inner(item) for item in value] if isinstance(value, list) else value
    return lambda value: {k: inner(v) for k, v in value.items()} if isinstance(value, dict) else value


def _double(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _timestamp(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return Timestamp(parse_date(value) if len(value) == 10 else parse_timestamp(value))
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return Duration(parse_duration(value))
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise EvaluationError("invalid base64 data") from None


_SIMPLE: dict[str, Callable[[Any], Any]] = {
    "double": _double,
    "timestamp": _timestamp,
    "duration": _duration,
    "bytes": _bytes,
}


def schema_equal(type_: Type) -> Callable[[Any, Any], bool] | None:
    """Equality of values of a type that has sets or keyed lists, whose order says nothing; None for others."""
    if type_.kind == "list" and type_.list_type in ("set", "map"):
        element = schema_equal(type_.parameters[0]) or equal
        keys = type_.keys if type_.list_type == "map" else ()
        return lambda left, right: _same_items(left, right, element, keys)
    if type_.kind == "list":
        items = schema_equal(type_.parameters[0])
        if items is None:
            return None
        return lambda left, right: (
            isinstance(left, list)
            and isinstance(right, list)
            and len(left) == len(right)
            and all(map(items, left, right))
        )
    if type_.kind == "object":
        return lambda left, right: _same_fields(left, right, type_)
    return None


def _same_items(left: Any, right: Any, same: Callable[[Any, Any], bool], keys: tuple[str, ...]) -> bool:
    if not isinstance(left, list) or not isinstance(right, list):
        return equal(left, right)
    if len(left) != len(right):
        return False
    if not keys:
        rest = list(right)
        for item in left:
            at = next((i for i, other in enumerate(rest) if same(item, other)), None)
            if at is None:
                return False
            del rest[at]
        return True

    def key(item: Any) -> tuple[str, ...]:
        return tuple(repr(item.get(name)) if isinstance(item, dict) else "" for name in keys)

    others = {key(item): item for item in right}
    return all(key(item) in others and same(item, others[key(item)]) for item in left)


def _same_fields(left: Any, right: Any, type_: Type) -> bool:
    if not isinstance(left, dict) or not isinstance(right, dict) or len(left) != len(right):
        return equal(left, right)
    by_key = dict(type_.fields.values())
    for key, value in left.items():
        if key not in right:
            return False
        field = by_key.get(key)
        same = (field and schema_equal(field)) or equal
        if not same(value, right[key]):
            return False
    return True

"""The columns of custom resources. Source: apiextensions-apiserver/pkg/registry/customresource/tableconvertor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from kubernel.objects import times
from kubernel.registry.types import Column
from kubernel_plugins.api.custom.jsonpath import compile_path

__all__ = ["printer_columns"]

Obj = dict[str, Any]

_NAME_TEXT = "The object's name, unique among its kind in its namespace."
_CREATED_TEXT = "When the server created the object."
_NAME = Column(
    "Name", lambda obj, now: obj["metadata"].get("name", ""), format="name", description=_NAME_TEXT
)
_AGE = {
    "name": "Age",
    "type": "date",
    "description": _CREATED_TEXT,
    "jsonPath": ".metadata.creationTimestamp",
}


def printer_columns(spec: Iterable[Mapping[str, Any]]) -> tuple[Column, ...]:
    """Of ``additionalPrinterColumns``; the age, where there are none."""
    return (_NAME, *(_column(one) for one in (list(spec) or [_AGE])))


def _column(spec: Mapping[str, Any]) -> Column:
    path = spec.get("jsonPath", "")
    type_ = spec.get("type", "string")
    try:
        find = compile_path(path)
    except ValueError:
        find = _nothing
    cell: Callable[[Any, float], Any] = _CELLS.get(type_, _text)

    def value(obj: Obj, now: float) -> Any:
        found = find(obj)
        return cell(found[0], now) if found and found[0] is not None else None

    return Column(
        spec.get("name", ""),
        value,
        type_,
        spec.get("format", ""),
        spec.get("description") or f"Custom resource definition column (in JSONPath format): {path}",
        spec.get("priority", 0),
    )


def _nothing(obj: Any) -> list[Any]:
    return []


def _text(value: Any, now: float) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return orjson.dumps(value).decode()


def _integer(value: Any, now: float) -> int | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else int(value)


def _number(value: Any, now: float) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value


def _boolean(value: Any, now: float) -> bool | None:
    return value if isinstance(value, bool) else None


def _date(value: Any, now: float) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        return times.human_duration(now - times.parse(value))
    except ValueError:
        return "<invalid>"


_CELLS: dict[str, Callable[[Any, float], Any]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
}

"""The columns of custom resources. Source: apiextensions-apiserver/pkg/registry/customresource/tableconvertor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kubernel.objects import times
from kubernel.objects.go_json import go_json, printed
from kubernel.registry.types import Column
from kubernel_plugins.api.custom.jsonpath import PathFailed, compile_path

__all__ = ["printer_columns"]

Obj = dict[str, Any]

_LEAST = -(2**63)
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
    """Of ``additionalPrinterColumns``; the age, where there are none. A path that cannot be understood ends them, as
    it does upstream's."""
    columns = [_NAME]
    for one in list(spec) or [_AGE]:
        try:
            columns.append(_column(one))
        except ValueError:
            break
    return tuple(columns)


def _column(spec: Mapping[str, Any]) -> Column:
    path = spec.get("jsonPath", "")
    type_ = spec.get("type", "string")
    find = compile_path(path)
    cell: Callable[[Any, float], Any] = _CELLS[type_]

    def value(obj: Obj, now: float) -> Any:
        try:
            found = find(obj)
        except PathFailed:
            return None
        return cell(found[0], now) if found else None

    return Column(
        spec.get("name", ""),
        value,
        type_,
        spec.get("format", ""),
        spec.get("description") or f"Custom resource definition column (in JSONPath format): {path}",
        spec.get("priority", 0),
    )


def _text(value: Any, now: float) -> str:
    if value is None:
        return "<no value>"
    if isinstance(value, dict | list):
        return go_json(value)
    # What the store has written without a fraction is read as an integer.
    return printed(
        int(value) if isinstance(value, float) and value.is_integer() and abs(value) < -_LEAST else value
    )


def _integer(value: Any, now: float) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # What Go makes of a number that is no int64.
    return int(value) if _LEAST <= value < -_LEAST else _LEAST


def _number(value: Any, now: float) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value or 0


def _boolean(value: Any, now: float) -> bool | None:
    return value if isinstance(value, bool) else None


def _date(value: Any, now: float) -> str | None:
    if not isinstance(value, str):
        return None
    if value in ("", "null"):
        return "<unknown>"
    try:
        return times.human_duration(now - times.parse(value))
    except ValueError:
        return "<invalid>"


_CELLS: dict[str, Callable[[Any, float], Any]] = {
    "string": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
}

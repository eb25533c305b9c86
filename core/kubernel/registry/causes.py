"""Field errors in upstream's words (apimachinery/pkg/util/validation/field/errors.go)."""

from __future__ import annotations

from typing import Any

import orjson

from kubernel.errors import Cause

__all__ = [
    "duplicate",
    "forbidden",
    "internal",
    "invalid",
    "not_supported",
    "render",
    "required",
    "show",
    "too_long",
    "too_many",
    "type_invalid",
]


def show(value: Any) -> str:
    """A value as messages print it: strings quoted, everything else as JSON."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return orjson.dumps(str(value)).decode()


def render(path: Any) -> str:
    """The text of a chain (path of the parent, last part): a field's name, a list's index, or a map's
    ``[key]`` already in brackets."""
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(f"[{part}]" if isinstance(part, int) else part if part[:1] == "[" else f".{part}")
    return "".join(reversed(parts)).removeprefix(".")


def required(field: str, detail: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {detail}" if detail else "Required value", field)


def invalid(field: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueInvalid", f"Invalid value: {show(value)}: {detail}", field)


def forbidden(field: str, detail: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


def internal(field: str, detail: str) -> Cause:
    return Cause("InternalError", f"Internal error: {detail}", field)


def type_invalid(field: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueTypeInvalid", f"Invalid value: {show(value)}: {detail}", field)


def not_supported(field: str, value: Any, supported: tuple[Any, ...]) -> Cause:
    values = ", ".join(show(one) for one in supported)
    return Cause(
        "FieldValueNotSupported", f"Unsupported value: {show(value)}: supported values: {values}", field
    )


def duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {show(value)}", field)


def too_long(field: str, limit: int) -> Cause:
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} bytes", field)


def too_many(field: str, count: int, limit: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {count}: must have at most {limit} items", field)

"""Field errors in upstream's words (apimachinery/pkg/util/validation/field/errors.go)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from kubernel.errors import Cause
from kubernel.objects.go_json import JSON_ESCAPES

__all__ = [
    "Pointed",
    "duplicate",
    "forbidden",
    "internal",
    "invalid",
    "invalid_each",
    "not_supported",
    "render",
    "required",
    "show",
    "too_long",
    "too_many",
    "type_invalid",
]


_GO_ESCAPES = {
    7: "\\a",
    8: "\\b",
    9: "\\t",
    10: "\\n",
    11: "\\v",
    12: "\\f",
    13: "\\r",
    34: '\\"',
    92: "\\\\",
}


class Pointed(str):
    """A string that upstream's rule has a pointer to: it is printed as JSON."""

    __slots__ = ()


def show(value: Any) -> str:
    """A value as messages print it: strings as Go's ``%q`` quotes them, everything else as Go's JSON."""
    if type(value) is str:
        return _quote(value)
    try:
        return orjson.dumps(value).decode().translate(JSON_ESCAPES)
    except orjson.JSONEncodeError:
        return _quote(str(value))


def _quote(text: str) -> str:
    if text.isalnum() and text.isascii():
        return f'"{text}"'
    return '"' + "".join(map(_quoted, text)) + '"'


def _quoted(character: str) -> str:
    code = ord(character)
    if code in _GO_ESCAPES:
        return _GO_ESCAPES[code]
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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
    told = f": {detail}" if detail else ""
    return Cause("FieldValueInvalid", f"Invalid value: {show(value)}{told}", field)


def invalid_each(field: str, value: Any, details: Iterable[str]) -> list[Cause]:
    """One cause for each thing that is wrong with the value."""
    return [invalid(field, value, detail) for detail in details]


def forbidden(field: str, detail: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {detail}" if detail else "Forbidden", field)


def internal(field: str, detail: str) -> Cause:
    return Cause("InternalError", f"Internal error: {detail}", field)


def type_invalid(field: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueTypeInvalid", f"Invalid value: {show(value)}: {detail}", field)


def not_supported(field: str, value: Any, supported: tuple[Any, ...]) -> Cause:
    values = ", ".join(show(one) for one in supported)
    return Cause(
        "FieldValueNotSupported", f"Unsupported value: {show(value)}: supported values: {values}", field
    )


def duplicate(field: str, value: Any, detail: str = "") -> Cause:
    told = f": {detail}" if detail else ""
    return Cause("FieldValueDuplicate", f"Duplicate value: {show(value)}{told}", field)


def too_long(field: str, limit: int) -> Cause:
    what = "byte" if limit == 1 else "bytes"
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} {what}", field)


def too_many(field: str, count: int, limit: int) -> Cause:
    what = "item" if limit == 1 else "items"
    return Cause("FieldValueTooMany", f"Too many: {count}: must have at most {limit} {what}", field)

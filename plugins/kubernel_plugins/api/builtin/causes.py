"""Causes of a refusal in upstream's words (k8s.io/apimachinery/pkg/util/validation/field)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from kubernel.errors import Cause

__all__ = [
    "FIELD_IMMUTABLE",
    "duplicate",
    "forbidden",
    "invalid",
    "not_found",
    "not_supported",
    "quoted",
    "required",
    "too_long",
    "too_many",
]

FIELD_IMMUTABLE = "field is immutable"


def quoted(value: Any) -> str:
    """A value as messages show it: strings in quotes, structs as JSON."""
    return orjson.dumps(value).decode()


def _with(kind: str, detail: str) -> str:
    return f"{kind}: {detail}" if detail else kind


def required(field: str, detail: str = "") -> Cause:
    return Cause("FieldValueRequired", _with("Required value", detail), field)


def invalid(field: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueInvalid", _with(f"Invalid value: {quoted(value)}", detail), field)


def forbidden(field: str, detail: str) -> Cause:
    return Cause("FieldValueForbidden", _with("Forbidden", detail), field)


def duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {quoted(value)}", field)


def not_found(field: str, value: Any) -> Cause:
    return Cause("FieldValueNotFound", f"Not found: {quoted(value)}", field)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    values = ", ".join(quoted(one) for one in sorted(supported))
    return Cause("FieldValueNotSupported", f"Unsupported value: {quoted(value)}: supported values: {values}", field)


def too_long(field: str, limit: int) -> Cause:
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} bytes", field)


def too_many(field: str, actual: int, limit: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {actual}: must have at most {limit} items", field)

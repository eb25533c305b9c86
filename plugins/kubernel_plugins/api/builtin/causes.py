"""The registry's causes, and those that only strategies need, in upstream's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubernel.errors import Cause
from kubernel.registry import causes
from kubernel.registry.causes import (
    Pointed,
    duplicate,
    forbidden,
    invalid,
    invalid_each,
    required,
    show,
    too_long,
    too_many,
)

__all__ = [
    "FIELD_IMMUTABLE",
    "Pointed",
    "duplicate",
    "forbidden",
    "invalid",
    "invalid_each",
    "not_found",
    "not_supported",
    "required",
    "too_long",
    "too_many",
    "without_value",
]

FIELD_IMMUTABLE = "field is immutable"


def without_value(field: str, detail: str) -> Cause:
    """An invalid value that is not shown."""
    return Cause("FieldValueInvalid", f"Invalid value: {detail}", field)


def not_found(field: str, value: Any, detail: str = "") -> Cause:
    told = f": {detail}" if detail else ""
    return Cause("FieldValueNotFound", f"Not found: {show(value)}{told}", field)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    """``supported`` in the order in which upstream names the values: sorted where it prints a set."""
    return causes.not_supported(field, value, tuple(supported))

"""The registry's causes, and those that only strategies need, in upstream's words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubernel.errors import Cause
from kubernel.registry import causes
from kubernel.registry.causes import duplicate, forbidden, invalid, required, show, too_long, too_many

__all__ = [
    "FIELD_IMMUTABLE",
    "duplicate",
    "forbidden",
    "invalid",
    "not_found",
    "not_supported",
    "required",
    "too_long",
    "too_many",
]

FIELD_IMMUTABLE = "field is immutable"


def not_found(field: str, value: Any) -> Cause:
    return Cause("FieldValueNotFound", f"Not found: {show(value)}", field)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    return causes.not_supported(field, value, tuple(sorted(supported)))

"""Equality of JSON values: Python's own takes ``1`` for ``true``."""

from __future__ import annotations

from typing import Any

__all__ = ["same"]


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal, numbers by their value."""
    return a is b or (a == b and not _confused(a, b))


def _confused(a: Any, b: Any) -> bool:
    """Of equal values: whether somewhere one is a boolean and the other a number."""
    if a is b:
        return False
    if isinstance(a, dict):
        return any(_confused(value, b[key]) for key, value in a.items())
    if isinstance(a, list):
        return any(map(_confused, a, b))
    return isinstance(a, bool) is not isinstance(b, bool)

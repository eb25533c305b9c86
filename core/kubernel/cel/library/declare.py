"""How the library tables declare functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubernel.cel.types import Overload, parse_type
from kubernel.cel.values import size_of

__all__ = ["Table", "function", "member", "traversal", "twice"]

Table = list[Overload]


def function(name: str, parameters: str, result: str, call: Callable[..., Any], cost: Any = 1) -> Overload:
    """``function("quantity", "string", "kubernetes.Quantity", parse, cost)``: parameters separated by ``;``."""
    return Overload(name, False, _types(parameters), parse_type(result), call, cost)


def member(name: str, parameters: str, result: str, call: Callable[..., Any], cost: Any = 1) -> Overload:
    """As ``function``; the first parameter is the receiver."""
    return Overload(name, True, _types(parameters), parse_type(result), call, cost)


def _types(text: str) -> tuple[Any, ...]:
    return tuple(parse_type(part) for part in text.split(";")) if text else ()


def traversal(values: list[Any], result: Any) -> int:
    """The cost of reading the first value once: a tenth for each element."""
    return (size_of(values[0]) + 9) // 10


def twice(values: list[Any], result: Any) -> int:
    return (2 * size_of(values[0]) + 9) // 10

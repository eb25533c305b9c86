"""Whether a value is of the type that a structural schema says, by kube-openapi's rules and in its words.

Source: k8s.io/kube-openapi/pkg/validation/validate/{type,values}.go; formats that a type does not have are none
(apiextensions-apiserver/pkg/apiserver/validation/formats.go).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubernel.errors import Cause
from kubernel.registry import causes as told
from kubernel.registry.formats import find_check
from kubernel.registry.schema import Node

__all__ = ["effective_format", "type_step"]

_PUBLIC = {"quantity": "string", "time": "string", "microtime": "string"}
_BITS = {"int32": 32, "int64": 64}
_NUMBERS = {"integer": ("int32", "int64"), "number": ("float", "double")}


def effective_format(node: Node) -> str:
    """The format as far as it means something for the type."""
    if node.type in _NUMBERS:
        return node.format if node.format in _NUMBERS[node.type] else ""
    if node.type in ("string", "any"):
        return node.format if find_check(node.format) is not None else ""
    return ""


def type_step(node: Node) -> Callable[[Any, Any, list[Cause]], None] | None:
    """``step(value, path, causes)``; None where every value is right."""
    type_ = _PUBLIC.get(node.type, node.type)
    if type_ == "any":
        return None
    types = ("integer", "string") if type_ == "int-or-string" else (type_,)
    format_ = effective_format(node)
    numeric = "integer" in types or "number" in types
    bits = _BITS.get(format_, 64) if type_ == "integer" else 0
    high = 1 << (bits - 1) if bits else 0
    range_text = (
        f"Checked value must be of type integer with format {format_} in "
        if format_
        else "Checked value must be of type integer (default format) in "
    )

    def say(path: Any, causes: list[Cause], wanted: str, got: str) -> None:
        field = told.render(path)
        causes.append(
            told.type_invalid(field or "<nil>", got, f'{field} in body must be of type {wanted}: "{got}"')
        )

    def step(value: Any, path: Any, causes: list[Cause]) -> None:
        if value is None:
            if not node.nullable:
                say(path, causes, ",".join(types), "null")
            return
        got, got_format = _kind(value)
        whole = got == "number" and value.is_integer() and "integer" in types
        fits = got in types or whole or (got == "integer" and "number" in types)
        if not fits:
            if format_ and got not in ("string", "array"):
                if got_format != format_:
                    say(path, causes, format_, got_format)
            elif numeric or not format_:
                say(path, causes, ",".join(types), got)
        if bits and got in ("integer", "number"):
            right = -high <= value < high if got == "integer" or whole else False
            if not right:
                causes.append(told.invalid("<nil>", "", range_text + told.render(path)))

    return step


def _kind(value: Any) -> tuple[str, str]:
    """(type, format) of a JSON value as Go holds it."""
    if isinstance(value, bool):
        return "boolean", ""
    if isinstance(value, int):
        return "integer", "int64"
    if isinstance(value, float):
        return "number", "float64"
    if isinstance(value, str):
        return "string", ""
    return ("array", "") if isinstance(value, list) else ("object", "")

"""What Go's structs print of fields that nobody set, and what they leave out although somebody did.

A field of a native struct always has a value in Go; its JSON tag and its type say whether an empty one is printed.
The marks of the field table (``protobuf_fields.txt``) tell both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.registry.protobuf_table import META, SPECIAL

if TYPE_CHECKING:
    from kubernel.registry.protobuf_table import Field, FieldTable

__all__ = ["zeros"]

_LEFT_OUT: Any = object()
_SCALARS: dict[str, Any] = {"s": "", "i": 0, "d": 0, "b": False, "y": None}
_SPECIAL: dict[str, Any] = {"duration": "0s", "quantity": "0", "integer or string": 0}
"""Zeros of structs with a JSON form of their own; those of the others are null."""
_API = "io.k8s.api."
_KEPT = {
    f"{META}ObjectMeta": ("managedFields",),
    f"{_API}autoscaling.v2.HPAScalingRules": ("policies",),
    f"{_API}core.v1.PodSpec": ("overhead",),
    f"{_API}resource.v1.ResourceSliceSpec": ("devices", "sharedCounters"),
}
"""Fields whose empty value says something: managedFields end, others are refused."""


def zeros(table: FieldTable, message: str) -> tuple[dict[str, Any], frozenset[str]]:
    """``(zeros, omits)`` of a struct: field -> what is printed when it is absent, and the fields that are absent when
    they are empty. Nothing of either for one that the table has not."""
    found: dict[str, Any] = {}
    omits: set[str] = set()
    if message not in table or table.is_strings(message):
        return found, frozenset()
    for field in table.message(message).values():
        if field.shape == "^":
            more, also = zeros(table, field.kind)
            found |= more
            omits |= also
            continue
        zero = _zero(table, field)
        if zero is not _LEFT_OUT:
            found[field.name] = zero
        elif field.mark != "?":
            omits.add(field.name)
    return found, frozenset(omits.difference(_KEPT.get(message, ())))


def _zero(table: FieldTable, field: Field) -> Any:
    if field.mark in ("?", "&", "-"):
        return None if field.mark == "&" else _LEFT_OUT
    kind = field.kind
    if field.shape or kind in _SCALARS or table.is_strings(kind):
        if field.mark != "!":
            return _LEFT_OUT
        return None if field.shape else _SCALARS.get(kind)
    form = SPECIAL.get(kind)
    return {} if form is None else _SPECIAL.get(form)

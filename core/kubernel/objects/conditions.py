"""Status conditions: lists of ``{type, status, reason, message, lastTransitionTime}``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["find", "is_true", "remove", "set"]

Obj = Mapping[str, Any]
Conditions = Sequence[Mapping[str, Any]]


def find(obj: Obj, type: str) -> dict[str, Any] | None:
    """The condition of that type in ``obj.status.conditions``, or None."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == type:
            found: dict[str, Any] = condition
            return found
    return None


def is_true(obj: Obj, type: str) -> bool:
    """Whether the condition is there with status ``True``; absent and Unknown are not."""
    condition = find(obj, type)
    return condition is not None and condition.get("status") == "True"


def set(
    conditions: Conditions | None,
    type: str,
    status: str,
    reason: str = "",
    message: str = "",
    now: str = "",
    **extra: Any,
) -> tuple[list[dict[str, Any]], bool]:
    """``(new list, changed)`` with the condition of that type set.

    ``now`` is RFC 3339 text; ``lastTransitionTime`` takes it only when ``status`` changes (or the condition
    is new). ``extra`` fields (``observedGeneration``, ``lastUpdateTime``, …) are set as they are; those named
    ``last…Time`` alone make no change. An unchanged list keeps its condition objects.
    """
    before = list(conditions or ())
    index = next((i for i, each in enumerate(before) if each.get("type") == type), None)
    old: Mapping[str, Any] = {} if index is None else before[index]
    new = dict(old) | {"type": type, "status": status} | extra
    for field, value in (("reason", reason), ("message", message)):
        if value:
            new[field] = value
        else:
            new.pop(field, None)
    if index is None or old.get("status") != status:
        if now:
            new["lastTransitionTime"] = now
    elif _significant(new) == _significant(old):
        return [_plain(each) for each in before], False
    after = [_plain(each) for each in before]
    if index is None:
        after.append(new)
    else:
        after[index] = new
    return after, True


def remove(conditions: Conditions | None, type: str) -> tuple[list[dict[str, Any]], bool]:
    """``(new list, changed)`` without the condition of that type."""
    before = conditions or ()
    after = [_plain(each) for each in before if each.get("type") != type]
    return after, len(after) != len(before)


def _significant(condition: Mapping[str, Any]) -> dict[str, Any]:
    return {
        field: value
        for field, value in condition.items()
        if not (field.startswith("last") and field.endswith("Time")) and value not in ("", None)
    }


def _plain(condition: Mapping[str, Any]) -> dict[str, Any]:
    return condition if isinstance(condition, dict) else dict(condition)

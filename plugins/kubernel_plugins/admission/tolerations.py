"""Tolerations put together: of two of which one covers the other, the wider stays.

Source: k8s.io/kubernetes/pkg/util/tolerations (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["merge"]

Toleration = Mapping[str, Any]


def merge(tolerations: Sequence[Toleration]) -> list[Toleration]:
    merged: list[Toleration] = []
    for index, one in enumerate(tolerations):
        if any(_covers(kept, one) for kept in merged):
            continue
        later = tolerations[index + 1 :]
        if not any(_covers(each, one) and not _same(each, one) for each in later):
            merged.append(one)
    return merged


def _same(one: Toleration, other: Toleration) -> bool:
    keys = ("key", "operator", "value", "effect")
    return all((one.get(key) or "") == (other.get(key) or "") for key in keys) and one.get(
        "tolerationSeconds"
    ) == other.get("tolerationSeconds")


def _covers(wide: Toleration, one: Toleration) -> bool:
    """Whether whatever ``one`` tolerates ``wide`` tolerates too, and as long."""
    if _same(wide, one):
        return True
    operator, effect = wide.get("operator") or "", wide.get("effect") or ""
    if (wide.get("key") or "") != (one.get("key") or "") and (wide.get("key") or operator != "Exists"):
        return False
    if effect and effect != (one.get("effect") or ""):
        return False
    longest = wide.get("tolerationSeconds")
    if effect == "NoExecute" and longest is not None:
        seconds = one.get("tolerationSeconds")
        if seconds is None or seconds > longest:
            return False
    if operator in ("", "Equal"):
        return one.get("operator") == "Equal" and (one.get("value") or "") == (wide.get("value") or "")
    return bool(operator == "Exists")

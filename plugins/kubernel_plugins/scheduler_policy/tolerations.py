"""Which tolerations tolerate which taints (k8s.io/component-helpers/scheduling/corev1/helpers.go)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["tolerates", "untolerated"]


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    effect = toleration.get("effect", "")
    if effect and effect != taint.get("effect", ""):
        return False
    key = toleration.get("key", "")
    if key and key != taint["key"]:
        return False
    operator = toleration.get("operator", "Equal")
    if operator == "Exists":
        return True
    if operator == "Equal":
        return bool(toleration.get("value", "") == taint.get("value", ""))
    return _compares(operator, toleration.get("value", ""), taint.get("value", ""))


def _compares(operator: str, wanted: str, given: str) -> bool:
    """Numeric operators (KEP-5471): the taint's value against the toleration's."""
    try:
        threshold, value = int(wanted), int(given)
    except ValueError:
        return False
    return value > threshold if operator == "Gt" else operator == "Lt" and value < threshold


def untolerated(
    taints: Iterable[Mapping[str, Any]],
    tolerations: Sequence[Mapping[str, Any]],
    effects: Sequence[str],
) -> Mapping[str, Any] | None:
    """The first taint with one of ``effects`` that nothing tolerates."""
    for taint in taints:
        if taint.get("effect") in effects and not any(tolerates(entry, taint) for entry in tolerations):
            return taint
    return None

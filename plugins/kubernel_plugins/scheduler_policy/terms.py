"""Node selector terms (k8s.io/component-helpers/scheduling/corev1/nodeaffinity)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

__all__ = ["Place", "any_term_matches", "term_matches"]


class Place(Protocol):
    """What terms ask of a node."""

    @property
    def name(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...


def any_term_matches(terms: Iterable[Mapping[str, Any]], node: Place) -> bool:
    """Terms are ORed; an empty term matches nothing."""
    return any(term_matches(term, node) for term in terms)


def term_matches(term: Mapping[str, Any], node: Place) -> bool:
    labels = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not labels and not fields:
        return False
    return all(_matches(entry, node.labels) for entry in labels) and all(
        _matches(entry, {"metadata.name": node.name}) for entry in fields
    )


def _matches(requirement: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    key, operator = requirement["key"], requirement["operator"]
    values: list[str] = requirement.get("values") or []
    value = given.get(key)
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if value is None or len(values) != 1:
        return False
    try:
        left, right = int(value), int(values[0])
    except ValueError:
        return False
    return left > right if operator == "Gt" else operator == "Lt" and left < right

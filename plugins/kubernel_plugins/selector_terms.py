"""Selectors as reviews tell them: lists of requirements with a key, an operator and values.

Source: k8s.io/apiserver/plugin/pkg/authorizer/webhook, k8s.io/kubernetes/pkg/registry/authorization/util (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kubernel.objects.selectors import Requirement, Selector, parse_fields, parse_labels

__all__ = ["Told", "field_requirements", "label_requirements", "told_fields", "told_labels"]

_OPERATORS = {
    "=": "In", "==": "In", "in": "In", "!=": "NotIn", "notin": "NotIn", "exists": "Exists", "!": "DoesNotExist",
}  # fmt: skip
_ESCAPED = str.maketrans({"\\": "\\\\", ",": "\\,", "=": "\\="})
_LABELS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
_FIELDS = {"In": "=", "NotIn": "!="}

Told = tuple[str, str]
"""A selector in query form, and what was wrong with a part of it or all: ``partially ignored``, ``ignored``."""


def label_requirements(text: str) -> list[dict[str, Any]]:
    """Nothing for a selector that cannot be read. Comparisons have no operator in a review and are left out."""
    try:
        found = parse_labels(text).requirements
    except ValueError:
        return []
    return [
        _told(one.key, _OPERATORS[one.operator], one.values) for one in found if one.operator in _OPERATORS
    ]


def field_requirements(text: str) -> list[dict[str, Any]]:
    """Nothing for a selector that cannot be read."""
    try:
        found = parse_fields(text)
    except ValueError:
        return []
    return [_told(path, _OPERATORS[operator], (value,)) for path, operator, value in found]


def _told(key: str, operator: str, values: Sequence[str]) -> dict[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def told_labels(attributes: Mapping[str, Any]) -> Told:
    """``labelSelector`` of ``resourceAttributes``. What is wrong is left out: that asks for more, not for less."""
    told = attributes.get("labelSelector") or {}
    requirements = told.get("requirements") or ()
    if not requirements:
        try:
            return str(parse_labels(told.get("rawSelector") or "")), ""
        except ValueError:
            return "", "ignored"
    good: list[Requirement] = []
    for one in requirements:
        operator, values = _LABELS.get(one.get("operator") or ""), one.get("values") or []
        if operator is None or bool(values) is not (operator in ("in", "notin")):
            continue
        try:
            good += parse_labels(str(Requirement(one.get("key") or "", operator, tuple(values)))).requirements  # type: ignore[arg-type]
        except ValueError:
            continue
    return str(Selector(good)), _lost(len(good), len(requirements))


def told_fields(attributes: Mapping[str, Any]) -> Told:
    """``fieldSelector`` of ``resourceAttributes``, in the same way."""
    told = attributes.get("fieldSelector") or {}
    requirements = told.get("requirements") or ()
    if not requirements:
        raw = told.get("rawSelector") or ""
        try:
            parse_fields(raw)
        except ValueError:
            return "", "ignored"
        return raw, ""
    good = []
    for one in requirements:
        operator, values = _FIELDS.get(one.get("operator") or ""), one.get("values") or []
        if operator is not None and len(values) == 1:
            good.append(f"{one.get('key') or ''}{operator}{values[0].translate(_ESCAPED)}")
    return ",".join(good), _lost(len(good), len(requirements))


def _lost(good: int, all: int) -> str:
    if good == all:
        return ""
    return "partially ignored" if good else "ignored"

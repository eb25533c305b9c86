"""Definitions in the community's own groups say who approved them.

Source: k8s.io/apiextensions-apiserver/pkg/apihelpers (KEP-1111).
"""

from __future__ import annotations

from typing import Any

from kubernel.objects.approval import ANNOTATION, State, approval_state, is_protected

__all__ = ["approval"]

_CONDITIONS = {
    State.INVALID: ("False", "InvalidAnnotation"),
    State.MISSING: ("False", "MissingAnnotation"),
    State.BYPASSED: ("False", "UnapprovedAnnotation"),
    State.APPROVED: ("True", "ApprovedAnnotation"),
}


def approval(definition: dict[str, Any]) -> tuple[str, str, str] | None:
    """(status, reason, message) of the condition; None for groups that are nobody's but their own."""
    if not is_protected(definition["spec"]["group"]):
        return None
    annotations = definition["metadata"].get("annotations") or {}
    state, message = approval_state(annotations.get(ANNOTATION))
    return (*_CONDITIONS[state], message)

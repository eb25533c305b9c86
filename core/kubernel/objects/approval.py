"""API approval of the community's groups: an annotation that names the decision (KEP-1111)."""

from __future__ import annotations

from enum import Enum
from urllib.parse import urlsplit

__all__ = ["ANNOTATION", "State", "approval_state", "is_protected"]

ANNOTATION = "api-approved.kubernetes.io"
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"
_MUST = f'protected groups must have approval annotation "{ANNOTATION}"'


class State(Enum):
    MISSING = "missing"
    INVALID = "invalid"
    APPROVED = "approved"
    BYPASSED = "bypassed"


def is_protected(group: str) -> bool:
    """Whether the group is the community's."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def approval_state(value: str | None) -> tuple[State, str]:
    """What the annotation says, with upstream's text for it."""
    if not value:
        return State.MISSING, f"{_MUST}, {_SEE}"
    if value.startswith("unapproved"):
        return State.BYPASSED, f'not approved: "{value}"'
    try:
        split = urlsplit(value)
    except ValueError:
        split = urlsplit("")
    if split.scheme and split.hostname:
        return State.APPROVED, f"approved in {value}"
    return State.INVALID, f'{_MUST} with either a URL or a reason starting with "unapproved", {_SEE}'

"""Conditions as all types should have them (metav1.Condition).

Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.values import Found, Obj, label_key

__all__ = ["conditions"]

_STATUSES = ("False", "True", "Unknown")
_MOST_REASON = 1024
_MOST_MESSAGE = 32 * 1024
_REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_reason = re.compile(_REASON)
_REASON_TOLD = (
    "a condition reason must start with alphabetic character, optionally followed by a string of "
    "alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. "
    f"'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for "
    f"validation is '{_REASON}')"
)


def conditions(listed: Iterable[Obj], path: str, found: Found) -> None:
    seen: set[str] = set()
    for index, condition in enumerate(listed):
        type = condition.get("type") or ""
        if type in seen:
            found.append(causes.duplicate(f"{path}[{index}]", type))
        seen.add(type)
        _condition(condition, f"{path}[{index}]", found)


def _condition(condition: Obj, path: str, found: Found) -> None:
    get = condition.get
    if get("type"):
        label_key(get("type") or "", f"{path}.type", found)
    else:
        found.append(causes.required(f"{path}.type"))
    if not get("status"):
        found.append(causes.required(f"{path}.status"))
    elif get("status") not in _STATUSES:
        found.append(causes.not_supported(f"{path}.status", get("status"), _STATUSES))
    generation = get("observedGeneration") or 0
    if generation < 0:
        told = "must be greater than or equal to zero"
        found.append(causes.invalid(f"{path}.observedGeneration", generation, told))
    if not get("lastTransitionTime"):
        found.append(causes.required(f"{path}.lastTransitionTime"))
    reason = get("reason") or ""
    if not reason:
        found.append(causes.required(f"{path}.reason"))
    else:
        if not _reason.fullmatch(reason):
            found.append(causes.invalid(f"{path}.reason", reason, _REASON_TOLD))
        if len(reason.encode()) > _MOST_REASON:
            found.append(causes.too_long(f"{path}.reason", _MOST_REASON))
    if len((get("message") or "").encode()) > _MOST_MESSAGE:
        found.append(causes.too_long(f"{path}.message", _MOST_MESSAGE))

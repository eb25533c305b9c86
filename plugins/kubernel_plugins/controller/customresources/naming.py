"""Which of a definition's names are free.

Source: k8s.io/apiextensions-apiserver/pkg/controller/status/naming_controller.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["accept_names"]

Names = Mapping[str, Any]

_CHECKS = (
    ("plural", "PluralConflict", True),
    ("singular", "SingularConflict", True),
    ("shortNames", "ShortNamesConflict", True),
    ("kind", "KindConflict", False),
    ("listKind", "ListKindConflict", False),
)


def accept_names(wanted: Names, accepted: Names, others: Iterable[Names]) -> tuple[dict[str, Any], str, str]:
    """(the names accepted now, reason, message): reason and message are of the last conflict, empty without one.

    ``accepted`` are the definition's own names so far, ``others`` the accepted names of all definitions of its
    group, its own among them.
    """
    resources: set[str] = set()
    kinds: set[str] = set()
    for names in others:
        resources.update(
            (names.get("plural", ""), names.get("singular", ""), *(names.get("shortNames") or ()))
        )
        kinds.update((names.get("kind", ""), names.get("listKind", "")))
    new: dict[str, Any] = dict(accepted)
    reason = message = ""
    for field, conflict, of_resource in _CHECKS:
        used = resources if of_resource else kinds
        if field == "shortNames":
            mine = {accepted.get("plural"), accepted.get("singular"), *(accepted.get(field) or ())}
            taken = [name for name in wanted.get(field) or () if name not in mine and name in used]
        else:
            name = wanted.get(field, "")
            taken = [name] if name != accepted.get(field, "") and name in used else []
        if taken:
            told = [f'"{name}" is already in use' for name in taken]
            reason, message = conflict, told[0] if len(told) == 1 else f"[{', '.join(told)}]"
        elif field in wanted:
            new[field] = wanted[field]
        else:
            new.pop(field, None)
    if wanted.get("categories"):
        new["categories"] = wanted["categories"]
    else:
        new.pop("categories", None)
    for field in ("plural", "kind"):
        new.setdefault(field, "")
    return new, reason, message

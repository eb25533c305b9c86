"""Which ResourceClaims a pod names, its own and those made for it (k8s.io/dynamic-resource-allocation, v1.37)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["claim_name", "claim_names", "entries"]


def entries(pod: Obj) -> list[dict[str, Any]]:
    """``spec.resourceClaims``."""
    found: list[dict[str, Any]] = pod["spec"].get("resourceClaims") or []
    return found


def claim_name(pod: Obj, entry: Mapping[str, Any]) -> str | None:
    """The claim of an entry of ``spec.resourceClaims``; empty while it is not made, None when there is to be none."""
    if entry.get("resourceClaimName"):
        return str(entry["resourceClaimName"])
    for status in meta.get(pod, "status", "resourceClaimStatuses", default=()):
        if status.get("name") == entry["name"]:
            name: str | None = status.get("resourceClaimName")
            return name
    return ""


def claim_names(pod: Obj) -> list[str]:
    """The claims that there are, or may be."""
    return [name for entry in entries(pod) if (name := claim_name(pod, entry))]

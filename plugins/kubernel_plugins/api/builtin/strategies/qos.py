"""The quality-of-service class of a pod (component-helpers ``qos.ComputePodQOS``)."""

from __future__ import annotations

from typing import Any

from kubernel.objects import quantity

__all__ = ["qos_class"]

_COUNTED = ("cpu", "memory")


def _amounts(resources: dict[str, Any] | None, kind: str) -> dict[str, Any]:
    given = (resources or {}).get(kind) or {}
    found = {}
    for name in _COUNTED:
        if name in given:
            try:
                value = quantity.parse(given[name])
            except ValueError:
                continue  # validation will say so
            if value > 0:
                found[name] = value
    return found


def qos_class(pod: dict[str, Any]) -> str:
    """Guaranteed: every container has equal CPU and memory requests and limits; BestEffort: none has any."""
    spec = pod.get("spec") or {}
    if spec.get("resources"):
        holders = [spec["resources"]]
    else:
        containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
        holders = [one.get("resources") for one in containers]
    anything = False
    guaranteed = True
    for resources in holders:
        requests, limits = _amounts(resources, "requests"), _amounts(resources, "limits")
        anything = anything or bool(requests or limits)
        if set(limits) != set(_COUNTED) or any(
            requests.get(name, limits[name]) != limits[name] for name in _COUNTED
        ):
            guaranteed = False
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"

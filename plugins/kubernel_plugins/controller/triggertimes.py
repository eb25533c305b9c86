"""Since when what is written about a service has been due: ``endpoints.kubernetes.io/last-change-trigger-time``.

Source: k8s.io/endpointslice/util/trigger_time_tracker.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.objects import conditions, meta

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["ANNOTATION", "TriggerTimes", "noted"]

ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


class TriggerTimes:
    """What was seen of each service and of its pods when its endpoints were last looked at. Times are as the API
    writes them, which sort as they are."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[str, str]] = {}

    def due_since(self, service: Obj, pods: Iterable[Obj]) -> str:
        """The earliest of the times that are later than when last asked; empty when there is none."""
        key = meta.key(service)
        created: str = service["metadata"].get("creationTimestamp") or ""
        before = self._seen.get(key)
        # The service itself has no name that a pod could have.
        now = {"": created}
        for pod in pods:
            ready = conditions.find(pod, "Ready")
            if ready is not None and (moved := ready.get("lastTransitionTime")):
                now[meta.name(pod)] = moved
        self._seen[key] = now
        if before is None:
            return created
        return min((moved for name, moved in now.items() if moved > before.get(name, "")), default="")

    def forget(self, key: tuple[str, str]) -> None:
        self._seen.pop(key, None)


def noted(annotations: dict[str, Any], since: str) -> dict[str, Any]:
    """The annotations with this time, or without one."""
    kept = {name: value for name, value in annotations.items() if name != ANNOTATION}
    return {**kept, ANNOTATION: since} if since else kept

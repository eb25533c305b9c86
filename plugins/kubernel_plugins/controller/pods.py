"""What several controllers ask of pods.

Source: k8s.io/kubernetes/pkg/controller/controller_utils.go and pkg/api/v1/pod/util.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kubernel.objects import conditions, meta, times

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "deletion_rank",
    "from_template",
    "is_active",
    "is_available",
    "is_finished",
    "is_ready",
    "ready_since",
    "restarts",
    "stage",
]

_PHASE_RANK = {"Pending": 0, "Unknown": 1, "": 1, "Running": 2}


def phase(pod: Obj) -> str:
    value: str = (pod.get("status") or {}).get("phase", "")
    return value


def is_finished(pod: Obj) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Obj) -> bool:
    """Neither finished nor on its way out."""
    return not is_finished(pod) and not meta.is_deleting(pod)


def is_ready(pod: Obj) -> bool:
    return conditions.is_true(pod, "Ready")


def ready_since(pod: Obj) -> float | None:
    """Epoch seconds at which the pod became ready; None when it is not."""
    ready = conditions.find(pod, "Ready")
    if ready is None or ready.get("status") != "True":
        return None
    moved = ready.get("lastTransitionTime")
    return times.parse(moved) if moved else 0.0


def is_available(pod: Obj, min_ready_seconds: int, now: float) -> bool:
    """Ready for at least ``min_ready_seconds``."""
    since = ready_since(pod)
    return since is not None and (min_ready_seconds == 0 or since + min_ready_seconds <= now)


def from_template(template: Mapping[str, Any], owner: Obj, *, generate_name: str = "") -> Obj:
    """A pod of ``template`` controlled by ``owner``; named by the server unless its template names it."""
    source = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "generateName": generate_name or f"{meta.name(owner)}-",
        "namespace": meta.namespace(owner),
        "ownerReferences": [meta.owner_reference(owner)],
    }
    for key in ("labels", "annotations", "finalizers"):
        if source.get(key):
            metadata[key] = source[key]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template.get("spec") or {}}


def deletion_rank(pod: Obj) -> tuple[Any, ...]:
    """Sort key: the pods that are the least loss come first (ActivePods)."""
    since = ready_since(pod)
    created = times.parse(pod["metadata"]["creationTimestamp"])
    return (*stage(pod, since), -(since or 0.0), *restarts(pod), -created, meta.name(pod))


def stage(pod: Obj, since: float | None) -> tuple[bool, int, bool]:
    """How far the pod has come: a node, running, ready."""
    return bool((pod.get("spec") or {}).get("nodeName")), _PHASE_RANK.get(phase(pod), 1), since is not None


def restarts(pod: Obj) -> tuple[int, int]:
    """The most restarts of a container, and of a sidecar; more come first."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    most = max((entry.get("restartCount", 0) for entry in status.get("containerStatuses") or ()), default=0)
    sidecars = {
        entry.get("name")
        for entry in spec.get("initContainers") or ()
        if entry.get("restartPolicy") == "Always"
    }
    of_sidecars = max(
        (
            entry.get("restartCount", 0)
            for entry in status.get("initContainerStatuses") or ()
            if entry.get("name") in sidecars
        ),
        default=0,
    )
    return -most, -of_sidecars

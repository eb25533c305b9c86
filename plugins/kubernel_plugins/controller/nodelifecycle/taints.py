"""Which taints a node should have, and which pods they drive away, and when.

Source: k8s.io/kubernetes/pkg/controller/nodelifecycle/node_lifecycle_controller.go,
pkg/controller/tainteviction/taint_eviction.go and
https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.objects import conditions

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["NOT_READY", "UNREACHABLE", "desired", "eviction_delay", "no_execute"]

Taint = Mapping[str, Any]

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"

_BY_CONDITION = (
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
)
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OWN_NO_SCHEDULE = frozenset({key for _, _, key in _BY_CONDITION} | {_UNSCHEDULABLE})
_OWN_NO_EXECUTE = frozenset({NOT_READY, UNREACHABLE})


def desired(node: Obj, now: str) -> list[Taint]:
    """The node's taints with those that follow from its conditions put right; ``now`` is RFC 3339."""
    wanted: list[dict[str, Any]] = []
    for type, status, key in _BY_CONDITION:
        condition = conditions.find(node, type)
        if condition is not None and condition.get("status") == status:
            wanted.append({"key": key, "effect": "NoSchedule"})
            if key in _OWN_NO_EXECUTE:
                wanted.append({"key": key, "effect": "NoExecute", "timeAdded": now})
    spec = node.get("spec") or {}
    if spec.get("unschedulable"):
        wanted.append({"key": _UNSCHEDULABLE, "effect": "NoSchedule", "timeAdded": now})
    old: Sequence[Taint] = spec.get("taints") or ()
    missing = {(taint["key"], taint["effect"]): taint for taint in wanted}
    kept: list[Taint] = []
    for taint in old:
        identity = (taint["key"], taint["effect"])
        if missing.pop(identity, None) is not None or not _is_own(*identity):
            kept.append(taint)
    return kept + list(missing.values())


def _is_own(key: str, effect: str) -> bool:
    own = {"NoSchedule": _OWN_NO_SCHEDULE, "NoExecute": _OWN_NO_EXECUTE}.get(effect, frozenset())
    return key in own


def no_execute(node: Obj) -> list[Taint]:
    return [
        taint for taint in (node.get("spec") or {}).get("taints") or () if taint.get("effect") == "NoExecute"
    ]


def eviction_delay(pod: Obj, taints: Sequence[Taint]) -> float | None:
    """Seconds for which the pod may stay with these NoExecute taints: 0 when one is not tolerated, the
    shortest ``tolerationSeconds`` of the tolerations that are used, None for ever."""
    shortest: float | None = None
    tolerations = (pod.get("spec") or {}).get("tolerations") or ()
    for taint in taints:
        used = next((each for each in tolerations if _tolerates(each, taint)), None)
        if used is None:
            return 0.0
        seconds = used.get("tolerationSeconds")
        if seconds is not None:
            shortest = max(float(seconds), 0.0) if shortest is None else min(shortest, max(seconds, 0.0))
    return shortest


def _tolerates(toleration: Mapping[str, Any], taint: Taint) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    key = toleration.get("key") or ""
    if key and key != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")

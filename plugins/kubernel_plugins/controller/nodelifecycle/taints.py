"""Which taints a node should have for its conditions.

Source: k8s.io/kubernetes/pkg/controller/nodelifecycle/node_lifecycle_controller.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.objects import conditions, meta

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "NOT_READY",
    "UNREACHABLE",
    "Taints",
    "evicting",
    "has_evicting",
    "of",
    "scheduling",
    "without_evicting",
]

Taint = Mapping[str, Any]
Taints = Sequence[Taint]

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"

_BY_CONDITION = {
    "Ready": {"False": NOT_READY, "Unknown": UNREACHABLE},
    "MemoryPressure": {"True": "node.kubernetes.io/memory-pressure"},
    "DiskPressure": {"True": "node.kubernetes.io/disk-pressure"},
    "NetworkUnavailable": {"True": "node.kubernetes.io/network-unavailable"},
    "PIDPressure": {"True": "node.kubernetes.io/pid-pressure"},
}
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OWN = frozenset({key for keys in _BY_CONDITION.values() for key in keys.values()} | {_UNSCHEDULABLE})
_NONE: Taints = ()
_EVICTING = {"False": NOT_READY, "Unknown": UNREACHABLE}


def of(node: Obj) -> Taints:
    found: Taints = (node.get("spec") or {}).get("taints") or _NONE
    return found


def scheduling(node: Obj, now: str) -> Taints:
    """The node's taints with the NoSchedule ones that follow from its conditions put right; ``now`` is RFC 3339."""
    wanted = [
        key
        for condition in meta.get(node, "status", "conditions") or ()
        if (key := _BY_CONDITION.get(condition["type"], {}).get(condition.get("status")))
    ]
    if (node.get("spec") or {}).get("unschedulable"):
        wanted.append(_UNSCHEDULABLE)
    return _put_right(of(node), "NoSchedule", wanted, _OWN, now)


def evicting(node: Obj, now: str) -> Taints:
    """The node's taints with the NoExecute one of a node that is not ready, and not the opposite one."""
    status = (conditions.find(node, "Ready") or {}).get("status", "")
    wanted = [_EVICTING[status]] if status in _EVICTING else []
    return _put_right(of(node), "NoExecute", wanted, _EVICTING.values(), now)


def without_evicting(node: Obj) -> Taints:
    """The node's taints but those that ``evicting`` adds."""
    return _put_right(of(node), "NoExecute", (), _EVICTING.values(), "")


def has_evicting(node: Obj) -> bool:
    return any(
        taint.get("effect") == "NoExecute" and taint.get("key") in _EVICTING.values() for taint in of(node)
    )


def _put_right(taints: Taints, effect: str, wanted: Sequence[str], own: Collection[str], now: str) -> Taints:
    """``taints`` with those of ``own`` keys and this effect being the ``wanted`` ones; the same object when
    they are."""
    missing = dict.fromkeys(wanted)
    kept: list[Taint] = []
    for taint in taints:
        if taint.get("effect") != effect or taint["key"] not in own:
            kept.append(taint)
        elif taint["key"] in missing:
            del missing[taint["key"]]
            kept.append(taint)
    if not missing and len(kept) == len(taints):
        return taints
    return kept + [{"key": key, "effect": effect, "timeAdded": now} for key in missing]

"""The scheduler's view of nodes: what they offer, what is taken, what is assumed.

A pod that was given a node counts there at once, before its binding has come back: *assumed*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta, quantity
from kubernel.plugin.scheduling import UNREQUESTED, NodeState, PodState

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["NodeCache", "pod_requests", "pod_state"]


def _amount(resource: str, value: Any) -> int:
    return quantity.to_int_milli(value) if resource == "cpu" else quantity.to_int(value)


def _sum(into: dict[str, int], requests: Mapping[str, Any]) -> None:
    for resource, value in requests.items():
        into[resource] = into.get(resource, 0) + _amount(resource, value)


def pod_requests(pod: Obj) -> dict[str, int]:
    """What the pod asks of a node: its containers and sidecars together, or its largest moment of
    initialisation, and the overhead (k8s.io/component-helpers/resource/helpers.go)."""
    spec = pod["spec"]
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _sum(total, (container.get("resources") or {}).get("requests") or {})
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        requests = (container.get("resources") or {}).get("requests") or {}
        if container.get("restartPolicy") == "Always":
            _sum(sidecars, requests)
            _sum(total, requests)
            moment = dict(sidecars)
        else:
            moment = dict(sidecars)
            _sum(moment, requests)
        for resource, amount in moment.items():
            peak[resource] = max(peak.get(resource, 0), amount)
    for resource, amount in peak.items():
        total[resource] = max(total.get(resource, 0), amount)
    for resource, value in ((spec.get("resources") or {}).get("requests") or {}).items():
        total[resource] = _amount(resource, value)
    _sum(total, spec.get("overhead") or {})
    return {resource: amount for resource, amount in total.items() if amount > 0}


def pod_state(pod: Obj) -> PodState:
    return PodState(meta.key(pod), meta.uid(pod), pod, pod_requests(pod), pod["spec"].get("priority") or 0)


class NodeCache:
    """Nodes by name. Pods are remembered by uid with what they take, whatever order events come in."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeState] = {}
        self._pods: dict[str, tuple[str, dict[str, int]]] = {}
        self._known: dict[str, Obj] = {}

    def nodes(self) -> list[NodeState]:
        """In order of name."""
        return [self._nodes[name] for name in sorted(self._known)]

    def get(self, name: str) -> NodeState | None:
        return self._nodes.get(name)

    def set_node(self, node: Obj) -> None:
        name = meta.name(node)
        state = self._state(name)
        spec = node.get("spec") or {}
        allocatable = meta.get(node, "status", "allocatable", default={})
        state.node = node
        state.labels = meta.labels(node)
        state.taints = spec.get("taints") or ()
        state.unschedulable = bool(spec.get("unschedulable"))
        state.allocatable = {key: _amount(key, value) for key, value in allocatable.items()}
        self._known[name] = node

    def remove_node(self, name: str) -> None:
        """Its pods stay counted: they may be seen going later, or the node coming back."""
        self._known.pop(name, None)
        self._forget_empty(name)

    def add_pod(self, uid: str, node: str, requests: dict[str, int]) -> None:
        """The pod is, or is assumed to be, on ``node``."""
        before = self._pods.get(uid)
        if before is not None:
            if before[0] == node and before[1] == requests:
                return
            self.remove_pod(uid)
        state = self._state(node)
        self._pods[uid] = (node, requests)
        self._count(state, requests, 1)

    def remove_pod(self, uid: str) -> bool:
        """Whether it was counted anywhere."""
        found = self._pods.pop(uid, None)
        if found is None:
            return False
        name, requests = found
        self._count(self._nodes[name], requests, -1)
        self._forget_empty(name)
        return True

    @staticmethod
    def _count(state: NodeState, requests: dict[str, int], sign: int) -> None:
        state.pods += sign
        for resource, amount in requests.items():
            state.requested[resource] = state.requested.get(resource, 0) + sign * amount
        for resource, amount in UNREQUESTED.items():
            counted = requests.get(resource, amount)
            state.nonzero[resource] = state.nonzero.get(resource, 0) + sign * counted

    def _state(self, name: str) -> NodeState:
        state = self._nodes.get(name)
        if state is None:
            state = self._nodes[name] = NodeState(name, {}, {}, (), False, {})
        return state

    def _forget_empty(self, name: str) -> None:
        state = self._nodes.get(name)
        if state is not None and name not in self._known and state.pods == 0:
            del self._nodes[name]

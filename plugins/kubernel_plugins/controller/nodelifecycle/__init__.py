"""Node lifecycle controller: silent nodes become Unknown; nodes that are not ready are tainted, zone by zone no
faster than what fails there allows.

Source: k8s.io/kubernetes/pkg/controller/nodelifecycle (v1.37). Upstream looks at all nodes every
``nodeMonitorPeriod``; here a node is looked at when it changes and when it may have fallen silent, at the same
moments: those that fall silent within one period are noticed together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import NotFound
from kubernel.objects import conditions, meta, times
from kubernel.plugin import hookimpl
from kubernel_plugins.controller.nodelifecycle import taints
from kubernel_plugins.controller.nodelifecycle.zones import Change, Settings, Zone, Zones, zone_of

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "Settings"]

_LEASES = "leases.v1.coordination.k8s.io"
_LEASE_NAMESPACE = "kube-node-lease"
_WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_ZONE = "/zone"
"""Stands where a key has its namespace: the name is a zone, whose next node may be tainted."""
_TAINTING_PERIOD = 0.1
"""Seconds after which a zone's queue is looked at: nodes that failed together have all been counted by then."""
_SAME_LABELS = {
    "kubernetes.io/os": "beta.kubernetes.io/os",
    "kubernetes.io/arch": "beta.kubernetes.io/arch",
}


def _node_of(obj: Obj) -> Iterable[str]:
    name = (obj.get("spec") or {}).get("nodeName")
    return (name,) if name else ()


def _ready(node: Obj) -> str:
    """The status of the node's condition Ready; empty when it has none."""
    return str((conditions.find(node, "Ready") or {}).get("status", ""))


def _assigned(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """A pod that came to a node that is known not to be ready."""
    for name in _node_of(pod):
        if type != "DELETED" and (old is None or name not in _node_of(old)) and self.is_unready(name):
            yield meta.key(pod)


def _beat(node: Obj) -> tuple[str, bool, object]:
    ready = conditions.find(node, "Ready")
    return meta.uid(node), ready is not None, (ready or {}).get("lastHeartbeatTime")


def _reference(node: Obj) -> Obj:
    """What events are about: the node, whichever version of it."""
    metadata = {"name": meta.name(node), "uid": meta.uid(node)}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}


class Plugin(Reconciler):
    """The ``nodelifecycle`` controller. A key is a node's name, a pod's, or a zone's after ``_ZONE``."""

    Settings = Settings
    resource = "nodes"
    watches = {"pods": _assigned}  # noqa: RUF012 - typed ClassVar in the base
    reads = (_LEASES,)
    user = "system:serviceaccount:kube-system:node-controller"

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._begin()

    def _begin(self) -> None:
        self._alive: dict[str, float] = {}
        self._beats: dict[str, tuple[str, bool, object]] = {}
        self._known: dict[str, Obj] = {}
        """The nodes of which was told that they are looked after."""
        self._spared: set[str] = set()
        """Nodes that lose their NoExecute taints, ready or not."""
        self._fell: set[str] = set()
        """Nodes whose pods have to be marked."""
        self._zones = Zones(self.settings)
        self._begun = self.clock.monotonic()

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._pods.add_index("node", _node_of)
        self._leases = self.informer(_LEASES)
        self._unlisten.append(self._leases.add_listener(self._on_lease))

    async def _work(self) -> None:
        # What the leader before has seen and thought is not known.
        self._begin()
        for lease in self._leases.list(_LEASE_NAMESPACE):
            self._alive[meta.name(lease)] = self._begun
        nodes = [(node, _ready(node) == "True") for node in self.primary.list()]
        self._zones.fill(nodes, self._begun)
        await super()._work()

    @hookimpl
    def kubernel_metrics(self) -> str | None:
        return self._zones.render() or None

    def is_unready(self, node: str) -> bool:
        """Whether the node has been looked at and says, or is said, not to be ready."""
        found = self.primary.get(node) if node in self._known else None
        return found is not None and _ready(found) not in ("", "True")

    def _on_lease(self, type: EventType, lease: Obj, old: Obj | None) -> None:
        # Only noted: looked at when the node's time is up, not at each of its renewals.
        if meta.namespace(lease) != _LEASE_NAMESPACE or type == "DELETED":
            return
        if old is None or meta.get(old, "spec", "renewTime") != meta.get(lease, "spec", "renewTime"):
            self._alive[meta.name(lease)] = self.clock.monotonic()

    async def reconcile(self, namespace: str, name: str) -> float | None:
        if namespace == _ZONE:
            return await self._taint_next(self._zones.zone(name))
        if namespace:
            pod = self._pods.get(name, namespace)
            if pod is not None and any(map(self.is_unready, _node_of(pod))):
                await self._mark_not_ready(pod)
            return None
        node = self.primary.get(name)
        await self._tell_presence(name, node)
        if node is None:
            self._forget(name)
            return None
        self._note_heartbeat(node)
        left = self._silence_left(node)
        if left is None and _ready(node) != "Unknown":
            if not await self._is_silent(node):
                return float(self.settings.node_monitor_period)
            node = await self._mark_unknown(node)
        self._note_health(node)
        await self._put_right(node)
        if name in self._fell:
            for pod in self._pods.by("node", name):
                await self._mark_not_ready(pod)
            self._fell.discard(name)
        return left

    async def _tell_presence(self, name: str, node: Obj | None) -> None:
        known = self._known.get(name)
        if known is not None and (node is None or meta.uid(node) != meta.uid(known)):
            del self._known[name]
            text = f"Node {name} event: Removing Node {name} from Controller"
            await self.recorder.event(_reference(known), "Normal", "RemovingNode", text)
        if node is not None and name not in self._known:
            self._known[name] = node
            # Whoever is seen for the first time is given the benefit of the doubt.
            self._spared.add(name)
            text = f"Node {name} event: Registered Node {name} in Controller"
            await self.recorder.event(_reference(node), "Normal", "RegisteredNode", text)

    def _forget(self, name: str) -> None:
        """Nothing is known of a node that no longer exists."""
        self._alive.pop(name, None)
        self._beats.pop(name, None)
        self._spared.discard(name)
        self._fell.discard(name)
        self._follow(self._zones.forget(name, self.clock.monotonic()))

    # --- signs of life

    def _note_heartbeat(self, node: Obj) -> None:
        name, beat = meta.name(node), _beat(node)
        known = self._beats.get(name)
        is_new = known is None or known[0] != beat[0]
        if is_new and not beat[1]:
            age = self.clock.time() - times.parse(node["metadata"]["creationTimestamp"])
            self._alive[name] = max(self._alive.get(name, -math.inf), self.clock.monotonic() - age)
        elif known != beat:
            self._alive[name] = self.clock.monotonic()
        self._beats[name] = beat

    def _silence_left(self, node: Obj) -> float | None:
        """Seconds until the node counts as silent; None when it does."""
        settings = self.settings
        grace = settings.node_monitor_grace_period if _ready(node) else settings.node_startup_grace_period
        silent_at = self._alive[meta.name(node)] + grace - self._begun
        noticed_at = math.ceil(silent_at / settings.node_monitor_period) * settings.node_monitor_period
        left: float = self._begun + noticed_at - self.clock.monotonic()
        return left if left > 0 else None

    async def _is_silent(self, node: Obj) -> bool:
        """Whether its lease, too, is as old as is thought: the view of leases may have fallen behind."""
        name = meta.name(node)
        try:
            live = await self.client.get(_LEASES, name, _LEASE_NAMESPACE)
        except NotFound:
            return True
        seen = self._leases.get(name, _LEASE_NAMESPACE)
        return seen is not None and meta.resource_version(seen) == meta.resource_version(live)

    async def _mark_unknown(self, node: Obj) -> Obj:
        now = rfc3339(self.clock.time())
        found: Any = meta.get(node, "status", "conditions")
        for type in _WATCHED:
            old = conditions.find(node, type)
            if old is None:
                reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
                created = node["metadata"]["creationTimestamp"]
                found, _ = conditions.set(
                    found, type, "Unknown", reason, message, now, lastHeartbeatTime=created
                )
            elif old.get("status") != "Unknown":
                reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
                found, _ = conditions.set(found, type, "Unknown", reason, message, now)
        name = meta.name(node)
        was_ready = _ready(node) == "True"
        silent = meta.replace(node, ("status", "conditions"), found)
        node = await self.client.update("nodes", silent, subresource="status")
        # Its own verdict is no sign of life.
        self._beats[name] = _beat(node)
        if was_ready:
            self._fell.add(name)
            text = f"Node {name} status is now: NodeNotReady"
            await self.recorder.event(_reference(node), "Normal", "NodeNotReady", text)
        return node

    async def _mark_not_ready(self, pod: Obj) -> None:
        ready = conditions.find(pod, "Ready")
        if ready is None or ready.get("status") == "False":
            return
        now = rfc3339(self.clock.time())
        told = ready.get("reason") or "", ready.get("message") or ""
        found, _ = conditions.set(pod["status"]["conditions"], "Ready", "False", *told, now)
        try:
            changed = meta.replace(pod, ("status", "conditions"), found)
            await self.client.update("pods", changed, subresource="status")
        except NotFound:
            return
        await self.recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    # --- zones

    def _note_health(self, node: Obj) -> None:
        self._follow(self._zones.note(node, _ready(node) == "True", self.clock.monotonic()))

    def _follow(self, change: Change) -> None:
        """What a change of all zones together means to all nodes, and of one to those that wait in it."""
        if change is Change.RESUMED:
            # While nobody was heard nobody could be judged: all have their time again.
            now = self.clock.monotonic()
            for node in self.primary.list():
                self._alive[meta.name(node)] = now
        if change is Change.STOPPED:
            self._spared.update(map(meta.name, self.primary.list()))
        if change in (Change.STOPPED, Change.RESUMED):
            self._add_all()
        if change is not Change.NONE:
            for zone in self._zones.keys:
                self.queue.add((_ZONE, zone))

    # --- taints and labels

    async def _put_right(self, node: Obj) -> Obj:
        """The node's own taints and labels, but for the NoExecute taint that it may have to wait for."""
        name, now = meta.name(node), rfc3339(self.clock.time())
        ready, zone = _ready(node), zone_of(node)
        right = _with_taints(node, taints.scheduling(node, now))
        if name in self._spared or ready == "True":
            self._zones.zone(zone).remove(name)
            right = _with_taints(right, taints.without_evicting(right))
        elif ready and taints.has_evicting(node):
            # No longer not ready but unreachable, or the other way round: no reason to wait.
            right = _with_taints(right, taints.evicting(right, now))
        if labels := _missing_labels(meta.labels(node)):
            right = meta.replace(right, ("metadata", "labels"), {**meta.labels(node), **labels})
        if right is not node:
            node = await self.client.update("nodes", right)
        self._spared.discard(name)
        if ready not in ("", "True") and not taints.has_evicting(node) and self._zones.zone(zone).add(name):
            self.queue.add((_ZONE, zone), _TAINTING_PERIOD)
        return node

    async def _taint_next(self, zone: Zone) -> float | None:
        """Give the node whose turn it is its NoExecute taint; seconds until the next one's turn."""
        while (name := zone.next(self.clock.monotonic())) is not None:
            try:
                node = await self.client.get("nodes", name)
                right = _with_taints(node, taints.evicting(node, rfc3339(self.clock.time())))
                if right is not node:
                    await self.client.update("nodes", right)
                    self._zones.evicted(node)
            except NotFound:
                pass
            zone.remove(name)
        return zone.wait(self.clock.monotonic())


def _with_taints(node: Obj, wanted: taints.Taints) -> Obj:
    """The node with these taints; itself when they are its own."""
    return node if wanted is taints.of(node) else meta.replace(node, ("spec", "taints"), wanted)


def _missing_labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {
        beta: labels[stable]
        for stable, beta in _SAME_LABELS.items()
        if stable in labels and labels.get(beta) != labels[stable]
    }

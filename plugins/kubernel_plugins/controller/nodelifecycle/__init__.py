"""Node lifecycle controller: silent nodes become Unknown and tainted, their pods are evicted.

Source: k8s.io/kubernetes/pkg/controller/{nodelifecycle,tainteviction} (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import ApiError, NotFound
from kubernel.objects import conditions, meta, times
from kubernel_plugins.controller.nodelifecycle import taints

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_LEASES = "leases.v1.coordination.k8s.io"
_LEASE_NAMESPACE = "kube-node-lease"
_GRACE = 40.0
"""Seconds without a sign of life after which a node is Unknown (--node-monitor-grace-period)."""
_STARTUP_GRACE = 60.0
"""The same for a node that has never said anything (--node-startup-grace-period)."""
_WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


def _node_of(obj: Obj) -> Iterable[str]:
    name = (obj.get("spec") or {}).get("nodeName")
    return (name,) if name else ()


def _node_of_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """A pod on a node that drives pods away."""
    for name in _node_of(pod):
        node = self.primary.get(name)
        if type != "DELETED" and node is not None and taints.no_execute(node):
            yield "", name


class Plugin(Reconciler):
    """The ``nodelifecycle`` controller. A key is a node's name."""

    resource = "nodes"
    watches = {"pods": _node_of_pod}  # noqa: RUF012 - typed ClassVar in the base
    reads = (_LEASES,)
    user = "system:serviceaccount:kube-system:node-controller"

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._alive: dict[str, float] = {}
        self._heartbeats: dict[str, object] = {}
        self._tainted: dict[tuple[str, str, str], float] = {}
        self._known: dict[str, Obj] = {}
        """The nodes of which was told that they are looked after."""
        self._leaving: dict[str, dict[str, Obj]] = {}
        """Node -> its pods, by uid, whose time there runs out."""

    async def start(self) -> None:
        self._known.clear()
        self._leaving.clear()
        await super().start()
        self._pods = self.informer("pods")
        self._pods.add_index("node", _node_of)
        self._unlisten.append(self.informer(_LEASES).add_listener(self._on_lease))

    async def setup(self) -> None:
        for pod in self._pods.list():
            for key in _node_of_pod(self, "ADDED", pod, None):
                self.queue.add(key)

    def _on_lease(self, type: EventType, lease: Obj, old: Obj | None) -> None:
        # Only noted: looked at when the node's time is up, not at each of its renewals.
        if meta.namespace(lease) != _LEASE_NAMESPACE or type == "DELETED":
            return
        if old is None or meta.get(old, "spec", "renewTime") != meta.get(lease, "spec", "renewTime"):
            self._alive[meta.name(lease)] = self.clock.monotonic()

    async def reconcile(self, namespace: str, name: str) -> float | None:
        node = self.primary.get(name)
        await self._tell_presence(name, node)
        if node is None:
            self._forget(name)
            return None
        self._note_heartbeat(node)
        waits = [self._silence_left(node)]
        if waits[0] is None:
            node = await self._mark_unknown(node)
        node = await self._taint(node)
        waits.append(await self._evict(node))
        return min((wait for wait in waits if wait is not None), default=None)

    async def _tell_presence(self, name: str, node: Obj | None) -> None:
        known = self._known.get(name)
        if known is not None and (node is None or meta.uid(node) != meta.uid(known)):
            del self._known[name]
            text = f"Node {name} event: Removing Node {name} from Controller"
            await self.recorder.event(known, "Normal", "RemovingNode", text)
        if node is not None and name not in self._known:
            self._known[name] = node
            text = f"Node {name} event: Registered Node {name} in Controller"
            await self.recorder.event(node, "Normal", "RegisteredNode", text)

    # --- signs of life

    def _note_heartbeat(self, node: Obj) -> None:
        name = meta.name(node)
        ready = conditions.find(node, "Ready") or {}
        beat = (meta.uid(node), ready.get("lastHeartbeatTime"), ready.get("status"))
        known = self._heartbeats.get(name)
        # Its own verdict, Unknown, is no sign of life.
        if known is None or (known != beat and ready.get("status") != "Unknown"):
            self._alive[name] = self.clock.monotonic()
        self._heartbeats[name] = beat

    def _silence_left(self, node: Obj) -> float | None:
        """Seconds until the node counts as silent; None when it does."""
        grace = _GRACE if conditions.find(node, "Ready") is not None else _STARTUP_GRACE
        left = self._alive[meta.name(node)] + grace - self.clock.monotonic()
        return left if left > 0 else None

    async def _mark_unknown(self, node: Obj) -> Obj:
        now = rfc3339(self.clock.time())
        found: Any = meta.get(node, "status", "conditions")
        was_ready = conditions.is_true(node, "Ready")
        changed = False
        for type in _WATCHED:
            old = conditions.find(node, type)
            if old is not None and old.get("status") == "Unknown":
                continue
            reason, message = "NodeStatusUnknown", "Kubelet stopped posting node status."
            if old is None:
                reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
            found, _ = conditions.set(found, type, "Unknown", reason, message, now)
            changed = True
        if not changed:
            return node
        name = meta.name(node)
        silent = meta.replace(node, ("status", "conditions"), found)
        node = await self.client.update("nodes", silent, subresource="status")
        if was_ready:
            await self.recorder.event(
                node, "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady"
            )
        for pod in self._pods.by("node", name):
            await self._mark_not_ready(pod, now)
        return node

    async def _mark_not_ready(self, pod: Obj, now: str) -> None:
        if not conditions.is_true(pod, "Ready"):
            return
        found, _ = conditions.set(pod["status"]["conditions"], "Ready", "False", "NodeNotReady", "", now)
        try:
            changed = meta.replace(pod, ("status", "conditions"), found)
            await self.client.update("pods", changed, subresource="status")
        except NotFound:
            return
        await self.recorder.event(pod, "Warning", "NodeNotReady", "Node is not ready")

    # --- taints

    async def _taint(self, node: Obj) -> Obj:
        wanted = taints.desired(node, rfc3339(self.clock.time()))
        if wanted == (meta.get(node, "spec", "taints", default=[])):
            return node
        return await self.client.update("nodes", meta.replace(node, ("spec", "taints"), wanted))

    async def _evict(self, node: Obj) -> float | None:
        """Delete the pods whose time on this node is up; seconds until the next one's is."""
        active = taints.no_execute(node)
        name = meta.name(node)
        before = self._leaving.pop(name, {})
        if not active:
            self._forget_taints(name)
            await self._tell_saved(before, {})
            return None
        now = self.clock.time()
        since = max(self._since(name, taint) for taint in active)
        soonest: float | None = None
        leaving: dict[str, Obj] = {}
        for pod in self._pods.by("node", name):
            if meta.is_deleting(pod):
                continue
            delay = taints.eviction_delay(pod, active)
            if delay is None:
                continue
            begun = max(since, times.parse(pod["metadata"]["creationTimestamp"]))
            left = begun + delay - now
            if left > 0:
                soonest = left if soonest is None else min(soonest, left)
                leaving[meta.uid(pod)] = pod
                continue
            before.pop(meta.uid(pod), None)
            await self.recorder.event(
                pod,
                "Normal",
                "TaintManagerEviction",
                f"Marking for deletion Pod {meta.namespace(pod)}/{meta.name(pod)}",
            )
            await self._remove(pod)
        await self._tell_saved(before, leaving)
        if leaving:
            self._leaving[name] = leaving
        return soonest

    async def _tell_saved(self, before: Mapping[str, Obj], now: Mapping[str, Obj]) -> None:
        """The pods that were to go and are not any more."""
        for uid, pod in before.items():
            current = self._pods.get(meta.name(pod), meta.namespace(pod))
            if uid not in now and current is not None and meta.uid(current) == uid:
                if meta.is_deleting(current):
                    continue
                text = f"Cancelling deletion of Pod {meta.namespace(pod)}/{meta.name(pod)}"
                await self.recorder.event(current, "Normal", "TaintManagerEviction", text)

    def _since(self, node: str, taint: Mapping[str, Any]) -> float:
        """Epoch seconds since when the node has the taint: what it says, or when it was first seen."""
        added = taint.get("timeAdded")
        if added:
            return times.parse(added)
        return self._tainted.setdefault((node, taint["key"], taint.get("value", "")), self.clock.time())

    def _forget_taints(self, node: str) -> None:
        for entry in [entry for entry in self._tainted if entry[0] == node]:
            del self._tainted[entry]

    # --- nodes and pods that go

    def _forget(self, name: str) -> None:
        """Nothing is known of a node that no longer exists."""
        self._alive.pop(name, None)
        self._heartbeats.pop(name, None)
        self._leaving.pop(name, None)
        self._forget_taints(name)

    async def _remove(self, pod: Obj) -> None:
        """Say in the pod's status why it goes, then delete it."""
        name, namespace = meta.name(pod), meta.namespace(pod)
        try:
            found, changed = conditions.set(
                meta.get(pod, "status", "conditions"),
                "DisruptionTarget",
                "True",
                "DeletionByTaintManager",
                "Taint manager: deleting due to NoExecute taint",
                rfc3339(self.clock.time()),
            )
            if changed and meta.get(pod, "status", "phase") not in ("Succeeded", "Failed"):
                status = {**(pod.get("status") or {}), "conditions": found}
                await self.client.update("pods", {**pod, "status": status}, subresource="status")
            await self.client.delete("pods", name, namespace, uid=meta.uid(pod))
        except NotFound:
            return
        except ApiError:
            self.queue.add(("", meta.get(pod, "spec", "nodeName", default="")), 1.0)

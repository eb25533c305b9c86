"""Taint eviction controller: pods leave nodes whose NoExecute taints they do not tolerate, or no longer.

Source: k8s.io/kubernetes/pkg/controller/tainteviction/taint_eviction.go (v1.37) and
https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.errors import NotFound
from kubernel.objects import meta
from kubernel.plugin import hookimpl
from kubernel_plugins.controller.disrupting import disrupt
from kubernel_plugins.histogram import Histogram
from kubernel_plugins.scheduler_policy.tolerations import tolerates

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "eviction_delay"]

Taint = Mapping[str, Any]


@dataclass(slots=True)
class _Eviction:
    """Of one pod, by its uid. Times are monotonic."""

    uid: str
    decided: float
    due: float
    is_told: bool = False
    is_done: bool = False


def _node_of(obj: Obj) -> Iterable[str]:
    name = (obj.get("spec") or {}).get("nodeName")
    return (name,) if name else ()


def _no_execute(node: Obj) -> list[Taint]:
    taints = (node.get("spec") or {}).get("taints") or ()
    return [taint for taint in taints if taint.get("effect") == "NoExecute"]


def _on_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """A pod that came to a node, or whose tolerations changed, and one that is gone."""
    key = meta.key(pod)
    if type == "DELETED":
        if key in self.evictions:
            yield key
    elif old is None or _stay(pod) != _stay(old):
        for name in _node_of(pod):
            node = self.primary.get(name)
            if node is not None and _no_execute(node):
                self.changed.add(key)
                yield key


_SUBSYSTEM = "taint_eviction_controller"
_BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 180.0, 240.0)
"""Seconds, of ``pod_deletion_duration_seconds`` (tainteviction/metrics/metrics.go)."""


def _stay(pod: Obj) -> tuple[object, object]:
    return pod["spec"].get("nodeName"), pod["spec"].get("tolerations")


class Plugin(Reconciler):
    """The ``tainteviction`` controller. A key is a node's name, or a pod's."""

    resource = "nodes"
    watches = {"pods": _on_pod}  # noqa: RUF012 - typed ClassVar in the base
    user = "system:serviceaccount:kube-system:node-controller"
    component = "taint-eviction-controller"

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self.evictions: dict[ObjectKey, _Eviction] = {}
        """The pods that have to go, also those that have been told to."""
        self.changed: set[ObjectKey] = set()
        self._deletions = Histogram(_BOUNDS)

    @hookimpl
    def kubernel_metrics(self) -> str:
        total, duration = f"{_SUBSYSTEM}_pod_deletions_total", f"{_SUBSYSTEM}_pod_deletion_duration_seconds"
        lines = [f"# TYPE {total} counter", f"{total} {sum(self._deletions.row)}"]
        lines += [f"# TYPE {duration} histogram", *self._deletions.lines(duration, "")]
        return "".join(f"{line}\n" for line in lines)

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._pods.add_index("node", _node_of)

    async def _work(self) -> None:
        self.evictions.clear()
        self.changed.clear()
        await super()._work()

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if old is None or type == "DELETED" or _no_execute(obj) != _no_execute(old):
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        if namespace:
            return await self._reconcile_pod((namespace, name))
        node = self.primary.get(name)
        if node is None:
            return None
        taints = _no_execute(node)
        for pod in self._pods.by("node", name):
            if taints:
                await self._judge(pod, taints)
            else:
                await self._cancel(meta.key(pod))
        return None

    async def _reconcile_pod(self, key: ObjectKey) -> float | None:
        pod = self._pods.get(key[1], key[0])
        eviction = self.evictions.get(key)
        if eviction is not None and (pod is None or meta.uid(pod) != eviction.uid):
            await self._cancel(key)
        if pod is None:
            self.changed.discard(key)
            return None
        if key in self.changed:
            self.changed.discard(key)
            for name in _node_of(pod):
                node = self.primary.get(name)
                if node is not None and (taints := _no_execute(node)):
                    await self._judge(pod, taints)
        eviction = self.evictions.get(key)
        if eviction is None or eviction.is_done:
            return None
        left = eviction.due - self.clock.monotonic()
        if left > 0:
            return left
        await self._evict(pod, eviction)
        return None

    async def _judge(self, pod: Obj, taints: Sequence[Taint]) -> None:
        """Decide whether and when the pod has to go. What is decided stays, unless the pod may stay for ever
        or has to go at once."""
        key = meta.key(pod)
        delay = eviction_delay(pod, taints)
        if delay is None:
            await self._cancel(key)
            return
        if delay == 0.0:
            await self._cancel(key)
        if key not in self.evictions:
            now = self.clock.monotonic()
            self.evictions[key] = _Eviction(meta.uid(pod), now, now + delay)
            self.queue.add(key, delay)

    async def _cancel(self, key: ObjectKey) -> None:
        eviction = self.evictions.pop(key, None)
        if eviction is not None and not eviction.is_done:
            await self._tell(key, "Cancelling deletion of Pod")

    async def _evict(self, pod: Obj, eviction: _Eviction) -> None:
        """Say in the pod's status why it goes, then delete it."""
        name, namespace = meta.name(pod), meta.namespace(pod)
        if not eviction.is_told:
            eviction.is_told = True
            await self._tell(meta.key(pod), "Marking for deletion Pod")
        try:
            live = await self.client.get("pods", name, namespace)
            if meta.uid(live) != eviction.uid:
                return
            await disrupt(
                self.client,
                self.clock,
                live,
                "DeletionByTaintManager",
                "Taint manager: deleting due to NoExecute taint",
                observedGeneration=live["metadata"].get("generation", 0),
            )
        except NotFound:
            return
        self._deletions.observe(max(self.clock.monotonic() - eviction.due, 0.0))
        eviction.is_done = True

    async def _tell(self, key: ObjectKey, what: str) -> None:
        namespace, name = key
        about = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name}}
        await self.recorder.event(about, "Normal", "TaintManagerEviction", f"{what} {namespace}/{name}")


def eviction_delay(pod: Obj, taints: Sequence[Taint]) -> float | None:
    """Seconds for which the pod may stay with these NoExecute taints: 0 when one is not tolerated, the
    shortest ``tolerationSeconds`` of the tolerations that are used, None for ever."""
    shortest: float | None = None
    tolerations = (pod.get("spec") or {}).get("tolerations") or ()
    for taint in taints:
        used = next((each for each in tolerations if tolerates(each, taint)), None)
        if used is None:
            return 0.0
        seconds = used.get("tolerationSeconds")
        if seconds is not None:
            shortest = max(float(seconds), 0.0) if shortest is None else min(shortest, max(seconds, 0.0))
    return shortest

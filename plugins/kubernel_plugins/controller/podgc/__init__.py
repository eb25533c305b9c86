"""Pod garbage collector: pods that no kubelet and no other controller would ever remove.

Source: k8s.io/kubernetes/pkg/controller/podgc/gc_controller.go (v1.37).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import ApiError, NotFound
from kubernel.objects import conditions, meta
from kubernel.plugin import hookimpl
from kubernel_plugins.controller import pods

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "Settings"]

_QUARANTINE = 40.0
"""Seconds a node must have been gone before its pods are removed."""
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_TOTAL = "pod_gc_collector_force_delete_pods_total"
_ERRORS = "pod_gc_collector_force_delete_pod_errors_total"
_ENDED = ("", "")
"""The key of all ended pods together."""


@dataclass(frozen=True, slots=True)
class Settings:
    terminated_pods: int = 12500


def _node_of(obj: Obj) -> Iterable[str]:
    name = (obj.get("spec") or {}).get("nodeName")
    return (name,) if name else ()


def _on_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    self.count(type, pod, old)
    return () if type == "DELETED" else self.keys_of(pod)


class Plugin(Reconciler):
    """The ``podgc`` controller. A key is a node's name, also of one that is gone, or a pod's."""

    Settings = Settings
    resource = "nodes"
    watches = {"pods": _on_pod}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:pod-garbage-collector"

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._gone: dict[str, float] = {}
        self._counts: Counter[tuple[str, str, str]] = Counter()
        """By (metric, namespace, reason)."""
        self.ends = 0
        """How many pods have ended."""

    async def start(self) -> None:
        self.ends = 0
        await super().start()
        self._pods = self.informer("pods")
        self._pods.add_index("node", _node_of)

    def count(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        self.ends += (type != "DELETED" and _has_ended(pod)) - (old is not None and _has_ended(old))

    async def setup(self) -> None:
        for pod in self._pods.list():
            for key in self.keys_of(pod):
                self.queue.add(key)

    def keys_of(self, pod: Obj) -> Iterable[ObjectKey]:
        """What a pod gives reason to look at; usually nothing."""
        node = pod["spec"].get("nodeName")
        if meta.is_deleting(pod) and not node:
            yield meta.key(pod)
        if node and ((found := self.primary.get(node)) is None or _is_out_of_service(found)):
            yield "", node
        if self.ends > self.settings.terminated_pods > 0 and _has_ended(pod):
            yield _ENDED

    async def reconcile(self, namespace: str, name: str) -> float | None:
        if namespace:
            await self._unscheduled(namespace, name)
            return None
        if not name:
            await self._oldest()
            return None
        node = self.primary.get(name)
        if node is None:
            return await self._orphaned(name)
        self._gone.pop(name, None)
        if _is_out_of_service(node) and not conditions.is_true(node, "Ready"):
            for pod in self._pods.by("node", name):
                if meta.is_deleting(pod):
                    await self._remove(pod, "out-of-service")
        return None

    async def _unscheduled(self, namespace: str, name: str) -> None:
        pod = self._pods.get(name, namespace)
        if pod is not None and meta.is_deleting(pod) and not pod["spec"].get("nodeName"):
            await self._remove(pod, "unscheduled")

    async def _oldest(self) -> None:
        ended = [pod for pod in self._pods.list() if _has_ended(pod)]
        ended.sort(key=_rank)
        for pod in ended[: max(len(ended) - self.settings.terminated_pods, 0)]:
            await self._remove(pod, "terminated")

    async def _orphaned(self, node: str) -> float | None:
        """The pods of a node that is no more, once that has been so for a while."""
        left = self._pods.by("node", node)
        if not left:
            self._gone.pop(node, None)
            return None
        gone = self._gone.setdefault(node, self.clock.monotonic())
        wait = gone + _QUARANTINE - self.clock.monotonic()
        if wait > 0:
            return wait
        try:
            await self.client.get("nodes", node)
        except NotFound:
            for pod in left:
                await self._remove(pod, "orphaned", "PodGC: node no longer exists")
            return None
        return _QUARANTINE

    async def _remove(self, pod: Obj, reason: str, disruption: str = "") -> None:
        self._counts[_TOTAL, meta.namespace(pod), reason] += 1
        try:
            await self._fail_and_delete(pod, disruption)
        except ApiError:
            self._counts[_ERRORS, meta.namespace(pod), reason] += 1
            raise

    @hookimpl
    def kubernel_metrics(self) -> str | None:
        lines = []
        for name in (_ERRORS, _TOTAL):
            found = sorted(entry for entry in self._counts.items() if entry[0][0] == name)
            lines += [f"# TYPE {name} counter"] if found else []
            lines += [
                f'{name}{{namespace="{namespace}",reason="{reason}"}} {count}'
                for (_, namespace, reason), count in found
            ]
        return "".join(f"{line}\n" for line in lines) or None

    async def _fail_and_delete(self, pod: Obj, disruption: str) -> None:
        """Say that it has failed, since nobody is left who could say how it ended, and delete it."""
        name, namespace = meta.name(pod), meta.namespace(pod)
        try:
            if not pods.is_finished(pod):
                generation = pod["metadata"].get("generation", 0)
                status: dict[str, Any] = {"phase": "Failed", "observedGeneration": generation}
                if disruption:
                    status["conditions"], _ = conditions.set(
                        meta.get(pod, "status", "conditions"),
                        "DisruptionTarget",
                        "True",
                        "DeletionByPodGC",
                        disruption,
                        rfc3339(self.clock.time()),
                        observedGeneration=generation,
                    )
                patch = {"metadata": {"uid": meta.uid(pod)}, "status": status}
                await self.client.patch("pods", name, patch, namespace, subresource="status")
            await self.client.delete("pods", name, namespace, grace_period=0, uid=meta.uid(pod))
        except NotFound:
            return


def _has_ended(pod: Obj) -> bool:
    return pods.phase(pod) not in ("Pending", "Running", "Unknown")


def _rank(pod: Obj) -> tuple[bool, str, str, str]:
    """Evicted ones go first: controllers have no use for them. Then the oldest."""
    status = pod.get("status") or {}
    is_evicted = status.get("phase") == "Failed" and status.get("reason") == "Evicted"
    return not is_evicted, pod["metadata"]["creationTimestamp"], meta.name(pod), meta.namespace(pod)


def _is_out_of_service(node: Obj) -> bool:
    return any(taint.get("key") == _OUT_OF_SERVICE for taint in (node.get("spec") or {}).get("taints") or ())

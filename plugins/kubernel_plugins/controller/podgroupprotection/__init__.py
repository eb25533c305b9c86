"""PodGroup protection controller: a deleted PodGroup stays until its last pod has ended.

Source: k8s.io/kubernetes/pkg/controller/scheduling/podgroupprotection (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_FINALIZER = "scheduling.k8s.io/podgroup-protection"
_INDEX = "active pods of a group"


def _group(pod: Obj | None) -> str:
    return ((pod or {}).get("spec", {}).get("schedulingGroup") or {}).get("podGroupName") or ""


def _ended(pod: Obj) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _active(pod: Obj) -> list[str]:
    name = _group(pod)
    return [f"{meta.namespace(pod)}/{name}"] if name and not _ended(pod) else []


def _left(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Only a pod that ends or goes frees its group."""
    if type != "DELETED" and not _ended(pod):
        return ()
    name = _group(pod)
    return [(meta.namespace(pod), name)] if name else ()


class Plugin(Reconciler):
    """The ``podgroupprotection`` controller."""

    resource = "podgroups.v1beta1.scheduling.k8s.io"
    watches = {"pods": _left}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:podgroup-protection-controller"

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._pods.add_index(_INDEX, _active)

    async def reconcile(self, namespace: str, name: str) -> None:
        group = self.primary.get(name, namespace)
        if group is None or not meta.is_deleting(group):
            return
        finalizers = group["metadata"].get("finalizers") or []
        if _FINALIZER not in finalizers or self._pods.by(_INDEX, f"{namespace}/{name}"):
            return
        left = [one for one in finalizers if one != _FINALIZER]
        await self.client.update(self.resource, meta.replace(group, ("metadata", "finalizers"), left))

"""PodGroup protection controller: a deleted PodGroup stays until its last pod has ended.

Source: k8s.io/kubernetes/pkg/controller/scheduling/podgroupprotection (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.objects import meta
from kubernel_plugins.controller.protection import Protection

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

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


class Plugin(Protection):
    """The ``podgroupprotection`` controller."""

    resource = "podgroups.v1beta1.scheduling.k8s.io"
    finalizer = "scheduling.k8s.io/podgroup-protection"
    adds = False
    watches = {"pods": _left}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:podgroup-protection-controller"

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._pods.add_index(_INDEX, _active)

    def in_use(self, obj: Obj) -> bool:
        return bool(self._pods.by(_INDEX, "/".join(meta.key(obj))))

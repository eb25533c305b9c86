"""VolumeAttributesClass protection controller: a class stays as long as a claim or a volume names it.

Source: k8s.io/kubernetes/pkg/controller/volume/vacprotection (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta
from kubernel_plugins import volumes as v

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_FINALIZER = "kubernetes.io/vac-protection"
_INDEX = "volumeattributesclass"


def _named(obj: Obj) -> set[str]:
    """The classes that a claim or a volume names."""
    found = {
        meta.get(obj, "spec", "volumeAttributesClassName"),
        meta.get(obj, "status", "currentVolumeAttributesClassName"),
        meta.get(obj, "status", "modifyVolumeStatus", "targetVolumeAttributesClassName"),
    }
    return {name for name in found if name}


def _no_longer_named(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    before = _named(old or obj)
    return [("", name) for name in (before if type == "DELETED" else before - _named(obj))]


class Plugin(Reconciler):
    """The ``vacprotection`` controller."""

    resource = "volumeattributesclasses.v1.storage.k8s.io"
    watches = {v.CLAIMS: _no_longer_named, v.VOLUMES: _no_longer_named}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:volumeattributesclass-protection-controller"
    workers = 1

    async def start(self) -> None:
        await super().start()
        self._users = [self.informer(resource) for resource in (v.CLAIMS, v.VOLUMES)]
        for informer in self._users:
            informer.add_index(_INDEX, _named)

    async def reconcile(self, namespace: str, name: str) -> None:
        found = self.primary.get(name)
        if found is None:
            return
        finalizers = found["metadata"].get("finalizers") or []
        if meta.is_deleting(found):
            if _FINALIZER not in finalizers or any(each.count(_INDEX, name) for each in self._users):
                return
            wanted = [one for one in finalizers if one != _FINALIZER]
        elif _FINALIZER in finalizers:
            return
        else:
            wanted = [*finalizers, _FINALIZER]
        await self.client.update(self.resource, meta.replace(found, ("metadata", "finalizers"), wanted))

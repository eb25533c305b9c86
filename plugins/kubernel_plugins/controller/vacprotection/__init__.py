"""VAC protection controller: a VolumeAttributesClass stays as long as a claim or a volume names it.

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
_INDEX = "attributes class"


def _named(obj: Obj) -> list[str]:
    """The classes that a claim or a volume names: wanted, current and on the way."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    under_way = (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName")
    names = (
        spec.get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        under_way,
    )
    return list(dict.fromkeys(name for name in names if name))


def _freed(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    kept = () if type == "DELETED" else _named(obj)
    return [("", name) for name in _named(old or obj) if name not in kept]


class Plugin(Reconciler):
    """The ``vacprotection`` controller."""

    resource = "volumeattributesclasses.v1.storage.k8s.io"
    watches = {v.CLAIMS: _freed, v.VOLUMES: _freed}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:volumeattributesclass-protection-controller"

    async def start(self) -> None:
        await super().start()
        self._users = tuple(self.informer(resource) for resource in (v.CLAIMS, v.VOLUMES))
        for informer in self._users:
            informer.add_index(_INDEX, _named)

    async def reconcile(self, namespace: str, name: str) -> None:
        found = self.primary.get(name)
        if found is None:
            return
        finalizers = found["metadata"].get("finalizers") or []
        if meta.is_deleting(found):
            if _FINALIZER not in finalizers or any(informer.by(_INDEX, name) for informer in self._users):
                return
            wanted = [one for one in finalizers if one != _FINALIZER]
        elif _FINALIZER in finalizers:
            return
        else:
            wanted = [*finalizers, _FINALIZER]
        await self.client.update(self.resource, meta.replace(found, ("metadata", "finalizers"), wanted))

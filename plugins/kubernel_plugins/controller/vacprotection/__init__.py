"""VolumeAttributesClass protection controller: a class stays as long as a claim or a volume names it.

Source: k8s.io/kubernetes/pkg/controller/volume/vacprotection (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.objects import meta
from kubernel_plugins import volumes as v
from kubernel_plugins.controller.protection import Protection

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_INDEX = "volumeattributesclass"


def _no_longer_named(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    before = v.attributes_classes(old or obj)
    return [("", name) for name in (before if type == "DELETED" else before - v.attributes_classes(obj))]


class Plugin(Protection):
    """The ``vacprotection`` controller."""

    resource = "volumeattributesclasses.v1.storage.k8s.io"
    finalizer = "kubernetes.io/vac-protection"
    watches = {v.CLAIMS: _no_longer_named, v.VOLUMES: _no_longer_named}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:volumeattributesclass-protection-controller"
    workers = 1

    async def start(self) -> None:
        await super().start()
        self._users = [self.informer(resource) for resource in (v.CLAIMS, v.VOLUMES)]
        for informer in self._users:
            informer.add_index(_INDEX, v.attributes_classes)

    def in_use(self, obj: Obj) -> bool:
        return any(each.count(_INDEX, meta.name(obj)) for each in self._users)

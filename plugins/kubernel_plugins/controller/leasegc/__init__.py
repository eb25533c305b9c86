"""Lease cleaner: identity leases of API servers that are gone.

Source: k8s.io/kubernetes/pkg/controlplane/controller/apiserverleasegc (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta, times

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_NAMESPACE = "kube-system"
_LABEL, _IDENTITY = "apiserver.kubernetes.io/identity", "kube-apiserver"


class Plugin(Reconciler):
    """The ``leasegc`` controller."""

    resource = "leases.v1.coordination.k8s.io"
    user = "system:apiserver"
    workers = 1

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        # One that is renewed is looked at when it would have ended.
        if type != "DELETED" and old is None and _is_identity(obj):
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        lease = self.primary.get(name, namespace)
        if lease is None or not _is_identity(lease):
            return None
        spec = lease.get("spec") or {}
        end = 0.0
        if spec.get("renewTime") and spec.get("leaseDurationSeconds"):
            end = times.parse(spec["renewTime"]) + spec["leaseDurationSeconds"]
        left = end - self.clock.time()
        if left > 0:
            return left
        admin = self.handle.client(self.user, ("system:masters",))
        await admin.delete(self.resource, name, namespace, uid=meta.uid(lease))
        return None


def _is_identity(lease: Obj) -> bool:
    return meta.namespace(lease) == _NAMESPACE and meta.labels(lease).get(_LABEL) == _IDENTITY

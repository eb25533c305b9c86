"""PV protection controller: a volume stays as long as a claim is bound to it.

Source: k8s.io/kubernetes/pkg/controller/volume/pvprotection (v1.37).
"""

from __future__ import annotations

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta
from kubernel_plugins import volumes as v

__all__ = ["Plugin"]

_FINALIZER = "kubernetes.io/pv-protection"


class Plugin(Reconciler):
    """The ``pvprotection`` controller."""

    resource = v.VOLUMES
    user = "system:serviceaccount:kube-system:pv-protection-controller"

    async def reconcile(self, namespace: str, name: str) -> None:
        volume = self.primary.get(name)
        if volume is None:
            return
        finalizers = volume["metadata"].get("finalizers") or []
        if meta.is_deleting(volume):
            bound = (volume.get("status") or {}).get("phase") == "Bound"
            if bound or _FINALIZER not in finalizers:
                return
            wanted = [one for one in finalizers if one != _FINALIZER]
        elif _FINALIZER in finalizers:
            return
        else:
            wanted = [*finalizers, _FINALIZER]
        await self.client.update(self.resource, meta.replace(volume, ("metadata", "finalizers"), wanted))

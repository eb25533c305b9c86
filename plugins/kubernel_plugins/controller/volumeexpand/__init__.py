"""Volume expansion controller: tells who has to make a claim's volume larger.

No volume of ours is expanded by the control plane itself: that is the provisioner's. Source:
k8s.io/kubernetes/pkg/controller/volume/expand (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta, quantity
from kubernel_plugins import volumes as v

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_EXTERNAL = ("csi", "flexVolume")
"""Sources of volumes that a driver looks after."""


class Plugin(Reconciler):
    """The ``volumeexpand`` controller."""

    resource = v.CLAIMS
    reads = (v.VOLUMES,)
    user = "system:serviceaccount:kube-system:expand-controller"
    component = "volume_expand"

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if type != "DELETED" and (
            old is None or old["spec"].get("resources") != obj["spec"].get("resources")
        ):
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> None:
        claim = self.primary.get(name, namespace)
        if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
            return
        known = meta.get(claim, "status", "capacity", "storage")
        if known is None or quantity.to_int(known) >= v.requested(claim):
            return
        volume = self.informer(v.VOLUMES).get(claim["spec"].get("volumeName", ""))
        if volume is None or meta.uid(claim) != meta.get(volume, "spec", "claimRef", "uid"):
            return
        text = "waiting for an external controller to expand this PVC"
        external = any(volume["spec"].get(source) for source in _EXTERNAL)
        await self.recorder.event(claim, "Normal" if external else "Warning", "ExternalExpanding", text)

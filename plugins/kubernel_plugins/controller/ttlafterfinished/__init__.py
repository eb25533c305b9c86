"""TTL-after-finished controller: finished Jobs go when their time is up.

Source: k8s.io/kubernetes/pkg/controller/ttlafterfinished/ttlafterfinished_controller.go (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.objects import conditions, meta, times

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]


class Plugin(Reconciler):
    """The ``ttlafterfinished`` controller."""

    resource = "jobs.v1.batch"
    user = "system:serviceaccount:kube-system:ttl-after-finished-controller"

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if type != "DELETED" and _expiry(obj) is not None:
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        job = self.primary.get(name, namespace)
        expiry = None if job is None else _expiry(job)
        if expiry is None:
            return None
        left = expiry - self.clock.time()
        if left > 0:
            return left
        # The view may be behind a change of the time to live.
        job = await self.client.get(self.resource, name, namespace)
        expiry = _expiry(job)
        if expiry is None or expiry > self.clock.time():
            return None if expiry is None else expiry - self.clock.time()
        await self.client.delete(
            self.resource,
            name,
            namespace,
            propagation="Foreground",
            uid=meta.uid(job),
            resource_version=meta.resource_version(job),
        )
        return None


def _expiry(job: Obj) -> float | None:
    """Epoch seconds at which the Job may go; None for one that runs, stays or goes already."""
    seconds = job["spec"].get("ttlSecondsAfterFinished")
    if seconds is None or meta.is_deleting(job):
        return None
    for type in ("Complete", "Failed"):
        ended = conditions.find(job, type)
        if ended is not None and ended.get("status") == "True":
            return times.parse(ended["lastTransitionTime"]) + float(seconds)
    return None
